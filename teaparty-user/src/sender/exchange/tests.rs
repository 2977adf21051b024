//! Matching on scripts of packets and replies, with time as a number.

use proptest::prelude::*;

use super::*;

mod bursts;

const SETTINGS: Settings = Settings {
    capacity: 64,
    timeout_ns: 1_000,
    first_sequence: 0,
    replies_per_packet: 1,
    is_stateful_reflector: false,
};

fn send(exchange: &mut Exchange, count: u64) {
    for _ in 0..count {
        let n = exchange.next_index();
        exchange.sent(Departure { wire_timestamp: 7_000 + n, realtime_ns: n, monotonic_ns: n, ..Departure::default() });
    }
}

/// The reply to packet `index` under the reflector's `number`; T3 follows the number.
fn claim(exchange: &Exchange, index: u64, number: u32) -> Claim {
    Claim {
        sender_sequence: exchange.sequence(index),
        sender_timestamp: 7_000 + index,
        reflector_sequence: number,
        t3_ns: 1_000_000 + u64::from(number),
    }
}

fn receive(exchange: &mut Exchange, index: u64, number: u32) -> Option<Kind> {
    let claim = claim(exchange, index, number);
    exchange.received(claim).map(|found| found.kind)
}

#[test]
fn lateness_is_the_kernels_first_stamp_against_the_deadline_and_no_clock_step() {
    use crate::net::batch::StampSource::{Hardware, Kernel};
    let mut exchange = Exchange::new(SETTINGS);
    let departure = Departure { realtime_ns: 5_000, monotonic_ns: 100, late_ns: 30, ..Departure::default() };
    let index = exchange.sent(departure);
    let stamp = |nanos, source| Stamp { nanos, source };
    assert_eq!(exchange.transmitted(index, stamp(5_007, Kernel)), Some(37));
    assert_eq!(exchange.transmitted(index, stamp(5_009, Hardware)), None, "told once");
    assert_eq!(exchange.departure(index).stamp, Some(stamp(5_009, Hardware)));
    assert_eq!(exchange.transmitted(index, stamp(5_007, Kernel)), None);
    assert_eq!(exchange.departure(index).stamp, Some(stamp(5_009, Hardware)), "the more exact one stays");
    for nanos in [4_000, 5_000_000_000] {
        let index = exchange.sent(departure);
        assert_eq!(exchange.transmitted(index, stamp(nanos, Kernel)), None, "the clock was set");
    }
    assert_eq!(exchange.transmitted(77, stamp(5_007, Kernel)), None);
}

#[test]
fn a_packet_that_this_host_refused_is_neither_sent_nor_lost_and_no_gap_in_anything() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 6);
    // A batch of which the third and fourth were refused.
    exchange.not_sent(2);
    exchange.not_sent(3);
    assert_eq!((exchange.counts().sent, exchange.awaited(), exchange.next_index()), (4, 4, 6));
    // The reflector counts what it gets: packet 4 is its third.
    for (index, number) in [(0, 0), (1, 1), (4, 2)] {
        assert_eq!(receive(&mut exchange, index, number), Some(Kind::Reply));
    }
    assert_eq!(receive(&mut exchange, 2, 7), None, "nobody can answer it");
    send(&mut exchange, 2);
    assert_eq!(receive(&mut exchange, 7, 4), Some(Kind::Reply));
    exchange.not_sent(99);
    while exchange.expire(10_000).is_some() {}
    exchange.close();
    let counts = exchange.counts();
    // 5 did not arrive there, 6 was answered as number 3 and that got lost.
    assert_eq!((counts.sent, counts.received, counts.lost, counts.loss_bursts), (6, 4, 2, 1));
    let split = exchange.split();
    assert_eq!((split.far_end, split.near_end), (Some(1), Some(1)));
}

#[test]
fn first_replies_count_once_and_others_are_duplicates() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 2);
    assert_eq!(receive(&mut exchange, 0, 0), Some(Kind::Reply));
    assert_eq!(receive(&mut exchange, 0, 0), Some(Kind::Duplicate));
    assert_eq!(receive(&mut exchange, 1, 1), Some(Kind::Reply));
    let counts = exchange.counts();
    assert_eq!((counts.sent, counts.received, counts.duplicates, counts.lost), (2, 2, 1, 0));
}

