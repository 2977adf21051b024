//! Where the STAMP payload lies in an Ethernet frame, and the headers in front of it.
//!
//! Headers are located, not judged: whether the packet is for us is the caller's to say. Lengths are checked, so that
//! everything a [`Frame`] points at is within the frame.

mod fast_parse;

pub use fast_parse::{
    ParsedHeaders, is_ipv6, is_plain_non_udp_v4, is_plain_non_udp_v6, parse_plain_v4, parse_plain_v6, reparse_plain_v4,
    reparse_plain_v6, sum_plain_v4, sum_plain_v6,
};
use network_types::eth::{EthHdr, EtherType};
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};
use network_types::udp::UdpHdr;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use crate::address::Address;
use crate::packet_buf::PacketBuf;
use crate::reason::Reason;

/// Ethernet header, 14 octets (IEEE 802.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// EtherType of what follows.
    pub ether_type: U16,
}

/// The fixed 20 octets of an IPv4 header (RFC 791 §3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv4 {
    /// Version, and Internet Header Length in units of four octets.
    pub version_ihl: u8,
    /// Type of Service: DSCP and ECN.
    pub traffic_class: u8,
    /// Octets of the datagram, header included.
    pub total_length: U16,
    /// Identification.
    pub identification: U16,
    /// Flags and Fragment Offset.
    pub fragment: U16,
    /// Time to Live.
    pub ttl: u8,
    /// Protocol of what follows.
    pub protocol: u8,
    /// Header Checksum.
    pub checksum: U16,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

/// IPv6 header, 40 octets (RFC 8200 §3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct Ipv6 {
    /// Version, Traffic Class, Flow Label.
    pub version_class_flow: U32,
    /// Octets after this header.
    pub payload_length: U16,
    /// Protocol of what follows.
    pub next_header: u8,
    /// Hop Limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
}

/// UDP header, 8 octets (RFC 768).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source_port: U16,
    /// Destination port.
    pub destination_port: U16,
    /// Octets of the datagram, this header included.
    pub length: U16,
    /// Checksum; 0 over IPv4 means none.
    pub checksum: U16,
}

/// Octets of the Ethernet header.
pub const ETHERNET_LEN: usize = EthHdr::LEN;
/// Octets of an IPv4 header without options.
pub const IPV4_LEN: usize = Ipv4Hdr::LEN;
/// Octets of an IPv6 header.
pub const IPV6_LEN: usize = Ipv6Hdr::LEN;
/// Octets of a UDP header.
pub const UDP_LEN: usize = UdpHdr::LEN;

const _: () = assert!(size_of::<Ethernet>() == ETHERNET_LEN && size_of::<Udp>() == UDP_LEN);
const _: () = assert!(size_of::<Ipv4>() == IPV4_LEN && size_of::<Ipv6>() == IPV6_LEN);

/// A UDP datagram in an Ethernet frame: offsets from the frame's start, and what decides about it.
///
/// Small on purpose: it lives on the kernel's stack of 512 octets. Addresses are read from the frame when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Offset of the IP header.
    pub ip_at: usize,
    /// Offset of the UDP header.
    pub udp_at: usize,
    /// Octets of UDP payload, from the UDP length.
    pub payload_len: usize,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// The UDP checksum as it lies in memory.
    pub checksum: u16,
    /// TTL or Hop Limit.
    pub ttl: u8,
    /// TOS or Traffic Class.
    pub traffic_class: u8,
    /// True if it is IPv6.
    pub is_ipv6: bool,
    /// True if there are IPv4 options, IPv6 extension headers, or octets after the UDP datagram in the IP packet.
    pub has_extras: bool,
}

impl Frame {
    /// Returns the offset of the UDP payload.
    #[inline(always)]
    pub const fn payload_at(&self) -> usize {
        self.udp_at + UDP_LEN
    }

    /// Source and destination address, from the frame that this was found in.
    #[inline(always)]
    pub fn addresses<B: PacketBuf>(&self, frame: &B) -> Option<(Address, Address)> {
        if self.is_ipv6 {
            let at = self.ip_at + core::mem::offset_of!(Ipv6, source);
            Some((Address(frame.get::<16>(at)?), Address(frame.get::<16>(at + 16)?)))
        } else {
            let at = self.ip_at + core::mem::offset_of!(Ipv4, source);
            Some((Address::v4(frame.get::<4>(at)?), Address::v4(frame.get::<4>(at + 4)?)))
        }
    }

