//! What differs between plain IPv4 and plain IPv6 frames.

use teaparty_common::frame::{self, ETHERNET_LEN, IPV4_LEN, IPV6_LEN, ParsedHeaders, UDP_LEN};
use teaparty_common::wire::UNAUTHENTICATED_LEN;
use teaparty_common::wire::checksum::PacketSums;

use super::checked_header::CheckedHeader;

/// Octets before the payload of a plain IPv4 frame.
pub(crate) const V4_HEADERS: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;
/// Octets before the payload of a plain IPv6 frame.
pub(crate) const V6_HEADERS: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;
/// Octets of a plain IPv4 frame up to the end of the base packet.
pub(crate) const V4_FRAME: usize = V4_HEADERS + UNAUTHENTICATED_LEN;
/// Octets of a plain IPv6 frame up to the end of the base packet.
pub(crate) const V6_FRAME: usize = V6_HEADERS + UNAUTHENTICATED_LEN;

/// An address family, by its plain frames: `HEADERS` octets before the payload, `FRAME` up to the end of the base packet.
pub(crate) trait IpFamily<const FRAME: usize, const HEADERS: usize> {
    /// Returns the datagram of a frame of `frame_len` octets, if the frame is plain.
    fn parse(headers: &CheckedHeader<HEADERS>, frame_len: usize) -> Option<ParsedHeaders>;
    /// Returns true for a frame that would be plain with UDP in it.
    fn is_non_udp(headers: &CheckedHeader<HEADERS>, frame_len: usize) -> bool;
    /// Parses a plain frame a second time, which costs less than keeping the datagram on the stack.
    fn reparse(frame: &CheckedHeader<FRAME>) -> Option<ParsedHeaders>;
    /// Returns the sums of the headers and the base packet.
    fn sums(frame: &CheckedHeader<FRAME>) -> Option<PacketSums>;
}

/// IPv4 without options.
pub(crate) struct PlainV4;

impl IpFamily<V4_FRAME, V4_HEADERS> for PlainV4 {
    #[inline(always)]
    fn parse(headers: &CheckedHeader<V4_HEADERS>, frame_len: usize) -> Option<ParsedHeaders> {
        frame::parse_plain_v4(headers, frame_len)
    }

    #[inline(always)]
    fn is_non_udp(headers: &CheckedHeader<V4_HEADERS>, frame_len: usize) -> bool {
        frame::is_plain_non_udp_v4(headers, frame_len)
    }

    #[inline(always)]
    fn reparse(frame: &CheckedHeader<V4_FRAME>) -> Option<ParsedHeaders> {
        frame::reparse_plain_v4(frame)
    }

    #[inline(always)]
    fn sums(frame: &CheckedHeader<V4_FRAME>) -> Option<PacketSums> {
        frame::sum_plain_v4(frame)
    }
}

/// IPv6 without extension headers.
pub(crate) struct PlainV6;

impl IpFamily<V6_FRAME, V6_HEADERS> for PlainV6 {
    #[inline(always)]
    fn parse(headers: &CheckedHeader<V6_HEADERS>, frame_len: usize) -> Option<ParsedHeaders> {
        frame::parse_plain_v6(headers, frame_len)
    }

    #[inline(always)]
    fn is_non_udp(headers: &CheckedHeader<V6_HEADERS>, frame_len: usize) -> bool {
        frame::is_plain_non_udp_v6(headers, frame_len)
    }

    #[inline(always)]
    fn reparse(frame: &CheckedHeader<V6_FRAME>) -> Option<ParsedHeaders> {
        frame::reparse_plain_v6(frame)
    }

    #[inline(always)]
    fn sums(frame: &CheckedHeader<V6_FRAME>) -> Option<PacketSums> {
        frame::sum_plain_v6(frame)
    }
}
