//! Which reply belongs to which packet, and what is lost, late, doubled, reordered or forged. No clock, no socket.
//!
//! A reply is ours if SSID (checked by the caller), Session-Sender Sequence Number and T1 are those of a packet that
//! we remember. Packets are remembered in a ring, which grows rather than forget one whose fate is not known: memory
//! depends on rate and timeout, not on the duration.
//!
//! Whether a reply came in time is decided by T4 − T1, whenever it is looked at. So a packet may be given up only after
//! everything that came before its time was over has been taken in; see [`ReplyMatcher::expire`].

use super::transit::{Arrival, SentPacket};
use crate::net::batch::HostTimestamp;

mod arrivals;
mod burst;
mod counts;
mod outcome;
mod resolve;
mod slot;
mod split;
#[cfg(test)]
mod tests;

use arrivals::Arrivals;
use burst::ExpectedBursts;
pub use counts::Counts;
pub use outcome::{MatchedReply, ReplyKind, Resolution, ResolvedPacket};
use slot::{EMPTY, Slot};
pub use split::Split;
use split::{Evidence, LossSplitter};

/// The rules for matching a session's packets.
#[derive(Clone, Copy, Debug)]
pub struct MatcherSettings {
    /// Packets that are remembered at least; rate times timeout, with a margin.
    pub capacity: usize,
    /// A packet without a reply is lost after this.
    pub timeout_ns: u64,
    /// Sequence Number of the first packet: 0, except in tests of the wrap.
    pub first_sequence: u32,
    /// Replies that each packet asks for: 1, but with Reflected Test Packet Control.
    pub replies_per_packet: u16,
    /// True if the user vouches that the reflector counts its replies itself.
    pub is_stateful_reflector: bool,
}

/// The identity that a reply claims.
#[derive(Clone, Copy, Debug)]
pub struct ReplyId {
    /// Session-Sender Sequence Number.
    pub sender_sequence: u32,
    /// Session-Sender Timestamp, as on the wire.
    pub sender_timestamp: u64,
    /// The reply's own Sequence Number.
    pub reflector_sequence: u32,
    /// T3 in nanoseconds since 1970, on the reflector's clock.
    pub t3_ns: u64,
}

/// The packets of one session and what became of them.
#[derive(Debug)]
pub struct ReplyMatcher {
    settings: MatcherSettings,
    slots: Vec<Slot>,
    /// Packets so far, sent or refused by this host.
    issued: u64,
    /// Those of them that this host refused to send.
    unsent: u32,
    /// Packets whose fate is settled; the next one to time out has this number.
    settled: u64,
    counts: Counts,
    /// Lost packets in a row, up to the last one that was settled.
    run: u64,
    highest: Option<u64>,
    arrivals: Arrivals,
    splitter: LossSplitter,
    /// As it was before the first packet whose fate is not known.
    attributed: Option<LossSplitter>,
    bursts: ExpectedBursts,
    /// Replies to packets that were doubled on the way there, until the packets are settled.
    doubled: Vec<(u64, Evidence)>,
}

/// Packets whose fate is not known that a session may have; no more are sent then. It is two seconds at 4,000,000/s.
const MOST_AWAITED: u64 = 1 << 23;

impl ReplyMatcher {
    /// A session in which nothing has happened.
    pub fn new(settings: MatcherSettings) -> Self {
        let capacity = settings.capacity.max(16).next_power_of_two();
        Self {
            slots: vec![Slot { index: EMPTY, ..Slot::default() }; capacity],
            bursts: ExpectedBursts::new(settings.replies_per_packet),
            settings,
            issued: 0,
            unsent: 0,
            settled: 0,
            counts: Counts::default(),
            run: 0,
            highest: None,
            arrivals: Arrivals::default(),
            splitter: LossSplitter::default(),
            attributed: None,
            doubled: Vec::new(),
        }
    }

    /// The counts so far. `lost` is what has timed out; the rest of `sent` is still awaited.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The number of the next packet.
    pub fn next_index(&self) -> u64 {
        self.issued
    }

    /// The Sequence Number of the packet with this number.
    pub fn sequence(&self, index: u64) -> u32 {
        self.settings.first_sequence.wrapping_add(index as u32)
    }

    /// Replies that may still come in time: first ones, and further ones of bursts that have begun. Where none was asked
    /// for, packets that may still be refused.
    pub fn awaited(&self) -> u64 {
        if !self.bursts.is_reply_asked_for() {
            return self.issued - self.settled;
        }
        let Counts { sent, received, lost, unsettled, .. } = self.counts;
        sent - received - lost - unsettled + self.bursts.awaited()
    }

