//! The link engine: answers frames that a packet socket brings, where no XDP program runs and `--link-layer` asks for it.
//!
//! What sockets do not tell is in sight then, as for XDP: MAC addresses, and the IP headers whole. The listening sockets
//! hold the ports and answer what does not fit into one IP packet, which they get reassembled; all else is kept from
//! them, so that nothing is answered twice. A datagram that was fragmented although it would have fitted is put together here.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use teaparty_common::frame::{Frame, Tags, UDP_LEN, parse_headers};
use teaparty_common::maps::{
    Clock, MacCheck, PuntHeader, RecordKind, Session, SessionKey, check_macs as check_macs_of,
};
use teaparty_common::packet_buf::{PacketBuf, ReadOnlyBuf, SliceBuf};
use teaparty_common::reflect::{self, Address, PacketMeta, Reason};
use teaparty_common::wire::Mode;

use crate::net::batch::{ReceiveBatch, Received};
use crate::net::cbpf::longest;
use crate::net::packet::FrameSocket;
use crate::net::poll::wait;
use crate::reflector::engine::burst_scheduler;
use crate::reflector::engine::context::{EngineCounters, InterfaceContext, Notice};
use crate::reflector::engine::frame_replies::{FrameReplyBatch, ReplyPorts};
use crate::reflector::engine::mirror;
use crate::reflector::engine::reassembly::{Fragment, REASSEMBLY_TIMEOUT_NS, Reassembly, ReassemblyLimits};
use crate::reflector::engine::udp::{BATCH, DropCounter, SEND_BATCH};
use crate::reflector::pipeline::slow_path;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Octets of the longest frame: the largest IP packet behind its headers and tags.
const MAX_FRAME: usize = 65_535 + 64;
/// Offset of a VLAN tag in a frame.
const TAG_AT: usize = 12;

/// Answers until asked to stop, which `wake` becoming readable makes it notice.
pub(crate) fn run(context: &Arc<InterfaceContext>, frames: &FrameSocket, ports: &ReplyPorts, wake: &impl AsFd) {
    let mut requests = ReceiveBatch::new(BATCH, MAX_FRAME);
    let mut framed = FrameReplyBatch::new(context, &context.counters.socket, ports);
    let mut frame = Vec::with_capacity(2048);
    let mut drops = DropCounter::default();
    let mut reassembly = Reassembly::default();
    while !context.is_stopping() {
        // Incomplete datagrams are counted even if no packet follows.
        let patience = (!reassembly.is_empty()).then_some(Duration::from_nanos(REASSEMBLY_TIMEOUT_NS));
        let waited = wait(&[frames, wake], patience);
        reassembly.expire(SystemClock.monotonic_ns(), &mut |reason, packets| {
            count(&context.counters.socket, reason, packets)
        });
        if let Ok(false) = waited {
            continue;
        }
        if let Err(error) = waited {
            context.notify(Notice::Failed { what: format!("the link engine cannot wait for packets: {error}") });
            return;
        }
        if let Err(error) = frames.receive(&mut requests) {
            // The interface may be down for a while; the kernel says so once.
            tracing::debug!(%error, "cannot receive frames");
            continue;
        }
        let (snapshot, clock) = (context.snapshot(), context.clock());
        for request in requests.iter() {
            restore(&request, &mut frame);
            let mut admitted = admit(context, &snapshot, &clock, &request, &mut frame);
            if matches!(admitted, Err(Reason::Fragment)) {
                let Some(whole) = gather(&mut reassembly, &snapshot, &frame, &context.counters.socket) else {
                    continue;
                };
                frame = whole;
                admitted = admit(context, &snapshot, &clock, &request, &mut frame);
            }
            match admitted {
                Ok(header) => {
                    burst_scheduler::process_frame(context, &mut framed, &header, &mut frame, &snapshot, &clock)
                }
                Err(reason) => {
                    match source(&mut frame) {
                        Some(source) => context.counters.socket.count_from(reason, source),
                        None => context.counters.socket.count(reason),
                    }
                    show_refused(context, &clock, &request, &mut frame, reason);
                }
            }
            if framed.pending() >= SEND_BATCH {
                framed.flush(&clock);
            }
        }
        framed.flush(&clock);
        drops.count(&requests, &context.counters.socket);
    }
}

/// Returns the source address of a frame whose headers are as they should be.
fn source(octets: &mut [u8]) -> Option<Address> {
    let len = octets.len();
    let bytes = SliceBuf(octets);
    Some(parse_headers(&bytes, len).ok()?.addresses(&bytes)?.0)
}

/// Shows a frame to one of our ports that was refused.
fn show_refused(context: &InterfaceContext, clock: &Clock, request: &Received<'_>, octets: &mut [u8], reason: Reason) {
    if !context.captures().is_on() {
        return;
    }
    let len = octets.len();
    let bytes = SliceBuf(octets);
    let Ok(frame) = parse_headers(&bytes, len) else { return };
    let Some((source, destination)) = frame.addresses(&bytes) else { return };
    let payload = frame.payload_at()..frame.payload_at() + frame.payload_len;
    if !context.snapshot().listens(frame.destination_port) || payload.end > len {
        return;
    }
    let received = request.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
    let ssid = reflect::ssid(&ReadOnlyBuf(&octets[payload]), frame.payload_len, Mode::Unauthenticated);
    let (source_port, destination_port) = (frame.source_port, frame.destination_port);
    let key = SessionKey { source, destination, source_port, destination_port, ssid, reserved: 0 };
    let meta = PacketMeta { received_ns: slow_path::arrival_ns(received, clock), ..PacketMeta::default() };
    let header = PuntHeader {
        kind: RecordKind::Frame as u32,
        reason: reason as u32,
        frame_len: len as u32,
        payload_len: frame.payload_len as u32,
        ip_at: frame.ip_at as u16,
        payload_at: frame.payload_at() as u16,
        session_flags: 0,
        key,
        meta,
    };
    mirror::unanswered(context, mirror::frame(context, &header, octets, false), reason);
}

