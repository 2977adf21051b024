//! The Session-Sender's test packet, unauthenticated and authenticated (RFC 8762 §4.2, SSID of RFC 8972 §3).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ErrorEstimate, HMAC_LEN, Timestamp};

/// Unauthenticated test packet, 44 octets (RFC 8762 §4.2.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct UnauthenticatedPacket {
    /// Sequence Number: 0 for a session's first packet, one more for each, modulo 2^32.
    pub sequence_number: U32,
    /// Timestamp: T1.
    pub timestamp: Timestamp,
    /// Error Estimate of the sender's clock.
    pub error_estimate: ErrorEstimate,
    /// Session-Sender Identifier; zero where the peer knows RFC 8762 only.
    pub ssid: U16,
    /// Must be zero.
    pub mbz: [u8; 28],
}

/// Authenticated test packet, 112 octets (RFC 8762 §4.2.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct AuthenticatedPacket {
    /// Sequence Number.
    pub sequence_number: U32,
    /// Must be zero.
    pub mbz_after_sequence: [u8; 12],
    /// Timestamp: T1.
    pub timestamp: Timestamp,
    /// Error Estimate of the sender's clock.
    pub error_estimate: ErrorEstimate,
    /// Session-Sender Identifier.
    pub ssid: U16,
    /// Must be zero.
    pub mbz: [u8; 68],
    /// HMAC-SHA-256 over the 96 octets before it, leftmost 16 octets.
    pub hmac: [u8; HMAC_LEN],
}

/// The fields that a reflector copies from a test packet, in either layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectedFields {
    /// Sequence Number of the request.
    pub sequence_number: U32,
    /// Timestamp of the request: T1.
    pub timestamp: Timestamp,
    /// Error Estimate of the request.
    pub error_estimate: ErrorEstimate,
    /// SSID of the request.
    pub ssid: U16,
}

impl From<UnauthenticatedPacket> for ReflectedFields {
    #[inline(always)]
    fn from(p: UnauthenticatedPacket) -> Self {
        let UnauthenticatedPacket { sequence_number, timestamp, error_estimate, ssid, .. } = p;
        Self { sequence_number, timestamp, error_estimate, ssid }
    }
}

impl From<AuthenticatedPacket> for ReflectedFields {
    #[inline(always)]
    fn from(p: AuthenticatedPacket) -> Self {
        let AuthenticatedPacket { sequence_number, timestamp, error_estimate, ssid, .. } = p;
        Self { sequence_number, timestamp, error_estimate, ssid }
    }
}
