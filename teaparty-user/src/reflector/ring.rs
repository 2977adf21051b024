//! The ring engine: answers the frames that the kernel program punts, out of the interface that they came in by.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use teaparty_common::maps::{Clock, PuntHeader, RecordKind, Session};
use teaparty_common::reflect::{Class, Facts, Reason};
use teaparty_common::tlv::return_path::Wish;
use teaparty_common::tlv::steering::AccessReport;
use zerocopy::FromBytes;

use super::config::ip;
use super::frames::{Punted, Reply};
use super::queue::FairQueue;
use super::shared::{Notice, Shared};
use super::slow_path::{self, Answer, Headers, Job};
use super::socket::{self, BATCH, SEND_PATIENCE};
use super::view::View;
use crate::clock::{Clock as _, SystemClock};
use crate::net::batch::SendBatch;
use crate::net::packet::{FrameBatch, PacketSocket};
use crate::net::socket::Socket;
use crate::net::wait::wait;

/// What part of the time that a batch takes may go into emptying the ring, so that a flood that is thrown away does not
/// cost many of the replies to what is kept.
const INTAKE_PART: u32 = 10;
/// Records that are taken from the ring at least, and between looks at the clock.
const INTAKE: usize = BATCH;

/// What the engine sends by.
pub struct Exits {
    /// Frames, on the interface that the requests come by. `None` on loopback, whose addresses the stack refuses in
    /// frames that do not come out of it.
    pub packet: Option<PacketSocket>,
    /// The listening sockets, for replies that are routed.
    pub sockets: Vec<Arc<Socket>>,
}

/// Answers until asked to stop, which `wake` becoming readable makes it notice.
pub fn run(shared: &Arc<Shared>, mut punts: RingBuf<MapData>, exits: &Exits, wake: &impl AsFd) {
    let mut engine = Engine {
        shared,
        exits,
        payload: Vec::with_capacity(2048),
        frames: FrameBatch::default(),
        framed: Vec::with_capacity(BATCH),
        routed: exits.sockets.iter().map(|_| (SendBatch::new(), Vec::new())).collect(),
        pending: 0,
    };
    let mut waiting = FairQueue::default();
    let mut busy = Duration::ZERO;
    while !shared.is_stopping() {
        let view = shared.view();
        let clock = shared.clock();
        let begun = Instant::now();
        engine.take_in_some(&mut punts, &mut waiting, begun + busy / INTAKE_PART);
        while engine.pending < BATCH && waiting.pop(|record| engine.take(record, &view, &clock)) {}
        if engine.pending > 0 {
            engine.flush(&clock);
            busy = begun.elapsed();
            continue;
        }
        if !waiting.is_empty() {
            continue;
        }
        if let Err(error) = wait(&[&punts, wake], None) {
            shared.notify(Notice::Failed { what: format!("the ring engine cannot wait for packets: {error}") });
            return;
        }
    }
}

struct Engine<'a> {
    shared: &'a Arc<Shared>,
    exits: &'a Exits,
    payload: Vec<u8>,
    frames: FrameBatch,
    framed: Vec<(Answer, Reply)>,
    routed: Vec<(SendBatch, Vec<Answer>)>,
    pending: usize,
}

