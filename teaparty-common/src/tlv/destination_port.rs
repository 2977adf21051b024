//! The Destination Port TLV, which no RFC defines.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Destination Port body, 4 octets (the namesake's).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct DestinationPort {
    /// UDP port that the reply is to go to.
    pub port: U16,
    /// Ignored.
    pub reserved: U16,
}
