//! Loss by direction, from the Sequence Numbers that a stateful reflector gives its replies (RFC 8762 §4.3.1).
//!
//! A stateful reflector numbers the replies that it sends. Numbers missing among those that arrived were lost on the
//! way back (near end); packets that are lost beyond those never got a reply (far end). A stateless reflector repeats
//! our number, which looks just like a stateful one that got everything: then the split is not known, and said to be so.
//!
//! Packets are taken in the order in which they were sent, once their fate is known. Overtaking on the way back then makes
//! no difference, and a number that falls is either a packet that was overtaken on the way there, or a restart. Evidence
//! that contradicts itself gives no direction at all.

use serde::Serialize;

/// Losses by direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Split {
    /// True if the reflector counts its replies itself: known to, or not known.
    pub is_stateful: bool,
    /// On the way to the reflector, or in it. `None` where that is unknown.
    pub far_end: Option<u64>,
    /// On the way back. `None` where that is unknown.
    pub near_end: Option<u64>,
    /// Lost after the last reply, around a restart, or before the first number of a session that the reflector knew:
    /// nothing tells where.
    pub unattributed: u64,
}

/// Evidence of the reflector's counting from one reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The reply's own Sequence Number.
    pub(super) number: u32,
    /// T3 in nanoseconds, on the reflector's clock.
    pub(super) t3_ns: u64,
    /// Departure of its packet (monotonic).
    pub(super) departed_ns: u64,
    /// Arrival (monotonic).
    pub(super) arrived_ns: u64,
}

/// Packets that overtake another one on the way there are searched among this many.
const WINDOW: u64 = 128;
/// Packets of the life before are searched among this many after a restart.
const SOON: u64 = 8;
/// Timestamps of coarse clocks contradict each other by so much at most.
const SLACK_NS: u64 = 1_000_000;

/// One life of the reflector, from its start to its restart. Numbers are continued beyond 32 bits.
#[derive(Clone, Copy, Debug)]
struct ReflectorEpoch {
    first_number: i64,
    last_number: i64,
    /// Bit k: whether the number `last_number - k` has been seen.
    seen: u128,
    /// The evidence that came with `last_number`.
    newest: Evidence,
    /// The first and the last packet with a reply.
    first_index: u64,
    last_index: u64,
    /// Packets with a reply.
    answered: u64,
    /// Different numbers of replies that came in time.
    numbers: u64,
    /// Lost packets up to `last_index`.
    lost: u64,
    /// Lost packets after it.
    pending: u64,
    spare: Spare,
    gap: Gap,
}

/// Lost packets that no missing number was seen for. One of them may have been overtaken on the way there, so that its number
/// is missing later.
#[derive(Clone, Copy, Debug, Default)]
struct Spare {
    packets: u64,
    /// The last of them.
    index: u64,
    /// Numbers that were explained by one.
    used: u64,
}

impl Spare {
    /// Takes in what was lost before the reply to packet `index`, and how many numbers were missing there. Returns how many
    /// of the numbers are not explained.
    fn explain(&mut self, index: u64, lost: u64, missing: u64) -> u64 {
        if index - self.index > WINDOW {
            self.packets = 0;
        }
        if lost > missing {
            self.packets += lost - missing;
            self.index = index;
            return 0;
        }
        let used = self.packets.min(missing - lost);
        self.packets -= used;
        self.used += used;
        missing - lost - used
    }
}

/// Numbers that no lost packet explains: packets overtook others on the way there, or the numbers are no count.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    since: u64,
    numbers: u64,
    /// Numbers of that kind that arrived with a later packet.
    filled: u64,
    /// Packets lost since the gap opened.
    lost: u64,
}

impl Gap {
    /// Returns true if no overtaking explains it.
    fn is_contradiction(&self) -> bool {
        self.numbers > 0 && (self.filled == 0 || self.numbers > self.lost)
    }
}