    /// Before when no packet may be sent (monotonic), because the store of awaited packets is full.
    pub fn full_until_ns(&self) -> Option<u64> {
        if self.issued - self.settled < MOST_AWAITED { None } else { self.next_expiry() }
    }

    /// Notes that the next packet was sent; returns its number.
    pub fn sent(&mut self, departure: SentPacket) -> u64 {
        let index = self.issued;
        if index - self.settled >= self.slots.len() as u64 {
            self.grow();
        }
        let place = self.place(index);
        let MatcherSettings { timeout_ns, .. } = self.settings;
        self.slots[place] = Slot { index, departure, unsent: self.unsent, timeout_ns, ..Slot::default() };
        self.issued += 1;
        self.counts.sent += 1;
        index
    }

    /// Makes room for more packets than were expected: this process was stopped, or has not looked for long.
    fn grow(&mut self) {
        let capacity = self.slots.len() * 2;
        let former = std::mem::replace(&mut self.slots, vec![Slot { index: EMPTY, ..Slot::default() }; capacity]);
        for slot in former.into_iter().filter(|slot| slot.index != EMPTY) {
            let place = self.place(slot.index);
            self.slots[place] = slot;
        }
    }

    /// Takes back that one of the last packets was sent: this host refused to. It is no loss on any way.
    pub fn not_sent(&mut self, index: u64) {
        let place = self.place(index);
        if self.slots[place].index != index {
            return;
        }
        self.slots[place].index = EMPTY;
        self.counts.sent -= 1;
        self.unsent += 1;
        for later in index + 1..self.issued {
            let place = self.place(later);
            self.slots[place].unsent += 1;
        }
    }

    /// The packet with this number; a blank one if it was forgotten.
    pub fn departure(&self, index: u64) -> SentPacket {
        let slot = &self.slots[self.place(index)];
        if slot.index == index { slot.departure } else { SentPacket::default() }
    }

    /// Notes when the packet with this number left. The more exact of two stamps stays.
    ///
    /// Returns how much later it left than it was due, in nanoseconds, for its first stamp, unless the clock was set
    /// since then.
    pub fn transmitted(&mut self, index: u64, stamp: HostTimestamp) -> Option<u64> {
        let place = self.place(index);
        let slot = &mut self.slots[place];
        if slot.index != index || slot.departure.stamp.is_some_and(|known| known.source < stamp.source) {
            return None;
        }
        let is_first = slot.departure.stamp.replace(stamp).is_none();
        let in_the_kernel_ns = slot.departure.in_the_kernel_ns()?;
        is_first.then(|| slot.departure.late_ns + in_the_kernel_ns)
    }

    /// Returns true if a reply with this Session-Sender Sequence Number and Timestamp belongs to a packet that is remembered.
    pub fn knows(&self, sender_sequence: u32, sender_timestamp: u64) -> bool {
        self.find(sender_sequence).is_some_and(|place| self.slots[place].departure.wire_timestamp == sender_timestamp)
    }

    /// Finds the packet that a reply belongs to; `None`, counted as unmatched, if there is none.
    pub fn received(&mut self, id: ReplyId, arrival: Arrival) -> Option<MatchedReply> {
        let Some(place) = self.find(id.sender_sequence) else {
            self.counts.unmatched += 1;
            return None;
        };
        if self.slots[place].departure.wire_timestamp != id.sender_timestamp {
            self.counts.unmatched += 1;
            self.counts.corrupted += 1;
            return None;
        }
        let Slot { index, departure, timeout_ns, .. } = self.slots[place];
        let elapsed = arrival.after(&departure);
        let is_settled = index < self.settled;
        let is_repeated = self.is_repeated(place, id);
        let kind = self.kind(place, is_settled || elapsed.nanos > timeout_ns, is_repeated);
        let is_first = self.slots[place].replies == 1;
        let is_loss = kind == ReplyKind::Late && !is_settled && is_first && self.bursts.is_reply_asked_for();
        self.slots[place].is_late |= is_loss;
        if !is_repeated {
            let evidence = Evidence {
                number: id.reflector_sequence,
                t3_ns: id.t3_ns,
                departed_ns: departure.left_ns(),
                arrived_ns: elapsed.monotonic_ns,
            };
            match is_settled {
                false => self.note(place, evidence),
                // The packet was doubled on the way there: this number is not missing, however late it comes.
                true if kind == ReplyKind::Duplicate => self.splitter.again(self.slots[place].ordinal(), evidence),
                true => {}
            }
        }
        let reordering_extent = if kind == ReplyKind::Reply { self.order(index) } else { 0 };
        match kind {
            ReplyKind::Late => self.counts.late += 1,
            ReplyKind::Further => self.counts.further += 1,
            ReplyKind::Duplicate => self.counts.duplicates += 1,
            ReplyKind::Reply => self.counts.received += 1,
        }
        self.counts.lost += u64::from(is_loss);
        Some(MatchedReply { kind, index, departure, reordering_extent, is_loss, is_one_life: elapsed.is_one_life })
    }

