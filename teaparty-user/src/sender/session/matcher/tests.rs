//! Matching on scripts of packets and replies, with time as a number.

use proptest::prelude::*;

use super::*;
use crate::net::batch::StampSource;
use crate::sender::session::transit::ClockMoment;

mod bursts;
mod directions;

const SETTINGS: MatcherSettings = MatcherSettings {
    capacity: 64,
    timeout_ns: 1_000,
    first_sequence: 0,
    replies_per_packet: 1,
    is_stateful_reflector: false,
};

fn send(matcher: &mut ReplyMatcher, count: u64) {
    for _ in 0..count {
        let n = matcher.next_index();
        matcher.sent(SentPacket {
            wire_timestamp: 7_000 + n,
            realtime_ns: n,
            monotonic_ns: n,
            ..SentPacket::default()
        });
    }
}

/// The reply to packet `index` under the reflector's `number`; T3 follows the number.
fn claim(matcher: &ReplyMatcher, index: u64, number: u32) -> ReplyId {
    ReplyId {
        sender_sequence: matcher.sequence(index),
        sender_timestamp: 7_000 + index,
        reflector_sequence: number,
        t3_ns: 1_000_000 + u64::from(number),
    }
}

/// A T4 on a clock that nobody sets.
fn at(nanos: u64) -> Arrival {
    let stamp = HostTimestamp { nanos, source: StampSource::Kernel };
    Arrival { stamp, moment: ClockMoment { epoch: 0, monotonic_ns: nanos }, earlier: None }
}

/// Packet `index` leaves at `index`: its reply comes at once.
fn receive(matcher: &mut ReplyMatcher, index: u64, number: u32) -> Option<ReplyKind> {
    let claim = claim(matcher, index, number);
    matcher.received(claim, at(index)).map(|found| found.kind)
}

/// Waits until the fate of every packet is known; returns those before whose replies the reflector has restarted.
fn time_out(matcher: &mut ReplyMatcher) -> Vec<u64> {
    std::iter::from_fn(|| matcher.expire(u64::MAX)).filter(|one| one.is_restart).map(|one| one.index).collect()
}

#[test]
fn lateness_is_the_kernels_first_stamp_against_the_deadline_and_no_clock_step() {
    use crate::net::batch::StampSource::{Hardware, Kernel};
    let mut matcher = ReplyMatcher::new(SETTINGS);
    let departure = SentPacket { realtime_ns: 5_000, monotonic_ns: 100, late_ns: 30, ..SentPacket::default() };
    let index = matcher.sent(departure);
    let stamp = |nanos, source| HostTimestamp { nanos, source };
    assert_eq!(matcher.transmitted(index, stamp(5_007, Kernel)), Some(37));
    assert_eq!(matcher.transmitted(index, stamp(5_009, Hardware)), None, "told once");
    assert_eq!(matcher.departure(index).stamp, Some(stamp(5_009, Hardware)));
    assert_eq!(matcher.transmitted(index, stamp(5_007, Kernel)), None);
    assert_eq!(matcher.departure(index).stamp, Some(stamp(5_009, Hardware)), "the more exact one stays");
    for nanos in [4_000, 5_000_000_000] {
        let index = matcher.sent(departure);
        assert_eq!(matcher.transmitted(index, stamp(nanos, Kernel)), None, "the clock was set");
    }
    assert_eq!(matcher.transmitted(77, stamp(5_007, Kernel)), None);
}

#[test]
fn a_packet_that_this_host_refused_is_neither_sent_nor_lost_and_no_gap_in_anything() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 6);
    // A batch of which the third and fourth were refused.
    matcher.not_sent(2);
    matcher.not_sent(3);
    assert_eq!((matcher.counts().sent, matcher.awaited(), matcher.next_index()), (4, 4, 6));
    // The reflector counts what it gets: packet 4 is its third.
    for (index, number) in [(0, 0), (1, 1), (4, 2)] {
        assert_eq!(receive(&mut matcher, index, number), Some(ReplyKind::Reply));
    }
    assert_eq!(receive(&mut matcher, 2, 7), None, "nobody can answer it");
    send(&mut matcher, 2);
    assert_eq!(receive(&mut matcher, 7, 4), Some(ReplyKind::Reply));
    matcher.not_sent(99);
    time_out(&mut matcher);
    let counts = matcher.counts();
    // 5 did not arrive there, 6 was answered as number 3 and that got lost.
    assert_eq!((counts.sent, counts.received, counts.lost, counts.loss_bursts), (6, 4, 2, 1));
    let split = matcher.split();
    assert_eq!((split.far_end, split.near_end), (Some(1), Some(1)));
}

