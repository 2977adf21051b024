//! Packets that ask for several replies, or for none.

use super::*;

const THREE: MatcherSettings = MatcherSettings { replies_per_packet: 3, ..SETTINGS };

/// A reply of a stateless reflector: our number, and a T3 of its own.
fn stateless(matcher: &mut ReplyMatcher, index: u64, t3_ns: u64) -> ReplyKind {
    let claim = ReplyId { t3_ns, ..claim(matcher, index, matcher.sequence(index)) };
    matcher.received(claim, at(index)).unwrap().kind
}

#[test]
fn further_replies_are_no_duplicates_when_they_were_asked_for() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 1);
    let kinds = [0, 1, 1, 2, 0, 3].map(|number| receive(&mut matcher, 0, number).unwrap());
    use ReplyKind::{Duplicate, Further, Reply};
    assert_eq!(kinds, [Reply, Further, Duplicate, Further, Duplicate, Duplicate]);
    assert_eq!(matcher.awaited(), 0);
}

#[test]
fn a_stateless_reflector_tells_its_replies_apart_by_t3() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 2);
    let kinds = [10, 11, 10, 12].map(|t3| stateless(&mut matcher, 0, t3));
    assert_eq!(kinds, [ReplyKind::Reply, ReplyKind::Further, ReplyKind::Duplicate, ReplyKind::Further]);
    // The same T3 in the next burst is another reply.
    assert_eq!(stateless(&mut matcher, 1, 10), ReplyKind::Reply);
    assert_eq!(matcher.awaited(), 2);
}

#[test]
fn what_a_burst_lacks_is_awaited_until_the_timeout_and_then_counted() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 1);
    receive(&mut matcher, 0, 0);
    receive(&mut matcher, 0, 2);
    assert_eq!((matcher.awaited(), matcher.left(0)), (1, 1));
    assert_eq!(matcher.expire(1_001).map(|one| one.fate), Some(Resolution::Known));
    let counts = matcher.counts();
    assert_eq!((matcher.awaited(), counts.further, counts.further_lost, counts.lost), (0, 1, 1, 0));
    assert_eq!(receive(&mut matcher, 0, 1), Some(ReplyKind::Late));
}

#[test]
fn a_reflector_that_sends_one_reply_only_owes_no_more() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 1);
    receive(&mut matcher, 0, 0);
    matcher.ends_burst(0);
    assert_eq!((matcher.awaited(), matcher.left(0)), (0, 0));
    assert_eq!(receive(&mut matcher, 0, 1), Some(ReplyKind::Duplicate));
    time_out(&mut matcher);
    assert_eq!(matcher.counts().further_lost, 0);
}

#[test]
fn missing_numbers_say_nothing_of_the_direction_when_they_may_be_further_replies() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 3);
    // Packet 1 gets lost on the way there; a further reply to packet 0 on the way back.
    for (index, number) in [(0, 0), (0, 1), (2, 3), (2, 4), (2, 5)] {
        receive(&mut matcher, index, number);
    }
    time_out(&mut matcher);
    let split = matcher.split();
    assert_eq!((split.far_end, split.near_end, split.unattributed), (None, None, 1));
    assert_eq!(matcher.counts().further_lost, 1);
}

#[test]
fn whole_bursts_show_that_a_packet_was_lost_on_the_way_there() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 3);
    for (index, number) in [(0, 0), (0, 1), (0, 2), (2, 3), (2, 4), (2, 5)] {
        receive(&mut matcher, index, number);
    }
    time_out(&mut matcher);
    assert_eq!((matcher.split().far_end, matcher.split().near_end), (Some(1), Some(0)));
}

#[test]
fn a_new_timeout_holds_for_packets_sent_from_then_on() {
    let mut matcher = ReplyMatcher::new(THREE);
    send(&mut matcher, 1);
    matcher.set_timeout(5_000);
    assert_eq!(matcher.next_expiry(), Some(1_000));
    assert_eq!(matcher.expire(1_001).map(|one| one.fate), Some(Resolution::Lost));
    send(&mut matcher, 1);
    matcher.set_timeout(1_000);
    // Packet 1 leaves at 1.
    assert_eq!(matcher.next_expiry(), Some(5_001));
}

#[test]
fn where_no_reply_is_asked_for_none_is_lost_or_awaited() {
    let mut matcher = ReplyMatcher::new(MatcherSettings { replies_per_packet: 0, ..SETTINGS });
    send(&mut matcher, 3);
    assert_eq!(matcher.awaited(), 3);
    time_out(&mut matcher);
    assert_eq!(matcher.awaited(), 0);
    assert_eq!((matcher.counts().lost, matcher.counts().loss_bursts), (0, 0));
}
