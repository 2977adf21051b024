//! The lives of our clock: from one step of CLOCK_REALTIME to the next, T1 and T4 are of one life and have a difference.
//!
//! The kernel stamps replies by CLOCK_REALTIME. A reply may have come before the clock was set and be read after it, as when
//! this process was stopped in the meantime; the epoch of its T4 follows from the possible arrival times.

use super::transit::{Arrival, ClockMoment};
use crate::net::batch::HostTimestamp;

/// Timestamps and readings of the clock differ by so much at most.
const SLACK_NS: i64 = 1_000_000;

/// The relation of CLOCK_REALTIME to CLOCK_MONOTONIC, now and before it was set.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    epoch: u32,
    /// Realtime minus monotonic, in nanoseconds.
    offset_ns: i64,
    former: Option<Former>,
}

#[derive(Clone, Copy, Debug)]
struct Former {
    offset_ns: i64,
    /// Time of the notice that the clock had been set (monotonic).
    until_ns: u64,
}

impl Timeline {
    /// A clock that nobody has set so far. `offset_ns`: realtime minus monotonic.
    pub const fn new(offset_ns: i64) -> Self {
        Self { epoch: 0, offset_ns, former: None }
    }

    /// The present life, counted from 0.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Realtime minus monotonic, in nanoseconds.
    pub const fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Follows small changes of the offset, which are of how it is read.
    pub const fn adjust(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    /// The clock was set, which is noticed at `now_ns` (monotonic).
    pub const fn set(&mut self, offset_ns: i64, now_ns: u64) {
        self.former = Some(Former { offset_ns: self.offset_ns, until_ns: now_ns });
        self.offset_ns = offset_ns;
        self.epoch += 1;
    }

    /// The arrival of a datagram with the timestamp `stamp`, which arrived between `since_ns` and `now_ns` (monotonic).
    pub fn arrival(&self, stamp: HostTimestamp, since_ns: u64, now_ns: u64) -> Arrival {
        let moment = |epoch, offset_ns| ClockMoment { epoch, monotonic_ns: stamp.nanos.wrapping_sub(offset_ns as u64) };
        let fits = |moment: &ClockMoment| {
            let after = |earlier: u64, later: u64| later.wrapping_sub(earlier) as i64 >= -SLACK_NS;
            after(since_ns, moment.monotonic_ns) && after(moment.monotonic_ns, now_ns)
        };
        let present = moment(self.epoch, self.offset_ns);
        let former = self.former.filter(|former| since_ns < former.until_ns);
        let earlier = former.map(|former| moment(self.epoch - 1, former.offset_ns)).filter(fits);
        match earlier {
            Some(earlier) if !fits(&present) => Arrival { stamp, moment: earlier, earlier: None },
            earlier => Arrival { stamp, moment: present, earlier },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::batch::StampSource;

    const SECOND: u64 = 1_000_000_000;

    fn stamp(seconds: u64) -> HostTimestamp {
        HostTimestamp { nanos: seconds * SECOND, source: StampSource::Kernel }
    }

    #[test]
    fn a_datagram_from_before_the_clock_was_set_is_known_by_when_it_can_have_come() {
        // At 20 s the clock goes from 1,020 s to 5,020 s; the socket was read empty at 15 s, and is again at 25 s.
        let mut timeline = Timeline::new((1_000 * SECOND) as i64);
        timeline.set((5_000 * SECOND) as i64, 21 * SECOND);
        let at = |seconds| timeline.arrival(stamp(seconds), 15 * SECOND, 25 * SECOND);
        assert_eq!(at(1_018).moment, ClockMoment { epoch: 0, monotonic_ns: 18 * SECOND });
        assert_eq!(at(5_022).moment, ClockMoment { epoch: 1, monotonic_ns: 22 * SECOND });
        assert!(at(1_018).earlier.is_none() && at(5_022).earlier.is_none());
        // Long after it there is no doubt.
        let later = timeline.arrival(stamp(1_090), 80 * SECOND, 95 * SECOND);
        assert_eq!((later.moment.epoch, later.earlier), (1, None));
    }

    #[test]
    fn a_small_step_leaves_both_lives_possible() {
        let mut timeline = Timeline::new((1_000 * SECOND) as i64);
        timeline.set((1_002 * SECOND) as i64, 21 * SECOND);
        let arrival = timeline.arrival(stamp(1_020), 15 * SECOND, 25 * SECOND);
        assert_eq!(arrival.moment, ClockMoment { epoch: 1, monotonic_ns: 18 * SECOND });
        assert_eq!(arrival.earlier, Some(ClockMoment { epoch: 0, monotonic_ns: 20 * SECOND }));
    }
}
