//! The socket engine: answers through UDP sockets what no XDP program answers.
//!
//! Without an XDP program that is everything. With one, the sockets hold the port, keep the stack from refusing it, and
//! answer what the program passes: reassembled fragments and frames too long to punt.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use teaparty_common::frame::Tags;
use teaparty_common::maps::{Clock, Session, SessionKey};
use teaparty_common::packet_buf::ReadOnlyBuf;
use teaparty_common::reflect::{self, PacketMeta, Reason};
use teaparty_common::tlv::return_path::ReturnPathRequest;
use teaparty_common::wire::Mode;

use crate::net::address::{address, ip};
use crate::net::batch::{Outgoing, ReceiveBatch, Received, SendBatch};
use crate::net::poll::{wait, wait_writable};
use crate::net::socket::{Options, Socket, SocketError};
use crate::reflector::config::ReflectorConfig;
use crate::reflector::engine::burst_queue::{BurstRequest, Datagram};
use crate::reflector::engine::context::{EngineCounters, InterfaceContext, Notice};
use crate::reflector::engine::mirror;
use crate::reflector::engine::reply_record::{commit, record_residence, record_sent};
use crate::reflector::engine::srv6::Segmented;
use crate::reflector::pipeline::slow_path::{self, BurstGrant, PendingReply, TestPacket};
use crate::reflector::pipeline::test_packet_control::BurstStage;
use crate::reflector::pipeline::tlv_env::Headers;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Datagrams that are received together.
pub(crate) const BATCH: usize = 32;
/// Replies that are finalized with T3 and then sent together: what each waits for the others after its T3 looks like delay
/// of the network. With 32, that was three times as much at the worst; with 4, an eighth less was answered.
pub(crate) const SEND_BATCH: usize = 8;
/// Octets of the longest UDP payload.
const MAX_PAYLOAD: usize = 65_535;
/// Octets of the kernel's queues: what arrives in some milliseconds at the rates that sockets can keep up with.
pub(crate) const QUEUE: usize = 4 << 20;
/// Most time for a full send queue to drain before replies are given up. Longer, and a session with stuck replies
/// would hold up all others; and a reply that is late by this much says more about us than about the network.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_millis(1);
/// TTL to report where the system does not tell it; no text says what to write then.
const UNKNOWN_TTL: u8 = 255;

