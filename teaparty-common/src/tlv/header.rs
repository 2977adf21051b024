//! The four octets at the head of a TLV or sub-TLV and their flags (RFC 8972 §4, C flag of RFC 10052 §3).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// STAMP TLV Flags, Type, and the Length of the Value in octets (the header not counted).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// U, M, I, C; the lower four bits are reserved: zero when sent, ignored when received.
    pub flags: Flags,
    /// Type, from the registry of TLVs or from the one of the TLV that holds this sub-TLV.
    pub code: u8,
    /// Octets of the Value; 0 is legal.
    pub length: U16,
}

/// Octets of a [`Header`].
pub const HEADER_LEN: usize = size_of::<Header>();

/// The STAMP TLV Flags octet.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag: understood, well formed, integrity verified or not asked for.
    pub const NONE: Self = Self(0);
    /// U: the TLV was not recognised. A sender sends it set.
    pub const UNRECOGNIZED: Self = Self(0x80);
    /// M: the TLV's Length does not fit its type or the packet.
    pub const MALFORMED: Self = Self(0x40);
    /// I: verification of the HMAC TLV failed.
    pub const INTEGRITY: Self = Self(0x20);
    /// C: recognised, but what it asks for can't be done as asked (RFC 10052 §3).
    pub const CONFORMANT: Self = Self(0x10);

    /// Returns true if all flags of `other` are set.
    #[inline(always)]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Header {
    /// A header as a Session-Sender sends it: U set, all other flags clear (RFC 8972 §4).
    pub const fn sent(code: u8, length: u16) -> Self {
        Self { flags: Flags::UNRECOGNIZED, code, length: U16::new(length) }
    }
}
