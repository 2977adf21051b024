//! The socket engine: answers through UDP sockets what no XDP program answers.
//!
//! Without an XDP program that is everything. With one, the sockets hold the port, keep the stack from refusing it, and
//! answer what the program passes: reassembled fragments and frames too long to punt.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use teaparty_common::bytes::SliceBytes;
use teaparty_common::maps::{Clock, Session, SessionKey};
use teaparty_common::reflect::{Facts, Reason, ssid};
use teaparty_common::tlv::return_path::Wish;
use teaparty_common::wire::Mode;

use super::config::{Config, address, ip};
use super::shared::{Counters, Notice, Shared};
use super::slow_path::{self, Answer, Headers, Job};
use super::view::View;
use crate::clock::{Clock as _, SystemClock};
use crate::net::batch::{Outgoing, ReceiveBatch, Received, SendBatch};
use crate::net::socket::{Options, Socket, SocketError};
use crate::net::wait::{wait, wait_writable};

/// Datagrams that are answered together. More would make the first ones wait for the last ones.
pub const BATCH: usize = 32;
/// Octets of the longest UDP payload.
const MAX_PAYLOAD: usize = 65_535;
/// Octets of the kernel's queues: what arrives in some milliseconds at the rates that sockets can keep up with.
const QUEUE: usize = 4 << 20;
/// How long a full send queue is waited for before replies are given up. Longer, and a session whose replies can't leave
/// would hold up all others; and a reply that is late by this much says more about us than about the network.
pub const SEND_PATIENCE: Duration = Duration::from_millis(1);
/// TTL to report where the system does not tell it; no text says what to write then.
const UNKNOWN_TTL: u8 = 255;

/// Opens the sockets of an interface: one for each port and address family, for that interface alone.
///
/// A family that the host does not have at all is left out, as long as the other one is there.
pub fn open(config: &Config, interface: &str) -> Result<Vec<Socket>, SocketError> {
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
pub fn run(shared: &Arc<Shared>, sockets: &[Arc<Socket>], wake: &impl AsFd) {
    let mut engine = Engine {
        shared,
        requests: ReceiveBatch::new(BATCH, MAX_PAYLOAD),
        replies: SendBatch::new(),
        answers: Vec::with_capacity(BATCH),
        payload: Vec::with_capacity(2048),
    };
    let mut fds: Vec<&dyn AsFd> = sockets.iter().map(|socket| &**socket as &dyn AsFd).collect();
    fds.push(wake);
    while !shared.is_stopping() {
        if let Err(error) = wait(&fds, None) {
            shared.notify(Notice::Failed { what: format!("the socket engine cannot wait for packets: {error}") });
            return;
        }
        for socket in sockets {
            if let Err(error) = engine.serve(socket) {
                tracing::debug!("receiving: {error}");
            }
        }
    }
}

struct Engine<'a> {
    shared: &'a Arc<Shared>,
    requests: ReceiveBatch,
    replies: SendBatch,
    answers: Vec<Answer>,
    payload: Vec<u8>,
}

impl Engine<'_> {
    /// Answers one batch of what waits at a socket; the others shall not starve.
    fn serve(&mut self, socket: &Socket) -> io::Result<()> {
        if socket.receive(&mut self.requests)? == 0 {
            return Ok(());
        }
        let Self { shared, requests, replies, answers, payload } = self;
        let view = shared.view();
        let clock = shared.clock();
        let port = socket.local_addr()?.port();
        replies.clear();
        answers.clear();
        for request in requests.iter() {
            match prepare(shared, &view, &clock, port, &request, payload) {
                Ok((answer, to)) => {
                    replies.push(&to, payload);
                    answers.push(answer);
                }
                Err(reason) => shared.socket.count(reason),
            }
        }
        send(shared, &shared.socket, &clock, socket, replies, answers);
        Ok(())
    }
}