#[test]
fn replies_that_fit_no_packet_are_counted_and_change_nothing() {
    let mut exchange = Exchange::new(SETTINGS);
    assert!(
        exchange
            .received(Claim { sender_sequence: 0, sender_timestamp: 7_000, reflector_sequence: 0, t3_ns: 0 })
            .is_none()
    );
    send(&mut exchange, 1);
    let genuine = claim(&exchange, 0, 0);
    for forged in [
        Claim { sender_timestamp: genuine.sender_timestamp ^ 1, ..genuine },
        Claim { sender_sequence: 1, ..genuine },
        Claim { sender_sequence: u32::MAX, ..genuine },
    ] {
        assert!(exchange.received(forged).is_none());
    }
    let counts = exchange.counts();
    // Only the one with another T1 names a packet that there is.
    assert_eq!((counts.unmatched, counts.corrupted, counts.received), (4, 1, 0));
    assert_eq!(exchange.received(genuine).unwrap().kind, Kind::Reply);
}

#[test]
fn a_reply_after_the_timeout_is_late_and_its_packet_stays_lost() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 3);
    receive(&mut exchange, 1, 1);
    assert_eq!(exchange.next_expiry(), Some(1_000));
    assert_eq!(exchange.expire(999), None);
    assert_eq!(exchange.expire(1_000), Some(Some(0)));
    assert_eq!(exchange.expire(1_001), Some(None));
    assert_eq!(exchange.expire(1_001), None);
    assert_eq!(receive(&mut exchange, 0, 0), Some(Kind::Late));
    assert_eq!(receive(&mut exchange, 0, 0), Some(Kind::Duplicate));
    assert_eq!(receive(&mut exchange, 2, 2), Some(Kind::Reply));
    let counts = exchange.counts();
    assert_eq!((counts.received, counts.lost, counts.late, counts.duplicates), (2, 1, 1, 1));
    assert_eq!(exchange.awaited(), 0);
}

#[test]
fn sequence_numbers_wrap_c013() {
    let mut exchange = Exchange::new(Settings { first_sequence: u32::MAX - 1, ..SETTINGS });
    send(&mut exchange, 4);
    assert_eq!([0, 1, 2, 3].map(|index| exchange.sequence(index)), [u32::MAX - 1, u32::MAX, 0, 1]);
    for index in 0..4 {
        assert_eq!(receive(&mut exchange, index, index as u32), Some(Kind::Reply), "{index}");
    }
}

#[test]
fn reordering_is_measured_as_rfc_4737_does() {
    // RFC 4737 §4.2.1: arrivals 1 2 4 5 3 6: packet 3 is late by the two that overtook it.
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 7);
    let extents: Vec<u32> = [1, 2, 4, 5, 3, 6]
        .map(|index| exchange.received(claim(&exchange, index, index as u32)).unwrap().reordering_extent)
        .into();
    assert_eq!(extents, [0, 0, 0, 0, 2, 0]);
    assert_eq!((exchange.counts().reordered, exchange.counts().reordering_extent_max), (1, 2));
}

#[test]
fn bursts_of_loss_are_runs_of_consecutive_packets() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 10);
    for index in [0, 3, 4, 8] {
        receive(&mut exchange, index, index as u32);
    }
    exchange.close();
    let counts = exchange.counts();
    assert_eq!((counts.lost, counts.loss_bursts, counts.loss_burst_max), (6, 3, 3));
}

#[test]
fn a_full_ring_gives_up_the_oldest_packets() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 65);
    assert_eq!(exchange.counts().lost, 1);
    assert!(receive(&mut exchange, 0, 0).is_none());
    assert_eq!(receive(&mut exchange, 1, 1), Some(Kind::Reply));
}

