//! Which reply belongs to which packet, and what is lost, late, doubled, reordered or forged. No clock, no socket.
//!
//! A reply is ours if SSID (checked by the caller), Session-Sender Sequence Number and T1 are those of a packet that
//! we remember. Packets are remembered in a ring: memory depends on rate and timeout, not on the duration.

use serde::Serialize;

use crate::net::batch::Stamp;

mod arrivals;
mod burst;
mod split;
#[cfg(test)]
mod tests;

use arrivals::Arrivals;
use burst::Bursts;
pub use split::Split;
use split::Splitter;

/// How a session's packets are to be matched.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Packets that are remembered at least; rate times timeout, with a margin.
    pub capacity: usize,
    /// A packet without a reply is lost after this.
    pub timeout_ns: u64,
    /// Sequence Number of the first packet: 0, but for tests of the wrap.
    pub first_sequence: u32,
    /// Replies that each packet asks for: 1, but with Reflected Test Packet Control.
    pub replies_per_packet: u16,
    /// Whether the user vouches that the reflector counts its replies itself.
    pub is_stateful_reflector: bool,
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Departure {
    /// T1 as it is on the wire.
    pub wire_timestamp: u64,
    /// T1 in nanoseconds since 1970, as this process read it.
    pub realtime_ns: u64,
    /// The same moment on the clock that timeouts run on.
    pub monotonic_ns: u64,
    /// How much later that was than it was due, in nanoseconds.
    pub late_ns: u64,
    /// T1 as the network card or the kernel took it, once they have told.
    pub stamp: Option<Stamp>,
    /// Which life of the clock it was; see the engine.
    pub epoch: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Number of the packet in the session, from 0; [`EMPTY`] where there is none.
    index: u64,
    departure: Departure,
    replies: u16,
    /// Further replies that are still to come.
    left: u16,
    /// Packets before it that this host refused to send.
    unsent: u32,
    /// Reflector Sequence Number of the last reply.
    reflector_sequence: u32,
}

const EMPTY: u64 = u64::MAX;
/// No packet lies in this host's queues so long: the clock was set meanwhile.
const MOST_IN_THE_KERNEL_NS: u64 = 1_000_000_000;

/// What a reply says about where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Session-Sender Sequence Number.
    pub sender_sequence: u32,
    /// Session-Sender Timestamp, as on the wire.
    pub sender_timestamp: u64,
    /// The reply's own Sequence Number.
    pub reflector_sequence: u32,
    /// T3 in nanoseconds since 1970, on the reflector's clock.
    pub t3_ns: u64,
}

/// What a reply turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The first reply to its packet, in time.
    Reply,
    /// A further reply that the packet asked for (Reflected Test Packet Control).
    Further,
    /// A reply to a packet that has one already.
    Duplicate,
    /// A reply to a packet that was given up. The packet stays lost.
    Late,
}

/// A reply that belongs to a packet of ours.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    /// What it is.
    pub kind: Kind,
    /// Number of the packet, from 0.
    pub index: u64,
    /// The packet.
    pub departure: Departure,
    /// Replies to later packets came before it: how many, since the first of them (RFC 4737 §4.2.1); 0 if in order.
    pub reordering_extent: u32,
    /// Whether the reflector has started anew since the last reply.
    pub is_restart: bool,
}

/// Counts of a session. All are of packets that this host sent, but `duplicates`, `further`, `further_lost`, `late`, `unmatched` and
/// `corrupted`, which are of replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets sent.
    pub sent: u64,
    /// Packets answered in time.
    pub received: u64,
    /// Packets given up, or answered after that.
    pub lost: u64,
    /// Replies to packets that had one already.
    pub duplicates: u64,
    /// First replies that came after one to a later packet.
    pub reordered: u64,
    /// Largest reordering extent (RFC 4737 §4.2.1), in packets.
    pub reordering_extent_max: u32,
    /// Replies to packets that had been given up.
    pub late: u64,
    /// Further replies that packets asked for.
    pub further: u64,
    /// Further replies that were promised and did not come.
    pub further_lost: u64,
    /// Replies that fit no packet: forged, corrupted, replayed, or to packets long forgotten.
    pub unmatched: u64,
    /// Those among them that name a packet which we remember, with a T1 that it did not have: corrupted or forged.
    pub corrupted: u64,
    /// Times that the reflector started anew.
    pub reflector_restarts: u64,
    /// Runs of consecutive lost packets.
    pub loss_bursts: u64,
    /// Longest of them.
    pub loss_burst_max: u64,
}