    /// Sends a frame back to the MAC address that it came from. `None` only where the addresses are not there.
    #[inline(always)]
    pub fn swap_macs<B: PacketBuf>(frame: &mut B) -> Option<()> {
        const AT: usize = core::mem::offset_of!(Ethernet, source);
        let (front, back) = (frame.get::<4>(0)?, frame.get::<2>(4)?);
        let (source_front, source_back) = (frame.get::<4>(AT)?, frame.get::<2>(AT + 4)?);
        frame.put(0, source_front);
        frame.put(4, source_back);
        frame.put(AT, front);
        frame.put(AT + 4, back);
        Some(())
    }

    /// Returns the VLAN tags, from the frame that this was found in.
    #[inline(always)]
    pub fn tags<B: PacketBuf>(&self, frame: &B) -> Option<Tags> {
        let mut tags = Tags::NONE;
        let at = core::mem::offset_of!(Ethernet, ether_type);
        if self.ip_at > ETHERNET_LEN {
            tags = tags.and(frame.get::<4>(at)?);
        }
        if self.ip_at > ETHERNET_LEN + 4 {
            tags = tags.and(frame.get::<4>(at + 4)?);
        }
        Some(tags)
    }

    /// Returns true for an IPv6 packet with an IPv4-mapped address (RFC 4291 §2.5.5.2), which is not sent on a network: it
    /// would be taken for one of IPv4.
    #[inline(always)]
    pub const fn mixes_families(&self, source: &Address, destination: &Address) -> bool {
        self.is_ipv6 && (source.is_ipv4() || destination.is_ipv4())
    }

    /// Source MAC address.
    #[inline(always)]
    pub fn source_mac<B: PacketBuf>(frame: &B) -> Option<[u8; 6]> {
        const AT: usize = core::mem::offset_of!(Ethernet, source);
        // In two words, as above.
        let ([a, b, c, d], [e, f]) = (frame.get::<4>(AT)?, frame.get::<2>(AT + 4)?);
        Some([a, b, c, d, e, f])
    }
}

/// The VLAN tags of a frame that say to which VLAN it belongs, outer to inner: for each, the EtherType and the VLAN ID as 16
/// bits of this number. Priority tags (VLAN ID 0) say nothing of that and are left out (IEEE 802.1Q §6.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Tags(pub u64);

impl Tags {
    /// An untagged frame.
    pub const NONE: Self = Self(0);

    /// Adds the next inner tag, as it stands in a frame: EtherType and tag control information.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, tag: [u8; 4]) -> Self {
        let tag = u32::from_be_bytes(tag) & 0xffff_0fff;
        if tag & 0xfff == 0 { self } else { Self(self.0 << 32 | tag as u64) }
    }

    /// Returns true if there is no tag but priority tags.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

// The crate keeps them in network order.
const ETHER_IPV4: u16 = u16::from_be(EtherType::Ipv4 as u16);
const ETHER_IPV6: u16 = u16::from_be(EtherType::Ipv6 as u16);
const ETHER_VLAN: u16 = u16::from_be(EtherType::Ieee8021q as u16);
const ETHER_QINQ: u16 = u16::from_be(EtherType::Ieee8021ad as u16);
/// VLAN tags that are looked behind.
const MAX_TAGS: usize = 2;
/// IPv6 extension headers that are looked behind. RFC 8200 §4.1 lists fewer kinds that may precede UDP.
const MAX_EXTENSIONS: usize = 4;
/// More Fragments flag and Fragment Offset of IPv4.
const FRAGMENT_BITS: u16 = 0x3fff;

/// Finds the UDP datagram in a frame of `frame_len` octets. The error is the reason to leave the frame to the stack.
///
/// Never panics, for any bytes. Where octets beyond the directly accessible ones would be needed (a frame in several
/// buffers), only headers must be accessible.
#[inline(always)]
pub fn parse_headers<B: PacketBuf>(frame: &B, frame_len: usize) -> Result<Frame, Reason> {
    let at = core::mem::offset_of!(Ethernet, ether_type);
    let mut ether_type = u16::from_be_bytes(frame.get::<2>(at).ok_or(Reason::MalformedHeader)?);
    let mut ip_at = ETHERNET_LEN;
    for _ in 0..MAX_TAGS {
        if ether_type != ETHER_VLAN && ether_type != ETHER_QINQ {
            break;
        }
        // Tag control information, then the next EtherType.
        ether_type = u16::from_be_bytes(frame.get::<2>(ip_at + 2).ok_or(Reason::MalformedHeader)?);
        ip_at += 4;
    }
    if ether_type == ETHER_IPV4 {
        ipv4(frame, frame_len, ip_at)
    } else if ether_type == ETHER_IPV6 {
        ipv6(frame, frame_len, ip_at)
    } else {
        Err(Reason::NotIp)
    }
}

