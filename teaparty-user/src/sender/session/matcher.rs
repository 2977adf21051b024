//! Which reply belongs to which packet, and what is lost, late, doubled, reordered or forged. No clock, no socket.
//!
//! A reply is ours if SSID (checked by the caller), Session-Sender Sequence Number and T1 are those of a packet that
//! we remember. Packets are remembered in a ring, which grows rather than forget one whose fate is not known: memory
//! depends on rate and timeout, not on the duration.
//!
//! Whether a reply came in time is decided by T4 − T1, whenever it is looked at. So a packet may be given up only after
//! everything that came before its time was over has been taken in; see [`ReplyMatcher::expire`].

use serde::Serialize;

use crate::net::batch::HostTimestamp;

mod arrivals;
mod burst;
mod split;
#[cfg(test)]
mod tests;

use arrivals::Arrivals;
use burst::ExpectedBursts;
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

/// A packet that was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentPacket {
    /// T1 as it is on the wire.
    pub wire_timestamp: u64,
    /// T1 in nanoseconds since 1970, as this process read it.
    pub realtime_ns: u64,
    /// That moment on the clock of timeouts.
    pub monotonic_ns: u64,
    /// Lateness against the schedule, in nanoseconds.
    pub late_ns: u64,
    /// T1 as the network card or the kernel took it, once they have told.
    pub stamp: Option<HostTimestamp>,
    /// Epoch of the clock; see [`super::timeline`].
    pub epoch: u32,
}

impl SentPacket {
    /// T1 on the clock that timeouts run on: the kernel's or the card's where they have told.
    fn left_ns(&self) -> u64 {
        self.monotonic_ns + self.in_the_kernel_ns().unwrap_or(0)
    }

    /// Returns the time in this host's queues; `None` where it is unknown.
    fn in_the_kernel_ns(&self) -> Option<u64> {
        let nanos = self.stamp?.nanos.checked_sub(self.realtime_ns)?;
        (nanos < MOST_IN_THE_KERNEL_NS).then_some(nanos)
    }
}

/// The arrival of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// T4.
    pub stamp: HostTimestamp,
    /// Its epoch of the clock, and the same moment on the clock that timeouts run on.
    pub moment: ClockMoment,
    /// The moment if it came before the clock was set. `None` where that is impossible.
    pub earlier: Option<ClockMoment>,
}

/// A moment of one life of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMoment {
    /// The life; see [`super::timeline`].
    pub epoch: u32,
    /// Nanoseconds on the clock that timeouts run on.
    pub monotonic_ns: u64,
}

impl Arrival {
    /// Returns the time since `departure`. Where it may be of two epochs of the clock, the sooner one that is
    /// after the departure: a step of the clock must not answer a packet that has waited for an hour.
    fn after(&self, departure: &SentPacket) -> Elapsed {
        let t1_ns = departure.stamp.map_or(departure.realtime_ns, |stamp| stamp.nanos);
        let left_ns = departure.left_ns();
        let of = |moment: ClockMoment| {
            let elapsed = match moment.epoch == departure.epoch {
                true => self.stamp.nanos.wrapping_sub(t1_ns),
                false => moment.monotonic_ns.wrapping_sub(left_ns),
            };
            (elapsed as i64, moment)
        };
        let now = of(self.moment);
        let earlier = self.earlier.map(of).filter(|(elapsed, _)| *elapsed >= 0);
        let is_sure = earlier.is_none() || now.0 < 0;
        let (elapsed, moment) = match earlier {
            Some(earlier) if now.0 < 0 || earlier.0 < now.0 => earlier,
            _ => now,
        };
        Elapsed {
            nanos: elapsed.max(0) as u64,
            monotonic_ns: moment.monotonic_ns,
            is_one_life: is_sure && moment.epoch == departure.epoch,
        }
    }
}

/// T4 − T1.
struct Elapsed {
    nanos: u64,
    /// T4.
    monotonic_ns: u64,
    /// True if the clock is known not to have been set between.
    is_one_life: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Number of the packet in the session, from 0; [`EMPTY`] where there is none.
    index: u64,
    departure: SentPacket,
    replies: u16,
    /// Further replies that are still to come.
    left: u16,
    /// Different replies of its burst beside the first one.
    others: u16,
    /// True if it was counted as lost before it was its turn: its reply came too late.
    is_late: bool,
    /// Packets before it that this host refused to send.
    unsent: u32,
    /// Without a reply it is lost after this.
    timeout_ns: u64,
    /// Reflector Sequence Number of the last reply.
    reflector_sequence: u32,
    /// Of the first reply.
    evidence: Evidence,
}

