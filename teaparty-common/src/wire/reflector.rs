//! The Session-Reflector's test packet, unauthenticated and authenticated (RFC 8762 §4.3, SSID of RFC 8972 §3).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::checksum::ChecksumDelta;
use super::sender::{self, ReflectedFields};
use super::{ErrorEstimate, HMAC_LEN, Timestamp};

/// Unauthenticated reflected packet, 44 octets (RFC 8762 §4.3.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct UnauthenticatedReply {
    /// Sequence Number: the request's (stateless) or the reflector's own count (stateful).
    pub sequence_number: U32,
    /// Timestamp: T3.
    pub timestamp: Timestamp,
    /// Error Estimate of the reflector's clock, for T2 and T3.
    pub error_estimate: ErrorEstimate,
    /// SSID copied from the request.
    pub ssid: U16,
    /// Receive Timestamp: T2.
    pub receive_timestamp: Timestamp,
    /// Sequence Number of the request.
    pub sender_sequence_number: U32,
    /// Timestamp of the request: T1, in the sender's format.
    pub sender_timestamp: Timestamp,
    /// Error Estimate of the request.
    pub sender_error_estimate: ErrorEstimate,
    /// Must be zero; not an SSID.
    pub mbz_after_error_estimate: U16,
    /// TTL or Hop Limit that the request arrived with.
    pub sender_ttl: u8,
    /// Must be zero.
    pub mbz: [u8; 3],
}

/// Authenticated reflected packet, 112 octets (RFC 8762 §4.3.2).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct AuthenticatedReply {
    /// Sequence Number: the request's (stateless) or the reflector's own count (stateful).
    pub sequence_number: U32,
    /// Must be zero.
    pub mbz_after_sequence: [u8; 12],
    /// Timestamp: T3.
    pub timestamp: Timestamp,
    /// Error Estimate of the reflector's clock, for T2 and T3.
    pub error_estimate: ErrorEstimate,
    /// SSID copied from the request.
    pub ssid: U16,
    /// Must be zero.
    pub mbz_after_ssid: [u8; 4],
    /// Receive Timestamp: T2.
    pub receive_timestamp: Timestamp,
    /// Must be zero.
    pub mbz_after_receive: [u8; 8],
    /// Sequence Number of the request.
    pub sender_sequence_number: U32,
    /// Must be zero.
    pub mbz_after_sender_sequence: [u8; 12],
    /// Timestamp of the request: T1, in the sender's format.
    pub sender_timestamp: Timestamp,
    /// Error Estimate of the request.
    pub sender_error_estimate: ErrorEstimate,
    /// Must be zero.
    pub mbz_after_error_estimate: [u8; 6],
    /// TTL or Hop Limit that the request arrived with.
    pub sender_ttl: u8,
    /// Must be zero.
    pub mbz: [u8; 15],
    /// HMAC-SHA-256 over the 96 octets before it, leftmost 16 octets.
    pub hmac: [u8; HMAC_LEN],
}

/// The reflector's own fields in a reply's base packet; the rest is copied from the request.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Sequence Number of the reply.
    pub sequence_number: U32,
    /// T3.
    pub timestamp: Timestamp,
    /// T2.
    pub receive_timestamp: Timestamp,
    /// Of the reflector's clock.
    pub error_estimate: ErrorEstimate,
    /// As received.
    pub sender_ttl: u8,
}

impl Stamp {
    /// Returns the change of a base packet's sum by a reply to `request` in unauthenticated mode. The reply repeats the
    /// request's first 14 octets at another even offset, and keeps its SSID: only the octets after them are lost.
    #[inline(always)]
    pub fn checksum_delta(&self, request: &sender::UnauthenticatedPacket) -> ChecksumDelta {
        let lost: [u32; 7] = transmute!(request.mbz);
        let sequence_number: u32 = transmute!(self.sequence_number);
        let times: [u32; 4] = transmute!([self.timestamp, self.receive_timestamp]);
        let error_estimate: u16 = transmute!(self.error_estimate);
        let ttl = u16::from_ne_bytes([self.sender_ttl, 0]);
        let (mut removed, mut added) = (0, u64::from(sequence_number) + u64::from(error_estimate) + u64::from(ttl));
        let mut i = 0;
        while i < lost.len() {
            removed += u64::from(lost[i]);
            i += 1;
        }
        i = 0;
        while i < times.len() {
            added += u64::from(times[i]);
            i += 1;
        }
        ChecksumDelta { removed, added }
    }
}

impl UnauthenticatedReply {
    /// The reply to `reflected`, all MBZ zero (RFC 8762 §4.3.1).
    #[inline(always)]
    pub fn new(stamp: Stamp, reflected: ReflectedFields) -> Self {
        Self {
            sequence_number: stamp.sequence_number,
            timestamp: stamp.timestamp,
            error_estimate: stamp.error_estimate,
            ssid: reflected.ssid,
            receive_timestamp: stamp.receive_timestamp,
            sender_sequence_number: reflected.sequence_number,
            sender_timestamp: reflected.timestamp,
            sender_error_estimate: reflected.error_estimate,
            mbz_after_error_estimate: U16::ZERO,
            sender_ttl: stamp.sender_ttl,
            mbz: [0; 3],
        }
    }
}

impl AuthenticatedReply {
    /// The reply to `reflected`, all MBZ zero and the HMAC still zero: it is computed after T3 (RFC 8762 §4.4).
    pub fn new(stamp: Stamp, reflected: ReflectedFields) -> Self {
        Self {
            sequence_number: stamp.sequence_number,
            timestamp: stamp.timestamp,
            error_estimate: stamp.error_estimate,
            ssid: reflected.ssid,
            receive_timestamp: stamp.receive_timestamp,
            sender_sequence_number: reflected.sequence_number,
            sender_timestamp: reflected.timestamp,
            sender_error_estimate: reflected.error_estimate,
            sender_ttl: stamp.sender_ttl,
            ..Self::new_zeroed_packet()
        }
    }

    fn new_zeroed_packet() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}
