//! The headers in front of a reflected packet: everything swapped, fresh TTL, checksums right.

use teaparty_common::bytes::Bytes;
use teaparty_common::frame::{Frame, IPV6_LEN, Ip, Udp};
use teaparty_common::reflect::{Address, Steering};
use teaparty_common::wire::checksum;

use crate::packet::Packet;

/// TTL and Hop Limit of every reply (ext-hdr-15 §3.1).
const FRESH_TTL: u8 = 255;

/// Turns the headers of `frame` into the reply's. `payload` is the payload as it will be sent, with the record of what
/// was changed in it. `None`, with the packet half edited, only where octets are missing that were there before.
#[inline(always)]
pub fn address(view: &mut Packet, frame: &Frame, payload: &Packet, steering: &Steering) -> Option<()> {
    let source = steering.source.unwrap_or(frame.destination());
    let traffic_class = steering.traffic_class.0;
    let ethernet = frame.ethernet;
    view.put(0, ethernet.source);
    view.put(6, ethernet.destination);
    // Swapping addresses and ports leaves every sum as it is; what is not a swap is accounted for here.
    let mut removed = 0;
    let mut added = 0;
    if let Some(chosen) = steering.source {
        removed += addresses_sum(&frame.ip, frame.destination());
        added += addresses_sum(&frame.ip, chosen);
    }
    match frame.ip {
        Ip::V4(ip) => {
            let mut reply = ip;
            reply.traffic_class = traffic_class;
            reply.ttl = FRESH_TTL;
            reply.source = source.v4_octets();
            reply.destination = ip.source;
            let old_words = [ip.version_ihl, ip.traffic_class, ip.ttl, ip.protocol];
            let new_words = [reply.version_ihl, reply.traffic_class, reply.ttl, reply.protocol];
            let field = u16::from_ne_bytes(zerocopy_octets(ip.checksum));
            let removed = removed + checksum::sum_at(&old_words, 0);
            let added = added + checksum::sum_at(&new_words, 0);
            reply.checksum = u16::from_be_bytes(checksum::update_ip(field, removed, added).to_ne_bytes()).into();
            let octets: [u8; size_of::<teaparty_common::frame::Ipv4>()] = zerocopy::transmute!(reply);
            view.put(frame.ip_at, octets);
        }
        Ip::V6(ip) => {
            let mut reply = ip;
            let word = ip.version_class_flow.get() & 0xf00f_ffff | u32::from(traffic_class) << 20;
            reply.version_class_flow = word.into();
            reply.hop_limit = FRESH_TTL;
            reply.source = source.0;
            reply.destination = ip.source;
            let octets: [u8; IPV6_LEN] = zerocopy::transmute!(reply);
            view.put(frame.ip_at, octets);
        }
    }
    let port = steering.destination_port.unwrap_or(frame.udp.source_port.get());
    if steering.destination_port.is_some() {
        removed += u64::from(frame.udp.source_port.get().to_be());
        added += u64::from(port.to_be());
    }
    let mut udp = Udp { source_port: frame.udp.destination_port, destination_port: port.into(), ..frame.udp };
    let (payload_removed, payload_added) = payload.difference();
    let field = u16::from_ne_bytes(zerocopy_octets(frame.udp.checksum));
    let len = frame.udp.length.get();
    let pseudo = checksum::pseudo_header(addresses_sum(&frame.ip, frame.source()) + addresses_sum(&frame.ip, frame.destination()), len);
    let new = if field == 0 {
        // IPv4 without a checksum stays without one; IPv6 did not come this far.
        0
    } else if field == checksum::fold(pseudo) {
        // A packet of this machine's own, whose checksum was left for a device to compute: only the pseudo header's
        // sum stands there. XDP_TX sends what is written, so it is computed in full. (A packet whose right checksum
        // happens to have this value gets the right one again.)
        udp.checksum = 0.into();
        let head: [u8; size_of::<Udp>()] = zerocopy::transmute!(udp);
        let total = pseudo + added + u64::from(!checksum::fold(removed)) + checksum::sum_at(&head, 0);
        let total = total + payload.sum(0, frame.payload_len())?;
        match !checksum::fold(total) {
            0 => 0xffff,
            sum => sum,
        }
    } else {
        checksum::update(field, removed + payload_removed, added + payload_added)
    };
    udp.checksum = u16::from_be_bytes(new.to_ne_bytes()).into();
    let octets: [u8; size_of::<Udp>()] = zerocopy::transmute!(udp);
    view.put(frame.udp_at, octets);
    Some(())
}

/// The unfolded sum of an address as it stands in the header.
#[inline(always)]
fn addresses_sum(ip: &Ip, address: Address) -> u64 {
    match ip {
        Ip::V4(_) => checksum::sum_at(&address.v4_octets(), 0),
        Ip::V6(_) => checksum::sum_at(&address.0, 0),
    }
}

/// The two octets of a field as they are in memory.
#[inline(always)]
fn zerocopy_octets(field: zerocopy::network_endian::U16) -> [u8; 2] {
    zerocopy::transmute!(field)
}
