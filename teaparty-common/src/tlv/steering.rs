//! The bodies that say where and whether a reply goes: Access Report, Destination Node Address, Return Path,
//! Micro-session ID, Destination Port (RFC 8972 §4.6, RFC 9503, RFC 9534; the last is the namesake's).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::Header;

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

    /// Whether the Access ID is one that the text defines; other reports are to be discarded.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        matches!(self.id(), 1 | 2)
    }
}

/// Micro-session ID body, 4 octets (RFC 9534 §3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct MicroSessionId {
    /// The sender's member link.
    pub sender_id: U16,
    /// The reflector's member link, 0 while the sender does not know it.
    pub reflector_id: U16,
}

/// Destination Port body, 4 octets (the namesake's).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct DestinationPort {
    /// UDP port that the reply is to go to.
    pub port: U16,
    /// Ignored.
    pub reserved: U16,
}

/// Return Path sub-TLV types (RFC 9503 §4.1, a registry of their own).
pub mod return_path {
    /// Control Code: whether to reply at all, and on which link.
    pub const CONTROL_CODE: u8 = 1;
    /// Return Address: another destination for the reply.
    pub const RETURN_ADDRESS: u8 = 2;
    /// SR-MPLS label stack.
    pub const SR_MPLS: u8 = 3;
    /// SRv6 segment list.
    pub const SRV6: u8 = 4;
}

/// A Control Code sub-TLV whole, 8 octets (RFC 9503 §4.1.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct ControlCode {
    /// Type 1, Length 4.
    pub header: Header,
    /// Only the lowest bit counts: 0 no reply, 1 reply on the link of the request.
    pub flags: U32,
}

impl ControlCode {
    /// Whether the sender wants no reply.
    #[inline(always)]
    pub const fn is_no_reply(self) -> bool {
        self.flags.get() & 1 == 0
    }
}
