//! The bodies that carry the reflector's own figures: Timestamp Information, Direct Measurement, Follow-Up Telemetry,
//! History (RFC 8972 §4.3, §4.5, §4.7; History is the namesake's).

use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::packet_meta::PacketMeta;
use crate::wire::Timestamp;

/// Timestamp Information body, 4 octets: all of it describes the reflector (RFC 8972 §4.3).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct TimestampInformation {
    /// Synchronization Source of the clock behind T2: 1 NTP, 2 PTP, 3 SSU/BITS, 4 GNSS, 5 free-running.
    pub sync_source_in: u8,
    /// Timestamping Method of T2: 1 hardware assist, 2 software local, 3 control plane.
    pub timestamp_in: u8,
    /// Synchronization Source of the clock behind T3.
    pub sync_source_out: u8,
    /// Timestamping Method of T3.
    pub timestamp_out: u8,
}

/// Synchronization Source: synchronised by NTP (RFC 8972 §5.4).
pub const SYNC_SOURCE_NTP: u8 = 1;
/// Synchronization Source: a local free-running clock (RFC 8972 §5.4).
pub const SYNC_SOURCE_FREE_RUNNING: u8 = 5;
/// Timestamping Method: hardware assist (RFC 8972 §5.5).
pub const METHOD_HARDWARE: u8 = 1;
/// Timestamping Method: software, local (RFC 8972 §5.5).
pub const METHOD_SOFTWARE: u8 = 2;

/// Direct Measurement body, 12 octets (RFC 8972 §4.5).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct DirectMeasurement {
    /// S_TxC: packets that the Session-Sender has sent.
    pub sender_tx_counter: U32,
    /// R_RxC: packets that the reflector has received, this one included.
    pub reflector_rx_counter: U32,
    /// R_TxC: replies that the reflector has sent, this one not included.
    pub reflector_tx_counter: U32,
}

impl DirectMeasurement {
    /// The reply's body: the reflector's counters, whatever came in their place.
    #[inline(always)]
    pub fn reflect(self, meta: &PacketMeta) -> Self {
        Self {
            sender_tx_counter: self.sender_tx_counter,
            reflector_rx_counter: U32::new(meta.received),
            reflector_tx_counter: U32::new(meta.transmitted),
        }
    }
}

/// Follow-Up Telemetry body, 16 octets (RFC 8972 §4.7).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct FollowUpTelemetry {
    /// Sequence Number of the reply before this one.
    pub sequence_number: U32,
    /// Transmit time of that reply.
    pub follow_up_timestamp: Timestamp,
    /// Timestamping Method of that time.
    pub timestamp_mode: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Octets of a [`FollowUpTelemetry`] that are zeroed where its Length is wrong (RFC 8972 §4.7, EID 8339).
pub const FOLLOW_UP_CLEARED: usize = 12;

impl FollowUpTelemetry {
    /// The reply's body: the previous reply of the session; zeros where there is none, or no state.
    #[inline(always)]
    pub fn reflect(meta: &PacketMeta) -> Self {
        Self {
            sequence_number: U32::new(meta.previous_sequence),
            follow_up_timestamp: Timestamp::from_bits(meta.previous_timestamp),
            timestamp_mode: meta.previous_method,
            reserved: [0; 3],
        }
    }
}

/// One past exchange, 32 octets: an entry of the History TLV.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct HistoryEntry {
    /// Sequence Number of the reply.
    pub reflector_sequence_number: U32,
    /// Sequence Number of the request.
    pub sender_sequence_number: U32,
    /// T2.
    pub receive_timestamp: Timestamp,
    /// T1.
    pub sender_timestamp: Timestamp,
    /// T3.
    pub timestamp: Timestamp,
}

/// Exchanges that a session remembers.
pub const HISTORY_DEPTH: usize = 32;

/// One remembered exchange; valid where the tag is the session's and the Sequence Number the one looked for.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct HistorySlot {
    /// Tag of the session that wrote it.
    pub tag: u32,
    /// Sequence Number of the reply.
    pub reflector_sequence: u32,
    /// T1 as on the wire.
    pub sender_timestamp: u64,
    /// T2 as on the wire.
    pub receive_timestamp: u64,
    /// T3 as on the wire.
    pub timestamp: u64,
    /// Sequence Number of the request.
    pub sender_sequence: u32,
    /// Nothing.
    pub reserved: u32,
}

impl From<HistorySlot> for HistoryEntry {
    fn from(slot: HistorySlot) -> Self {
        Self {
            reflector_sequence_number: slot.reflector_sequence.into(),
            sender_sequence_number: slot.sender_sequence.into(),
            receive_timestamp: Timestamp::from_bits(slot.receive_timestamp),
            sender_timestamp: Timestamp::from_bits(slot.sender_timestamp),
            timestamp: Timestamp::from_bits(slot.timestamp),
        }
    }
}