#[test]
fn first_replies_count_once_and_others_are_duplicates() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 2);
    assert_eq!(receive(&mut matcher, 0, 0), Some(ReplyKind::Reply));
    assert_eq!(receive(&mut matcher, 0, 0), Some(ReplyKind::Duplicate));
    assert_eq!(receive(&mut matcher, 1, 1), Some(ReplyKind::Reply));
    let counts = matcher.counts();
    assert_eq!((counts.sent, counts.received, counts.duplicates, counts.lost), (2, 2, 1, 0));
}

#[test]
fn replies_that_fit_no_packet_are_counted_and_change_nothing() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    assert!(
        matcher
            .received(ReplyId { sender_sequence: 0, sender_timestamp: 7_000, reflector_sequence: 0, t3_ns: 0 }, at(0))
            .is_none()
    );
    send(&mut matcher, 1);
    let genuine = claim(&matcher, 0, 0);
    for forged in [
        ReplyId { sender_timestamp: genuine.sender_timestamp ^ 1, ..genuine },
        ReplyId { sender_sequence: 1, ..genuine },
        ReplyId { sender_sequence: u32::MAX, ..genuine },
    ] {
        assert!(matcher.received(forged, at(0)).is_none());
    }
    let counts = matcher.counts();
    // Only the one with another T1 names a packet that there is.
    assert_eq!((counts.unmatched, counts.corrupted, counts.received), (4, 1, 0));
    assert_eq!(matcher.received(genuine, at(0)).unwrap().kind, ReplyKind::Reply);
}

#[test]
fn fate_is_decided_by_t4_minus_t1_and_not_by_when_it_is_looked_at() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 4);
    let mut receive_at = |index: u64, t4: u64| {
        let claim = claim(&matcher, index, index as u32);
        let found = matcher.received(claim, at(t4)).unwrap();
        (found.kind, found.is_loss)
    };
    // In time to the nanosecond; too late by one, though nobody has given the packet up.
    assert_eq!(receive_at(0, 1_000), (ReplyKind::Reply, false));
    assert_eq!(receive_at(1, 1_002), (ReplyKind::Late, true));
    assert_eq!(receive_at(1, 1_003), (ReplyKind::Duplicate, false));
    let counts = matcher.counts();
    assert_eq!((counts.received, counts.lost, counts.late, matcher.awaited()), (1, 1, 1, 2));
    // Packet 2 has until 1,002. That it is looked at an hour later changes nothing.
    assert_eq!(matcher.expire(1_000), None);
    let fates: Vec<Resolution> = std::iter::from_fn(|| matcher.expire(1_003)).map(|one| one.fate).collect();
    assert_eq!(fates, [Resolution::Known, Resolution::Known, Resolution::Lost]);
    let claim = claim(&matcher, 3, 3);
    assert_eq!(matcher.received(claim, at(1_003)).unwrap().kind, ReplyKind::Reply);
    time_out(&mut matcher);
    let counts = matcher.counts();
    assert_eq!((counts.received, counts.lost, counts.late, counts.duplicates, counts.loss_bursts), (2, 2, 1, 1, 1));
}

#[test]
fn the_kernels_t1_decides_and_not_ours() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 2);
    // It lay in the host's own queue for 500.
    matcher.transmitted(0, HostTimestamp { nanos: 500, source: StampSource::Kernel });
    let claim = claim(&matcher, 0, 0);
    assert_eq!(matcher.next_expiry(), Some(1_500));
    assert_eq!(matcher.received(claim, at(1_500)).unwrap().kind, ReplyKind::Reply);
}