/// Everything that comes before T3: the reply in `payload` without its base packet, and where it goes.
fn prepare(
    shared: &Shared,
    view: &View,
    clock: &Clock,
    port: u16,
    request: &Received<'_>,
    payload: &mut Vec<u8>,
) -> Result<(Answer, Outgoing<'static>), Reason> {
    let (Some(peer), Some(destination)) = (request.peer(), request.destination) else {
        return Err(Reason::MalformedHeader);
    };
    if request.is_truncated {
        return Err(Reason::LongPacket);
    }
    payload.clear();
    payload.extend_from_slice(request.payload);
    let len = payload.len();
    let mut key = SessionKey {
        source: address(peer.ip()),
        destination: address(destination),
        source_port: peer.port(),
        destination_port: port,
        ssid: 0,
        reserved: 0,
    };
    if !view.config.policy.has(teaparty_common::reflect::Policy::NO_TLV) {
        key.ssid = ssid(&SliceBytes(payload), len, Mode::Open);
    }
    let ssid_authenticated = ssid(&SliceBytes(payload), len, Mode::Authenticated);
    let received = request.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
    let received_ns = received.wrapping_add(clock.tai_offset_ns);
    let session_flags = slow_path::locked(&shared.table).admit(&mut key, ssid_authenticated, view, received_ns)?;
    let format = slow_path::format(session_flags, &view.config.policy);
    let facts = Facts {
        received_ns,
        receive_timestamp: slow_path::wire_time(received, format, clock),
        source: key.source,
        destination: key.destination,
        interface: request.interface,
        source_port: key.source_port,
        destination_port: key.destination_port,
        error_estimate: slow_path::error_estimate(format, clock),
        timestamp_information: clock.timestamp_information,
        ttl: request.ttl.unwrap_or(UNKNOWN_TTL),
        traffic_class: request.traffic_class.map_or(0, |class| class.0),
        flags: Facts::UNASSIGNED,
        ..Facts::default()
    };
    let extensions = [request.hop_by_hop.unwrap_or(&[]), request.destination_options.unwrap_or(&[])].concat();
    let job = Job { key, session_flags, facts, headers: Headers { fixed: None, extensions: &extensions } };
    let ledger = shared.ledger(session_flags & Session::AUTHENTICATED != 0);
    let answer = slow_path::answer(job, payload, view, ledger)?;
    let to = outgoing(&answer, peer, request.interface);
    Ok((answer, to))
}

/// Where a reply goes and how it is marked.
pub fn outgoing(answer: &Answer, mut peer: SocketAddr, interface: u32) -> Outgoing<'static> {
    let mut is_same_link = matches!(peer, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local());
    match answer.wish {
        Some(Wish::Address(address)) => {
            peer.set_ip(ip(&address));
            is_same_link = false;
        }
        Some(Wish::SameLink) => is_same_link = true,
        _ => {}
    }
    if let Some(port) = answer.steering.destination_port {
        peer.set_port(port);
    }
    let source = answer.steering.source.unwrap_or(answer.facts().destination);
    Outgoing {
        source: Some(ip(&source)),
        interface: if is_same_link { interface } else { 0 },
        traffic_class: Some(answer.steering.traffic_class),
        ..Outgoing::to(peer)
    }
}

/// Seals the replies with T3, settles their sessions, sends and counts them.
pub fn send(
    shared: &Shared,
    counters: &Counters,
    clock: &Clock,
    socket: &Socket,
    replies: &mut SendBatch,
    answers: &[Answer],
) {
    for (index, answer) in answers.iter().enumerate() {
        let mut now = 0;
        let read = || {
            now = SystemClock.realtime_ns();
            now
        };
        let timestamp = answer.seal(replies.payload_mut(index), read, clock);
        settle(shared, answer, timestamp);
        let residence = now.wrapping_add(clock.tai_offset_ns).saturating_sub(answer.facts().received_ns);
        counters.residence.add(residence);
    }
    while let Err(error) = socket.send(replies) {
        let is_writable =
            error.kind() == io::ErrorKind::WouldBlock && wait_writable(&socket, Some(SEND_PATIENCE)).unwrap_or(false);
        if !is_writable {
            break;
        }
    }
    let taken = replies.sent() + replies.failed().len();
    for (index, answer) in answers.iter().enumerate() {
        if index >= taken || replies.failed().iter().any(|(failed, _)| *failed == index) {
            counters.count(Reason::SendFailed);
        } else {
            conclude(shared, counters, answer);
        }
    }
}

/// Remembers an exchange with T3 as `timestamp`. Before the send and not after it: the sender may answer the reply with
/// its next packet sooner than this thread runs again, and that packet must find what went before.
pub fn settle(shared: &Shared, answer: &Answer, timestamp: u64) {
    answer.settle(timestamp, shared.ledger(answer.is_authenticated()));
}

/// What follows a reply that was sent.
pub fn conclude(shared: &Shared, counters: &Counters, answer: &Answer) {
    counters.count(Reason::Reflected);
    if let Some(report) = answer.steering.access_report {
        shared.notify(Notice::AccessReport { key: *answer.key(), report });
    }
}
