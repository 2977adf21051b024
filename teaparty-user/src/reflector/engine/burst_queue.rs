//! The bursts that wait for their next reply (RFC 10052 §3), by its moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use teaparty_common::maps::{PuntHeader, SessionKey};
use teaparty_common::reflect::PacketMeta;

use crate::net::poll::Timer;
use crate::reflector::pipeline::slow_path::BurstGrant;
use crate::sync::locked;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Lead with which a reply is made before its time. The thread then waits without sleeping, which takes a processor
/// for this long but is exact where the scheduler is not.
const LEAD_NS: u64 = 100_000;
/// The time of an unused timer.
const NEVER: u64 = u64::MAX;

/// The bursts that wait for their next reply.
pub(crate) struct BurstQueue {
    waiting: Mutex<BinaryHeap<Reverse<ScheduledBurst>>>,
    /// Rings when a reply is due.
    pub timer: Timer,
}

/// Replies that are still to be sent to one request.
pub(crate) struct ScheduledBurst {
    /// Time of the next one, in nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// The number.
    pub left: u16,
    /// The grant.
    pub grant: BurstGrant,
    /// The request.
    pub request: BurstRequest,
}

/// A request as it came in.
pub(crate) enum BurstRequest {
    /// By itself.
    Datagram(Box<Datagram>, Box<[u8]>),
    /// In a frame.
    Frame(Box<PuntHeader>, Box<[u8]>),
}

impl PartialEq for ScheduledBurst {
    fn eq(&self, other: &Self) -> bool {
        self.at_ns == other.at_ns
    }
}

impl Eq for ScheduledBurst {}

impl PartialOrd for ScheduledBurst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ScheduledBurst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ns.cmp(&other.at_ns)
    }
}

impl BurstQueue {
    /// Without bursts.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), timer: Timer::new()? })
    }

    /// Adds the replies that are to follow one that was sent at `first_ns` of CLOCK_MONOTONIC.
    pub(crate) fn add(&self, grant: BurstGrant, first_ns: u64, request: BurstRequest) {
        let replies = grant.replies;
        let at_ns = first_ns + u64::from(replies.interval_ns);
        let mut waiting = locked(&self.waiting);
        waiting.push(Reverse(ScheduledBurst { at_ns, left: replies.count - 1, grant, request }));
        self.set_timer(&waiting);
    }

    /// The next burst if its moment has come; else the timer is set for it.
    pub(crate) fn take_due(&self) -> Option<ScheduledBurst> {
        let mut waiting = locked(&self.waiting);
        let is_due = waiting.peek().is_some_and(|Reverse(next)| next.at_ns <= SystemClock.monotonic_ns() + LEAD_NS);
        if !is_due {
            self.set_timer(&waiting);
            return None;
        }
        waiting.pop().map(|Reverse(burst)| burst)
    }

    /// Puts a burst back that has more replies to send.
    pub(crate) fn put_back(&self, burst: ScheduledBurst) {
        locked(&self.waiting).push(Reverse(burst));
    }

    fn set_timer(&self, waiting: &BinaryHeap<Reverse<ScheduledBurst>>) {
        let next = waiting.peek().map_or(NEVER, |Reverse(next)| next.at_ns.saturating_sub(LEAD_NS));
        if let Err(error) = self.timer.set(next) {
            tracing::error!(%error, "cannot set an alarm for replies that are to follow");
        }
    }
}

/// A datagram that may be answered.
#[derive(Clone)]
pub(crate) struct Datagram {
    /// Index of the socket that received it.
    pub socket: usize,
    /// Its session.
    pub key: SessionKey,
    /// [`teaparty_common::maps::Session::flags`] of the session, or what a new one is to start with.
    pub session_flags: u32,
    /// Its metadata.
    pub meta: PacketMeta,
    /// Its sender.
    pub peer: SocketAddr,
    /// The IPv6 extension headers, outer to inner.
    pub extensions: Vec<u8>,
}
