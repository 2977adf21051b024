//! Replies that follow the first one at an interval (RFC 10052 §3), each made anew when its moment comes.
//!
//! A thread of its own sends them, so that a slow burst holds up nobody. Moments are absolute: one reply that is late
//! does not make the next ones later. Each reply goes the way of the first: keys, policy and session are looked at as
//! they are then, and what is not allowed any more is not sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use teaparty_common::maps::{Clock, PuntHeader};
use teaparty_common::reflect::PacketMeta;

use super::control::Control;
use super::framed::{Exits, Framed};
use super::shared::{Counters, Notice, Shared};
use super::slow_path::More;
use super::socket::{Datagram, Datagrams};
use super::view::View;
use crate::clock::{Clock as _, SystemClock};
use crate::net::wait::{Alarm, wait};
use crate::sync::locked;

/// How long before its moment a reply is made. Then the thread waits without sleeping, which takes a processor for so
/// long but is exact where the scheduler is not.
const LEAD_NS: u64 = 100_000;
/// When an alarm rings that nobody waits for.
const NEVER: u64 = u64::MAX;

/// The bursts that wait for their next reply.
pub struct Agenda {
    waiting: Mutex<BinaryHeap<Reverse<Burst>>>,
    alarm: Alarm,
}

/// Replies that are still to be sent to one request.
struct Burst {
    /// When the next one is to leave, in nanoseconds of CLOCK_MONOTONIC.
    at_ns: u64,
    /// How many.
    left: u16,
    more: More,
    request: Request,
}

/// A request as it came in.
enum Request {
    /// By itself.
    Datagram(Box<Datagram>, Box<[u8]>),
    /// In a frame.
    Frame(Box<PuntHeader>, Box<[u8]>),
}

impl PartialEq for Burst {
    fn eq(&self, other: &Self) -> bool {
        self.at_ns == other.at_ns
    }
}

impl Eq for Burst {}

impl PartialOrd for Burst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Burst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ns.cmp(&other.at_ns)
    }
}

impl Agenda {
    /// Without bursts.
    pub fn new() -> io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), alarm: Alarm::new()? })
    }

    fn add(&self, more: More, first_ns: u64, request: Request) {
        let replies = more.replies;
        let at_ns = first_ns + u64::from(replies.interval_ns);
        let mut waiting = locked(&self.waiting);
        waiting.push(Reverse(Burst { at_ns, left: replies.count - 1, more, request }));
        self.set_alarm(&waiting);
    }

    /// The next burst if its moment has come; else the alarm is set for it.
    fn due(&self) -> Option<Burst> {
        let mut waiting = locked(&self.waiting);
        let is_due = waiting.peek().is_some_and(|Reverse(next)| next.at_ns <= SystemClock.monotonic_ns() + LEAD_NS);
        if !is_due {
            self.set_alarm(&waiting);
            return None;
        }
        waiting.pop().map(|Reverse(burst)| burst)
    }

    fn set_alarm(&self, waiting: &BinaryHeap<Reverse<Burst>>) {
        let next = waiting.peek().map_or(NEVER, |Reverse(next)| next.at_ns.saturating_sub(LEAD_NS));
        if let Err(error) = self.alarm.set(next) {
            tracing::error!(%error, "cannot set an alarm for replies that are to follow");
        }
    }
}

/// Answers a frame, and notes what is to follow the reply.
pub fn take_frame(
    shared: &Arc<Shared>,
    framed: &mut Framed<'_>,
    header: &PuntHeader,
    frame: &mut [u8],
    view: &View,
    clock: &Clock,
) {
    let Some(more) = framed.take(header, frame, view, clock, Control::First(&shared.bursts)) else { return };
    // At once: the next packet of the session must find that this one was before it, and the others count from now.
    let now_ns = SystemClock.monotonic_ns();
    framed.flush(clock);
    shared.agenda.add(more, now_ns, Request::Frame(Box::new(*header), (&*frame).into()));
}

/// Notes what is to follow the reply to a datagram that is sent at `now_ns` of CLOCK_MONOTONIC.
pub fn note_datagram(shared: &Shared, more: More, now_ns: u64, datagram: Datagram, payload: &[u8]) {
    shared.agenda.add(more, now_ns, Request::Datagram(Box::new(datagram), payload.into()));
}

/// Sends what is to follow until asked to stop, which `wake` becoming readable makes it notice. Frames are counted in
/// `counters`.
pub fn run(shared: &Arc<Shared>, counters: &Counters, exits: &Exits, wake: &impl AsFd) {
    let mut framed = Framed::new(shared, counters, exits);
    let mut datagrams = Datagrams::new(shared);
    while !shared.is_stopping() {
        while let Some(burst) = shared.agenda.due() {
            if shared.is_stopping() {
                return;
            }
            send_next(shared, burst, &mut framed, &mut datagrams, exits);
        }
        if let Err(error) = wait(&[&shared.agenda.alarm, wake], None) {
            shared.notify(Notice::Failed { what: format!("the pacing of replies cannot wait: {error}") });
            return;
        }
    }
}

/// Sends a burst's next reply at its moment, and puts the burst back where there are more.
fn send_next(
    shared: &Arc<Shared>,
    mut burst: Burst,
    framed: &mut Framed<'_>,
    datagrams: &mut Datagrams<'_>,
    exits: &Exits,
) {
    let (view, clock) = (shared.view(), shared.clock());
    let control = Control::Again(burst.more.replies);
    let is_made = match &mut burst.request {
        Request::Frame(header, frame) => {
            let mut header = **header;
            header.meta.flags |= PacketMeta::UNASSIGNED;
            framed.take(&header, frame, &view, &clock, control);
            framed.pending() > 0
        }
        Request::Datagram(datagram, payload) => {
            datagrams.take(datagram, payload, &view, &clock, control);
            datagrams.pending() > 0
        }
    };
    if !is_made {
        // Its session is gone, or nobody is allowed this any more.
        return;
    }
    while SystemClock.monotonic_ns() < burst.at_ns {
        std::hint::spin_loop();
    }
    match &burst.request {
        Request::Frame(..) => framed.flush(&clock),
        Request::Datagram(datagram, _) => {
            if let Some(socket) = exits.sockets.get(datagram.socket) {
                datagrams.flush(&clock, socket);
            }
        }
    }
    burst.left -= 1;
    burst.at_ns += u64::from(burst.more.replies.interval_ns);
    if burst.left > 0 {
        locked(&shared.agenda.waiting).push(Reverse(burst));
    }
}
