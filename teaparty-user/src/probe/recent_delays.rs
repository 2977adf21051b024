//! The delays of a target in the last minutes.

use crate::sender::session::delays::Sample;
use crate::sender::session::histogram::Distribution;
use crate::sender::session::variation::Variation;

/// A delay that has a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// There and back, net of residence.
    RoundTrip,
    /// To the reflector.
    Forward,
    /// Back.
    Backward,
}

impl Direction {
    /// All of them with their labels.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::RoundTrip, "round_trip"), (Self::Forward, "forward"), (Self::Backward, "backward")];

    /// Returns the delay in this direction, in nanoseconds.
    pub fn of(self, sample: Sample) -> i64 {
        match self {
            Self::RoundTrip => sample.round_trip_ns,
            Self::Forward => sample.forward_ns,
            Self::Backward => sample.backward_ns,
        }
    }
}

/// Delays of the last one to two minutes, by [`Direction`].
#[derive(Debug, Default)]
pub(crate) struct RecentDelays {
    minute: u64,
    current: [Distribution; 3],
    previous: [Distribution; 3],
    /// Of the round trip.
    variation: [Variation; 2],
}

impl RecentDelays {
    /// Takes in the delays of a reply.
    pub(crate) fn record(&mut self, sample: Sample, now_ns: u64) {
        self.rotate(now_ns);
        for (direction, _) in Direction::ALL {
            self.current[direction as usize].record(direction.of(sample));
        }
    }

    /// Takes in the round trip of the packet with this number, for the jitter.
    pub(crate) fn record_variation(&mut self, number: u64, round_trip_ns: i64) {
        self.variation[0].record(number, round_trip_ns);
    }

    /// Returns a quantile (0 to 1), in nanoseconds; `None` without any delay.
    pub(crate) fn quantile(&mut self, direction: Direction, fraction: f64, now_ns: u64) -> Option<i64> {
        self.rotate(now_ns);
        let mut both = self.previous[direction as usize].clone();
        both.merge(&self.current[direction as usize]);
        both.quantile(fraction)
    }

    /// Returns the jitter of the round trips, in nanoseconds; `None` without a pair.
    pub(crate) fn jitter(&mut self, now_ns: u64) -> Option<f64> {
        self.rotate(now_ns);
        let mut both = self.variation[0].clone();
        both.merge(&self.variation[1]);
        both.jitter()
    }

    /// Turns to the minute of `now_ns`, if that is a later one.
    fn rotate(&mut self, now_ns: u64) {
        const MINUTE_NS: u64 = 60_000_000_000;
        let minute = now_ns / MINUTE_NS;
        if minute != self.minute {
            let current = std::mem::take(&mut self.current);
            let [variation, _] = std::mem::take(&mut self.variation);
            if minute == self.minute + 1 {
                (self.previous, self.variation[1]) = (current, variation);
            } else {
                self.previous = Default::default();
            }
            self.minute = minute;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_minutes() {
        const MINUTE: u64 = 60_000_000_000;
        let mut recent = RecentDelays::default();
        recent.rotate(5 * MINUTE);
        recent.current[0].record(1_000);
        recent.rotate(6 * MINUTE);
        assert_eq!((recent.previous[0].count(), recent.current[0].count()), (1, 0));
        recent.rotate(8 * MINUTE);
        assert_eq!(recent.previous[0].count(), 0);
    }
}
