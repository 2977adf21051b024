//! Where packets were lost: scripts of what the path and the reflector did, and what the numbers prove of it.

use super::*;

/// A reply: to which packet, under which number of the reflector, and when by the reflector's clock.
type Seen = (u64, u32, u64);

/// Packets that leave every 10 ns, and their replies as they come, each 4 after its packet left.
fn split_of(sent: u64, replies: &[Seen]) -> (Split, u64) {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    for n in 0..sent {
        let at = n * 10;
        matcher.sent(SentPacket { wire_timestamp: n, realtime_ns: at, monotonic_ns: at, ..SentPacket::default() });
    }
    for (index, number, t3_ns) in replies.iter().copied() {
        let claim =
            ReplyId { sender_sequence: index as u32, sender_timestamp: index, reflector_sequence: number, t3_ns };
        matcher.received(claim, at(index * 10 + 4)).unwrap();
    }
    time_out(&mut matcher);
    (matcher.split(), matcher.counts().reflector_restarts)
}

/// T3 at packet `index` of a reflector whose clock has been set by `offset_s`.
fn t3(index: u64, offset_s: i64) -> u64 {
    (1_000_000_000_000 + index * 10 + 2).wrapping_add_signed(offset_s * 1_000_000_000)
}

/// The replies to `indexes` in order, numbered from `first`.
fn run(indexes: impl IntoIterator<Item = u64>, first: u32, offset_s: i64) -> Vec<Seen> {
    indexes.into_iter().zip(first..).map(|(index, number)| (index, number, t3(index, offset_s))).collect()
}

fn known(far: u64, near: u64, unattributed: u64) -> Split {
    Split { is_stateful: true, far_end: Some(far), near_end: Some(near), unattributed }
}

fn unknown(lost: u64) -> Split {
    Split { is_stateful: true, far_end: None, near_end: None, unattributed: lost }
}

#[test]
fn a_restart_is_noticed_whatever_the_reflectors_clock_says_then() {
    for offset_s in [0, 3_600, -900] {
        // The replies to 5 and 6 get lost on the way back; the reflector reboots before 20; 30 gets lost there.
        let mut replies = run([0, 1, 2, 3, 4], 0, 0);
        replies.extend(run(7..20, 7, 0));
        replies.extend(run((20..30).chain(31..40), 0, offset_s));
        assert_eq!(split_of(40, &replies), (known(1, 2, 0), 1), "{offset_s}");
    }
}

#[test]
fn packets_around_a_restart_have_no_direction() {
    let mut replies = run(0..10, 0, 0);
    // Nobody can tell of 10 to 14 whether they arrived before, during or after the restart.
    replies.extend(run(15..20, 2, -900));
    assert_eq!(split_of(20, &replies), (known(0, 0, 5), 1));
}

#[test]
fn an_overtaken_reply_of_the_earlier_life_is_no_second_restart() {
    let mut replies = run((0..5).chain(10..20), 0, 0);
    let overtaken = replies.pop().unwrap();
    replies.extend(run(20..24, 0, 0));
    replies.push(overtaken);
    replies.extend(run(24..40, 4, 0));
    assert_eq!(split_of(40, &replies), (known(5, 0, 0), 1));
}

#[test]
fn a_session_that_the_reflector_knew_already_has_no_loss_before_its_first_reply() {
    // The first 25 may have got lost on either way; five more on the way there.
    let replies = run((25..40).chain(45..60), 20, 0);
    assert_eq!(split_of(60, &replies), (known(5, 0, 25), 0));
    // One that begins at 0 has answered nothing before.
    let replies = run((25..40).chain(45..60), 0, 0);
    assert_eq!(split_of(60, &replies), (known(30, 0, 0), 0));
    // Far beyond what was sent.
    let replies = run((3..10).chain(11..20), 4_000_000_000, 0);
    assert_eq!(split_of(20, &replies), (known(1, 0, 3), 0));
}

#[test]
fn numbers_that_are_no_count_give_no_direction() {
    let of = |number: fn(u64) -> u32| {
        let answered = (0..60).filter(|index| !(20..23).contains(index));
        let replies = answered.zip(0..).map(|(index, count)| (index, number(count), t3(index, 0)));
        split_of(60, &replies.collect::<Vec<_>>()).0
    };
    assert_eq!(of(|count| 2 * count as u32), unknown(3), "it counts by two");
    assert_eq!(of(|_| 7), unknown(3), "it does not count");
    assert_eq!(of(|count| 1_000 - count as u32), unknown(3), "it counts down");
    assert_eq!(of(|count| (count as u32).wrapping_mul(2_654_435_761)), unknown(3), "it rolls dice");
}

