//! The delays of a target in the last minutes, and a few figures of each minute of the last hour.

use std::collections::VecDeque;

use serde::Serialize;

use crate::sender::session::delays::Sample;
use crate::sender::session::histogram::Distribution;
use crate::sender::session::variation::Variation;

/// Minutes of which figures are kept.
const KEPT: usize = 60;
/// Length of a minute.
const MINUTE_NS: u64 = 60_000_000_000;
/// The percentiles that are kept of a round trip.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

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

/// Percentiles of a delay, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct DelayPercentiles {
    /// The median.
    pub(crate) p50: i64,
    /// The 95th percentile.
    pub(crate) p95: i64,
    /// The 99th percentile.
    pub(crate) p99: i64,
}

impl DelayPercentiles {
    /// Takes them from a function of a ratio; `None` where it knows none.
    pub(crate) fn of(mut quantile: impl FnMut(f64) -> Option<i64>) -> Option<Self> {
        let [p50, p95, p99] = QUANTILES.map(&mut quantile);
        Some(Self { p50: p50?, p95: p95?, p99: p99? })
    }
}

/// A minute in figures. One in which no packet was settled is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct MinuteDelays {
    /// Its begin, in nanoseconds since 1970.
    pub(crate) start_ns: u64,
    /// Packets that were answered in time.
    pub(crate) received: u32,
    /// Packets that were lost.
    pub(crate) lost: u32,
    /// Percentiles of the round trip; null without any.
    pub(crate) round_trip_ns: Option<DelayPercentiles>,
    /// The median of the delay to the reflector; null without any.
    pub(crate) forward_p50_ns: Option<i64>,
    /// The median of the delay back; null without any.
    pub(crate) backward_p50_ns: Option<i64>,
}

/// A minute as it is kept: delays as floats of nanoseconds, NaN where there is none, so that it takes 32 octets.
#[derive(Clone, Copy, Debug)]
struct KeptMinute {
    number: u32,
    received: u32,
    lost: u32,
    /// Percentiles of the round trip, and the medians forward and backward.
    delays: [f32; 5],
}

impl KeptMinute {
    fn view(self) -> MinuteDelays {
        let [p50, p95, p99, forward, backward] = self.delays.map(|ns| ns.is_finite().then_some(ns as i64));
        let mut round_trip = [p50, p95, p99].into_iter();
        MinuteDelays {
            start_ns: u64::from(self.number) * MINUTE_NS,
            received: self.received,
            lost: self.lost,
            round_trip_ns: DelayPercentiles::of(|_| round_trip.next().flatten()),
            forward_p50_ns: forward,
            backward_p50_ns: backward,
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
    /// Packets of the current minute: answered in time, and lost.
    settled: [u32; 2],
    /// Minutes that have ended, the oldest first.
    kept: VecDeque<KeptMinute>,
}

impl RecentDelays {
    /// Takes in the delays of a reply.
    pub(crate) fn record(&mut self, sample: Sample, now_ns: u64) {
        self.rotate(now_ns);
        for (direction, _) in Direction::ALL {
            self.current[direction as usize].record(direction.of(sample));
        }
    }

    /// Counts a packet that was settled.
    pub(crate) fn settle(&mut self, is_lost: bool, now_ns: u64) {
        self.rotate(now_ns);
        let count = &mut self.settled[usize::from(is_lost)];
        *count = count.saturating_add(1);
    }

    /// Returns the minutes of the last hour that have ended, the oldest first.
    pub(crate) fn minutes(&mut self, now_ns: u64) -> Vec<MinuteDelays> {
        self.rotate(now_ns);
        let first = (now_ns / MINUTE_NS).saturating_sub(KEPT as u64);
        self.kept.iter().filter(|minute| u64::from(minute.number) >= first).map(|minute| minute.view()).collect()
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
        let minute = now_ns / MINUTE_NS;
        if minute != self.minute {
            self.keep();
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

impl RecentDelays {
    /// Keeps the figures of the current minute, if packets were settled in it.
    fn keep(&mut self) {
        let [received, lost] = std::mem::take(&mut self.settled);
        if received == 0 && lost == 0 {
            return;
        }
        let of = |direction: Direction, fraction| self.current[direction as usize].quantile(fraction);
        let [p50, p95, p99] = QUANTILES.map(|fraction| of(Direction::RoundTrip, fraction));
        let medians = [of(Direction::Forward, 0.5), of(Direction::Backward, 0.5)];
        let delays = [p50, p95, p99, medians[0], medians[1]].map(|ns| ns.map_or(f32::NAN, |ns| ns as f32));
        self.kept.push_back(KeptMinute { number: self.minute as u32, received, lost, delays });
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_minutes_is_kept_and_what_was_not_measured_is_left_out() {
        const MINUTE: u64 = MINUTE_NS;
        assert!(size_of::<KeptMinute>() <= 32);
        let mut recent = RecentDelays::default();
        let sample = |ns| Sample { round_trip_ns: ns, residence_ns: 0, forward_ns: -5, backward_ns: ns };
        recent.record(sample(1_000), 5 * MINUTE);
        recent.settle(false, 5 * MINUTE);
        recent.settle(true, 7 * MINUTE);
        let minutes = recent.minutes(8 * MINUTE);
        let starts: Vec<u64> = minutes.iter().map(|minute| minute.start_ns / MINUTE).collect();
        assert_eq!(starts, [5, 7], "nothing was settled in the sixth");
        assert_eq!((minutes[0].received, minutes[0].lost, minutes[0].forward_p50_ns), (1, 0, Some(-5)));
        assert_eq!(minutes[0].round_trip_ns.map(|delays| delays.p99), Some(1_000));
        assert_eq!((minutes[1].lost, minutes[1].round_trip_ns, minutes[1].backward_p50_ns), (1, None, None));
        for minute in 8..200 {
            recent.settle(true, minute * MINUTE);
        }
        assert_eq!(recent.minutes(200 * MINUTE).len(), KEPT);
        assert!(recent.minutes(300 * MINUTE).is_empty(), "they are older than an hour");
    }

    #[test]
    fn quantiles_are_of_the_last_minutes() {
        const MINUTE: u64 = MINUTE_NS;
        let mut recent = RecentDelays::default();
        recent.rotate(5 * MINUTE);
        recent.current[0].record(1_000);
        recent.rotate(6 * MINUTE);
        assert_eq!((recent.previous[0].count(), recent.current[0].count()), (1, 0));
        recent.rotate(8 * MINUTE);
        assert_eq!(recent.previous[0].count(), 0);
    }
}