/// Opens the sockets of an interface: one for each port and address family, for that interface alone.
///
/// A family that the host does not have at all is left out, as long as the other one is there.
pub(crate) fn open(config: &ReflectorConfig, interface: &str) -> Result<Vec<Socket>, SocketError> {
    let mut sockets = Vec::new();
    for port in &config.ports {
        let mut missing = None;
        let before = sockets.len();
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
            let options = Options {
                device: Some(interface.into()),
                extension_headers: true,
                queue_octets: Some(QUEUE),
                ..Options::new(SocketAddr::new(any, *port))
            };
            match Socket::open(&options) {
                Ok(socket) => sockets.push(socket),
                Err(error @ SocketError::Open { .. }) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let (Some(error), true) = (missing, sockets.len() == before) {
            return Err(error);
        }
    }
    Ok(sockets)
}

/// Answers until asked to stop, which `wake` becoming readable makes it notice.
pub(crate) fn run(context: &Arc<InterfaceContext>, sockets: &[Arc<Socket>], wake: &impl AsFd) {
    let mut requests = ReceiveBatch::new(BATCH, MAX_PAYLOAD);
    let mut datagrams = UdpReplyBatch::new(context);
    // What a filter keeps from the sockets for the link engine, the system counts as lost.
    let is_filtered = context.kernel.is_none() && context.snapshot().config.link_layer;
    let mut drops = vec![DropCounter::default(); if is_filtered { 0 } else { sockets.len() }];
    let mut fds: Vec<&dyn AsFd> = sockets.iter().map(|socket| &**socket as &dyn AsFd).collect();
    fds.push(wake);
    while !context.is_stopping() {
        if let Err(error) = wait(&fds, None) {
            context.notify(Notice::Failed { what: format!("the socket engine cannot wait for packets: {error}") });
            return;
        }
        for (index, socket) in sockets.iter().enumerate() {
            // One batch of what waits at each; the others shall not starve.
            if let Err(error) = serve(context, &mut datagrams, &mut requests, index, socket) {
                tracing::debug!(%error, "cannot receive");
            }
            if let Some(drops) = drops.get_mut(index) {
                drops.count(&requests, &context.counters.socket);
            }
        }
    }
}

/// Losses of a socket's queue, as reported by the system. It reports them with the next packet that does fit, and
/// counts datagrams with a wrong UDP checksum too.
#[derive(Clone, Copy, Default)]
pub(crate) struct DropCounter {
    /// Modulo 2^32.
    told: u32,
}

impl DropCounter {
    /// Counts what a batch tells of for the first time.
    pub(crate) fn count(&mut self, batch: &ReceiveBatch, counters: &EngineCounters) {
        if let Some(told) = batch.iter().filter_map(|received| received.queue_drops).last() {
            counters.count_lost(told.wrapping_sub(self.told));
            self.told = told;
        }
    }
}

/// Counts a datagram that gets no reply, and remembers its source.
fn count_drop(counters: &EngineCounters, reason: Reason, peer: Option<SocketAddr>) {
    match peer {
        Some(peer) => counters.count_from(reason, address(peer.ip())),
        None => counters.count(reason),
    }
}

/// Answers one batch of what waits at a socket.
fn serve(
    context: &Arc<InterfaceContext>,
    datagrams: &mut UdpReplyBatch<'_>,
    requests: &mut ReceiveBatch,
    index: usize,
    socket: &Socket,
) -> io::Result<()> {
    if socket.receive(requests)? == 0 {
        return Ok(());
    }
    let snapshot = context.snapshot();
    let clock = context.clock();
    let port = socket.local_addr()?.port();
    for request in requests.iter() {
        let datagram = match admit(context, &snapshot, &clock, (index, port), &request) {
            Ok(datagram) => datagram,
            Err(reason) => {
                count_drop(&context.counters.socket, reason, request.peer());
                show_refused(context, &clock, port, &request, reason);
                continue;
            }
        };
        if datagrams.pending() > 0
            && slow_path::needs_previous_reply(request.payload, datagram.session_flags, &snapshot)
        {
            datagrams.flush(&clock, socket);
        }
        let control = BurstStage::First(&context.bursts);
        if let Some(grant) = datagrams.take(&datagram, request.payload, &snapshot, &clock, control) {
            // As for frames: at once.
            let now_ns = SystemClock.monotonic_ns();
            datagrams.flush(&clock, socket);
            let request = BurstRequest::Datagram(Box::new(datagram), request.payload.into());
            context.burst_queue.add(grant, now_ns, request);
        } else if datagrams.pending() == SEND_BATCH {
            datagrams.flush(&clock, socket);
        }
    }
    datagrams.flush(&clock, socket);
    Ok(())
}

/// Shows a datagram that was refused before it was known what it is.
fn show_refused(context: &InterfaceContext, clock: &Clock, port: u16, request: &Received<'_>, reason: Reason) {
    let (Some(peer), Some(destination), true) = (request.peer(), request.destination, context.captures().is_on())
    else {
        return;
    };
    let received = request.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
    let meta = PacketMeta {
        received_ns: slow_path::arrival_ns(received, clock),
        ttl: request.ttl.unwrap_or(UNKNOWN_TTL),
        traffic_class: request.traffic_class.map_or(0, |class| class.0),
        ..PacketMeta::default()
    };
    let payload = request.payload;
    let key = SessionKey {
        source: address(peer.ip()),
        destination: address(destination),
        source_port: peer.port(),
        destination_port: port,
        ssid: reflect::ssid(&ReadOnlyBuf(payload), payload.len(), Mode::Unauthenticated),
        reserved: 0,
    };
    mirror::unanswered(context, mirror::datagram(context, (&key, &meta, 0), payload, false), reason);
}

/// Decides whether a datagram may be answered, and gathers what is known about it.
fn admit(
    context: &InterfaceContext,
    snapshot: &ConfigSnapshot,
    clock: &Clock,
    (socket, port): (usize, u16),
    request: &Received<'_>,
) -> Result<Datagram, Reason> {
    let (Some(peer), Some(destination)) = (request.peer(), request.destination) else {
        return Err(Reason::MalformedHeader);
    };
    if request.is_truncated {
        return Err(Reason::LongPacket);
    }
    let mut key = SessionKey {
        source: address(peer.ip()),
        destination: address(destination),
        source_port: peer.port(),
        destination_port: port,
        ssid: 0,
        reserved: 0,
    };
    if peer.is_ipv6() && key.source.is_ipv4() {
        return Err(Reason::InvalidSource);
    }
    let received = request.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
    let received_ns = slow_path::arrival_ns(received, clock);
    let session_flags = context.admit((&mut key, Tags::NONE), request.payload, snapshot, received_ns)?;
    let format = Session::format(session_flags, &snapshot.config.policy);
    let meta = PacketMeta {
        received_ns,
        receive_timestamp: clock.wire_time(clock.tai_ns(received), format),
        source: key.source,
        destination: key.destination,
        interface: request.interface,
        source_port: key.source_port,
        destination_port: key.destination_port,
        error_estimate: clock.error_estimate_of(format),
        timestamp_information: clock.timestamp_information,
        ttl: request.ttl.unwrap_or(UNKNOWN_TTL),
        traffic_class: request.traffic_class.map_or(0, |class| class.0),
        flags: PacketMeta::UNASSIGNED,
        ..PacketMeta::default()
    };
    let extensions = [request.hop_by_hop.unwrap_or(&[]), request.destination_options.unwrap_or(&[])].concat();
    Ok(Datagram { socket, key, session_flags, meta, peer, extensions })
}

/// Replies under way to datagrams that came together by one socket.
pub(crate) struct UdpReplyBatch<'a> {
    context: &'a InterfaceContext,
    replies: SendBatch,
    pending_replies: Vec<PendingReply>,
    segmented: Segmented,
    pending: usize,
    payload: Vec<u8>,
}