#[test]
fn a_reply_after_its_packet_was_given_up_is_late_and_the_packet_stays_lost() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 3);
    receive(&mut matcher, 1, 1);
    assert_eq!(matcher.next_expiry(), Some(1_000));
    assert_eq!(matcher.expire(1_000), None, "a reply may have come in this very moment");
    let lost = ResolvedPacket { index: 0, fate: Resolution::Lost, is_restart: false };
    assert_eq!(matcher.expire(1_001), Some(lost));
    assert_eq!(matcher.expire(1_002), Some(ResolvedPacket { index: 1, fate: Resolution::Known, ..lost }));
    assert_eq!(matcher.expire(1_002), None);
    assert_eq!(receive(&mut matcher, 0, 0), Some(ReplyKind::Late));
    assert_eq!(receive(&mut matcher, 0, 0), Some(ReplyKind::Duplicate));
    assert_eq!(receive(&mut matcher, 2, 2), Some(ReplyKind::Reply));
    let counts = matcher.counts();
    assert_eq!((counts.received, counts.lost, counts.late, counts.duplicates), (2, 1, 1, 1));
    assert_eq!(matcher.awaited(), 0);
}

#[test]
fn what_nobody_waited_for_is_unsettled_and_not_lost() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 5);
    assert_eq!([0, 3].map(|index| receive(&mut matcher, index, index as u32)), [Some(ReplyKind::Reply); 2]);
    assert_eq!(matcher.expire(1_001).map(|one| one.fate), Some(Resolution::Known));
    assert_eq!(matcher.expire(1_002).map(|one| one.fate), Some(Resolution::Lost));
    let fates: Vec<Resolution> = std::iter::from_fn(|| matcher.close()).map(|one| one.fate).collect();
    assert_eq!(fates, [Resolution::Unsettled, Resolution::Known, Resolution::Unsettled]);
    let counts = matcher.counts();
    assert_eq!((counts.sent, counts.received, counts.lost, counts.unsettled), (5, 2, 1, 2));
    assert_eq!((counts.loss(), matcher.awaited()), (Some(1.0 / 3.0), 0));
}

#[test]
fn a_step_of_the_clock_is_neither_a_delay_nor_a_loss() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    let departure =
        SentPacket { wire_timestamp: 7_000, realtime_ns: 50_000, monotonic_ns: 100, ..SentPacket::default() };
    let came = |epoch, monotonic_ns, nanos| Arrival {
        stamp: HostTimestamp { nanos, source: StampSource::Kernel },
        moment: ClockMoment { epoch, monotonic_ns },
        earlier: None,
    };
    let mut outcome = |arrival| {
        let index = matcher.sent(departure);
        let claim = ReplyId { sender_timestamp: 7_000, ..claim(&matcher, index, index as u32) };
        let found = matcher.received(claim, arrival).unwrap();
        (found.kind, found.is_one_life)
    };
    // Set back by 40,000 after 300, ahead by 40,000 after 300, and after it had come.
    assert_eq!(outcome(came(1, 600, 10_500)), (ReplyKind::Reply, false));
    assert_eq!(outcome(came(1, 600, 90_500)), (ReplyKind::Reply, false));
    assert_eq!(outcome(came(1, 1_101, 91_001)), (ReplyKind::Late, false));
    assert_eq!(outcome(came(0, 600, 50_500)), (ReplyKind::Reply, true));
    // Which life it came in is not known: the sooner, and no delay.
    let earlier = Some(ClockMoment { epoch: 0, monotonic_ns: 300 });
    assert_eq!(outcome(Arrival { earlier, ..came(1, 5_300, 50_200) }), (ReplyKind::Reply, false));
    assert_eq!(outcome(Arrival { earlier, ..came(1, 50, 50_200) }), (ReplyKind::Reply, true), "not before it was sent");
}

