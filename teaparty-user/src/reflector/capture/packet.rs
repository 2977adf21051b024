//! A captured packet: its frames, and what became of it.

use teaparty_common::frame::{IPV4_LEN, IPV6_LEN, Ipv4, Ipv6, UDP_LEN, Udp, parse_headers};
use teaparty_common::maps::capture::CapturedHeader;
use teaparty_common::maps::{Clock, SessionKey};
use teaparty_common::packet_buf::SliceBuf;
use teaparty_common::reflect::{self, Address, Reason};
use teaparty_common::wire::reflector::{AuthenticatedReply, UnauthenticatedReply};
use teaparty_common::wire::{Mode, TimestampFormat, checksum};
use zerocopy::{FromBytes, IntoBytes};

use crate::reflector::path::CounterPath;

/// A packet to one of our ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedPacket {
    /// The number of the interface that it came by.
    pub interface: u32,
    /// The part that ended it.
    pub path: CounterPath,
    /// How it ended.
    pub reason: Reason,
    /// Why the program has punted it, if it has.
    pub punted: Option<Reason>,
    /// Its addresses, ports and SSID.
    pub key: SessionKey,
    /// True if its session is authenticated.
    pub is_authenticated: bool,
    /// T2, in nanoseconds since 1970, UTC.
    pub received_ns: u64,
    /// T3 in the same form, where it was answered and the reply tells.
    pub sent_ns: Option<u64>,
    /// The frame as it arrived; `None` for one more reply.
    pub arrival: Option<CapturedFrame>,
    /// The reply as it left.
    pub reply: Option<CapturedFrame>,
}

/// Octets as they were on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// What they begin with.
    pub link: LinkType,
    /// How many there were.
    pub len: usize,
    /// As many as were kept.
    pub octets: Vec<u8>,
}

/// The header that captured octets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkType {
    /// Ethernet's.
    Ethernet,
    /// That of IP: a socket does not tell of those before.
    Ip,
}

/// A datagram of a socket, whose IP and UDP headers are made of what the socket tells.
#[derive(Clone, Copy, Debug)]
pub struct SocketDatagram<'a> {
    /// The sender's address and port.
    pub source: (Address, u16),
    /// The receiver's.
    pub destination: (Address, u16),
    /// TOS or Traffic Class.
    pub traffic_class: u8,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// The UDP payload.
    pub payload: &'a [u8],
}

impl CapturedFrame {
    /// A whole Ethernet frame.
    pub fn ethernet(octets: &[u8]) -> Self {
        Self { link: LinkType::Ethernet, len: octets.len(), octets: octets.to_vec() }
    }

    /// A whole IP packet.
    pub fn ip(octets: Vec<u8>) -> Self {
        Self { link: LinkType::Ip, len: octets.len(), octets }
    }
}

impl From<SocketDatagram<'_>> for CapturedFrame {
    fn from(datagram: SocketDatagram<'_>) -> Self {
        let SocketDatagram { source, destination, traffic_class, ttl, payload } = datagram;
        let is_ipv6 = !source.0.is_ipv4();
        let udp_len = (UDP_LEN + payload.len()) as u16;
        let mut udp = Udp {
            source_port: source.1.into(),
            destination_port: destination.1.into(),
            length: udp_len.into(),
            checksum: 0.into(),
        };
        let pseudo = checksum::pseudo_header(source.0.sum(is_ipv6) + destination.0.sum(is_ipv6), udp_len);
        let sum = !checksum::fold(pseudo + checksum::sum(udp.as_bytes()) + checksum::sum(payload));
        udp.checksum = u16::from_be_bytes(if sum == 0 { [0xff; 2] } else { sum.to_ne_bytes() }).into();
        let header = if is_ipv6 {
            let mut octets = [0; IPV6_LEN];
            let ip = Ipv6 {
                version_class_flow: (6 << 28 | u32::from(traffic_class) << 20).into(),
                payload_length: udp_len.into(),
                next_header: libc::IPPROTO_UDP as u8,
                hop_limit: ttl,
                source: source.0.0,
                destination: destination.0.0,
            };
            octets.copy_from_slice(ip.as_bytes());
            octets.to_vec()
        } else {
            ipv4_header((source.0, destination.0), (traffic_class, ttl), udp_len)
        };
        Self::ip([&*header, udp.as_bytes(), payload].concat())
    }
}

