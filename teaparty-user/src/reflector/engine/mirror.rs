//! What the engines show to captures: each packet as it arrived, and as its reply left.

use teaparty_common::maps::{Clock, PuntHeader, Session, SessionKey};
use teaparty_common::reflect::{Disposition, PacketMeta, Reason};
use teaparty_common::tlv::return_path::ReturnPathRequest;
use teaparty_common::wire::Mode;

use crate::reflector::capture::packet::{CapturedFrame, CapturedPacket, SocketDatagram, transmit_ns};
use crate::reflector::engine::context::InterfaceContext;
use crate::reflector::path::CounterPath;
use crate::reflector::pipeline::slow_path::PendingReply;

/// TTL and Hop Limit of every reply (ext-hdr-15 §3.1).
const FRESH_TTL: u8 = 255;

/// Returns a frame as it arrived, if anybody captures. One more reply to the same has none.
pub(super) fn frame(
    context: &InterfaceContext,
    header: &PuntHeader,
    frame: &[u8],
    is_again: bool,
) -> Option<Box<CapturedPacket>> {
    let octets = || (!is_again).then(|| CapturedFrame::ethernet(frame));
    let mut packet = arrival(context, &header.key, &header.meta, header.session_flags, octets)?;
    packet.punted = Reason::from_number(header.reason).filter(|reason| reason.disposition() == Disposition::Punt);
    packet.path = if context.kernel.is_some() { CounterPath::Ring } else { CounterPath::Socket };
    Some(packet)
}

/// Returns a datagram as it arrived, if anybody captures. One more reply to the same has none.
pub(super) fn datagram(
    context: &InterfaceContext,
    (key, meta, session_flags): (&SessionKey, &PacketMeta, u32),
    payload: &[u8],
    is_again: bool,
) -> Option<Box<CapturedPacket>> {
    let octets = || {
        let datagram = SocketDatagram {
            source: (key.source, key.source_port),
            destination: (key.destination, key.destination_port),
            traffic_class: meta.traffic_class,
            ttl: meta.ttl,
            payload,
        };
        (!is_again).then(|| datagram.into())
    };
    arrival(context, key, meta, session_flags, octets)
}

fn arrival(
    context: &InterfaceContext,
    key: &SessionKey,
    meta: &PacketMeta,
    session_flags: u32,
    octets: impl FnOnce() -> Option<CapturedFrame>,
) -> Option<Box<CapturedPacket>> {
    if !context.captures().is_on() {
        return None;
    }
    Some(Box::new(CapturedPacket {
        interface: context.snapshot().interface.index,
        path: CounterPath::Socket,
        reason: Reason::Internal,
        punted: None,
        key: *key,
        is_authenticated: session_flags & Session::AUTHENTICATED != 0,
        received_ns: utc_ns(meta.received_ns, &context.clock()),
        sent_ns: None,
        arrival: octets(),
        reply: None,
    }))
}

/// Shows a packet that ends without a reply.
pub(super) fn unanswered(context: &InterfaceContext, packet: Option<Box<CapturedPacket>>, reason: Reason) {
    if let Some(packet) = packet {
        deliver(context, CapturedPacket { reason, ..*packet });
    }
}

/// Shows a packet with its reply, which was sent if the reason says so.
pub(super) fn answered(
    context: &InterfaceContext,
    pending_reply: &PendingReply,
    reason: Reason,
    payload: &[u8],
    reply: impl FnOnce() -> CapturedFrame,
) {
    let Some(packet) = &pending_reply.captured else { return };
    let is_sent = reason.disposition() == Disposition::Reflect;
    let mode = if pending_reply.is_authenticated() { Mode::Authenticated } else { Mode::Unauthenticated };
    let sent_ns = || transmit_ns(payload, mode, packet.received_ns, &context.clock());
    deliver(
        context,
        CapturedPacket {
            reason,
            key: *pending_reply.key(),
            sent_ns: is_sent.then(sent_ns).flatten(),
            reply: is_sent.then(reply),
            ..(**packet).clone()
        },
    );
}

/// Returns a reply as the stack sends it.
pub(super) fn reply_datagram(pending_reply: &PendingReply, payload: &[u8]) -> CapturedFrame {
    let (meta, options) = (pending_reply.meta(), &pending_reply.reply_options);
    let to = match pending_reply.path_request {
        Some(ReturnPathRequest::Address(address)) => address,
        _ => meta.source,
    };
    let datagram = SocketDatagram {
        source: (options.source.unwrap_or(meta.destination), meta.destination_port),
        destination: (to, options.destination_port.unwrap_or(meta.source_port)),
        traffic_class: options.traffic_class.0,
        ttl: FRESH_TTL,
        payload,
    };
    datagram.into()
}

fn deliver(context: &InterfaceContext, packet: CapturedPacket) {
    context.captures().deliver(&context.snapshot().interface.name, u32::MAX, packet);
}

/// Returns a time of CLOCK_MONOTONIC in nanoseconds since 1970, UTC.
fn utc_ns(monotonic_ns: u64, clock: &Clock) -> u64 {
    monotonic_ns.wrapping_add(clock.monotonic_offset_ns).wrapping_sub(clock.tai_offset_ns)
}
