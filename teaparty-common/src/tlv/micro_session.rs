//! The Micro-session ID TLV (RFC 9534 §3.1).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Micro-session ID body, 4 octets (RFC 9534 §3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct MicroSessionId {
    /// The sender's member link.
    pub sender_id: U16,
    /// The reflector's member link, 0 while the sender does not know it.
    pub reflector_id: U16,
}