#[test]
fn loss_is_split_by_the_numbers_of_a_stateful_reflector() {
    // Packets 1 and 2 get lost there, so 3 is numbered 1; the reply to 4, numbered 2, gets lost on the way back.
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 8);
    for (index, number) in [(0, 0), (3, 1), (5, 3), (6, 4)] {
        receive(&mut exchange, index, number);
    }
    exchange.close();
    // Packet 7 is the last one: nothing tells where it went.
    let expected = Split { is_stateful: true, far_end: Some(2), near_end: Some(1), unattributed: 1 };
    assert_eq!(exchange.split(), expected);
}

#[test]
fn without_evidence_of_state_loss_is_not_split() {
    let script = |settings| {
        let mut exchange = Exchange::new(settings);
        send(&mut exchange, 4);
        for index in [0, 1, 3] {
            receive(&mut exchange, index, index as u32);
        }
        exchange.close();
        exchange.split()
    };
    let unknown = Split { is_stateful: false, far_end: None, near_end: None, unattributed: 1 };
    assert_eq!(script(SETTINGS), unknown);
    // Who knows that the reflector is stateful also knows that the second packet got there.
    let known = Split { is_stateful: true, far_end: Some(0), near_end: Some(1), unattributed: 0 };
    assert_eq!(script(Settings { is_stateful_reflector: true, ..SETTINGS }), known);
}

#[test]
fn a_restart_of_the_reflector_is_noticed_and_does_not_spoil_the_split() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 10);
    let mut restarts = Vec::new();
    // Packet 1 lost there; restart before packet 5; the reply to 6 lost on the way back.
    for (index, number, t3_ns) in
        [(0, 0, 10), (2, 1, 12), (3, 2, 13), (4, 3, 14), (5, 0, 15), (7, 2, 17), (8, 3, 18), (9, 4, 19)]
    {
        let claim = Claim { t3_ns, ..claim(&exchange, index, number) };
        if exchange.received(claim).unwrap().is_restart {
            restarts.push(index);
        }
    }
    exchange.close();
    assert_eq!(restarts, [5]);
    let expected = Split { is_stateful: true, far_end: Some(1), near_end: Some(1), unattributed: 0 };
    assert_eq!(exchange.split(), expected);
}

#[test]
fn reordering_on_the_way_back_is_no_restart() {
    let mut exchange = Exchange::new(SETTINGS);
    send(&mut exchange, 6);
    for index in [0, 3, 1, 2, 5, 4] {
        let claim = claim(&exchange, index, index as u32);
        assert!(!exchange.received(claim).unwrap().is_restart);
    }
    assert_eq!(exchange.counts().reflector_restarts, 0);
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
    /// A stateful reflector behind a path that loses and doubles in both directions: the counts are those of the script.
    /// (Dropping `life.numbers += 1` turns this red.)
    #[test]
    fn counts_equal_the_script(fates in prop::collection::vec(prop_oneof![
        4 => Just(Fate::Answered), 1 => Just(Fate::LostThere), 1 => Just(Fate::LostBack), 1 => Just(Fate::DoubledThere),
        1 => Just(Fate::DoubledBack)
    ], 1..200)) {
        // The last packet is answered, so that everything before it can be attributed; so is the first, with which the
        // evidence of state begins.
        let mut fates = fates;
        fates.push(Fate::Answered);
        let mut exchange = Exchange::new(Settings { capacity: 256, is_stateful_reflector: true, ..SETTINGS });
        send(&mut exchange, fates.len() as u64);
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
                receive(&mut exchange, index, number + step);
            }
            number += replies.iter().max().map_or(0, |last| last + 1);
        }
        exchange.close();
        let count = |wanted: Fate| fates.iter().filter(|fate| **fate == wanted).count() as u64;
        let counts = exchange.counts();
        prop_assert_eq!(counts.lost, count(Fate::LostThere) + count(Fate::LostBack));
        prop_assert_eq!(counts.duplicates, count(Fate::DoubledThere) + count(Fate::DoubledBack));
        prop_assert_eq!(counts.received + counts.lost, counts.sent);
        prop_assert_eq!(counts.reflector_restarts, 0);
        let split = exchange.split();
        prop_assert_eq!((split.far_end, split.near_end), (Some(count(Fate::LostThere)), Some(count(Fate::LostBack))));
    }
}
