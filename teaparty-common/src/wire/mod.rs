//! The base packets of RFC 8762 as structs whose layout is the wire's.
//!
//! Conventions: fields carry the RFC's names in snake case; multi-octet fields are big-endian types; what must be zero
//! (MBZ) is zero when sent and ignored when received. A struct is both parser and builder, so there is no second
//! length check and no literal offset.

pub mod checksum;
pub mod error_estimate;
pub mod reflector;
pub mod sender;
pub mod timestamp;
pub mod traffic_class;

pub use error_estimate::ErrorEstimate;
pub use timestamp::{NANOS_PER_SEC, TimeParts, Timestamp, TimestampFormat};
pub use traffic_class::{Dscp, Ecn, TrafficClass};

/// The UDP port that STAMP shares with TWAMP-Test: the default destination (RFC 8762 §4.1).
pub const DEFAULT_PORT: u16 = 862;

/// Octets of an unauthenticated base packet, in either direction (RFC 8762 §4.2.1, §4.3.1).
pub const UNAUTHENTICATED_LEN: usize = size_of::<sender::UnauthenticatedPacket>();

/// Octets of an authenticated base packet, in either direction (RFC 8762 §4.2.2, §4.3.2).
pub const AUTHENTICATED_LEN: usize = size_of::<sender::AuthenticatedPacket>();

/// Octets at the head of an authenticated packet that its HMAC covers (RFC 8762 §4.4).
pub const HMAC_COVERS: usize = AUTHENTICATED_LEN - HMAC_LEN;

/// Octets of an HMAC-SHA-256 truncated to 128 bits (RFC 8762 §4.4).
pub const HMAC_LEN: usize = 16;

/// The two modes of RFC 8762 §4. Which one a session uses is configuration: the wire has no bit for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Unauthenticated: 44-octet base packet.
    Unauthenticated,
    /// Authenticated: 112-octet base packet that ends with its HMAC.
    Authenticated,
}

impl Mode {
    /// Octets of the base packet, which is also where TLVs begin.
    #[inline(always)]
    pub const fn base_len(self) -> usize {
        match self {
            Self::Unauthenticated => UNAUTHENTICATED_LEN,
            Self::Authenticated => AUTHENTICATED_LEN,
        }
    }
}

const _: () = assert!(UNAUTHENTICATED_LEN == 44 && size_of::<reflector::UnauthenticatedReply>() == UNAUTHENTICATED_LEN);
const _: () = assert!(AUTHENTICATED_LEN == 112 && size_of::<reflector::AuthenticatedReply>() == AUTHENTICATED_LEN);