impl ReflectorEpoch {
    fn new(index: u64, evidence: Evidence, is_in_time: bool) -> Self {
        let number = i64::from(evidence.number);
        Self {
            first_number: number,
            last_number: number,
            seen: 1,
            newest: evidence,
            first_index: index,
            last_index: index,
            answered: 1,
            numbers: u64::from(is_in_time),
            lost: u64::from(!is_in_time),
            pending: 0,
            spare: Spare::default(),
            gap: Gap::default(),
        }
    }

    /// Returns the distance of a number from the last one.
    fn ahead(&self, number: u32) -> i64 {
        i64::from(number.wrapping_sub(self.last_number as u32) as i32)
    }

    /// Replies that were sent and did not arrive in time.
    fn near(&self) -> u64 {
        ((self.last_number - self.first_number + 1) as u64).saturating_sub(self.numbers)
    }

    fn is_contradiction(&self) -> bool {
        // That an overtaken packet gets lost is rare; a reflector that counts by two skips numbers all the time.
        let is_often = self.spare.used > 2 + self.answered / 16;
        is_often || self.gap.is_contradiction() || self.near() > self.lost
    }

    /// Returns true if a reply with a number below the last one is of this life: to a packet that others overtook on the way there.
    ///
    /// Its number is a new one, and it was sent before the last one: after its packet left and before the last one came,
    /// which bounds the time between the two on the reflector's clock as well.
    fn is_overtaken(&self, back: u64, evidence: Evidence) -> bool {
        let between = self.newest.arrived_ns.checked_sub(evidence.departed_ns);
        let by_reflector = (self.newest.t3_ns + SLACK_NS).checked_sub(evidence.t3_ns);
        back < WINDOW
            && self.seen >> back & 1 == 0
            && between.zip(by_reflector).is_some_and(|(ours, theirs)| theirs <= ours + 2 * SLACK_NS)
    }

    /// The packet at `index` has a reply.
    fn reach(&mut self, index: u64, is_in_time: bool) {
        let lost = std::mem::take(&mut self.pending) + u64::from(!is_in_time);
        self.lost += lost;
        self.gap.lost += lost;
        self.last_index = index;
        self.answered += 1;
    }

    /// A reply with a number `ahead` of the last one; `lost` packets before it may have had the numbers between.
    fn advance(&mut self, index: u64, ahead: u64, lost: u64, evidence: Evidence, is_in_time: bool) {
        let unexplained = self.spare.explain(index, lost, ahead - 1);
        if self.gap.numbers == 0 && unexplained > 0 {
            self.gap = Gap { since: index, ..Gap::default() };
        }
        self.gap.numbers += unexplained;
        self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
        self.last_number += ahead as i64;
        self.newest = evidence;
        self.numbers += u64::from(is_in_time);
    }

    /// A reply whose number is `back` below the last one.
    fn fill(&mut self, back: u64, is_in_time: bool) {
        self.seen |= 1 << back;
        self.numbers += u64::from(is_in_time);
        self.first_number = self.first_number.min(self.last_number - back as i64);
        if self.gap.numbers > 0 {
            self.gap.numbers -= 1;
            self.gap.filled += 1;
        }
    }
}

/// Follows the reflector's numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LossSplitter {
    life: Option<ReflectorEpoch>,
    former: Option<ReflectorEpoch>,
    /// True if a number differed from the one that a stateless reflector would have repeated.
    is_stateful: bool,
    is_contradiction: bool,
    /// Lost packets before the first reply.
    before: u64,
    /// Sums over the lives that ended.
    near: u64,
    far: u64,
}

impl LossSplitter {
    /// The next packet has no reply.
    pub(super) fn lost(&mut self) {
        match &mut self.life {
            Some(life) => life.pending += 1,
            None => self.before += 1,
        }
    }

