//! Sessions: what tells them apart and what the kernel keeps of each.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::packet_meta::PacketMeta;
use crate::policy::Policy;
use crate::tlv::measurement::{HISTORY_DEPTH, HistorySlot, METHOD_SOFTWARE};
use crate::wire::TimestampFormat;

/// The key of a session: the SSID and the four-tuple (RFC 8972 §3), as in the packets that come *in*.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SessionKey {
    /// Address of the Session-Sender.
    pub source: Address,
    /// Our address. `::` in a provisioned session: any of our addresses.
    pub destination: Address,
    /// UDP port of the Session-Sender. 0 in a provisioned session: any.
    pub source_port: u16,
    /// Our UDP port.
    pub destination_port: u16,
    /// Session-Sender Identifier; 0 where the sender uses none.
    pub ssid: u16,
    /// Zero; [`SessionKey::ANY_SSID`] in an entry of the provisioned ones that is found whatever the SSID is.
    pub reserved: u16,
}

impl SessionKey {
    /// [`SessionKey::reserved`] of an entry that stands for a provisioned session whatever the SSID of a packet is.
    pub const ANY_SSID: u16 = 1;

    /// Returns the key of the entry that is found for these addresses and ports whatever the SSID is.
    #[inline(always)]
    #[must_use]
    pub const fn any_ssid(&self) -> Self {
        Self { ssid: 0, reserved: Self::ANY_SSID, ..*self }
    }

    /// The key in words: what is compared and hashed.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 5] {
        let ([a, b], [c, d]) = (self.source.words(), self.destination.words());
        // Put together in a register: as four stores and one load, the processor would have to wait for the stores.
        let parts = [self.source_port, self.destination_port, self.ssid, self.reserved];
        let mut last = 0;
        let mut i = 0;
        while i < parts.len() {
            let at = if cfg!(target_endian = "little") { i } else { parts.len() - 1 - i };
            last |= (parts[i] as u64) << (at * 16);
            i += 1;
        }
        [a, b, c, d, last]
    }

    /// The key from its words.
    #[inline(always)]
    pub const fn from_words(words: [u64; 5]) -> Self {
        zerocopy::transmute!(words)
    }
}

impl core::hash::Hash for SessionKey {
    /// All octets at once, of which equal keys have the same.
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

/// State of a session. The kernel alone writes it once packets flow, except for authenticated
/// sessions, whose state is the controller's and whose entry here only says so.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Session {
    /// Replies sent: modulo 2^32, the Sequence Number of the next one.
    pub replies: u64,
    /// [`super::ControlBlock::generation`] under which the session was last admitted.
    pub generation: u32,
    /// [`Session::AUTHENTICATED`] and its neighbours.
    pub flags: u32,
    /// Packets that were received and by rule not answered, less the second and further replies that others got.
    /// Packets received are the sum of both, modulo 2^64.
    pub unanswered: u64,
    /// Arrival of the last packet, in nanoseconds of CLOCK_MONOTONIC; 0 before the first one.
    pub last_received_ns: u64,
    /// T3 of the last reply whose T3 is known, as it went on the wire.
    pub previous_timestamp: u64,
    /// Sequence Number of that reply. A reply that the controller is still to send has taken a later one.
    pub previous_sequence: u32,
    /// Sequence Number of the last request.
    pub sender_sequence: u32,
    /// Under which tag its history is kept; 0 where it is not.
    pub history_tag: u32,
    /// Of an entry that is found whatever the SSID is: the SSID of the session that it stands for.
    pub ssid: u16,
    /// Nothing.
    pub reserved: u16,
    /// T1 of the last request that was answered, as it was on the wire; 0 before the first one.
    pub sender_timestamp: u64,
}

impl Session {
    /// Authenticated: every packet is the controller's.
    pub const AUTHENTICATED: u32 = 1;
    /// Exempt from the loop guard.
    pub const LOOP_EXEMPT: u32 = 2;
    /// The octets after the base packet are padding, never TLVs.
    pub const NO_TLV: u32 = 4;
    /// Timestamps are PTPv2, whatever the policy says.
    pub const PTP: u32 = 8;
    /// Timestamps are NTP, whatever the policy says.
    pub const NTP: u32 = 16;
    /// An entry of the provisioned map that stands for many sessions, and keeps no state itself.
    pub const WILDCARD: u32 = 32;
    /// Made from a provisioned session with a wildcard.
    pub const PROVISIONED: u32 = 64;
    /// The last reply's T3 is known.
    pub const HAS_PREVIOUS: u32 = 128;
    /// HMAC TLVs can be verified: the controller has a key for them.
    pub const TLV_KEY: u32 = 256;

