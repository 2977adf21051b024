//! Ethernet frames around UDP payloads: built field by field, and judged by full checksums.

use std::net::IpAddr;

/// MAC address of the reflector's interface.
pub const OUR_MAC: [u8; 6] = [0x02, 0, 0x5e, 0x20, 0, 0x02];

/// The content of the UDP checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The right one.
    Right,
    /// Zero: none, over IPv4.
    None,
    /// The sum of the pseudo header, as a sender leaves it that trusts its device to finish it.
    Partial,
    /// The right one with these bits flipped.
    Wrong(u16),
}

impl Checksum {
    /// Returns what a UDP datagram has, computed over every octet.
    fn of(udp: &[u8], pseudo: &[u8]) -> Self {
        let field = be16(udp, 6);
        let right = right_sum(&[pseudo, &udp[..6], &udp[8..]]);
        match field {
            0 => Self::None,
            field if field == right => Self::Right,
            field if field == ones_sum(&[pseudo]) => Self::Partial,
            field => Self::Wrong(field ^ right),
        }
    }
}

/// A datagram and the headers in front of it.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// VLAN tags, outermost first: EtherType and tag control information.
    pub tags: Vec<(u16, u16)>,
    /// Source MAC address.
    pub source_mac: [u8; 6],
    /// Destination MAC address.
    pub destination_mac: [u8; 6],
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// TOS or Traffic Class.
    pub traffic_class: u8,
    /// IPv4 identification.
    pub identification: u16,
    /// IPv4 flags and fragment offset.
    pub fragment: u16,
    /// IPv4 options; a multiple of four octets.
    pub options: Vec<u8>,
    /// Bits flipped in the IPv4 header checksum; with 0 it is right. IPv6 has none.
    pub header_checksum_error: u16,
    /// IPv6 extension headers, each with its type. Their Next Header octets are filled in.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The content of the UDP checksum field.
    pub checksum: Checksum,
    /// UDP payload.
    pub payload: Vec<u8>,
    /// Octets of the IP packet after the UDP datagram.
    pub surplus: Vec<u8>,
    /// Octets of the frame after the IP packet: what Ethernet pads short frames with.
    pub trailer: Vec<u8>,
}

impl Datagram {
    /// An ordinary test packet of the vectors' sender with this payload.
    pub fn new(payload: Vec<u8>) -> Self {
        Self {
            tags: Vec::new(),
            source_mac: [0x02, 0, 0x5e, 0x10, 0, 0x01],
            destination_mac: OUR_MAC,
            source: "192.0.2.10".parse().expect("an address"),
            destination: "198.51.100.20".parse().expect("an address"),
            source_port: 49200,
            destination_port: 862,
            ttl: 61,
            traffic_class: 10 << 2 | 1,
            identification: 0x1234,
            fragment: 0x4000,
            options: Vec::new(),
            header_checksum_error: 0,
            extensions: Vec::new(),
            checksum: Checksum::Right,
            payload,
            surplus: Vec::new(),
            trailer: Vec::new(),
        }
    }

    /// Creates one over IPv6.
    pub fn new_ipv6(payload: Vec<u8>) -> Self {
        Self {
            source: "2001:db8::10".parse().expect("an address"),
            destination: "2001:db8:1::20".parse().expect("an address"),
            ..Self::new(payload)
        }
    }

