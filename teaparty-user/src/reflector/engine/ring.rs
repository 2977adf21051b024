//! The ring engine: answers the frames that the kernel program punts, out of the interface that they came in by.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use teaparty_common::maps::{Clock, PuntHeader, RecordKind, Session};
use teaparty_common::reflect::Reason;
use teaparty_common::tlv::access_report::AccessReport;
use zerocopy::FromBytes;

use crate::net::poll::wait;
use crate::reflector::engine::burst_scheduler;
use crate::reflector::engine::context::{InterfaceContext, Notice};
use crate::reflector::engine::fair_queue::FairQueue;
use crate::reflector::engine::frame_replies::{FrameReplyBatch, ReplyPorts};
use crate::reflector::engine::udp::{BATCH, SEND_BATCH};
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock, plausible_arrival};

/// The part of a batch's time that may go into emptying the ring, so that a flood that is thrown away does not
/// cost many of the replies to what is kept.
const INTAKE_PART: u32 = 10;
/// Records that are taken from the ring at least, and between looks at the clock.
const INTAKE: usize = BATCH;

/// Answers until asked to stop, which `wake` becoming readable makes it notice.
pub(crate) fn run(context: &Arc<InterfaceContext>, mut punts: RingBuf<MapData>, ports: &ReplyPorts, wake: &impl AsFd) {
    let mut engine = RingEngine { context, framed: FrameReplyBatch::new(context, &context.counters.ring, ports) };
    let mut waiting = FairQueue::default();
    let mut busy = Duration::ZERO;
    while !context.is_stopping() {
        let snapshot = context.snapshot();
        let clock = context.clock();
        let begun = Instant::now();
        engine.take_in_some(&mut punts, &mut waiting, begun + busy / INTAKE_PART);
        if engine.serve(&mut waiting, &snapshot, &clock) > 0 {
            busy = begun.elapsed();
            continue;
        }
        if let Err(error) = wait(&[&punts, wake], None) {
            context.notify(Notice::Failed { what: format!("the ring engine cannot wait for packets: {error}") });
            return;
        }
    }
}

struct RingEngine<'a> {
    context: &'a Arc<InterfaceContext>,
    framed: FrameReplyBatch<'a>,
}

impl RingEngine<'_> {
    /// Empties the ring, as far as that can be done until `end`.
    fn take_in_some(&self, punts: &mut RingBuf<MapData>, waiting: &mut FairQueue, end: Instant) {
        loop {
            for _ in 0..INTAKE {
                let Some(record) = punts.next() else { return };
                self.take_in(&record, waiting);
            }
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Deals with one record of the ring: tells what it reports, or has its frame wait for its turn.
    fn take_in(&self, record: &[u8], waiting: &mut FairQueue) {
        let Ok((header, rest)) = PuntHeader::ref_from_prefix(record) else { return };
        if header.kind == RecordKind::AccessReport as u32 {
            let access_id = (header.reason >> 8 << 4) as u8;
            let report = AccessReport { access_id, return_code: header.reason as u8, reserved: 0.into() };
            self.context.notify(Notice::AccessReport { key: header.key, report });
            return;
        }
        if header.kind == RecordKind::LoopGuard as u32 {
            self.context.loops.note(&header.key);
            return;
        }
        let frame_len = header.frame_len as usize;
        if frame_len > rest.len() {
            return;
        }
        // Room in the ring is reserved by classes of size: octets after the frame are unused.
        let is_known = header.session_flags & Session::PROVISIONED != 0;
        for _ in 0..waiting.push(&header.key, is_known, &record[..size_of::<PuntHeader>() + frame_len]) {
            self.context.counters.ring.count(Reason::RingFull);
        }
    }

    /// Deals with up to [`BATCH`] of the frames that wait and sends the replies, a few at a time. Returns with how many:
    /// the forged ones count too, so that a flood of them keeps neither a good reply nor the ring waiting.
    fn serve(&mut self, waiting: &mut FairQueue, snapshot: &ConfigSnapshot, clock: &Clock) -> usize {
        let mut taken = 0;
        while taken < BATCH && waiting.pop(|record| self.take(record, snapshot, clock)) {
            taken += 1;
            if self.framed.pending() >= SEND_BATCH {
                self.framed.flush(clock);
            }
        }
        if self.framed.pending() > 0 {
            self.framed.flush(clock);
        }
        taken
    }

    /// Handles the next frame.
    fn take(&mut self, record: &mut [u8], snapshot: &ConfigSnapshot, clock: &Clock) {
        let Some((head, frame)) = record.split_at_mut_checked(size_of::<PuntHeader>()) else { return };
        let Ok(mut header) = PuntHeader::read_from_bytes(head) else { return };
        // The kernel program knows of a step of the clock only when the controller has told it.
        header.meta.received_ns = plausible_arrival(header.meta.received_ns, SystemClock.monotonic_ns());
        burst_scheduler::process_frame(self.context, &mut self.framed, &header, frame, snapshot, clock);
    }
}
