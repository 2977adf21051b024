//! Frames answered by frames, or routed where their TLVs ask for that: what the engines share that get whole frames.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use teaparty_common::maps::{Clock, PuntHeader, Session};
use teaparty_common::reflect::{Disposition, PacketMeta, Reason};
use teaparty_common::tlv::return_path::ReturnPathRequest;

use crate::net::address::ip;
use crate::net::batch::SendBatch;
use crate::net::packet::{FrameBatch, PacketSocket};
use crate::net::socket::Socket;
use crate::reflector::capture::packet::{CapturedFrame, CapturedPacket};
use crate::reflector::engine::context::{EngineCounters, InterfaceContext};
use crate::reflector::engine::mirror;
use crate::reflector::engine::punted_frame::{Punted, ReplyFrame};
use crate::reflector::engine::reply_record;
use crate::reflector::engine::srv6::Segmented;
use crate::reflector::engine::udp::{self, SEND_BATCH, SEND_TIMEOUT};
use crate::reflector::pipeline::slow_path::{self, BurstGrant, PendingReply, TestPacket};
use crate::reflector::pipeline::test_packet_control::BurstStage;
use crate::reflector::pipeline::tlv_env::Headers;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// The ports that replies leave by.
pub(crate) struct ReplyPorts {
    /// Frames, on the interface that the requests come by. `None` on loopback, whose addresses the stack refuses in
    /// frames that do not come out of it.
    pub packet: Option<PacketSocket>,
    /// The listening sockets, for replies that are routed.
    pub sockets: Vec<Arc<Socket>>,
}

/// Replies under way to frames that came together.
pub(crate) struct FrameReplyBatch<'a> {
    context: &'a InterfaceContext,
    counters: &'a EngineCounters,
    ports: &'a ReplyPorts,
    payload: Vec<u8>,
    frames: FrameBatch,
    framed: Vec<(PendingReply, ReplyFrame)>,
    routed: Vec<(SendBatch, Vec<PendingReply>)>,
    segmented: Segmented,
    pending: usize,
}

impl<'a> FrameReplyBatch<'a> {
    /// None yet; counted in `counters`.
    pub(crate) fn new(context: &'a InterfaceContext, counters: &'a EngineCounters, ports: &'a ReplyPorts) -> Self {
        Self {
            context,
            counters,
            ports,
            payload: Vec::with_capacity(2048),
            frames: FrameBatch::default(),
            framed: Vec::with_capacity(SEND_BATCH),
            routed: ports.sockets.iter().map(|_| (SendBatch::new(), Vec::new())).collect(),
            segmented: Segmented::default(),
            pending: 0,
        }
    }

    /// Replies that [`FrameReplyBatch::flush`] is to send.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Everything that comes before T3, for one frame and what is known about it: the first nine fields of `header` but
    /// the lengths. Gives what is to follow the reply; the reason that there is none is counted.
    pub(crate) fn take(
        &mut self,
        header: &PuntHeader,
        frame: &mut [u8],
        snapshot: &ConfigSnapshot,
        clock: &Clock,
        control: BurstStage<'_>,
    ) -> Option<BurstGrant> {
        let mut captured = mirror::frame(self.context, header, frame, matches!(control, BurstStage::Again(_)));
        match self.prepare((header, frame), snapshot, clock, control, &mut captured) {
            Ok(grant) => {
                self.pending += 1;
                grant
            }
            Err(reason) => {
                self.counters.count_from(reason, header.key.source);
                mirror::unanswered(self.context, captured, reason);
                None
            }
        }
    }

