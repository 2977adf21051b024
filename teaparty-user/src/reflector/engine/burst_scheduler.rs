//! Replies that follow the first one at an interval (RFC 10052 §3), each made again when its moment comes.
//!
//! A thread of its own sends them, so that a slow burst holds up nobody. Moments are absolute: one reply that is late
//! does not make the next ones later. Each reply goes the way of the first: keys, policy and session are looked at as
//! they are then, and replies that are no longer allowed are not sent.

use std::os::fd::AsFd;
use std::sync::Arc;

use teaparty_common::maps::{Clock, PuntHeader};
use teaparty_common::reflect::PacketMeta;

use crate::net::poll::wait;
use crate::reflector::engine::burst_queue::{BurstRequest, ScheduledBurst};
use crate::reflector::engine::context::{EngineCounters, InterfaceContext, Notice};
use crate::reflector::engine::frame_replies::{FrameReplyBatch, ReplyPorts};
use crate::reflector::engine::udp::UdpReplyBatch;
use crate::reflector::pipeline::test_packet_control::BurstStage;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Answers a frame, and notes what is to follow the reply.
pub(crate) fn process_frame(
    context: &Arc<InterfaceContext>,
    framed: &mut FrameReplyBatch<'_>,
    header: &PuntHeader,
    frame: &mut [u8],
    snapshot: &ConfigSnapshot,
    clock: &Clock,
) {
    let Some(grant) = framed.take(header, frame, snapshot, clock, BurstStage::First(&context.bursts)) else { return };
    // At once: the next packet of the session must find that this one was before it, and the others count from now.
    let now_ns = SystemClock.monotonic_ns();
    framed.flush(clock);
    context.burst_queue.add(grant, now_ns, BurstRequest::Frame(Box::new(*header), (&*frame).into()));
}

/// Sends what is to follow until asked to stop, which `wake` becoming readable makes it notice. Frames are counted in
/// `counters`.
pub(crate) fn run(context: &Arc<InterfaceContext>, counters: &EngineCounters, ports: &ReplyPorts, wake: &impl AsFd) {
    let mut framed = FrameReplyBatch::new(context, counters, ports);
    let mut datagrams = UdpReplyBatch::new(context);
    while !context.is_stopping() {
        while let Some(burst) = context.burst_queue.take_due() {
            if context.is_stopping() {
                return;
            }
            send_next(context, burst, &mut framed, &mut datagrams, ports);
        }
        if let Err(error) = wait(&[&context.burst_queue.timer, wake], None) {
            context.notify(Notice::Failed { what: format!("the pacing of replies cannot wait: {error}") });
            return;
        }
    }
}

/// Sends a burst's next reply at its moment, and puts the burst back where there are more.
fn send_next(
    context: &Arc<InterfaceContext>,
    mut burst: ScheduledBurst,
    framed: &mut FrameReplyBatch<'_>,
    datagrams: &mut UdpReplyBatch<'_>,
    ports: &ReplyPorts,
) {
    let (snapshot, clock) = (context.snapshot(), context.clock());
    let control = BurstStage::Again(burst.grant.replies);
    let is_made = match &mut burst.request {
        BurstRequest::Frame(header, frame) => {
            let mut header = **header;
            header.meta.flags |= PacketMeta::UNASSIGNED;
            framed.take(&header, frame, &snapshot, &clock, control);
            framed.pending() > 0
        }
        BurstRequest::Datagram(datagram, payload) => {
            datagrams.take(datagram, payload, &snapshot, &clock, control);
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
        BurstRequest::Frame(..) => framed.flush(&clock),
        BurstRequest::Datagram(datagram, _) => {
            if let Some(socket) = ports.sockets.get(datagram.socket) {
                datagrams.flush(&clock, socket);
            }
        }
    }
    burst.left -= 1;
    burst.at_ns += u64::from(burst.grant.replies.interval_ns);
    if burst.left > 0 {
        context.burst_queue.put_back(burst);
    }
}
