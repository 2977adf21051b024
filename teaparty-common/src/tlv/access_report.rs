//! The Access Report TLV (RFC 8972 §4.6).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Access Report body, 4 octets (RFC 8972 §4.6).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct AccessReport {
    /// Access ID in the upper four bits: 1 3GPP, 2 Non-3GPP. The lower four are reserved.
    pub access_id: u8,
    /// Return Code: 1 network available, 2 unavailable; not policed.
    pub return_code: u8,
    /// Zero, ignored when received.
    pub reserved: U16,
}

impl AccessReport {
    /// The Access ID, 0 to 15.
    #[inline(always)]
    pub const fn id(self) -> u8 {
        self.access_id >> 4
    }

    /// Returns true if the Access ID is one that the text defines; other reports are to be discarded.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        matches!(self.id(), 1 | 2)
    }
}
