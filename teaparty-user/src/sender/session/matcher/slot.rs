//! What is remembered of a packet.

use super::split::Evidence;
use crate::sender::session::transit::SentPacket;

/// A place in the ring of packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// Number of the packet in the session, from 0; [`EMPTY`] where there is none.
    pub(super) index: u64,
    pub(super) departure: SentPacket,
    pub(super) replies: u16,
    /// Further replies that are still to come.
    pub(super) left: u16,
    /// Different replies of its burst beside the first one.
    pub(super) others: u16,
    /// True if it was counted as lost before it was its turn: its reply came too late.
    pub(super) is_late: bool,
    /// Packets before it that this host refused to send.
    pub(super) unsent: u32,
    /// Without a reply it is lost after this.
    pub(super) timeout_ns: u64,
    /// Reflector Sequence Number of the last reply.
    pub(super) reflector_sequence: u32,
    /// Of the first reply.
    pub(super) evidence: Evidence,
}

impl Slot {
    /// The packet's number at the other end, where packets that never left do not exist.
    pub(super) fn ordinal(&self) -> u64 {
        self.index - u64::from(self.unsent)
    }
}

/// The number of no packet.
pub(super) const EMPTY: u64 = u64::MAX;
