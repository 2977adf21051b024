//! The counts of a session.

use serde::Serialize;

/// Counts of a session. All are of packets that this host sent, but `duplicates`, `further`, `further_lost`, `late`, `unmatched` and
/// `corrupted`, which are of replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets sent.
    pub sent: u64,
    /// Packets answered in time.
    pub received: u64,
    /// Packets without a reply in time, whether one came later or none.
    pub lost: u64,
    /// Packets that nobody waited for long enough: neither answered nor lost.
    pub unsettled: u64,
    /// Replies to packets that had one already.
    pub duplicates: u64,
    /// First replies that came after one to a later packet.
    pub reordered: u64,
    /// Largest reordering extent (RFC 4737 §4.2.1), in packets.
    pub reordering_extent_max: u32,
    /// Replies that came too late, to packets that are lost.
    pub late: u64,
    /// Further replies that packets asked for.
    pub further: u64,
    /// Further replies that were promised and did not come.
    pub further_lost: u64,
    /// Replies that fit no packet: forged, corrupted, replayed, or to packets long forgotten.
    pub unmatched: u64,
    /// Those among them that name a packet which we remember, with a T1 that it did not have: corrupted or forged.
    pub corrupted: u64,
    /// Times that the reflector restarted.
    pub reflector_restarts: u64,
    /// Runs of consecutive lost packets.
    pub loss_bursts: u64,
    /// Longest of them.
    pub loss_burst_max: u64,
}

impl Counts {
    /// The part of the packets with a known fate that was lost, 0 to 1; `None` without any.
    pub fn loss(&self) -> Option<f64> {
        let settled = self.sent - self.unsettled;
        (settled > 0).then(|| self.lost as f64 / settled as f64)
    }
}