impl<'a> UdpReplyBatch<'a> {
    /// None yet.
    pub(crate) fn new(context: &'a InterfaceContext) -> Self {
        let (pending_replies, payload) = (Vec::with_capacity(SEND_BATCH), Vec::with_capacity(2048));
        Self {
            context,
            replies: SendBatch::new(),
            pending_replies,
            segmented: Segmented::default(),
            pending: 0,
            payload,
        }
    }

    /// Replies that [`UdpReplyBatch::flush`] is to send.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Everything that comes before T3. Gives what is to follow the reply; the reason that there is none is counted.
    pub(crate) fn take(
        &mut self,
        datagram: &Datagram,
        request: &[u8],
        snapshot: &ConfigSnapshot,
        clock: &Clock,
        control: BurstStage<'_>,
    ) -> Option<BurstGrant> {
        let Datagram { key, session_flags, mut meta, .. } = *datagram;
        let format = Session::format(session_flags, &snapshot.config.policy);
        meta.error_estimate = clock.error_estimate_of(format);
        self.payload.clear();
        self.payload.extend_from_slice(request);
        let of = (&key, &meta, session_flags);
        let captured = mirror::datagram(self.context, of, request, matches!(control, BurstStage::Again(_)));
        let headers = Headers { fixed: None, extensions: &datagram.extensions, tags: Tags::NONE };
        let has_segments = &|| self.context.raw().is_some();
        let packet = TestPacket { key, session_flags, meta, headers, has_segments, control };
        let store = self.context.store_of(session_flags & Session::AUTHENTICATED != 0);
        match slow_path::process(packet, &mut self.payload, snapshot, store) {
            Ok(mut pending_reply) => {
                pending_reply.captured = captured;
                let grant = pending_reply.grant.take();
                self.pending += 1;
                if let Some(ReturnPathRequest::Segments(segments)) = pending_reply.path_request {
                    self.segmented.push(pending_reply, &self.payload, segments);
                    return grant;
                }
                let to = outgoing(&pending_reply, datagram.peer, datagram.meta.interface);
                self.replies.push(&to, &self.payload);
                self.pending_replies.push(pending_reply);
                grant
            }
            Err(reason) => {
                count_drop(&self.context.counters.socket, reason, Some(datagram.peer));
                mirror::unanswered(self.context, captured, reason);
                None
            }
        }
    }

    /// Finalizes what is pending with T3 and sends it by the socket of the request.
    pub(crate) fn flush(&mut self, clock: &Clock, socket: &Socket) {
        if !self.pending_replies.is_empty() {
            send(self.context, &self.context.counters.socket, clock, socket, &mut self.replies, &self.pending_replies);
            self.replies.clear();
            self.pending_replies.clear();
        }
        self.segmented.flush(self.context, &self.context.counters.socket, clock);
        self.pending = 0;
    }
}

/// Returns the destination and marking of a reply.
pub(crate) fn outgoing(pending_reply: &PendingReply, mut peer: SocketAddr, interface: u32) -> Outgoing<'static> {
    let mut is_same_link = matches!(peer, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
    match pending_reply.path_request {
        Some(ReturnPathRequest::Address(address)) => {
            peer.set_ip(ip(&address));
            is_same_link = false;
        }
        Some(ReturnPathRequest::SameLink) => is_same_link = true,
        _ => {}
    }
    if let Some(port) = pending_reply.reply_options.destination_port {
        peer.set_port(port);
    }
    let source = pending_reply.reply_options.source.unwrap_or(pending_reply.meta().destination);
    Outgoing {
        source: Some(ip(&source)),
        interface: if is_same_link { interface } else { 0 },
        traffic_class: Some(pending_reply.reply_options.traffic_class),
        ..Outgoing::to(peer)
    }
}

/// Finalizes the replies with T3, records their exchanges, sends and counts them.
pub(crate) fn send(
    context: &InterfaceContext,
    counters: &EngineCounters,
    clock: &Clock,
    socket: &Socket,
    replies: &mut SendBatch,
    pending_replies: &[PendingReply],
) {
    for (index, pending_reply) in pending_replies.iter().enumerate() {
        let timestamp = pending_reply.finalize(replies.payload_mut(index), || SystemClock.realtime_ns(), clock);
        commit(context, pending_reply, timestamp);
        record_residence(counters, pending_reply);
    }
    while let Err(error) = socket.send(replies) {
        let is_writable =
            error.kind() == io::ErrorKind::WouldBlock && wait_writable(&socket, Some(SEND_TIMEOUT)).unwrap_or(false);
        if !is_writable {
            break;
        }
    }
    let taken = replies.sent() + replies.failed().len();
    for (index, pending_reply) in pending_replies.iter().enumerate() {
        let outcome = if index >= taken || replies.failed().iter().any(|(failed, _)| *failed == index) {
            counters.count(Reason::SendFailed);
            Reason::SendFailed
        } else {
            record_sent(context, counters, pending_reply)
        };
        let payload = &*replies.payload_mut(index);
        mirror::answered(context, pending_reply, outcome, payload, || mirror::reply_datagram(pending_reply, payload));
    }
}