    /// Its last packet had VLAN tags: one with others is checked again.
    pub const TAGGED: u32 = 512;

    /// Flags that a session inherits from the provisioned wildcard that it was made from.
    pub const INHERITED: u32 =
        Self::AUTHENTICATED | Self::LOOP_EXEMPT | Self::NO_TLV | Self::PTP | Self::NTP | Self::TLV_KEY;

    /// Returns true if a flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns the format of the timestamps in a session with these flags.
    #[inline(always)]
    pub const fn format(flags: u32, policy: &Policy) -> TimestampFormat {
        if flags & Self::PTP != 0 {
            TimestampFormat::Ptp
        } else if flags & Self::NTP != 0 {
            TimestampFormat::Ntp
        } else {
            policy.format()
        }
    }

    /// Adds what the session knows to the facts about a packet whose reply takes `sequence`; `received` packets have
    /// come in, this one included. The Sequence Number is also how many replies were sent before.
    #[inline(always)]
    pub const fn fill_meta(&self, meta: &mut PacketMeta, sequence: u32, received: u32) {
        meta.flags |= PacketMeta::STATEFUL;
        meta.sequence = sequence;
        meta.transmitted = sequence;
        meta.received = received;
        meta.history_tag = self.history_tag;
        if self.has(Self::HAS_PREVIOUS) {
            meta.flags |= PacketMeta::HAS_PREVIOUS;
            meta.previous_sequence = self.previous_sequence;
            meta.previous_timestamp = self.previous_timestamp;
            meta.previous_method = METHOD_SOFTWARE;
            meta.previous_sender_sequence = self.sender_sequence;
        }
    }

    /// Returns true if a request is the first one of a sender that has started again from the same port: it has Sequence
    /// Number 0, and its T1 is later than that of the session's last request by more than `restart_s` seconds (0: never).
    ///
    /// Both times are the sender's, so that what our clock or the way does, or how far the two clocks are apart, makes no
    /// restart. A number that wraps, or a first packet that comes twice, is none either, its T1 being as late as it should.
    /// T1 is the peer's word all the same: who forges it can have a session count from 0, as he can make it count on. RFC 8762
    /// says nothing of restarts. Both formats have seconds in the upper half, and so are compared as they are.
    #[inline(always)]
    pub const fn is_restart(&self, sequence: u32, timestamp: u64, restart_s: u64) -> bool {
        sequence == 0
            && restart_s != 0
            && timestamp != 0
            && self.sender_timestamp != 0
            && timestamp.wrapping_sub(self.sender_timestamp) as i64 > (restart_s << 32) as i64
    }

    /// Returns the rank that decides which sessions make room for it, and for which ones it does.
    #[inline(always)]
    pub const fn standing(&self) -> Standing {
        Standing::of(self.flags, self.received())
    }

    /// The session before its first packet, as it is configured: its numbers count from 0 again, and what it remembered
    /// is not its own any more.
    pub const fn reset(&self) -> Self {
        Self {
            replies: 0,
            generation: self.generation,
            flags: self.flags & !Self::HAS_PREVIOUS,
            unanswered: 0,
            last_received_ns: 0,
            previous_timestamp: 0,
            previous_sequence: 0,
            sender_sequence: 0,
            history_tag: 0,
            ssid: 0,
            reserved: 0,
            sender_timestamp: 0,
        }
    }

    /// The session in words: how the table of sessions holds it.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 8] {
        zerocopy::transmute!(*self)
    }

    /// Packets received in this session.
    pub const fn received(&self) -> u64 {
        self.replies.wrapping_add(self.unanswered)
    }
}

/// Rank of a session: the least known ones make room first when the table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Standing {
    /// Of nobody that was provisioned, with one packet so far: what a flood of forged sources leaves.
    OnePacket,
    /// Of nobody that was provisioned, with more packets.
    Stranger,
    /// Provisioned, or made from a provisioned wildcard, or authenticated.
    Known,
}

impl Standing {
    /// The number of ranks.
    pub const COUNT: usize = 3;

    /// The [`Session::flags`] of which one makes a session known.
    pub const KNOWN_BY: u32 = Session::PROVISIONED | Session::AUTHENTICATED;

