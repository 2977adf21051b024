//! Gives up packets whose time is over, and attributes their losses. All replies of before must have been taken in.

use super::slot::Slot;
use super::{ReplyMatcher, Resolution, ResolvedPacket};

impl ReplyMatcher {
    /// Returns the time when the oldest unsettled packet expires (monotonic).
    pub fn next_expiry(&self) -> Option<u64> {
        (self.settled < self.issued).then(|| {
            let slot = &self.slots[self.place(self.settled)];
            slot.departure.left_ns().saturating_add(slot.timeout_ns)
        })
    }

    /// Settles the next packet whose time was over before `until_ns` (monotonic); `None` when there is none. Call until then.
    ///
    /// All replies that came before `until_ns` must have been taken in.
    pub fn expire(&mut self, until_ns: u64) -> Option<ResolvedPacket> {
        (self.next_expiry()? < until_ns).then(|| self.resolve(Resolution::Lost))
    }

    /// Settles the next packet without waiting for it: what is not known to be answered or lost is unsettled. `None` when
    /// there is no packet left. Call until then.
    pub fn close(&mut self) -> Option<ResolvedPacket> {
        (self.settled < self.issued).then(|| self.resolve(Resolution::Unsettled))
    }

    /// Settles the next packet, which becomes `otherwise` if nothing else is known of it.
    fn resolve(&mut self, otherwise: Resolution) -> ResolvedPacket {
        let index = self.settled;
        self.settled += 1;
        let place = self.place(index);
        let slot = &mut self.slots[place];
        let known = ResolvedPacket { index, fate: Resolution::Known, is_restart: false };
        if slot.index != index {
            return known;
        }
        let missing = std::mem::take(&mut slot.left);
        self.bursts.end(missing);
        self.counts.further_lost += u64::from(missing);
        let slot = *slot;
        // Where no reply was asked for, none is missing.
        if slot.replies > 0 || !self.bursts.is_reply_asked_for() {
            self.count_run(slot.is_late);
            let is_restart = slot.replies > 0 && self.attribute(&slot);
            self.counts.reflector_restarts += u64::from(is_restart);
            return ResolvedPacket { is_restart, ..known };
        }
        if otherwise == Resolution::Lost {
            self.counts.lost += 1;
            self.count_run(true);
            self.splitter.lost();
        } else {
            self.counts.unsettled += 1;
            // Numbers that are missing from here on may be of replies that are still to come.
            self.attributed.get_or_insert(self.splitter);
            self.splitter.lost();
        }
        ResolvedPacket { fate: otherwise, ..known }
    }

    /// Hands what the replies to a packet show to the splitter; returns whether the reflector has restarted before them.
    fn attribute(&mut self, slot: &Slot) -> bool {
        let ordinal = slot.ordinal();
        let is_restart = self.splitter.answered(ordinal, self.sequence(slot.index), slot.evidence, !slot.is_late);
        if slot.others > 0 {
            let last = slot.evidence.number.wrapping_add(u32::from(slot.others));
            self.splitter.burst(last, slot.others.into());
        }
        if !self.doubled.is_empty() {
            let splitter = &mut self.splitter;
            self.doubled.retain(|(index, evidence)| {
                if *index == slot.index {
                    splitter.again(ordinal, *evidence);
                }
                *index > slot.index
            });
        }
        is_restart
    }

    /// Counts runs of consecutive lost packets.
    fn count_run(&mut self, is_lost: bool) {
        if !is_lost {
            self.run = 0;
            return;
        }
        self.run += 1;
        self.counts.loss_bursts += u64::from(self.run == 1);
        self.counts.loss_burst_max = self.counts.loss_burst_max.max(self.run);
    }
}
