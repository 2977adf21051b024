//! Loss by direction, from the Sequence Numbers that a stateful reflector gives its replies (RFC 8762 §4.3.1).
//!
//! A stateful reflector numbers the replies that it sends. Numbers missing among those that arrived were lost on the
//! way back (near end); packets that are lost beyond those never got a reply (far end). A stateless reflector repeats
//! our number, which looks just like a stateful one that got everything: then the split is not known, and said to be so.

use serde::Serialize;

use super::Claim;

/// Where packets were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Whether the reflector counts its replies itself: known to, or not known.
    pub is_stateful: bool,
    /// On the way to the reflector, or in it. `None` where that can't be told.
    pub far_end: Option<u64>,
    /// On the way back. `None` where that can't be told.
    pub near_end: Option<u64>,
    /// Lost after the last reply that arrived: nothing tells where.
    pub unattributed: u64,
}

/// One life of the reflector, from its start to its restart.
#[derive(Clone, Copy, Debug)]
struct Life {
    first_index: u64,
    last_index: u64,
    first_number: u32,
    last_number: u32,
    last_t3_ns: u64,
    /// Packets with a reply.
    answered: u64,
    /// Replies with different numbers.
    numbers: u64,
}

impl Life {
    fn lost(&self) -> u64 {
        (self.last_index - self.first_index + 1).saturating_sub(self.answered)
    }

    /// Replies that were sent and did not arrive.
    fn near(&self) -> u64 {
        let sent = u64::from(self.last_number.wrapping_sub(self.first_number)) + 1;
        sent.saturating_sub(self.numbers).min(self.lost())
    }
}

/// Follows the reflector's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Splitter {
    life: Option<Life>,
    /// Whether a number differed from the one that a stateless reflector would have repeated.
    is_stateful: bool,
    /// Sums over the lives that ended.
    near: u64,
    far: u64,
}

impl Splitter {
    /// Notes a reply to packet `index`; `is_first` unless that had one already. Returns whether the reflector restarted.
    pub(super) fn note(&mut self, index: u64, claim: Claim, is_first: bool) -> bool {
        let Claim { reflector_sequence, sender_sequence, t3_ns, .. } = claim;
        self.is_stateful |= reflector_sequence != sender_sequence;
        let Some(life) = &mut self.life else {
            // A reflector that has not seen this session before starts at 0 (RFC 8762 §4.3.1). One that has is
            // further than we are, and what it sent before our first reply is not known.
            let is_new = u64::from(reflector_sequence) <= index;
            self.life = Some(Life {
                first_index: if is_new { 0 } else { index },
                last_index: index,
                first_number: if is_new { 0 } else { reflector_sequence },
                last_number: reflector_sequence,
                last_t3_ns: t3_ns,
                answered: 1,
                numbers: 1,
            });
            return false;
        };
        let ahead = reflector_sequence.wrapping_sub(life.last_number) as i32;
        if ahead < 0 && t3_ns > life.last_t3_ns && index > life.last_index {
            // Sent later, for a later packet, under a smaller number.
            self.near += life.near();
            self.far += life.lost() - life.near();
            self.life = Some(Life {
                first_index: life.last_index + 1,
                last_index: index,
                first_number: 0,
                last_number: reflector_sequence,
                last_t3_ns: t3_ns,
                answered: u64::from(is_first),
                numbers: 1,
            });
            return true;
        }
        life.answered += u64::from(is_first);
        life.numbers += 1;
        life.last_index = life.last_index.max(index);
        if ahead > 0 {
            life.last_number = reflector_sequence;
            life.last_t3_ns = t3_ns;
        }
        false
    }

    /// The split of `lost` packets.
    pub(super) fn split(&self, lost: u64, is_vouched_for: bool) -> Split {
        let is_stateful = self.is_stateful || is_vouched_for;
        if lost == 0 {
            return Split { is_stateful, far_end: Some(0), near_end: Some(0), unattributed: 0 };
        }
        let Some(life) = self.life.filter(|_| is_stateful) else {
            return Split { is_stateful, far_end: None, near_end: None, unattributed: lost };
        };
        let near = (self.near + life.near()).min(lost);
        let far = (self.far + life.lost() - life.near()).min(lost - near);
        Split { is_stateful, far_end: Some(far), near_end: Some(near), unattributed: lost - near - far }
    }
}