impl Slot {
    /// The packet's number at the other end, where packets that never left do not exist.
    fn ordinal(&self) -> u64 {
        self.index - u64::from(self.unsent)
    }
}

const EMPTY: u64 = u64::MAX;
/// No packet waits this long in this host's queues: the clock was set in the meantime.
const MOST_IN_THE_KERNEL_NS: u64 = 1_000_000_000;

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

/// The kind of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyKind {
    /// The first reply to its packet, in time.
    Reply,
    /// A further reply that the packet asked for (Reflected Test Packet Control).
    Further,
    /// A reply to a packet that has one already.
    Duplicate,
    /// A reply that came too late. Its packet is lost.
    Late,
}

/// A reply that belongs to one of our packets.
#[derive(Clone, Copy, Debug)]
pub struct MatchedReply {
    /// Its kind.
    pub kind: ReplyKind,
    /// Number of the packet, from 0.
    pub index: u64,
    /// The packet.
    pub departure: SentPacket,
    /// Replies to later packets came before it: how many, since the first of them (RFC 4737 §4.2.1); 0 if in order.
    pub reordering_extent: u32,
    /// True if the packet is lost by this: its reply came too late, before it was given up.
    pub is_loss: bool,
    /// True if T4 − T1 has a meaning: the clock was not set between.
    pub is_one_life: bool,
}

/// The fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was answered, or no reply was asked for, or it was told before that it is lost, or this host refused to send it.
    Known,
    /// It is lost.
    Lost,
    /// Nobody waited for its reply long enough.
    Unsettled,
}

/// A packet whose outcome is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedPacket {
    /// Its number, from 0.
    pub index: u64,
    /// The kind of change.
    pub fate: Resolution,
    /// True if the reflector has restarted between the reply before and the one to this packet.
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

impl Counts {
    /// The part of the packets with a known fate that was lost, 0 to 1; `None` without any.
    pub fn loss(&self) -> Option<f64> {
        let settled = self.sent - self.unsettled;
        (settled > 0).then(|| self.lost as f64 / settled as f64)
    }
}

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
    pub fn received(&mut self, claim: ReplyId, arrival: Arrival) -> Option<MatchedReply> {
        let Some(place) = self.find(claim.sender_sequence) else {
            self.counts.unmatched += 1;
            return None;
        };
        if self.slots[place].departure.wire_timestamp != claim.sender_timestamp {
            self.counts.unmatched += 1;
            self.counts.corrupted += 1;
            return None;
        }
        let slot = &mut self.slots[place];
        let (index, departure, timeout_ns) = (slot.index, slot.departure, slot.timeout_ns);
        let ordinal = slot.ordinal();
        let elapsed = arrival.after(&departure);
        slot.replies = slot.replies.saturating_add(1);
        let replies = slot.replies;
        let is_repeated = match self.bursts.are_asked_for() {
            true => !self.bursts.is_new(index, claim),
            false => replies > 1 && slot.reflector_sequence == claim.reflector_sequence,
        };
        slot.reflector_sequence = claim.reflector_sequence;
        let is_settled = index < self.settled;
        let is_too_late = is_settled || elapsed.nanos > timeout_ns;
        let kind = if is_too_late && !is_repeated && (replies == 1 || self.bursts.are_asked_for()) {
            ReplyKind::Late
        } else if replies == 1 {
            slot.left = self.bursts.begin();
            ReplyKind::Reply
        } else if slot.left > 0 && !is_repeated {
            slot.left -= 1;
            self.bursts.end(1);
            ReplyKind::Further
        } else {
            ReplyKind::Duplicate
        };
        let is_loss = kind == ReplyKind::Late && !is_settled && replies == 1 && self.bursts.is_reply_asked_for();
        slot.is_late |= is_loss;
        if !is_repeated {
            let evidence = Evidence {
                number: claim.reflector_sequence,
                t3_ns: claim.t3_ns,
                departed_ns: departure.left_ns(),
                arrived_ns: elapsed.monotonic_ns,
            };
            match is_settled {
                false => self.note(place, evidence),
                // The packet was doubled on the way there: this number is not missing, however late it comes.
                true if kind == ReplyKind::Duplicate => self.splitter.again(ordinal, evidence),
                true => {}
            }
        }
        let mut reordering_extent = 0;
        match kind {
            ReplyKind::Late => {
                self.counts.late += 1;
                self.counts.lost += u64::from(is_loss);
            }
            ReplyKind::Further => self.counts.further += 1,
            ReplyKind::Duplicate => self.counts.duplicates += 1,
            ReplyKind::Reply => {
                self.counts.received += 1;
                reordering_extent = self.order(index);
            }
        }
        Some(MatchedReply { kind, index, departure, reordering_extent, is_loss, is_one_life: elapsed.is_one_life })
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
