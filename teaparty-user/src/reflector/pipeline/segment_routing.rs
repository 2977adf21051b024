//! The Segment Routing Header (RFC 8754 §2), and how long a reply along segments may be.

use teaparty_common::frame::{IPV6_LEN, UDP_LEN};
use teaparty_common::reflect::Address;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most segments, the reply's own destination not counted. Each is an address that we send to because somebody said so.
pub(crate) const MAX_SEGMENTS: usize = 16;

/// The fixed head of a Segment Routing Header; the segments follow, the last one first (RFC 8754 §2).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct SegmentRouting {
    /// The type of the next header.
    pub next_header: u8,
    /// Units of eight octets after the first eight.
    pub len: u8,
    /// [`ROUTING_TYPE`].
    pub routing_type: u8,
    /// Segments that are still to be passed.
    pub segments_left: u8,
    /// Index of the last entry of the list.
    pub last_entry: u8,
    /// None is defined for us.
    pub flags: u8,
    /// Group of packets; 0 for none.
    pub tag: U16,
}

/// Routing Type of the Segment Routing Header.
pub(crate) const ROUTING_TYPE: u8 = 4;

/// Octets that a reply along this many segments has beyond its payload.
pub(crate) fn overhead(segments: usize) -> usize {
    IPV6_LEN + size_of::<SegmentRouting>() + (segments + 1) * size_of::<Address>() + UDP_LEN
}
