//! Plain frames: Ethernet, IP without options or extension headers, UDP. One access finds all of their headers.

use network_types::ip::IpProto;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{
    ETHER_IPV4, ETHER_IPV6, ETHERNET_LEN, Ethernet, FRAGMENT_BITS, Frame, IPV4_LEN, IPV6_LEN, IpHeader, Ipv4, Ipv6,
    UDP_LEN, Udp,
};
use crate::address::Address;
use crate::packet_buf::PacketBuf;
use crate::wire::UNAUTHENTICATED_LEN;
use crate::wire::checksum::{PacketSums, pseudo_header};

/// Ethernet, IPv4 without options, UDP: what nearly every IPv4 test packet begins with.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HeadersV4 {
    ethernet: Ethernet,
    ip: Ipv4,
    udp: Udp,
}

/// Ethernet, IPv6 without extension headers, UDP.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HeadersV6 {
    ethernet: Ethernet,
    ip: Ipv6,
    udp: Udp,
}

/// The result of [`parse_plain_v4`] and [`parse_plain_v6`]: the datagram, and the fields that identify its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedHeaders {
    /// The datagram.
    pub frame: Frame,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
}

impl HeadersV4 {
    /// Returns what these headers say.
    #[inline(always)]
    fn parsed(self) -> ParsedHeaders {
        let Self { ip, udp, .. } = self;
        let len = usize::from(udp.length.get());
        let found = IpHeader {
            is_ipv6: false,
            ttl: ip.ttl,
            traffic_class: ip.traffic_class,
            ip_at: ETHERNET_LEN,
            udp_at: ETHERNET_LEN + IPV4_LEN,
            space: len,
            has_extras: false,
        };
        ParsedHeaders {
            frame: found.with(udp),
            source: Address::v4(ip.source),
            destination: Address::v4(ip.destination),
        }
    }
}

impl HeadersV6 {
    /// Returns what these headers say.
    #[inline(always)]
    fn parsed(self) -> ParsedHeaders {
        let Self { ip, udp, .. } = self;
        let space = usize::from(ip.payload_length.get());
        let found = IpHeader {
            is_ipv6: true,
            ttl: ip.hop_limit,
            traffic_class: (ip.version_class_flow.get() >> 20) as u8,
            ip_at: ETHERNET_LEN,
            udp_at: ETHERNET_LEN + IPV6_LEN,
            space,
            has_extras: false,
        };
        ParsedHeaders {
            frame: found.with(udp),
            source: Address::from_words(transmute!(ip.source)),
            destination: Address::from_words(transmute!(ip.destination)),
        }
    }
}

/// [`parse_plain_v4`] once more of a frame that is one.
#[inline(always)]
pub fn reparse_plain_v4<B: PacketBuf>(frame: &B) -> Option<ParsedHeaders> {
    let head: HeadersV4 = transmute!(frame.get::<{ size_of::<HeadersV4>() }>(0)?);
    Some(head.parsed())
}

/// [`parse_plain_v6`] once more of a frame that is one.
#[inline(always)]
pub fn reparse_plain_v6<B: PacketBuf>(frame: &B) -> Option<ParsedHeaders> {
    let head: HeadersV6 = transmute!(frame.get::<{ size_of::<HeadersV6>() }>(0)?);
    Some(head.parsed())
}

/// Sums a plain IPv4 packet up to the end of a STAMP base packet of 44 octets.
#[inline(always)]
pub fn sum_plain_v4<B: PacketBuf>(frame: &B) -> Option<PacketSums> {
    const ADDRESSES: usize = ETHERNET_LEN + core::mem::offset_of!(Ipv4, source);
    const UDP: usize = ETHERNET_LEN + IPV4_LEN;
    let addresses = sum_words::<B, 2>(frame, ADDRESSES)?;
    let before = sum_words::<B, 3>(frame, ETHERNET_LEN)?;
    Some(PacketSums {
        header: before + addresses,
        pseudo: pseudo_header(addresses, udp_len(frame, UDP)?),
        datagram: sum_words::<B, { (UDP_LEN + UNAUTHENTICATED_LEN) / 4 }>(frame, UDP)?,
    })
}

/// [`sum_plain_v4`] of a plain IPv6 packet.
#[inline(always)]
pub fn sum_plain_v6<B: PacketBuf>(frame: &B) -> Option<PacketSums> {
    const ADDRESSES: usize = ETHERNET_LEN + core::mem::offset_of!(Ipv6, source);
    const UDP: usize = ETHERNET_LEN + IPV6_LEN;
    let addresses = sum_words::<B, 8>(frame, ADDRESSES)?;
    Some(PacketSums {
        header: PacketSums::NO_HEADER,
        pseudo: pseudo_header(addresses, udp_len(frame, UDP)?),
        datagram: sum_words::<B, { (UDP_LEN + UNAUTHENTICATED_LEN) / 4 }>(frame, UDP)?,
    })
}