#[test]
fn sequence_numbers_wrap_c013() {
    let mut matcher = ReplyMatcher::new(MatcherSettings { first_sequence: u32::MAX - 1, ..SETTINGS });
    send(&mut matcher, 4);
    assert_eq!([0, 1, 2, 3].map(|index| matcher.sequence(index)), [u32::MAX - 1, u32::MAX, 0, 1]);
    for index in 0..4 {
        assert_eq!(receive(&mut matcher, index, index as u32), Some(ReplyKind::Reply), "{index}");
    }
}

#[test]
fn reordering_is_measured_as_rfc_4737_does() {
    // RFC 4737 §4.2.1: arrivals 1 2 4 5 3 6: packet 3 is late by the two that overtook it.
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 7);
    let extents: Vec<u32> = [1, 2, 4, 5, 3, 6]
        .map(|index| matcher.received(claim(&matcher, index, index as u32), at(6)).unwrap().reordering_extent)
        .into();
    assert_eq!(extents, [0, 0, 0, 0, 2, 0]);
    assert_eq!((matcher.counts().reordered, matcher.counts().reordering_extent_max), (1, 2));
}

#[test]
fn bursts_of_loss_are_runs_of_consecutive_packets() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 10);
    for index in [0, 3, 4, 8] {
        receive(&mut matcher, index, index as u32);
    }
    time_out(&mut matcher);
    let counts = matcher.counts();
    assert_eq!((counts.lost, counts.loss_bursts, counts.loss_burst_max), (6, 3, 3));
}

#[test]
fn nothing_is_forgotten_before_its_fate_is_known() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 1_000);
    matcher.not_sent(999);
    assert_eq!((matcher.counts().lost, matcher.awaited()), (0, 999));
    for index in (0..999).rev() {
        assert_eq!(receive(&mut matcher, index, index as u32), Some(ReplyKind::Reply));
    }
    time_out(&mut matcher);
    assert_eq!((matcher.counts().received, matcher.counts().lost), (999, 0));
    assert_eq!(matcher.full_until_ns(), None);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    LostThere,
    LostBack,
    DoubledThere,
    DoubledBack,
}

proptest! {
    /// A stateful reflector on a path that loses and duplicates in both directions: the counts are those of the script.
    /// (Dropping `life.numbers += 1` turns this red.)
    #[test]
    fn counts_equal_the_script(fates in prop::collection::vec(prop_oneof![
        4 => Just(Fate::Answered), 1 => Just(Fate::LostThere), 1 => Just(Fate::LostBack), 1 => Just(Fate::DoubledThere),
        1 => Just(Fate::DoubledBack)
    ], 1..200)) {
        // The last packet is answered, so that everything before it can be attributed; so is the first, with which the
        // evidence of state begins.
        let mut fates = fates;
        fates.insert(0, Fate::Answered);
        fates.push(Fate::Answered);
        let mut matcher = ReplyMatcher::new(MatcherSettings { capacity: 256, is_stateful_reflector: true, ..SETTINGS });
        send(&mut matcher, fates.len() as u64);
        let mut number = 0;
        for (index, fate) in fates.iter().enumerate() {
            let index = index as u64;
            let replies: &[u32] = match fate {
                Fate::Answered => &[0],
                Fate::LostThere => &[],
                Fate::LostBack => { number += 1; &[] }
                Fate::DoubledThere => &[0, 1],
                Fate::DoubledBack => &[0, 0],
            };
            for step in replies {
                receive(&mut matcher, index, number + step);
            }
            number += replies.iter().max().map_or(0, |last| last + 1);
        }
        time_out(&mut matcher);
        let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count() as u64;
        let counts = matcher.counts();
        prop_assert_eq!(counts.lost, count(Fate::LostThere) + count(Fate::LostBack));
        prop_assert_eq!(counts.duplicates, count(Fate::DoubledThere) + count(Fate::DoubledBack));
        prop_assert_eq!(counts.received + counts.lost, counts.sent);
        prop_assert_eq!(counts.reflector_restarts, 0);
        let split = matcher.split();
        prop_assert_eq!((split.far_end, split.near_end), (Some(count(Fate::LostThere)), Some(count(Fate::LostBack))));
    }
}
