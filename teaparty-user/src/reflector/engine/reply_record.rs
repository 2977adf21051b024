//! Records what became of replies: in their sessions, in the counters, and in reports.

use teaparty_common::reflect::Reason;

use crate::reflector::engine::context::{EngineCounters, InterfaceContext, Notice};
use crate::reflector::pipeline::slow_path::PendingReply;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Remembers an exchange with T3 as `timestamp`. Before the send and not after it: the sender may answer the reply with
/// its next packet sooner than this thread runs again, and that packet must find what went before.
pub(crate) fn commit(context: &InterfaceContext, pending_reply: &PendingReply, timestamp: u64) {
    pending_reply.commit(timestamp, context.store_of(pending_reply.is_authenticated()));
}

/// Adds the time that a packet has stayed, its T3 having just been read. A reply that follows another one was to wait,
/// which says nothing of us.
pub(crate) fn record_residence(counters: &EngineCounters, pending_reply: &PendingReply) {
    if !pending_reply.is_again {
        counters.residence.add(SystemClock.monotonic_ns().saturating_sub(pending_reply.meta().received_ns));
    }
}

/// Records that a reply was sent. Returns the reason that the packet ended with.
pub(crate) fn record_sent(
    context: &InterfaceContext,
    counters: &EngineCounters,
    pending_reply: &PendingReply,
) -> Reason {
    if pending_reply.is_again {
        counters.count(Reason::Repeated);
        return Reason::Repeated;
    }
    counters.count(Reason::Reflected);
    if let Some(report) = pending_reply.reply_options.access_report {
        context.notify(Notice::AccessReport { key: *pending_reply.key(), report });
    }
    Reason::Reflected
}