fn ipv4_header((source, destination): (Address, Address), (tos, ttl): (u8, u8), udp_len: u16) -> Vec<u8> {
    let mut octets = [0u8; IPV4_LEN];
    octets[0] = 0x45;
    octets[std::mem::offset_of!(Ipv4, traffic_class)] = tos;
    octets[2..4].copy_from_slice(&(IPV4_LEN as u16 + udp_len).to_be_bytes());
    octets[std::mem::offset_of!(Ipv4, ttl)] = ttl;
    octets[9] = libc::IPPROTO_UDP as u8;
    let (at, from) = (std::mem::offset_of!(Ipv4, checksum), std::mem::offset_of!(Ipv4, source));
    octets[from..from + 4].copy_from_slice(&source.v4_octets());
    octets[from + 4..from + 8].copy_from_slice(&destination.v4_octets());
    let sum = !checksum::fold(checksum::sum(&octets));
    octets[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
    octets.to_vec()
}

impl CapturedPacket {
    /// Returns the packet of a record that the program has mirrored on an interface, by its number, and the captures that it is for.
    pub(in crate::reflector) fn of_record(record: &[u8], interface: u32, clock: &Clock) -> Option<(u32, Self)> {
        let (header, rest) = CapturedHeader::ref_from_prefix(record).ok()?;
        let (len, captured) = (header.frame_len as usize, header.captured_len as usize);
        let frame = |at: usize| {
            let octets = rest.get(at..at + captured)?.to_vec();
            Some(CapturedFrame { link: LinkType::Ethernet, len, octets })
        };
        let mut arrival = frame(0)?;
        let reply = (header.reply_at != 0).then(|| frame(header.reply_at as usize)).flatten();
        let bytes = SliceBuf(&mut arrival.octets);
        let found = parse_headers(&bytes, len).ok()?;
        let (source, destination) = found.addresses(&bytes)?;
        let payload_at = found.payload_at();
        let payload = arrival.octets.get(payload_at..)?;
        let payload_len = found.payload_len.min(payload.len());
        let ssid =
            reflect::ssid(&teaparty_common::packet_buf::ReadOnlyBuf(payload), payload_len, Mode::Unauthenticated);
        let received_ns = header.received_ns.wrapping_sub(clock.tai_offset_ns);
        let sent = reply.as_ref().and_then(|reply| reply.octets.get(payload_at..));
        let sent_ns = sent.and_then(|payload| transmit_ns(payload, Mode::Unauthenticated, received_ns, clock));
        let key = SessionKey {
            source,
            destination,
            source_port: found.source_port,
            destination_port: found.destination_port,
            ssid,
            reserved: 0,
        };
        let packet = Self {
            interface,
            path: CounterPath::Xdp,
            reason: Reason::from_number(header.reason)?,
            punted: None,
            key,
            is_authenticated: false,
            received_ns,
            sent_ns,
            arrival: Some(arrival),
            reply,
        };
        Some((header.captures, packet))
    }
}

/// Returns T3 of a reply in nanoseconds since 1970, UTC; `near_ns` is about that.
pub fn transmit_ns(payload: &[u8], mode: Mode, near_ns: u64, clock: &Clock) -> Option<u64> {
    let (timestamp, estimate) = match mode {
        Mode::Unauthenticated => {
            let (base, _) = UnauthenticatedReply::ref_from_prefix(payload).ok()?;
            (base.timestamp, base.error_estimate)
        }
        Mode::Authenticated => {
            let (base, _) = AuthenticatedReply::ref_from_prefix(payload).ok()?;
            (base.timestamp, base.error_estimate)
        }
    };
    let format = estimate.format();
    let nanos = timestamp.to_nanos(format, near_ns);
    Some(match format {
        TimestampFormat::Ntp => nanos,
        TimestampFormat::Ptp => nanos.wrapping_sub(clock.tai_offset_ns),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packet that was answered.
    pub(crate) fn packet(reason: Reason) -> CapturedPacket {
        let key = SessionKey {
            source: Address::v4([192, 0, 2, 2]),
            destination: Address::v4([192, 0, 2, 1]),
            source_port: 5000,
            destination_port: 862,
            ssid: 9,
            reserved: 0,
        };
        let frame = |ttl| {
            CapturedFrame::from(SocketDatagram {
                source: (key.source, key.source_port),
                destination: (key.destination, key.destination_port),
                traffic_class: 0,
                ttl,
                payload: &[0; 44],
            })
        };
        CapturedPacket {
            interface: 7,
            path: CounterPath::Xdp,
            reason,
            punted: None,
            key,
            is_authenticated: false,
            received_ns: 1_764_000_000_123_456_789,
            sent_ns: Some(1_764_000_000_123_457_000),
            arrival: Some(frame(64)),
            reply: Some(frame(255)),
        }
    }

    #[test]
    fn headers_of_datagrams_are_right() {
        let six = |last| Address([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        for (source, destination) in [(Address::v4([192, 0, 2, 2]), Address::v4([192, 0, 2, 1])), (six(2), six(1))] {
            let datagram = SocketDatagram {
                source: (source, 5000),
                destination: (destination, 862),
                traffic_class: 0x28,
                ttl: 63,
                payload: &[7; 45],
            };
            let ip = CapturedFrame::from(datagram).octets;
            let kind: u16 = if source.is_ipv4() { 0x0800 } else { 0x86dd };
            let mut frame = [&[0; 12][..], &kind.to_be_bytes(), &ip].concat();
            let len = frame.len();
            let bytes = SliceBuf(&mut frame);
            let found = parse_headers(&bytes, len).unwrap();
            assert_eq!(found.addresses(&bytes), Some((source, destination)));
            assert_eq!((found.source_port, found.destination_port, found.payload_len), (5000, 862, 45));
            assert_eq!((found.ttl, found.traffic_class), (63, 0x28));
            let udp = &ip[ip.len() - 45 - UDP_LEN..];
            let pseudo =
                checksum::pseudo_header(source.sum(!source.is_ipv4()) + destination.sum(!source.is_ipv4()), 53);
            assert_eq!(checksum::fold(pseudo + checksum::sum(udp)), 0xffff);
            if source.is_ipv4() {
                assert_eq!(checksum::fold(checksum::sum(&ip[..IPV4_LEN])), 0xffff);
            }
        }
    }

    #[test]
    fn t3_is_read_in_both_formats_and_modes() {
        let clock = Clock { tai_offset_ns: 37_000_000_000, ..Clock::default() };
        let utc = 1_764_000_000_123_456_789;
        for (format, z) in [(TimestampFormat::Ntp, 0u16), (TimestampFormat::Ptp, 0x4000)] {
            let wire = clock.wire_time(clock.tai_ns(utc), format);
            for (mode, at) in [(Mode::Unauthenticated, 4), (Mode::Authenticated, 16)] {
                let mut payload = [0; 112];
                payload[at..at + 8].copy_from_slice(&wire.to_be_bytes());
                payload[at + 8..at + 10].copy_from_slice(&(z | 1).to_be_bytes());
                assert_eq!(transmit_ns(&payload, mode, utc - 5_000, &clock), Some(utc), "{format:?} {mode:?}");
            }
        }
        assert_eq!(transmit_ns(&[0; 43], Mode::Unauthenticated, utc, &clock), None);
    }
}