    fn prepare(
        &mut self,
        (header, frame): (&PuntHeader, &mut [u8]),
        snapshot: &ConfigSnapshot,
        clock: &Clock,
        control: BurstStage<'_>,
        captured: &mut Option<Box<CapturedPacket>>,
    ) -> Result<Option<BurstGrant>, Reason> {
        let punted = Punted::parse(frame).map_err(|reason| {
            // The kernel has found the datagram before; what it would pass can't be passed any more.
            if reason.disposition() == Disposition::Drop { reason } else { Reason::Internal }
        })?;
        self.payload.clear();
        self.payload.extend_from_slice(punted.payload());
        let mut meta = header.meta;
        if !snapshot.config.is_stateful {
            meta.flags &= !PacketMeta::STATEFUL;
        }
        let is_authenticated = header.session_flags & Session::AUTHENTICATED != 0;
        let format = Session::format(header.session_flags, &snapshot.config.policy);
        meta.error_estimate = clock.error_estimate_of(format);
        if slow_path::needs_previous_reply(&self.payload, header.session_flags, snapshot) {
            self.flush(clock);
            slow_path::refresh_previous(&mut meta, self.context.store_of(is_authenticated));
        }
        let headers =
            Headers { fixed: Some(punted.fixed_header()), extensions: punted.extension_headers(), tags: punted.tags() };
        let has_segments = &|| self.context.raw().is_some();
        let packet =
            TestPacket { key: header.key, session_flags: header.session_flags, meta, headers, has_segments, control };
        let store = self.context.store_of(is_authenticated);
        let mut pending_reply = slow_path::process(packet, &mut self.payload, snapshot, store)?;
        let grant = pending_reply.grant.take();
        if let Some(ReturnPathRequest::Segments(segments)) = pending_reply.path_request {
            pending_reply.captured = captured.take();
            self.segmented.push(pending_reply, &self.payload, segments);
            return Ok(grant);
        }
        let is_routed =
            matches!(pending_reply.path_request, Some(ReturnPathRequest::Address(_))) || self.ports.packet.is_none();
        if !is_routed {
            let reply = self.frames.push(|out| punted.reply(&pending_reply.reply_options, &self.payload, out));
            let reply = reply.ok_or(Reason::Internal)?;
            pending_reply.captured = captured.take();
            self.framed.push((pending_reply, reply));
            return Ok(grant);
        }
        let (source, port) = (ip(&header.key.source), header.key.source_port);
        let exit = self.ports.sockets.iter().position(|socket| {
            socket
                .local_addr()
                .is_ok_and(|local| local.port() == header.key.destination_port && local.is_ipv6() == source.is_ipv6())
        });
        let exit = exit.ok_or(Reason::SendFailed)?;
        let peer = match source {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, meta.interface).into(),
            other => SocketAddr::new(other, port),
        };
        let to = udp::outgoing(&pending_reply, peer, meta.interface);
        let (batch, pending_replies) = &mut self.routed[exit];
        batch.push(&to, &self.payload);
        pending_reply.captured = captured.take();
        pending_replies.push(pending_reply);
        Ok(grant)
    }

    /// Finalizes what is pending with T3 and sends it.
    pub(crate) fn flush(&mut self, clock: &Clock) {
        if self.pending == 0 {
            return;
        }
        for ((batch, pending_replies), socket) in self.routed.iter_mut().zip(&self.ports.sockets) {
            if !pending_replies.is_empty() {
                udp::send(self.context, self.counters, clock, socket, batch, pending_replies);
                batch.clear();
                pending_replies.clear();
            }
        }
        if let (Some(packet), false) = (&self.ports.packet, self.framed.is_empty()) {
            self.send_frames(clock, packet);
        }
        self.segmented.flush(self.context, self.counters, clock);
        self.frames.clear();
        self.framed.clear();
        self.pending = 0;
    }

    /// Finalizes the frames with T3, records their exchanges and sends them.
    fn send_frames(&mut self, clock: &Clock, packet: &PacketSocket) {
        let Self { context, counters, frames, framed, .. } = self;
        for (index, (pending_reply, reply)) in framed.iter().enumerate() {
            let frame = frames.frame_mut(index);
            let timestamp = pending_reply.finalize(reply.payload_mut(frame), || SystemClock.realtime_ns(), clock);
            reply.finish(frame);
            reply_record::commit(context, pending_reply, timestamp);
            reply_record::record_residence(counters, pending_reply);
        }
        let mut outcomes = vec![Reason::SendFailed; framed.len()];
        packet.send(frames, SEND_TIMEOUT, |index, is_sent| {
            let pending_reply = &framed[index].0;
            if is_sent {
                outcomes[index] = reply_record::record_sent(context, counters, pending_reply);
            } else {
                counters.count(Reason::SendFailed);
            }
        });
        for (index, ((pending_reply, reply), outcome)) in framed.iter().zip(outcomes).enumerate() {
            let frame = frames.frame_mut(index);
            let whole = || CapturedFrame::ethernet(frame);
            mirror::answered(context, pending_reply, outcome, reply.payload(frame), whole);
        }
    }
}
