//! Frames of UDP over IPv4 and IPv6: made of their parts, and taken apart. Shares nothing with `teaparty-common`.

use std::net::IpAddr;

use anyhow::{Result, bail};

/// Octets of an Ethernet header, of an IPv4 and of an IPv6 header without more, and of a UDP header.
const ETHERNET: usize = 14;
const V4: usize = 20;
const V6: usize = 40;
const UDP: usize = 8;

/// A packet that is to be made.
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// UDP source port and destination port.
    pub(super) ports: (u16, u16),
    pub(super) traffic_class: u8,
    pub(super) ttl: u8,
    /// An IPv4 header to take instead, with this packet's own length and checksum; empty for none.
    pub(super) header: Vec<u8>,
    /// IPv6 extension headers, beginning with a Hop-by-Hop one.
    pub(super) extensions: Vec<u8>,
}

impl Packet {
    /// The IP header, and what follows it.
    ///
    /// Fails where the addresses are of two families.
    pub(super) fn octets(&self, payload: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let udp = self.datagram(payload);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let len = ((V4 + udp.len()) as u16).to_be_bytes();
                let mut header = self.header.clone();
                if header.is_empty() {
                    header = vec![0x45, self.traffic_class, 0, 0, 0, 7, 0x40, 0, self.ttl, 17, 0, 0];
                    header.extend(source.octets());
                    header.extend(destination.octets());
                }
                header[2..4].copy_from_slice(&len);
                header[10..12].fill(0);
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                Ok((header, udp))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let first = 6 << 28 | u32::from(self.traffic_class) << 20;
                let mut header = first.to_be_bytes().to_vec();
                header.extend(((self.extensions.len() + udp.len()) as u16).to_be_bytes());
                header.extend([if self.extensions.is_empty() { 17 } else { 0 }, self.ttl]);
                header.extend(source.octets());
                header.extend(destination.octets());
                Ok((header, [&self.extensions[..], &udp].concat()))
            }
            _ => bail!("addresses of two families"),
        }
    }

    fn datagram(&self, payload: &[u8]) -> Vec<u8> {
        let len = (UDP + payload.len()) as u16;
        let mut udp = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes(), len.to_be_bytes(), [0; 2]].concat();
        udp.extend(payload);
        let sum = checksum(&[pseudo(self.source, self.destination, udp.len()), udp.clone()].concat());
        // RFC 768: 0 would say that there is no checksum.
        udp[6..8].copy_from_slice(&if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() });
        udp
    }
}

/// A datagram that was received.
pub(super) struct Datagram {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) traffic_class: u8,
    pub(super) ttl: u8,
    pub(super) payload: Vec<u8>,
    /// True if the IPv4 header's checksum is right; IPv6 has none.
    pub(super) is_header_right: bool,
    /// True if the UDP checksum is right, or absent (0).
    pub(super) is_checksum_right: bool,
    /// True if it is the sum of the pseudo header alone, which a socket leaves for the device to complete.
    pub(super) is_checksum_left: bool,
}

/// Takes a frame apart. Returns nothing for what is not UDP right after an IP header without options.
pub(super) fn parse(frame: &[u8]) -> Option<Datagram> {
    let ip = frame.get(ETHERNET..)?;
    let (source, destination, traffic_class, ttl, udp, is_header_right): (IpAddr, IpAddr, u8, u8, &[u8], bool);
    if frame[12..14] == [8, 0] && *ip.first()? == 0x45 && *ip.get(9)? == 17 {
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).expect("four octets"));
        ip.get(..V4)?;
        (source, destination, traffic_class, ttl) = (address(12), address(16), ip[1], ip[8]);
        (udp, is_header_right) = (ip.get(V4..total)?, checksum(&ip[..V4]) == 0);
    } else if frame[12..14] == [0x86, 0xdd] && *ip.get(6)? == 17 {
        ip.get(..V6)?;
        let len = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
        let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).expect("sixteen octets"));
        (source, destination, traffic_class, ttl) = (address(8), address(24), ip[0] << 4 | ip[1] >> 4, ip[7]);
        (udp, is_header_right) = (ip.get(V6..V6 + len)?, true);
    } else {
        return None;
    }
    let head = udp.get(..UDP)?;
    let sum = u16::from_be_bytes([head[6], head[7]]);
    let pseudo = pseudo(source, destination, udp.len());
    Some(Datagram {
        source,
        destination,
        source_port: u16::from_be_bytes([head[0], head[1]]),
        destination_port: u16::from_be_bytes([head[2], head[3]]),
        traffic_class,
        ttl,
        payload: udp[UDP..].to_vec(),
        is_header_right,
        is_checksum_left: sum == !checksum(&pseudo),
        is_checksum_right: sum == 0 || checksum(&[&pseudo[..], udp].concat()) == 0,
    })
}

/// The pseudo header of RFC 768 and of RFC 8200 §8.1.
fn pseudo(source: IpAddr, destination: IpAddr, len: usize) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            [&source.octets()[..], &destination.octets(), &[0, 17], &(len as u16).to_be_bytes()].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [&source.octets()[..], &destination.octets(), &(len as u32).to_be_bytes(), &[0, 0, 0, 17]].concat()
        }
        _ => Vec::new(),
    }
}

/// The internet checksum (RFC 1071) of octets, with those that they lack to a whole word taken as 0.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 1071 §3.
    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_packet_is_read_as_it_was_made_and_damage_is_seen() {
        for (source, destination, kind) in
            [("192.0.2.10", "198.51.100.20", [8, 0]), ("2001:db8::10", "2001:db8:1::20", [0x86, 0xdd])]
        {
            let packet = Packet {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                ports: (49_200, 862),
                traffic_class: 41,
                ttl: 61,
                header: Vec::new(),
                extensions: Vec::new(),
            };
            let (header, rest) = packet.octets(&[1, 2, 3]).unwrap();
            let mut frame = [&[0; 12][..], &kind, &header, &rest].concat();
            let read = parse(&frame).unwrap();
            assert_eq!((read.source, read.destination), (packet.source, packet.destination));
            assert_eq!((read.source_port, read.destination_port), packet.ports);
            assert_eq!((read.traffic_class, read.ttl, &read.payload[..]), (41, 61, &[1, 2, 3][..]));
            assert!(read.is_header_right && read.is_checksum_right);
            *frame.last_mut().unwrap() ^= 1;
            assert!(!parse(&frame).unwrap().is_checksum_right);
        }
        assert!(parse(&[0; 20]).is_none());
    }
}