    /// Octets of the frame in front of the UDP payload.
    pub fn payload_at(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(_, octets)| octets.len()).sum();
        let ip = if self.source.is_ipv4() { 20 + self.options.len() } else { 40 + extensions };
        14 + 4 * self.tags.len() + ip + 8
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.payload_at() + self.payload.len());
        frame.extend(self.destination_mac);
        frame.extend(self.source_mac);
        for (ether_type, control) in &self.tags {
            frame.extend(ether_type.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        let udp = self.udp();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(0x0800u16.to_be_bytes());
                let header_len = 20 + self.options.len();
                let total = header_len + udp.len() + self.surplus.len();
                let mut ip = vec![0x40 | (header_len / 4) as u8, self.traffic_class];
                ip.extend((total as u16).to_be_bytes());
                ip.extend(self.identification.to_be_bytes());
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([self.ttl, 17, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                ip.extend(&self.options);
                let sum = !ones_sum(&[&ip]) ^ self.header_checksum_error;
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.extend(0x86ddu16.to_be_bytes());
                let extensions: usize = self.extensions.iter().map(|(_, octets)| octets.len()).sum();
                frame.extend((6u32 << 28 | u32::from(self.traffic_class) << 20 | 0x3_1415).to_be_bytes());
                frame.extend(((extensions + udp.len() + self.surplus.len()) as u16).to_be_bytes());
                frame.push(self.extensions.first().map_or(17, |(kind, _)| *kind));
                frame.push(self.ttl);
                frame.extend(source.octets());
                frame.extend(destination.octets());
                for (i, (_, octets)) in self.extensions.iter().enumerate() {
                    let at = frame.len();
                    frame.extend(octets);
                    frame[at] = self.extensions.get(i + 1).map_or(17, |(kind, _)| *kind);
                }
            }
            _ => panic!("both addresses are of one family"),
        }
        frame.extend(udp);
        frame.extend(&self.surplus);
        frame.extend(&self.trailer);
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let len = (8 + self.payload.len()) as u16;
        let mut udp = Vec::with_capacity(usize::from(len));
        udp.extend(self.source_port.to_be_bytes());
        udp.extend(self.destination_port.to_be_bytes());
        udp.extend(len.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let pseudo = pseudo_header(self.source, self.destination, len);
        let right = right_sum(&[&pseudo, &udp]);
        let field = match self.checksum {
            Checksum::Right => right,
            Checksum::None => 0,
            Checksum::Partial => ones_sum(&[&pseudo]),
            Checksum::Wrong(bits) => right ^ bits,
        };
        udp[6..8].copy_from_slice(&field.to_be_bytes());
        udp
    }
}

/// Takes a frame apart; panics where it is not a whole UDP datagram without options: replies always are.
///
/// [`Datagram::build`] makes the same frame of it again, without an IPv6 flow label.
pub fn parse(frame: &[u8]) -> Datagram {
    let (tags, ether_type, ip) = split_tags(frame);
    let (header_len, source, destination, ttl, traffic_class, udp_len): (usize, IpAddr, IpAddr, u8, u8, usize);
    let (mut identification, mut fragment, mut header_checksum_error) = (0, 0, 0);
    match ether_type {
        0x0800 => {
            assert_eq!(ip[0], 0x45, "version and header length");
            assert_eq!(ip[9], 17, "protocol");
            header_len = 20;
            source = IpAddr::from(<[u8; 4]>::try_from(&ip[12..16]).expect("four octets"));
            destination = IpAddr::from(<[u8; 4]>::try_from(&ip[16..20]).expect("four octets"));
            (ttl, traffic_class) = (ip[8], ip[1]);
            (identification, fragment) = (be16(ip, 4), be16(ip, 6));
            // Zero has two forms in one's complement, and both are right.
            if ones_sum(&[&ip[..20]]) != 0xffff {
                header_checksum_error = be16(ip, 10) ^ !ones_sum(&[&ip[..10], &ip[12..20]]);
            }
            udp_len = usize::from(be16(ip, 2)) - 20;
        }
        0x86dd => {
            assert_eq!(ip[0] >> 4, 6, "version");
            assert_eq!(ip[6], 17, "next header");
            header_len = 40;
            source = IpAddr::from(<[u8; 16]>::try_from(&ip[8..24]).expect("16 octets"));
            destination = IpAddr::from(<[u8; 16]>::try_from(&ip[24..40]).expect("16 octets"));
            (ttl, traffic_class) = (ip[7], ip[0] << 4 | ip[1] >> 4);
            udp_len = usize::from(be16(ip, 4));
        }
        other => panic!("EtherType {other:04x}"),
    }
    let (udp, trailer) = ip[header_len..].split_at(udp_len);
    assert_eq!(usize::from(be16(udp, 4)), udp_len, "UDP length");
    Datagram {
        tags,
        source_mac: frame[6..12].try_into().expect("six octets"),
        destination_mac: frame[..6].try_into().expect("six octets"),
        source,
        destination,
        source_port: be16(udp, 0),
        destination_port: be16(udp, 2),
        ttl,
        traffic_class,
        identification,
        fragment,
        options: Vec::new(),
        header_checksum_error,
        extensions: Vec::new(),
        checksum: Checksum::of(udp, &pseudo_header(source, destination, udp_len as u16)),
        payload: udp[8..].to_vec(),
        surplus: Vec::new(),
        trailer: trailer.to_vec(),
    }
}

/// Returns the fixed IP header of a frame that [`parse`] takes apart.
pub fn ip_header(frame: &[u8]) -> &[u8] {
    let (_, ether_type, ip) = split_tags(frame);
    &ip[..if ether_type == 0x0800 { 20 } else { 40 }]
}

/// Returns the VLAN tags, outermost first, then the EtherType after them, and the octets after that.
fn split_tags(frame: &[u8]) -> (Vec<(u16, u16)>, u16, &[u8]) {
    let mut at = 12;
    let mut tags = Vec::new();
    let mut ether_type = be16(frame, at);
    while ether_type == 0x8100 || ether_type == 0x88a8 {
        tags.push((ether_type, be16(frame, at + 2)));
        at += 4;
        ether_type = be16(frame, at);
    }
    (tags, ether_type, &frame[at + 2..])
}

/// The one's complement sum of parts that each begin at an even offset (RFC 1071), big-endian.
fn ones_sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The UDP checksum over these parts, in which the field is zero or left out. It is never zero, which says that there is none.
fn right_sum(parts: &[&[u8]]) -> u16 {
    match !ones_sum(parts) {
        0 => 0xffff,
        sum => sum,
    }
}

fn pseudo_header(source: IpAddr, destination: IpAddr, udp_len: u16) -> Vec<u8> {
    let mut octets = Vec::new();
    for ip in [source, destination] {
        match ip {
            IpAddr::V4(v4) => octets.extend(v4.octets()),
            IpAddr::V6(v6) => octets.extend(v6.octets()),
        }
    }
    octets.extend(udp_len.to_be_bytes());
    octets.extend([0, 17]);
    octets
}

fn be16(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}
