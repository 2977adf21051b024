//! What the environment measured about one packet and hands to the core, which reads nothing else of the outside.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;

/// The facts about one received packet. Plain octets, because the kernel sends them along with a punted frame.
///
/// Numbers are in host order; timestamps are the 64 bits of the reflector's format.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct PacketMeta {
    /// Arrival of the packet, in nanoseconds of CLOCK_MONOTONIC: for intervals. T2 itself is on the wire alone.
    pub received_ns: u64,
    /// T2 as it goes on the wire.
    pub receive_timestamp: u64,
    /// T3 of the session's previous reply as it was on the wire; 0 where there is none.
    pub previous_timestamp: u64,
    /// Source address of the packet.
    pub source: Address,
    /// Destination address of the packet.
    pub destination: Address,
    /// Sequence Number for the reply, where [`PacketMeta::is_stateful`].
    pub sequence: u32,
    /// Packets received in the session, this one included. 0 where they are not counted.
    pub received: u32,
    /// Replies sent in the session, this one not included.
    pub transmitted: u32,
    /// Sequence Number of the session's previous reply; 0 where there is none.
    pub previous_sequence: u32,
    /// Sequence Number of the session's previous request; see [`PacketMeta::HAS_PREVIOUS`].
    pub previous_sender_sequence: u32,
    /// Under which tag the session's history is kept; 0 where it is not.
    pub history_tag: u32,
    /// Interface that the packet came in by.
    pub interface: u32,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// Error Estimate of the reflector's clock, for T2 and T3, in host order.
    pub error_estimate: u16,
    /// Source MAC address, where [`PacketMeta::HAS_MAC`].
    pub source_mac: [u8; 6],
    /// Synchronization Source and Timestamping Method, in and out (RFC 8972 §4.3).
    pub timestamp_information: [u8; 4],
    /// TTL or Hop Limit as received.
    pub ttl: u8,
    /// TOS or Traffic Class as received.
    pub traffic_class: u8,
    /// Timestamping Method of the previous reply's time; 0 where there is none.
    pub previous_method: u8,
    /// The fields that are known: [`PacketMeta::STATEFUL`] and its neighbours.
    pub flags: u8,
}

impl PacketMeta {
    /// The session counts its replies itself, and `sequence` is assigned.
    pub const STATEFUL: u8 = 1;
    /// The source MAC address is known.
    pub const HAS_MAC: u8 = 2;
    /// The session has answered before.
    pub const HAS_PREVIOUS: u8 = 4;
    /// The session is one whose state the controller owns; nothing in the kernel has changed for this packet.
    pub const UNASSIGNED: u8 = 8;

    /// Returns true if the reply's Sequence Number is the reflector's own.
    #[inline(always)]
    pub const fn is_stateful(&self) -> bool {
        self.flags & Self::STATEFUL != 0
    }

    /// Returns true if the packets of the session are counted: a stateless reflector counts none.
    #[inline(always)]
    pub const fn has_counts(&self) -> bool {
        self.is_stateful() || self.received != 0
    }

    /// Returns true if the source MAC address is known.
    #[inline(always)]
    pub const fn has_source_mac(&self) -> bool {
        self.flags & Self::HAS_MAC != 0
    }
}