/// The packets of one session and what became of them.
#[derive(Debug)]
pub struct Exchange {
    settings: Settings,
    slots: Vec<Slot>,
    /// Packets so far, sent or refused by this host.
    issued: u64,
    /// Those of them that this host refused to send.
    unsent: u32,
    /// Packets whose fate is settled; the next one to time out has this number.
    settled: u64,
    counts: Counts,
    burst: u64,
    highest: Option<u64>,
    arrivals: Arrivals,
    splitter: Splitter,
    bursts: Bursts,
}

impl Exchange {
    /// A session in which nothing has happened.
    pub fn new(settings: Settings) -> Self {
        let capacity = settings.capacity.max(16).next_power_of_two();
        Self {
            slots: vec![Slot { index: EMPTY, ..Slot::default() }; capacity],
            bursts: Bursts::new(settings.replies_per_packet),
            settings,
            issued: 0,
            unsent: 0,
            settled: 0,
            counts: Counts::default(),
            burst: 0,
            highest: None,
            arrivals: Arrivals::default(),
            splitter: Splitter::default(),
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
        self.counts.sent - self.counts.received - self.counts.lost + self.bursts.awaited()
    }

    /// Notes that the next packet was sent; returns its number.
    ///
    /// A packet whose place in the ring it takes is given up early, which a large enough capacity rules out.
    pub fn sent(&mut self, departure: Departure) -> u64 {
        let index = self.issued;
        while index - self.settled >= self.slots.len() as u64 {
            self.settle();
        }
        let place = self.place(index);
        self.slots[place] = Slot { index, departure, unsent: self.unsent, ..Slot::default() };
        self.issued += 1;
        self.counts.sent += 1;
        index
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
    pub fn departure(&self, index: u64) -> Departure {
        let slot = &self.slots[self.place(index)];
        if slot.index == index { slot.departure } else { Departure::default() }
    }

    /// Notes when the packet with this number left. The more exact of two stamps stays.
    ///
    /// Returns how much later it left than it was due, in nanoseconds, for its first stamp, unless the clock was set
    /// meanwhile.
    pub fn transmitted(&mut self, index: u64, stamp: Stamp) -> Option<u64> {
        let place = self.place(index);
        let slot = &mut self.slots[place];
        if slot.index != index || slot.departure.stamp.is_some_and(|known| known.source < stamp.source) {
            return None;
        }
        let is_first = slot.departure.stamp.replace(stamp).is_none();
        let Departure { late_ns, realtime_ns, .. } = slot.departure;
        let in_the_kernel = stamp.nanos.checked_sub(realtime_ns).filter(|nanos| *nanos < MOST_IN_THE_KERNEL_NS)?;
        is_first.then(|| late_ns + in_the_kernel)
    }

    /// Finds the packet that a reply belongs to; `None`, counted as unmatched, if there is none.
    pub fn received(&mut self, claim: Claim) -> Option<Match> {
        let Some(place) = self.find(claim) else {
            self.counts.unmatched += 1;
            return None;
        };
        if self.slots[place].departure.wire_timestamp != claim.sender_timestamp {
            self.counts.unmatched += 1;
            self.counts.corrupted += 1;
            return None;
        }
        let slot = &mut self.slots[place];
        let (index, departure) = (slot.index, slot.departure);
        // To those at the other end, packets that never left do not exist.
        let ordinal = index - u64::from(slot.unsent);
        slot.replies = slot.replies.saturating_add(1);
        let replies = slot.replies;
        let is_repeated = match self.bursts.are_asked_for() {
            true => !self.bursts.is_new(index, claim),
            false => replies > 1 && slot.reflector_sequence == claim.reflector_sequence,
        };
        slot.reflector_sequence = claim.reflector_sequence;
        let is_settled = index < self.settled;
        let kind = if is_settled && !is_repeated && (replies == 1 || self.bursts.are_asked_for()) {
            Kind::Late
        } else if replies == 1 {
            slot.left = self.bursts.begin();
            Kind::Reply
        } else if slot.left > 0 && !is_repeated {
            slot.left -= 1;
            self.bursts.end(1);
            Kind::Further
        } else {
            Kind::Duplicate
        };
        let is_restart = kind != Kind::Late && !is_repeated && self.splitter.note(ordinal, claim, replies == 1);
        self.counts.reflector_restarts += u64::from(is_restart);
        let mut reordering_extent = 0;
        match kind {
            Kind::Late => self.counts.late += 1,
            Kind::Further => self.counts.further += 1,
            Kind::Duplicate => self.counts.duplicates += 1,
            Kind::Reply => {
                self.counts.received += 1;
                reordering_extent = self.order(index);
            }
        }
        Some(Match { kind, index, departure, reordering_extent, is_restart })
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
    fn find(&self, claim: Claim) -> Option<usize> {
        // The youngest packet with this Sequence Number, modulo 2^32.
        let newest = self.issued.checked_sub(1)?;
        let age = self.sequence(newest).wrapping_sub(claim.sender_sequence);
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

    /// When the oldest packet that is still awaited will be given up.
    pub fn next_expiry(&self) -> Option<u64> {
        (self.settled < self.issued)
            .then(|| self.slots[self.place(self.settled)].departure.monotonic_ns + self.settings.timeout_ns)
    }

    /// Gives up the next packet whose time is over; `None` when there is none. Call until then.
    ///
    /// Returns the packet's number if it was lost; `Some(None)` for one that had been answered.
    pub fn expire(&mut self, monotonic_ns: u64) -> Option<Option<u64>> {
        (self.next_expiry()? <= monotonic_ns).then(|| self.settle())
    }

    /// Gives up all that is still awaited, without waiting.
    pub fn close(&mut self) {
        while self.settled < self.issued {
            self.settle();
        }
        self.end_burst();
    }

    fn settle(&mut self) -> Option<u64> {
        let index = self.settled;
        self.settled += 1;
        let place = self.place(index);
        let slot = &mut self.slots[place];
        if slot.index != index {
            return None;
        }
        let missing = std::mem::take(&mut slot.left);
        self.bursts.end(missing);
        self.counts.further_lost += u64::from(missing);
        // Where no reply was asked for, none is missing.
        if slot.replies > 0 || !self.bursts.is_reply_asked_for() {
            self.end_burst();
            return None;
        }
        self.counts.lost += 1;
        self.burst += 1;
        Some(index)
    }

    fn end_burst(&mut self) {
        if self.burst > 0 {
            self.counts.loss_bursts += 1;
            self.counts.loss_burst_max = self.counts.loss_burst_max.max(self.burst);
            self.burst = 0;
        }
    }

    /// Notes evidence from elsewhere that the reflector counts its replies itself.
    pub fn note_stateful(&mut self) {
        self.settings.is_stateful_reflector = true;
    }

    /// Where packets were lost, as far as the reflector's own counting tells.
    pub fn split(&self) -> Split {
        let split = self.splitter.split(self.counts.lost, self.settings.is_stateful_reflector);
        // Numbers that are missing may be further replies to packets that were answered: then they prove nothing.
        if self.bursts.are_asked_for() && self.counts.lost > 0 && split.near_end != Some(0) {
            return Split { far_end: None, near_end: None, unattributed: self.counts.lost, ..split };
        }
        split
    }
}
