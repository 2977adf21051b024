//! Replies along a list of SRv6 segments (RFC 9503 §4.1.3): with a Segment Routing Header (RFC 8754 §2), from a raw socket.
//!
//! The list names the way; where it does not end at the address that the reply is for, that follows as the last segment,
//! so that the reply gets there.

use std::net::Ipv6Addr;

use teaparty_common::frame::{Ipv6, UDP_LEN, Udp};
use teaparty_common::maps::Clock;
use teaparty_common::reflect::{Address, Reason};
use teaparty_common::tlv::return_path::Segments;
use teaparty_common::wire::checksum;
use zerocopy::IntoBytes;

use crate::reflector::capture::packet::CapturedFrame;
use crate::reflector::engine::context::{EngineCounters, InterfaceContext};
use crate::reflector::engine::mirror;
use crate::reflector::engine::reply_record;
use crate::reflector::pipeline::segment_routing::{ROUTING_TYPE, SegmentRouting};
use crate::reflector::pipeline::slow_path::PendingReply;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// Hop Limit of every reply (ext-hdr-15 §3.1).
const FRESH_HOP_LIMIT: u8 = 255;
/// Replies under way along segments.
#[derive(Default)]
pub(crate) struct Segmented {
    pending: Vec<(PendingReply, Vec<u8>, Segments)>,
}

impl Segmented {
    /// Adds one whose payload lacks only its base packet.
    pub(crate) fn push(&mut self, pending_reply: PendingReply, payload: &[u8], segments: Segments) {
        self.pending.push((pending_reply, payload.to_vec(), segments));
    }

    /// Finalizes what is pending with T3, records its exchanges, and sends it.
    pub(crate) fn flush(&mut self, context: &InterfaceContext, counters: &EngineCounters, clock: &Clock) {
        for (pending_reply, mut payload, segments) in self.pending.drain(..) {
            let timestamp = pending_reply.finalize(&mut payload, || SystemClock.realtime_ns(), clock);
            reply_record::commit(context, &pending_reply, timestamp);
            reply_record::record_residence(counters, &pending_reply);
            let way = segment_path(&pending_reply, &payload, segments);
            let whole = packet(&pending_reply, &payload, &way);
            let sent = way.first().zip(context.raw()).is_some_and(|(first, raw)| {
                let sent = raw.send(&whole, Ipv6Addr::from(first.0), pending_reply.meta().interface);
                sent.inspect_err(|error| tracing::debug!(%error, "cannot send along segments")).is_ok()
            });
            let outcome = if sent {
                reply_record::record_sent(context, counters, &pending_reply)
            } else {
                counters.count(Reason::SendFailed);
                Reason::SendFailed
            };
            mirror::answered(context, &pending_reply, outcome, &payload, || CapturedFrame::ip(whole));
        }
    }
}

/// Returns the addresses that the reply passes in order, its destination last.
fn segment_path(pending_reply: &PendingReply, payload: &[u8], segments: Segments) -> Vec<Address> {
    let list = payload.get(segments.at..).unwrap_or_default().chunks_exact(size_of::<Address>());
    let mut way: Vec<Address> = list.take(segments.count).filter_map(|one| one.try_into().ok().map(Address)).collect();
    let destination = segments.address.unwrap_or(pending_reply.meta().source);
    if way.last() != Some(&destination) {
        way.push(destination);
    }
    way
}

/// The IPv6 packet.
fn packet(pending_reply: &PendingReply, payload: &[u8], way: &[Address]) -> Vec<u8> {
    let meta = pending_reply.meta();
    let source = pending_reply.reply_options.source.unwrap_or(meta.destination);
    let (first, last) = (way[0], way[way.len() - 1]);
    let routing = SegmentRouting {
        next_header: libc::IPPROTO_UDP as u8,
        len: (size_of_val(way) / 8) as u8,
        routing_type: ROUTING_TYPE,
        segments_left: (way.len() - 1) as u8,
        last_entry: (way.len() - 1) as u8,
        flags: 0,
        tag: 0.into(),
    };
    let udp_len = (UDP_LEN + payload.len()) as u16;
    let routing_len = size_of::<SegmentRouting>() + size_of_val(way);
    let ip = Ipv6 {
        version_class_flow: (6 << 28 | u32::from(pending_reply.reply_options.traffic_class.0) << 20).into(),
        payload_length: (routing_len as u16 + udp_len).into(),
        next_header: libc::IPPROTO_ROUTING as u8,
        hop_limit: FRESH_HOP_LIMIT,
        source: source.0,
        destination: first.0,
    };
    let mut udp = Udp {
        source_port: meta.destination_port.into(),
        destination_port: pending_reply.reply_options.destination_port.unwrap_or(meta.source_port).into(),
        length: udp_len.into(),
        checksum: 0.into(),
    };
    // Summed for where it ends, not for where it goes first (RFC 8200 §8.1).
    let pseudo = checksum::pseudo_header(source.sum(true) + last.sum(true), udp_len);
    // The UDP header is of even length: both sums are of whole words.
    let sum = !checksum::fold(pseudo + checksum::sum(udp.as_bytes()) + checksum::sum(payload));
    udp.checksum = u16::from_be_bytes(if sum == 0 { [0xff; 2] } else { sum.to_ne_bytes() }).into();
    let segments: Vec<[u8; 16]> = way.iter().rev().map(|one| one.0).collect();
    [ip.as_bytes(), routing.as_bytes(), segments.as_bytes(), udp.as_bytes(), payload].concat()
}
