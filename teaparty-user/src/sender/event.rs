//! What a running measurement tells: one event for each reply and loss where asked for, and everything out of the ordinary.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use teaparty_common::wire::TrafficClass;

use super::delays::{NoDelays, Sample};
use super::histogram::DistributionFigures;
use super::matcher::{Counts, ReplyKind, Split};
use super::tlvs::describe::TlvFinding;
use crate::net::batch::StampSource;
use crate::net::poll::WakeEvent;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum SenderEvent {
    /// A packet was answered or given up.
    Record(Box<Record>),
    /// Something that a person should know, about one target or about all.
    Notice {
        /// Place of the target in the configuration.
        target: Option<usize>,
        /// Its kind.
        text: String,
    },
    /// The state of all targets, a few times a second.
    Snapshot(Box<[TargetSnapshot]>),
    /// The counters of one target's session.
    Counters {
        /// Place of the target.
        target: usize,
        /// The counts.
        tally: Box<SessionCounters>,
    },
}

/// The counters of a session since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionCounters {
    /// Packets and replies.
    pub counts: Counts,
    /// Loss by direction; `None` at the start.
    pub split: Option<Split>,
    /// Replies that were ignored.
    pub ignored: Ignored,
    /// Packets that the system refused to send.
    pub send_errors: u64,
    /// Refusals that the network reported.
    pub refusals: u64,
    /// Packets of the schedule that were never sent.
    pub schedule_skipped: u64,
    /// Lateness of packets against the schedule, in nanoseconds: p50 and p99; `None` before the first one.
    pub pacing_error_ns: Option<[i64; 2]>,
}

/// The wanted events; others cost nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscription {
    /// [`SenderEvent::Record`].
    pub records: bool,
    /// [`SenderEvent::Snapshot`], so often.
    pub snapshots: Option<std::time::Duration>,
    /// [`SenderEvent::Counters`] of each session, so often.
    pub tallies: Option<std::time::Duration>,
}

/// The fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketOutcome {
    /// Answered; see [`ReplyKind`].
    Answered(ReplyKind),
    /// No reply came in time.
    Lost,
    /// Nobody waited for its reply long enough.
    Unsettled,
}

impl PacketOutcome {
    /// Label in streams of records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered(ReplyKind::Reply) => "reply",
            Self::Answered(ReplyKind::Further) => "further",
            Self::Answered(ReplyKind::Duplicate) => "duplicate",
            Self::Answered(ReplyKind::Late) => "late",
            Self::Lost => "lost",
            Self::Unsettled => "unsettled",
        }
    }
}

/// One reply, or one packet without.
#[derive(Clone, Debug)]
pub struct Record {
    /// Place of the target in the configuration.
    pub target: usize,
    /// The Session-Sender Identifier of its session, 0 for none.
    pub ssid: u16,
    /// The fate of the packet.
    pub fate: PacketOutcome,
    /// Its Sequence Number.
    pub sequence: u32,
    /// T1 and who took it.
    pub t1: (u64, StampSource),
    /// The reply; `None` where there is none.
    pub reply: Option<ReplyRecord>,
}

/// The record of a reply.
#[derive(Clone, Debug)]
pub struct ReplyRecord {
    /// Its UDP payload in octets.
    pub octets: usize,
    /// T2 in nanoseconds since 1970, on the reflector's clock.
    pub t2: u64,
    /// T3, in the same form.
    pub t3: u64,
    /// T4 and who took it.
    pub t4: (u64, StampSource),
    /// Its own Sequence Number.
    pub reflector_sequence: u32,
    /// The delays, or why there are none.
    pub sample: Result<Sample, NoDelays>,
    /// True if both clocks claim synchronisation.
    pub is_synchronized: bool,
    /// Both claimed error bounds added, in nanoseconds; `None` where one clock claims none.
    pub error_ns: Option<u64>,
    /// TTL or Hop Limit at the reflector.
    pub forward_ttl: Option<u8>,
    /// TTL or Hop Limit of the reply.
    pub backward_ttl: Option<u8>,
    /// Traffic class at the reflector, where a TLV tells.
    pub forward_class: Option<TrafficClass>,
    /// Traffic class of the reply.
    pub backward_class: Option<TrafficClass>,
    /// Replies to later packets that came before it.
    pub reordering_extent: u32,
    /// The findings of its TLVs.
    pub findings: Vec<TlvFinding>,
}

/// The state of one target.
#[derive(Clone, Debug)]
pub struct TargetSnapshot {
    /// Counts.
    pub counts: Counts,
    /// Loss by direction.
    pub split: Split,
    /// Round trip so far.
    pub round_trip: Option<DistributionFigures>,
    /// The last round trip.
    pub last_round_trip_ns: Option<i64>,
    /// Round trips so far in a few ranges of equal width: the middle of each and how many fell into it.
    pub histogram: Vec<(i64, u64)>,
}

/// A handle that ends a measurement: first sending, then waiting.
pub struct Stop {
    level: AtomicU8,
    wake_event: WakeEvent,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { level: AtomicU8::new(0), wake_event: WakeEvent::new()? })
    }

    /// Asks once more: the first time to send no more, the second time to wait for no reply either.
    pub fn request(&self) {
        // Before the event, so that whoever it wakes finds the request.
        let once_more = |level: u8| Some(level.saturating_add(1));
        let _ = self.level.fetch_update(Ordering::SeqCst, Ordering::SeqCst, once_more);
        self.wake_event.wake();
    }

    /// Returns true if nothing more is to be sent.
    pub fn is_requested(&self) -> bool {
        self.level.load(Ordering::SeqCst) > 0
    }

    /// Returns true if nothing more is to be waited for.
    pub fn is_urgent(&self) -> bool {
        self.level.load(Ordering::SeqCst) > 1
    }

    /// Takes note of the requests so far, so that only a further one can be waited for. To be called after waiting and
    /// before asking what was requested.
    pub fn acknowledge(&self) {
        self.wake_event.clear();
    }
}

impl AsFd for Stop {
    /// Readable from a request on until it was heard.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake_event.as_fd()
    }
}

/// Replies that were ignored, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// From an address or port that is not the target's.
    pub foreign: u64,
    /// With a wrong HMAC.
    pub unauthenticated: u64,
    /// Too short to be a reply.
    pub malformed: u64,
    /// For another member link (RFC 9534 §3.2).
    pub other_link: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::poll::wait;

    #[test]
    fn each_request_to_stop_wakes_who_waits_and_only_once() {
        let stop = Stop::new().unwrap();
        let is_ready = || wait(&[&stop], Some(Duration::ZERO)).unwrap();
        assert!(!is_ready());
        for is_urgent in [false, true, true] {
            stop.request();
            assert!(is_ready());
            stop.acknowledge();
            assert!(!is_ready(), "it would keep the engine from sleeping");
            assert_eq!((stop.is_requested(), stop.is_urgent()), (true, is_urgent));
        }
        // However often: it never restarts.
        (0..300).for_each(|_| stop.request());
        assert!(stop.is_urgent());
    }
}
