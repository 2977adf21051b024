//! Frames for the bench, as a sender would put them on the wire, with right checksums.

use std::net::IpAddr;

use teaparty_common::wire::checksum;

/// Our interface's MAC address, and the sender's.
pub(super) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// UDP port of the reflector; the sender's.
pub(super) const OUR_PORT: u16 = 862;
const PEER_PORT: u16 = 40_000;

/// Numbers of protocols that a frame may say it has.
pub(super) const UDP: u8 = 17;
pub(super) const TCP: u8 = 6;

/// The variant of a frame.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) destination_port: u16,
    /// The protocol in the IP header: [`UDP`], or a false one.
    pub(super) protocol: u8,
    /// EtherTypes of VLAN tags, the outer one first.
    pub(super) tags: &'static [u16],
    /// The octets after the 44 octets of the base packet.
    pub(super) tlvs: Vec<u8>,
}

/// An unauthenticated test packet of 44 octets and its TLVs, in UDP, IP, tags and Ethernet.
///
/// Panics if both addresses are not of one family.
pub(super) fn frame(shape: &Shape) -> Vec<u8> {
    let mut frame = [OUR_MAC, PEER_MAC].concat();
    for tag in shape.tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 100]);
    }
    let udp = udp(shape);
    match (shape.source, shape.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend(0x0800u16.to_be_bytes());
            let mut ip = vec![0x45, 0];
            ip.extend(((20 + udp.len()) as u16).to_be_bytes());
            ip.extend([0, 1, 0x40, 0, 64, shape.protocol, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum = !checksum::fold(checksum::sum(&ip));
            ip[10..12].copy_from_slice(&sum.to_ne_bytes());
            frame.extend(ip);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend(0x86ddu16.to_be_bytes());
            frame.extend([0x60, 0, 0, 0]);
            frame.extend((udp.len() as u16).to_be_bytes());
            frame.extend([shape.protocol, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("addresses of two families"),
    }
    frame.extend(udp);
    frame
}

/// Builds a frame without tags and a UDP checksum (RFC 768), in IPv4, from 0.0.0.0: for a harness that
/// sets the source later, and updates the header checksum for that.
pub(super) fn without_checksum(shape: &Shape) -> Vec<u8> {
    let mut frame = frame(&Shape { source: IpAddr::from([0; 4]), ..shape.clone() });
    frame[40..42].fill(0);
    frame
}

fn udp(shape: &Shape) -> Vec<u8> {
    let payload = payload(&shape.tlvs);
    let len = (8 + payload.len()) as u16;
    let mut udp = Vec::from(PEER_PORT.to_be_bytes());
    udp.extend(shape.destination_port.to_be_bytes());
    udp.extend(len.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let addresses = octets(shape.source).chain(octets(shape.destination)).collect::<Vec<u8>>();
    let sum = checksum::pseudo_header(checksum::sum(&addresses), len) + checksum::sum(&udp);
    let field = match !checksum::fold(sum) {
        0 => 0xffff,
        other => other,
    };
    udp[6..8].copy_from_slice(&field.to_ne_bytes());
    udp
}

fn octets(address: IpAddr) -> impl Iterator<Item = u8> {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets.into_iter()
}

/// Session-Sender packet, unauthenticated (RFC 8762 §4.2.1): Sequence Number 1, some time of 2026, Error Estimate with
/// Multiplier 1, no SSID.
fn payload(tlvs: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 0, 0, 1];
    payload.extend(0xee00_0000_8000_0000u64.to_be_bytes());
    payload.extend([0, 1]);
    payload.resize(44, 0);
    payload.extend(tlvs);
    payload
}

/// A TLV as a sender sends it: U set (RFC 8972 §4).
pub(super) fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut tlv = vec![0x80, kind];
    tlv.extend((value.len() as u16).to_be_bytes());
    tlv.extend(value);
    tlv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_long_as_they_say() {
        let mut shape = Shape {
            source: [192, 0, 2, 2].into(),
            destination: [192, 0, 2, 1].into(),
            destination_port: OUR_PORT,
            protocol: UDP,
            tags: &[],
            tlvs: tlv(1, &[0; 10]),
        };
        assert_eq!(frame(&shape).len(), 14 + 20 + 8 + 44 + 14);
        shape.tags = &[0x88a8, 0x8100];
        assert_eq!(frame(&shape).len(), 14 + 8 + 20 + 8 + 44 + 14);
    }

    #[test]
    fn udp_checksum_is_the_one_that_a_reference_gives() {
        let shape = Shape {
            source: [192, 0, 2, 2].into(),
            destination: [192, 0, 2, 1].into(),
            destination_port: OUR_PORT,
            protocol: UDP,
            tags: &[],
            tlvs: Vec::new(),
        };
        // scapy 2.8.0: IP(src="192.0.2.2", dst="192.0.2.1")/UDP(sport=40000, dport=862)/Raw(payload), its UDP.chksum.
        assert_eq!(frame(&shape)[40..42], [0x6d, 0xe0]);
    }
}
