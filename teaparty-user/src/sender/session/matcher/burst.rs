//! Bursts: several replies to each packet, because it asked for them (Reflected Test Packet Control, RFC 10052).
//!
//! A further reply of a burst is no duplicate. A stateful reflector gives each a number of its own, a stateless one
//! repeats our number in all of them; T3 differs in either case, so number and T3 together tell a new reply from a copy.

use super::ReplyId;

/// Replies that are remembered, to know a copy when it comes.
const DEPTH: usize = 64;

/// The bursts that a session expects.
#[derive(Debug)]
pub(super) struct ExpectedBursts {
    /// Replies that each packet asks for.
    per_packet: u16,
    /// Replies that are still to come to packets that are not settled.
    awaited: u64,
    recent: [(u64, u32, u64); DEPTH],
    count: usize,
}

impl ExpectedBursts {
    pub(super) fn new(per_packet: u16) -> Self {
        Self { per_packet, awaited: 0, recent: [(u64::MAX, 0, 0); DEPTH], count: 0 }
    }

    /// Returns true if packets ask for more than one reply.
    pub(super) fn are_asked_for(&self) -> bool {
        self.per_packet > 1
    }

    /// Returns true if packets ask for a reply at all.
    pub(super) fn is_reply_asked_for(&self) -> bool {
        self.per_packet > 0
    }

    /// Further replies that are still awaited.
    pub(super) fn awaited(&self) -> u64 {
        self.awaited
    }

    /// The first reply to a packet came: how many are to follow.
    pub(super) fn begin(&mut self) -> u16 {
        let left = self.per_packet.saturating_sub(1);
        self.awaited += u64::from(left);
        left
    }

    /// So many replies are no longer awaited: they came, or will not.
    pub(super) fn end(&mut self, replies: u16) {
        self.awaited -= u64::from(replies);
    }

    /// Notes a reply to packet `index`; whether it is another one than those before it.
    pub(super) fn is_new(&mut self, index: u64, id: ReplyId) -> bool {
        let identity = (index, id.reflector_sequence, id.t3_ns);
        let is_known = self.recent.contains(&identity);
        if !is_known {
            self.recent[self.count % DEPTH] = identity;
            self.count += 1;
        }
        !is_known
    }
}