#[inline(always)]
fn ipv4<B: PacketBuf>(frame: &B, frame_len: usize, ip_at: usize) -> Result<Frame, Reason> {
    let octets = frame.get::<IPV4_LEN>(ip_at).ok_or(Reason::MalformedHeader)?;
    let ip: Ipv4 = transmute!(octets);
    let header_len = usize::from(ip.version_ihl & 0xf) * 4;
    let total = usize::from(ip.total_length.get());
    if ip.version_ihl >> 4 != 4 || header_len < IPV4_LEN || total < header_len || ip_at + total > frame_len {
        return Err(Reason::MalformedHeader);
    }
    if ip.protocol != IpProto::Udp as u8 {
        return Err(Reason::NotUdp);
    }
    if ip.fragment.get() & FRAGMENT_BITS != 0 {
        return Err(Reason::Fragment);
    }
    let found = IpHeader {
        is_ipv6: false,
        ttl: ip.ttl,
        traffic_class: ip.traffic_class,
        ip_at,
        udp_at: ip_at + header_len,
        space: total - header_len,
        has_extras: header_len != IPV4_LEN,
    };
    udp(frame, found)
}

#[inline(always)]
fn ipv6<B: PacketBuf>(frame: &B, frame_len: usize, ip_at: usize) -> Result<Frame, Reason> {
    let octets = frame.get::<IPV6_LEN>(ip_at).ok_or(Reason::MalformedHeader)?;
    let ip: Ipv6 = transmute!(octets);
    let end = ip_at + IPV6_LEN + usize::from(ip.payload_length.get());
    if ip.version_class_flow.get() >> 28 != 6 || end > frame_len {
        return Err(Reason::MalformedHeader);
    }
    let mut next = ip.next_header;
    let mut at = ip_at + IPV6_LEN;
    for _ in 0..MAX_EXTENSIONS {
        if next == IpProto::Udp as u8 {
            break;
        }
        if next == IpProto::Ipv6Frag as u8 {
            return Err(Reason::Fragment);
        }
        if next != IpProto::HopOpt as u8 && next != IpProto::Ipv6Opts as u8 && next != IpProto::Ipv6Route as u8 {
            return Err(Reason::NotUdp);
        }
        let [following, units, _, segments_left] = frame.get::<4>(at).ok_or(Reason::MalformedHeader)?;
        // Still on its way by a routing header (RFC 8200 §4.4): the stack forwards it, or not.
        if next == IpProto::Ipv6Route as u8 && segments_left != 0 {
            return Err(Reason::NotOurAddress);
        }
        next = following;
        at += 8 + usize::from(units) * 8;
    }
    if next != IpProto::Udp as u8 {
        return Err(Reason::NotUdp);
    }
    if at > end {
        return Err(Reason::MalformedHeader);
    }
    let found = IpHeader {
        is_ipv6: true,
        ttl: ip.hop_limit,
        traffic_class: (ip.version_class_flow.get() >> 20) as u8,
        ip_at,
        udp_at: at,
        space: end - at,
        has_extras: at != ip_at + IPV6_LEN,
    };
    udp(frame, found)
}

/// The fields of an IP header that describe its datagram.
struct IpHeader {
    is_ipv6: bool,
    ttl: u8,
    traffic_class: u8,
    ip_at: usize,
    udp_at: usize,
    space: usize,
    has_extras: bool,
}

#[inline(always)]
fn udp<B: PacketBuf>(frame: &B, ip: IpHeader) -> Result<Frame, Reason> {
    let octets = frame.get::<UDP_LEN>(ip.udp_at).ok_or(Reason::MalformedHeader)?;
    let udp: Udp = transmute!(octets);
    let len = usize::from(udp.length.get());
    if len < UDP_LEN || len > ip.space { Err(Reason::MalformedHeader) } else { Ok(ip.with(udp)) }
}

impl IpHeader {
    /// The datagram with this header, whose length is at least the header's.
    #[inline(always)]
    fn with(self, udp: Udp) -> Frame {
        let len = usize::from(udp.length.get());
        Frame {
            ip_at: self.ip_at,
            udp_at: self.udp_at,
            // Of a header that was not looked at before it may be anything.
            payload_len: len.wrapping_sub(UDP_LEN),
            source_port: udp.source_port.get(),
            destination_port: udp.destination_port.get(),
            checksum: u16::from_ne_bytes(transmute!(udp.checksum)),
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            is_ipv6: self.is_ipv6,
            has_extras: self.has_extras || len != self.space,
        }
    }
}