    /// Of a session with these [`Session::flags`] and this many packets received.
    #[inline(always)]
    pub const fn of(flags: u32, received: u64) -> Self {
        if flags & Self::KNOWN_BY != 0 {
            Self::Known
        } else if received > 1 {
            Self::Stranger
        } else {
            Self::OnePacket
        }
    }

    /// Returns true if a session of this standing makes room for a new one of standing `newcomer`.
    #[inline(always)]
    pub const fn makes_room_for(self, newcomer: Self) -> bool {
        !matches!(self, Self::Known) || matches!(newcomer, Self::Known)
    }
}

/// Counts of the sessions that exist and have existed.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct SessionCounts {
    /// Sessions made so far with a history: the source of history tags.
    pub made: u64,
    /// Sessions in the table of those made by packets.
    pub present: u64,
    /// Time of the last report of a packet dropped by the loop guard, in nanoseconds of CLOCK_TAI.
    pub loop_told_ns: u64,
    /// CLOCK_MONOTONIC at which the punts of strangers have their full burst again, in nanoseconds: see
    /// [`super::Config::punt_rate`].
    pub punts_full_at_ns: u64,
}

/// A session's last exchanges: the one with Sequence Number `n` is in slot `n` modulo the depth.
///
/// Rings are handed out in turn by tag, so a ring may be taken over by a newer session; tags make that visible.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct HistoryRing {
    /// The exchanges.
    pub slots: [HistorySlot; HISTORY_DEPTH],
}

impl HistoryRing {
    /// Returns the remembered reply with this Sequence Number in the session with this tag.
    pub fn remembered(&self, tag: u32, sequence: u32) -> Option<HistorySlot> {
        let slot = self.slots[HistoryKey::slot(sequence)];
        (tag != 0 && slot.tag == tag && slot.reflector_sequence == sequence).then_some(slot)
    }
}

/// The index of a session's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryKey(pub u32);

impl HistoryKey {
    /// Index of the ring for a tag among `rings`, a power of two.
    #[inline(always)]
    pub const fn ring(tag: u32, rings: u32) -> u32 {
        tag & (rings - 1)
    }

    /// Index of the slot for a Sequence Number.
    #[inline(always)]
    pub const fn slot(sequence: u32) -> usize {
        sequence as usize % HISTORY_DEPTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_the_format_that_it_says_or_else_the_policys() {
        let ptp = Policy { flags: Policy::PTP, ..Policy::DEFAULT };
        for (flags, policy, expected) in [
            (0, Policy::DEFAULT, TimestampFormat::Ntp),
            (0, ptp, TimestampFormat::Ptp),
            (Session::PTP, Policy::DEFAULT, TimestampFormat::Ptp),
            (Session::NTP, ptp, TimestampFormat::Ntp),
        ] {
            assert_eq!(Session::format(flags, &policy), expected, "{flags}");
        }
    }

    #[test]
    fn a_sender_starts_again_with_number_0_and_a_later_time() {
        const SECOND: u64 = 1 << 32;
        let last = 0xebbd_1788_4575_e93b_u64;
        let session = Session { sender_timestamp: last, ..Session::default() };
        for (sequence, timestamp, restart_s, expected) in [
            (0, last + 30 * SECOND + 1, 30, true),
            (0, last + 30 * SECOND, 30, false),
            (0, last, 30, false),
            (1, last + 300 * SECOND, 30, false),
            (0, last + 300 * SECOND, 0, false),
            // Set back, and no time at all.
            (0, last - 300 * SECOND, 30, false),
            (0, 0, 30, false),
            (0, last + 2 * SECOND, 1, true),
            // Across the end of the era, as far as half of one.
            (0, last.wrapping_add(1 << 62), 30, true),
        ] {
            assert_eq!(session.is_restart(sequence, timestamp, restart_s), expected, "{sequence} {timestamp:x}");
        }
        assert!(!Session::default().is_restart(0, last, 30), "before the first packet there is nothing to start over");
        // PTP: the second's part is less than one, whichever of the two is the larger.
        let ptp = Session { sender_timestamp: 0x6812_9908_3b9a_c9ff, ..Session::default() };
        assert!(!ptp.is_restart(0, (0x6812_9908 + 30) << 32, 30));
        assert!(ptp.is_restart(0, (0x6812_9908 + 31) << 32, 30));
    }
}