/// The frame as it was on the link, with the VLAN tag that the kernel has taken out.
fn restore(request: &Received<'_>, frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend_from_slice(request.payload);
    if let (Some(tag), true) = (request.vlan, frame.len() >= TAG_AT) {
        frame.splice(TAG_AT..TAG_AT, tag);
    }
}

/// Keeps a fragment of a datagram that may be for us, and gives the frame of the whole datagram with the last one. What is
/// not given is counted.
fn gather(
    reassembly: &mut Reassembly,
    snapshot: &ConfigSnapshot,
    frame: &[u8],
    counters: &EngineCounters,
) -> Option<Vec<u8>> {
    let fragment =
        Fragment::parse(frame).and_then(|fragment| may_be_ours(snapshot, &fragment, frame).map(|()| fragment));
    let fragment = match fragment {
        Ok(fragment) => fragment,
        Err(reason) => {
            counters.count(reason);
            return None;
        }
    };
    let longest = longest(snapshot.interface.mtu, fragment.is_ipv6()) as usize;
    let limits = ReassemblyLimits { longest, listens: &|port| snapshot.listens(port) };
    let mut count = |reason, packets| count(counters, reason, packets);
    reassembly.take(&fragment, frame, SystemClock.monotonic_ns(), &limits, &mut count)
}

/// Refuses a fragment whose datagram would be refused for its addresses, so that nothing is kept of it.
fn may_be_ours(snapshot: &ConfigSnapshot, fragment: &Fragment, frame: &[u8]) -> Result<(), Reason> {
    let key = &fragment.key;
    check_macs(snapshot, &ReadOnlyBuf(frame), key.tags)?;
    // Its ports are known with the first one: any but 0, which nobody sends from, stands for them.
    snapshot.book.check((&key.source, 1), &key.destination, key.tags)?;
    if snapshot.allows(&key.source) { Ok(()) } else { Err(Reason::NotAllowed) }
}

fn count(counters: &EngineCounters, reason: Reason, packets: u32) {
    (0..packets).for_each(|_| counters.count(reason));
}

/// Checks the MAC addresses as the kernel program does.
fn check_macs(snapshot: &ConfigSnapshot, frame: &impl PacketBuf, tags: Tags) -> Result<(), Reason> {
    let has_none = snapshot.interface.has_no_mac();
    match check_macs_of(frame, snapshot.book.mac(tags, &snapshot.interface), has_none) {
        MacCheck::Right => Ok(()),
        MacCheck::OtherDestination => Err(Reason::NotOurAddress),
        MacCheck::GroupSource => Err(Reason::InvalidSource),
    }
}

/// Decides whether a frame may be answered, and gathers what is known about it, as the kernel program does.
fn admit(
    context: &InterfaceContext,
    snapshot: &ConfigSnapshot,
    clock: &Clock,
    request: &Received<'_>,
    octets: &mut [u8],
) -> Result<PuntHeader, Reason> {
    if request.is_truncated {
        return Err(Reason::LongPacket);
    }
    let len = octets.len();
    let bytes = SliceBuf(octets);
    let frame = parse_headers(&bytes, len)?;
    let (source, destination) = frame.addresses(&bytes).ok_or(Reason::MalformedHeader)?;
    let source_mac = Frame::source_mac(&bytes).ok_or(Reason::MalformedHeader)?;
    let tags = frame.tags(&bytes).ok_or(Reason::MalformedHeader)?;
    if !snapshot.listens(frame.destination_port) {
        return Err(Reason::NotOurPort);
    }
    if frame.mixes_families(&source, &destination) {
        return Err(if source.is_ipv4() { Reason::InvalidSource } else { Reason::NotOurAddress });
    }
    check_macs(snapshot, &bytes, tags)?;
    if frame.payload_len + UDP_LEN > longest(snapshot.interface.mtu, frame.is_ipv6) as usize {
        // The sockets' part.
        return Err(Reason::PuntUnavailable);
    }
    if frame.is_ipv6 && frame.checksum == 0 {
        return Err(Reason::ChecksumMissing);
    }
    let mut key = SessionKey {
        source,
        destination,
        source_port: frame.source_port,
        destination_port: frame.destination_port,
        ..SessionKey::default()
    };
    let payload = &octets[frame.payload_at()..frame.payload_at() + frame.payload_len];
    let received = request.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
    let received_ns = slow_path::arrival_ns(received, clock);
    let session_flags = context.admit((&mut key, tags), payload, snapshot, received_ns)?;
    let format = Session::format(session_flags, &snapshot.config.policy);
    let meta = PacketMeta {
        received_ns,
        receive_timestamp: clock.wire_time(clock.tai_ns(received), format),
        source,
        destination,
        interface: snapshot.interface.index,
        source_port: frame.source_port,
        destination_port: frame.destination_port,
        error_estimate: clock.error_estimate_of(format),
        source_mac,
        timestamp_information: clock.timestamp_information,
        ttl: frame.ttl,
        traffic_class: frame.traffic_class,
        flags: PacketMeta::UNASSIGNED | PacketMeta::HAS_MAC,
        ..PacketMeta::default()
    };
    Ok(PuntHeader {
        kind: RecordKind::Frame as u32,
        reason: Reason::Reflected as u32,
        frame_len: len as u32,
        payload_len: frame.payload_len as u32,
        ip_at: frame.ip_at as u16,
        payload_at: frame.payload_at() as u16,
        session_flags,
        key,
        meta,
    })
}
