//! The headers in front of a reflected packet: everything swapped, fresh TTL, checksums right.

use core::mem::offset_of;

use teaparty_common::bytes::Bytes;
use teaparty_common::frame::{Frame, Ipv4, Ipv6, UDP_LEN, Udp};
use teaparty_common::maps::SessionKey;
use teaparty_common::reflect::Steering;
use teaparty_common::wire::checksum;

use crate::packet::Packet;

/// TTL and Hop Limit of every reply (ext-hdr-15 §3.1).
const FRESH_TTL: u8 = 255;

/// Turns the IP and UDP headers of `frame` into the reply's. `payload` is the payload as it will be sent, with the record of what
/// was changed in it. `None`, with the packet half edited, only where octets are missing that were there before.
#[inline(always)]
pub(crate) fn address(
    view: &mut Packet,
    frame: &Frame,
    key: &SessionKey,
    payload: &Packet,
    steering: &Steering,
) -> Option<()> {
    let traffic_class = steering.traffic_class.0;
    // Swapping addresses and ports leaves every sum as it is; what is not a swap is accounted for here.
    let mut removed = 0;
    let mut added = 0;
    let source = match steering.source {
        None => key.destination,
        Some(chosen) => {
            removed += key.destination.sum(frame.is_ipv6);
            added += chosen.sum(frame.is_ipv6);
            chosen
        }
    };
    if frame.is_ipv6 {
        let at = frame.ip_at;
        let word = u32::from_be_bytes(view.get::<4>(at)?) & 0xf00f_ffff | u32::from(traffic_class) << 20;
        view.put(at, word.to_be_bytes());
        view.put(at + offset_of!(Ipv6, hop_limit), [FRESH_TTL]);
        view.put(at + offset_of!(Ipv6, source), source.0);
        view.put(at + offset_of!(Ipv6, destination), key.source.0);
    } else {
        let at = frame.ip_at;
        // Only TOS and TTL change, each beside an octet that does not.
        let [version_ihl, old_class] = view.get::<2>(at)?;
        let [old_ttl, protocol] = view.get::<2>(at + offset_of!(Ipv4, ttl))?;
        let removed = removed + pair(version_ihl, old_class) + pair(old_ttl, protocol);
        let added = added + pair(version_ihl, traffic_class) + pair(FRESH_TTL, protocol);
        let field = u16::from_ne_bytes(view.get::<2>(at + offset_of!(Ipv4, checksum))?);
        view.put(at, [version_ihl, traffic_class]);
        view.put(at + offset_of!(Ipv4, ttl), [FRESH_TTL, protocol]);
        view.put(at + offset_of!(Ipv4, checksum), checksum::update_ip(field, removed, added).to_ne_bytes());
        view.put(at + offset_of!(Ipv4, source), source.v4_octets());
        view.put(at + offset_of!(Ipv4, destination), key.source.v4_octets());
    }
    let port = steering.destination_port.unwrap_or(frame.source_port);
    let new = udp_checksum(frame, key, payload, port, removed, added)?;
    view.put(frame.udp_at, frame.destination_port.to_be_bytes());
    view.put(frame.udp_at + offset_of!(Udp, destination_port), port.to_be_bytes());
    view.put(frame.udp_at + offset_of!(Udp, checksum), new.to_ne_bytes());
    Some(())
}

/// The reply's UDP checksum as it is to lie in memory. `port` is where the reply goes; `removed` and `added` are the sums
/// of what changed in the addresses.
#[inline(always)]
fn udp_checksum(frame: &Frame, key: &SessionKey, payload: &Packet, port: u16, removed: u64, added: u64) -> Option<u16> {
    if frame.checksum == 0 {
        // IPv4 without a checksum stays without one; IPv6 did not come this far.
        return Some(0);
    }
    let len = (frame.payload_len + UDP_LEN) as u16;
    let addresses = key.source.sum(frame.is_ipv6) + key.destination.sum(frame.is_ipv6);
    let pseudo = checksum::pseudo_header(addresses, len);
    if frame.checksum != checksum::fold(pseudo) {
        let (payload_removed, payload_added) = payload.difference();
        let removed = removed + payload_removed + u64::from(frame.source_port.to_be());
        let added = added + payload_added + u64::from(port.to_be());
        return Some(checksum::update(frame.checksum, removed, added));
    }
    // A packet of this machine's own, whose checksum was left for a device to compute: only the pseudo header's sum
    // stands there. XDP_TX sends what is written, so it is computed in full. (A packet whose right checksum happens to
    // have this value gets the right one again.)
    let head = u64::from(frame.destination_port.to_be()) + u64::from(port.to_be()) + u64::from(len.to_be());
    let moved = u64::from(!checksum::fold(removed)) + added;
    let total = pseudo + moved + head + payload.sum(0, frame.payload_len)?;
    Some(match !checksum::fold(total) {
        0 => 0xffff,
        sum => sum,
    })
}

/// Two octets as the word of a sum.
#[inline(always)]
fn pair(first: u8, second: u8) -> u64 {
    u64::from(u16::from_ne_bytes([first, second]))
}