    /// Counts a reply to the packet at `place`; returns true if it is a copy of an earlier one.
    fn is_repeated(&mut self, place: usize, id: ReplyId) -> bool {
        let slot = &mut self.slots[place];
        slot.replies = slot.replies.saturating_add(1);
        let last = std::mem::replace(&mut slot.reflector_sequence, id.reflector_sequence);
        match self.bursts.are_asked_for() {
            true => !self.bursts.is_new(slot.index, id),
            false => slot.replies > 1 && last == id.reflector_sequence,
        }
    }

    /// Returns the kind of the reply that was just counted, and begins or continues its packet's burst.
    fn kind(&mut self, place: usize, is_too_late: bool, is_repeated: bool) -> ReplyKind {
        let slot = &mut self.slots[place];
        let is_first = slot.replies == 1;
        if is_too_late && !is_repeated && (is_first || self.bursts.are_asked_for()) {
            ReplyKind::Late
        } else if is_first {
            slot.left = self.bursts.begin();
            ReplyKind::Reply
        } else if slot.left > 0 && !is_repeated {
            slot.left -= 1;
            self.bursts.end(1);
            ReplyKind::Further
        } else {
            ReplyKind::Duplicate
        }
    }

    /// Keeps what a new reply shows until its packet is settled.
    fn note(&mut self, place: usize, evidence: Evidence) {
        let slot = &mut self.slots[place];
        if slot.replies == 1 {
            slot.evidence = evidence;
        } else if self.bursts.are_asked_for() {
            slot.others = slot.others.saturating_add(1);
            if (evidence.number.wrapping_sub(slot.evidence.number) as i32) < 0 {
                slot.evidence.number = evidence.number;
            }
        } else {
            self.doubled.push((slot.index, evidence));
        }
    }

    /// Notes that the reflector sends one reply to this packet, whatever was asked for.
    pub fn ends_burst(&mut self, index: u64) {
        let place = self.place(index);
        let slot = &mut self.slots[place];
        if slot.index == index {
            self.bursts.end(std::mem::take(&mut slot.left));
        }
    }

    /// Further replies to this packet that are still to come.
    pub fn left(&self, index: u64) -> u16 {
        let slot = &self.slots[self.place(index)];
        if slot.index == index { slot.left } else { 0 }
    }

    /// The place of the packet that a reply names, whether its T1 is right or not.
    fn find(&self, sender_sequence: u32) -> Option<usize> {
        // The youngest packet with this Sequence Number, modulo 2^32.
        let newest = self.issued.checked_sub(1)?;
        let age = self.sequence(newest).wrapping_sub(sender_sequence);
        let index = newest.checked_sub(u64::from(age))?;
        let place = self.place(index);
        (self.slots[place].index == index).then_some(place)
    }

    fn order(&mut self, index: u64) -> u32 {
        let mut extent = 0;
        if self.highest.is_some_and(|highest| index < highest) {
            extent = self.arrivals.extent(index);
            self.counts.reordered += 1;
            self.counts.reordering_extent_max = self.counts.reordering_extent_max.max(extent);
        }
        self.highest = self.highest.max(Some(index));
        self.arrivals.push(index);
        extent
    }

    fn place(&self, index: u64) -> usize {
        (index & (self.slots.len() as u64 - 1)) as usize
    }

    /// Sets the timeout of the packets to come. Those that were sent keep theirs.
    pub fn set_timeout(&mut self, timeout_ns: u64) {
        self.settings.timeout_ns = timeout_ns;
    }

    /// Notes evidence from elsewhere that the reflector counts its replies itself.
    pub fn note_stateful(&mut self) {
        self.settings.is_stateful_reflector = true;
    }

    /// Splits losses by direction, as far as the reflector's own counting allows.
    pub fn split(&self) -> Split {
        let splitter = self.attributed.unwrap_or(self.splitter);
        let split = splitter.split(self.counts.lost, self.settings.is_stateful_reflector);
        // Numbers that are missing may be further replies to packets that were answered: then they prove nothing.
        if self.bursts.are_asked_for() && self.counts.lost > 0 && split.near_end != Some(0) {
            return Split { far_end: None, near_end: None, unattributed: self.counts.lost, ..split };
        }
        split
    }
}