    /// The packet at `index`, with Sequence Number `sequence`, has a reply, which may have come too late.
    ///
    /// Returns whether the reflector has restarted since the reply before.
    pub(super) fn answered(&mut self, index: u64, sequence: u32, evidence: Evidence, is_in_time: bool) -> bool {
        self.is_stateful |= evidence.number != sequence;
        let Some(life) = &mut self.life else {
            self.life = Some(ReflectorEpoch::new(index, evidence, is_in_time));
            return false;
        };
        let ahead = life.ahead(evidence.number);
        if ahead > 0 {
            let ahead = ahead as u64;
            let is_soon = index - life.first_index <= SOON && ahead > index - life.last_index;
            if is_soon && self.former.is_some_and(|former| is_straggler(&former, index, evidence.number)) {
                return false;
            }
            let lost = life.pending;
            life.reach(index, is_in_time);
            life.advance(index, ahead, lost, evidence, is_in_time);
            if life.gap.numbers > 0 && index - life.gap.since > WINDOW {
                self.is_contradiction |= life.gap.is_contradiction();
                life.gap = Gap::default();
            }
            return false;
        }
        let back = ahead.unsigned_abs();
        if life.is_overtaken(back, evidence) {
            life.reach(index, is_in_time);
            life.fill(back, is_in_time);
            return false;
        }
        self.restart(index, evidence, is_in_time);
        // A reflector whose numbers fall again and again does not count.
        !self.is_contradiction
    }

    /// The packet at `index`, which has been taken, has another reply: it was doubled on the way there.
    pub(super) fn again(&mut self, index: u64, evidence: Evidence) {
        let Some(life) = self.life.as_mut().filter(|life| index >= life.first_index) else { return };
        let ahead = life.ahead(evidence.number);
        if ahead > 0 {
            life.advance(index, ahead as u64, 0, evidence, true);
        } else if life.is_overtaken(ahead.unsigned_abs(), evidence) {
            life.fill(ahead.unsigned_abs(), true);
        }
    }

    /// The packet that was taken last asked for several replies: `count` more came, the last one with `number`.
    pub(super) fn burst(&mut self, number: u32, count: u64) {
        let Some(life) = &mut self.life else { return };
        life.numbers += count;
        let ahead = life.ahead(number);
        if ahead > 0 {
            life.last_number += ahead;
            life.seen = 1;
        }
    }

    /// The reflector has begun to count again. What was lost around that moment has no direction.
    fn restart(&mut self, index: u64, evidence: Evidence, is_in_time: bool) {
        let Some(ended) = self.life.replace(ReflectorEpoch::new(index, evidence, is_in_time)) else { return };
        let is_count = ended.answered > 1 || self.former.is_none_or(|former| former.answered > 1);
        self.is_contradiction |= ended.is_contradiction() || !is_count;
        let before = if self.former.is_none() { self.before_first(&ended) } else { 0 };
        self.near += ended.near();
        self.far += before + ended.lost.saturating_sub(ended.near());
        self.former = Some(ended);
    }

    /// Packets lost on the way there before the first reply. A reflector that has not seen the session before starts at 0
    /// (RFC 8762 §4.3.1); one that starts elsewhere knew it, and what it sent before is not known.
    fn before_first(&self, life: &ReflectorEpoch) -> u64 {
        if life.first_number == 0 { self.before } else { 0 }
    }

    /// The split of `lost` packets.
    pub(super) fn split(&self, lost: u64, is_vouched_for: bool) -> Split {
        let is_stateful = self.is_stateful || is_vouched_for;
        if lost == 0 {
            return Split { is_stateful, far_end: Some(0), near_end: Some(0), unattributed: 0 };
        }
        let is_known = is_stateful && !self.is_contradiction;
        let Some(life) = self.life.filter(|life| is_known && !life.is_contradiction()) else {
            return Split { is_stateful, far_end: None, near_end: None, unattributed: lost };
        };
        let before = if self.former.is_none() { self.before_first(&life) } else { 0 };
        let near = (self.near + life.near()).min(lost);
        let far = (self.far + before + life.lost - life.near()).min(lost - near);
        Split { is_stateful, far_end: Some(far), near_end: Some(near), unattributed: lost - near - far }
    }
}

/// Returns true if a reply is of the life before: its packet came there before the restart, and was sent after one that came later.
fn is_straggler(former: &ReflectorEpoch, index: u64, number: u32) -> bool {
    let ahead = former.ahead(number);
    ahead > 0 && ahead as u64 <= index - former.last_index
}