#[inline(always)]
fn udp_len<B: PacketBuf>(frame: &B, udp_at: usize) -> Option<u16> {
    frame.get::<2>(udp_at + core::mem::offset_of!(Udp, length)).map(u16::from_be_bytes)
}

/// The unfolded sum of `N` words of four octets.
#[inline(always)]
fn sum_words<B: PacketBuf, const N: usize>(frame: &B, at: usize) -> Option<u64> {
    let mut total = 0;
    let mut i = 0;
    while i < N {
        total += u64::from(u32::from_ne_bytes(frame.get::<4>(at + 4 * i)?));
        i += 1;
    }
    Some(total)
}

/// [`super::parse_headers`] for plain IPv4 frames, by one access. `None` says nothing but that the frame is not one.
#[inline(always)]
pub fn parse_plain_v4<B: PacketBuf>(frame: &B, frame_len: usize) -> Option<ParsedHeaders> {
    let head: HeadersV4 = transmute!(frame.get::<{ size_of::<HeadersV4>() }>(0)?);
    let HeadersV4 { ethernet, ip, udp } = head;
    let total = usize::from(ip.total_length.get());
    let len = usize::from(udp.length.get());
    let is_plain = ethernet.ether_type.get() == ETHER_IPV4
        && ip.version_ihl == 0x45
        && ip.protocol == IpProto::Udp as u8
        && ip.fragment.get() & FRAGMENT_BITS == 0
        && ETHERNET_LEN + total <= frame_len
        && len >= UDP_LEN
        && IPV4_LEN + len == total;
    if !is_plain {
        return None;
    }
    Some(head.parsed())
}

/// [`super::parse_headers`] for plain IPv6 frames, by one access. `None` says nothing but that the frame is not one.
#[inline(always)]
pub fn parse_plain_v6<B: PacketBuf>(frame: &B, frame_len: usize) -> Option<ParsedHeaders> {
    let head: HeadersV6 = transmute!(frame.get::<{ size_of::<HeadersV6>() }>(0)?);
    let HeadersV6 { ethernet, ip, udp } = head;
    let space = usize::from(ip.payload_length.get());
    let len = usize::from(udp.length.get());
    let is_plain = ethernet.ether_type.get() == ETHER_IPV6
        && ip.version_class_flow.get() >> 28 == 6
        && ip.next_header == IpProto::Udp as u8
        && ETHERNET_LEN + IPV6_LEN + space <= frame_len
        && len >= UDP_LEN
        && len == space;
    if !is_plain {
        return None;
    }
    Some(head.parsed())
}

/// Returns true if a plain IPv4 frame has something else than UDP in it, for which [`super::parse_headers`] would say
/// [`crate::reason::Reason::NotUdp`]: what most frames on a network are. `false` says nothing.
#[inline(always)]
pub fn is_plain_non_udp_v4<B: PacketBuf>(frame: &B, frame_len: usize) -> bool {
    let Some(octets) = frame.get::<{ size_of::<HeadersV4>() }>(0) else { return false };
    let HeadersV4 { ethernet, ip, .. } = transmute!(octets);
    let total = usize::from(ip.total_length.get());
    ethernet.ether_type.get() == ETHER_IPV4
        && ip.version_ihl == 0x45
        && ip.protocol != IpProto::Udp as u8
        && total >= IPV4_LEN
        && ETHERNET_LEN + total <= frame_len
}

/// [`is_plain_non_udp_v4`] for IPv6 frames with no extension header.
#[inline(always)]
pub fn is_plain_non_udp_v6<B: PacketBuf>(frame: &B, frame_len: usize) -> bool {
    let Some(octets) = frame.get::<{ size_of::<HeadersV6>() }>(0) else { return false };
    let HeadersV6 { ethernet, ip, .. } = transmute!(octets);
    let is = |protocol: IpProto| ip.next_header == protocol as u8;
    ethernet.ether_type.get() == ETHER_IPV6
        && ip.version_class_flow.get() >> 28 == 6
        && (is(IpProto::Tcp) || is(IpProto::Ipv6Icmp))
        && ETHERNET_LEN + IPV6_LEN + usize::from(ip.payload_length.get()) <= frame_len
}

/// Returns true if a frame says that IPv6 is in it, right after the Ethernet header.
#[inline(always)]
pub fn is_ipv6<B: PacketBuf>(frame: &B) -> bool {
    frame.get::<2>(core::mem::offset_of!(Ethernet, ether_type)).is_some_and(|octets| octets == ETHER_IPV6.to_be_bytes())
}