#[test]
fn counting_by_two_is_found_out_where_most_packets_get_lost_as_well() {
    let answered = (0..90).filter(|index| index % 3 == 0 || index % 10 == 1);
    let replies: Vec<Seen> = answered.zip(0..).map(|(index, count)| (index, 2 * count, t3(index, 0))).collect();
    assert_eq!(split_of(90, &replies).0, unknown(90 - replies.len() as u64));
}

#[test]
fn packets_that_are_overtaken_on_the_way_there_are_no_restart_and_no_contradiction() {
    // 5 comes there after 8; the reply to 7 gets lost on the way back, 12 on the way there.
    let mut replies = run(0..5, 0, 0);
    replies.extend([(6, 5, t3(6, 0)), (8, 7, t3(8, 0)), (5, 8, t3(8, 0) + 1)]);
    replies.extend(run((9..12).chain(13..20), 9, 0));
    // All of them within one round trip.
    let mut matcher = ReplyMatcher::new(SETTINGS);
    for n in 0..20 {
        matcher.sent(SentPacket { wire_timestamp: n, realtime_ns: n, monotonic_ns: n, ..SentPacket::default() });
    }
    for (index, number, t3_ns) in replies {
        let claim =
            ReplyId { sender_sequence: index as u32, sender_timestamp: index, reflector_sequence: number, t3_ns };
        matcher.received(claim, at(500 + index)).unwrap();
    }
    assert_eq!(time_out(&mut matcher), Vec::<u64>::new());
    assert_eq!(matcher.split(), known(1, 1, 0));
}

#[test]
fn a_late_reply_proves_as_much_as_one_in_time_and_its_packet_is_lost() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 10);
    // 3 gets lost there; the reply to 5 takes too long.
    for (index, number) in [(0, 0), (1, 1), (2, 2), (4, 3), (6, 5), (7, 6), (8, 7), (9, 8)] {
        receive(&mut matcher, index, number);
    }
    let late = claim(&matcher, 5, 4);
    assert_eq!(matcher.received(late, at(1_600)).unwrap().kind, ReplyKind::Late);
    time_out(&mut matcher);
    assert_eq!(matcher.split(), known(1, 1, 0));
}

#[test]
fn the_second_reply_to_a_doubled_packet_is_not_missing_however_late_it_comes() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 10);
    // 2 is doubled on the way there, 5 gets lost there, and the reply to 7 on the way back.
    for (index, number) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (6, 6), (8, 8), (9, 9)] {
        receive(&mut matcher, index, number);
    }
    time_out(&mut matcher);
    let doubled = claim(&matcher, 2, 4);
    assert_eq!(matcher.received(doubled, at(1_500)).unwrap().kind, ReplyKind::Duplicate);
    assert_eq!(matcher.split(), known(1, 1, 0));
}

#[test]
fn loss_is_split_by_the_numbers_of_a_stateful_reflector() {
    // Packets 1 and 2 get lost there, so 3 is numbered 1; the reply to 4, numbered 2, gets lost on the way back.
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 8);
    for (index, number) in [(0, 0), (3, 1), (5, 3), (6, 4)] {
        receive(&mut matcher, index, number);
    }
    time_out(&mut matcher);
    // Packet 7 is the last one: nothing tells where it went.
    let expected = Split { is_stateful: true, far_end: Some(2), near_end: Some(1), unattributed: 1 };
    assert_eq!(matcher.split(), expected);
}

#[test]
fn without_evidence_of_state_loss_is_not_split() {
    let script = |settings| {
        let mut matcher = ReplyMatcher::new(settings);
        send(&mut matcher, 4);
        for index in [0, 1, 3] {
            receive(&mut matcher, index, index as u32);
        }
        time_out(&mut matcher);
        matcher.split()
    };
    let unknown = Split { is_stateful: false, far_end: None, near_end: None, unattributed: 1 };
    assert_eq!(script(SETTINGS), unknown);
    // Who knows that the reflector is stateful also knows that the second packet got there.
    let known = Split { is_stateful: true, far_end: Some(0), near_end: Some(1), unattributed: 0 };
    assert_eq!(script(MatcherSettings { is_stateful_reflector: true, ..SETTINGS }), known);
}

#[test]
fn reordering_on_the_way_back_is_no_restart() {
    let mut matcher = ReplyMatcher::new(SETTINGS);
    send(&mut matcher, 6);
    for index in [0, 3, 1, 2, 5, 4] {
        receive(&mut matcher, index, index as u32);
    }
    assert_eq!(time_out(&mut matcher), Vec::<u64>::new());
}