impl Engine<'_> {
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
            self.shared.notify(Notice::AccessReport { key: header.key, report });
            return;
        }
        let frame_len = header.frame_len as usize;
        if frame_len > rest.len() {
            return;
        }
        // Room in the ring is reserved by classes of size: what is behind the frame is nothing.
        for _ in 0..waiting.push(&header.key, &record[..size_of::<PuntHeader>() + frame_len]) {
            self.shared.ring.count(Reason::RingFull);
        }
    }

    /// Deals with a frame whose turn it is.
    fn take(&mut self, record: &mut [u8], view: &View, clock: &Clock) {
        let Some((head, frame)) = record.split_at_mut_checked(size_of::<PuntHeader>()) else { return };
        let Ok(header) = PuntHeader::read_from_bytes(head) else { return };
        match self.prepare(&header, frame, view, clock) {
            Ok(()) => self.pending += 1,
            Err(reason) => self.shared.ring.count(reason),
        }
    }

    /// Everything that comes before T3.
    fn prepare(&mut self, header: &PuntHeader, frame: &mut [u8], view: &View, clock: &Clock) -> Result<(), Reason> {
        let punted = Punted::parse(frame).map_err(|reason| {
            // The kernel has found the datagram before; what it would pass can't be passed any more.
            if reason.class() == Class::Drop { reason } else { Reason::Internal }
        })?;
        self.payload.clear();
        self.payload.extend_from_slice(punted.payload());
        let mut facts = header.facts;
        if !view.config.is_stateful {
            facts.flags &= !Facts::STATEFUL;
        }
        let is_authenticated = header.session_flags & Session::AUTHENTICATED != 0;
        let format = slow_path::format(header.session_flags, &view.config.policy);
        facts.error_estimate = slow_path::error_estimate(format, clock);
        let headers = Headers { fixed: Some(punted.fixed_header()), extensions: punted.extension_headers() };
        let job = Job { key: header.key, session_flags: header.session_flags, facts, headers };
        let ledger = self.shared.ledger(is_authenticated);
        let answer = slow_path::answer(job, &mut self.payload, view, ledger)?;
        let is_routed = matches!(answer.wish, Some(Wish::Address(_))) || self.exits.packet.is_none();
        if !is_routed {
            let reply = self.frames.push(|out| punted.reply(&answer.steering, &self.payload, out));
            self.framed.push((answer, reply.ok_or(Reason::Internal)?));
            return Ok(());
        }
        let (source, port) = (ip(&header.key.source), header.key.source_port);
        let exit = self.exits.sockets.iter().position(|socket| {
            socket
                .local_addr()
                .is_ok_and(|local| local.port() == header.key.destination_port && local.is_ipv6() == source.is_ipv6())
        });
        let exit = exit.ok_or(Reason::SendFailed)?;
        let peer = match source {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                std::net::SocketAddrV6::new(v6, port, 0, facts.interface).into()
            }
            other => SocketAddr::new(other, port),
        };
        let to = socket::outgoing(&answer, peer, facts.interface);
        let (batch, answers) = &mut self.routed[exit];
        batch.push(&to, &self.payload);
        answers.push(answer);
        Ok(())
    }

    /// Seals what is pending with T3 and sends it.
    fn flush(&mut self, clock: &Clock) {
        let Self { shared, exits, frames, framed, routed, pending, .. } = self;
        for ((batch, answers), socket) in routed.iter_mut().zip(&exits.sockets) {
            if !answers.is_empty() {
                socket::send(shared, &shared.ring, clock, socket, batch, answers);
                batch.clear();
                answers.clear();
            }
        }
        if let (Some(packet), false) = (&exits.packet, framed.is_empty()) {
            send_frames(shared, clock, packet, frames, framed);
        }
        frames.clear();
        framed.clear();
        *pending = 0;
    }
}

/// Seals the frames with T3, settles their sessions and sends them.
fn send_frames(
    shared: &Shared,
    clock: &Clock,
    packet: &PacketSocket,
    frames: &mut FrameBatch,
    framed: &[(Answer, Reply)],
) {
    for (index, (answer, reply)) in framed.iter().enumerate() {
        let frame = frames.frame_mut(index);
        let mut now = 0;
        let read = || {
            now = SystemClock.realtime_ns();
            now
        };
        let timestamp = answer.seal(reply.payload_mut(frame), read, clock);
        reply.finish(frame);
        socket::settle(shared, answer, timestamp);
        let residence = now.wrapping_add(clock.tai_offset_ns).saturating_sub(answer.facts().received_ns);
        shared.ring.residence.add(residence);
    }
    packet.send(frames, SEND_PATIENCE, |index, is_sent| {
        let answer = &framed[index].0;
        if is_sent {
            socket::conclude(shared, &shared.ring, answer);
        } else {
            shared.ring.count(Reason::SendFailed);
        }
    });
}
