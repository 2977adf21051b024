//! The pause that a burst of replies needs: no request goes out before the last one's burst is over (RFC 10052 §5).
//!
//! It is over when all its replies have come, when the reflector says that it sends one only, or when the time for it
//! is up: further replies take this many intervals, and lost ones must not delay the sender longer.

use std::time::Duration;

/// The pause during a burst of replies.
#[derive(Debug)]
pub(super) struct BurstGap {
    /// Between two replies of a burst.
    interval_ns: u64,
    /// Without any reply, so long.
    patience_ns: u64,
    /// Interval and patience of bursts that have not begun.
    next: (u64, u64),
    /// Monotonic.
    until_ns: Option<u64>,
}

impl BurstGap {
    /// For packets that ask for `replies`; none where they ask for one at most.
    pub(super) fn new(replies: u16, interval_ns: u32, timeout: Duration) -> Option<Self> {
        let interval_ns = u64::from(interval_ns);
        let patience_ns = patience_ns(replies, interval_ns, timeout);
        (replies > 1).then_some(Self { interval_ns, patience_ns, next: (interval_ns, patience_ns), until_ns: None })
    }

    /// Until when nothing may be sent.
    pub(super) fn until_ns(&self) -> Option<u64> {
        self.until_ns
    }

    /// Sets the interval and the patience of the bursts to come. The one that is under way keeps its own.
    pub(super) fn set_next(&mut self, interval_ns: u32, patience_ns: u64) {
        self.next = (interval_ns.into(), patience_ns);
    }

    /// A request goes out.
    pub(super) fn begin(&mut self, now_ns: u64) {
        (self.interval_ns, self.patience_ns) = self.next;
        self.until_ns = Some(now_ns.saturating_add(self.patience_ns));
    }

    /// A reply to it came, after `round_trip_ns` altogether, and `left` more are to come.
    pub(super) fn note(&mut self, now_ns: u64, round_trip_ns: u64, left: u16) {
        let rest = u64::from(left).saturating_mul(self.interval_ns).saturating_add(round_trip_ns);
        self.until_ns = (left > 0).then(|| now_ns.saturating_add(rest));
    }
}

/// After so long a packet's burst is over, wherever its replies are: the timeout, counted from the last of them.
pub(super) fn patience_ns(replies: u16, interval_ns: u64, timeout: Duration) -> u64 {
    let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    u64::from(replies.saturating_sub(1)).saturating_mul(interval_ns).saturating_add(timeout_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_wait_for_the_burst_but_not_for_what_is_lost_of_it_c243() {
        let mut gap = BurstGap::new(4, 1_000, Duration::from_nanos(50_000)).unwrap();
        gap.begin(100);
        assert_eq!(gap.until_ns(), Some(100 + 50_000 + 3_000));
        gap.note(600, 500, 3);
        assert_eq!(gap.until_ns(), Some(600 + 3_000 + 500));
        gap.note(2_700, 500, 1);
        assert_eq!(gap.until_ns(), Some(2_700 + 1_000 + 500));
        gap.note(3_700, 500, 0);
        assert_eq!(gap.until_ns(), None);
    }

    #[test]
    fn a_new_interval_holds_from_the_next_burst_on() {
        let mut gap = BurstGap::new(4, 1_000, Duration::from_nanos(50_000)).unwrap();
        gap.begin(0);
        gap.set_next(2_000, 56_000);
        gap.note(500, 500, 3);
        assert_eq!(gap.until_ns(), Some(500 + 3_000 + 500));
        gap.begin(10_000);
        assert_eq!(gap.until_ns(), Some(10_000 + 56_000));
        gap.note(10_500, 500, 3);
        assert_eq!(gap.until_ns(), Some(10_500 + 6_000 + 500));
    }

    #[test]
    fn a_packet_that_asks_for_one_reply_needs_no_pause() {
        assert!(BurstGap::new(1, 1_000, Duration::ZERO).is_none());
        assert!(BurstGap::new(0, 1_000, Duration::ZERO).is_none());
    }
}
