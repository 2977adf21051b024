//! From four timestamps to delays. Pure arithmetic; which clock took a timestamp is somebody else's concern.

/// The four timestamps of one exchange, in nanoseconds since 1970 (UTC) on the clock of whoever took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// T1: the sender transmitted, on the sender's clock.
    pub t1: u64,
    /// T2: the reflector received, on the reflector's clock.
    pub t2: u64,
    /// T3: the reflector transmitted, on the reflector's clock.
    pub t3: u64,
    /// T4: the sender received, on the sender's clock.
    pub t4: u64,
}

/// The delays of one exchange in nanoseconds. All may be negative: clocks have errors, and unsynchronised ones disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Round trip net of residence: (T4 − T1) − (T3 − T2). Each difference is of one clock, so synchronisation does not matter.
    pub round_trip_ns: i64,
    /// Time in the reflector: T3 − T2.
    pub residence_ns: i64,
    /// Sender to reflector: T2 − T1. Off by the difference of the two clocks.
    pub forward_ns: i64,
    /// Reflector to sender: T4 − T3. Off by the difference of the two clocks, the other way.
    pub backward_ns: i64,
}

/// Why a reply has no delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDelays {
    /// Our clock was set while it was under way.
    ClockStep,
    /// T2 and T3 can't be what they are said to be, or say nothing.
    Implausible,
    /// T2 and T3 can only be of the format that the Error Estimate does not name.
    WrongFormat,
}

/// T3 may be before T2 by this much, and residence may exceed the whole exchange by as much, for timestamps of different
/// sources and clocks of coarse steps, and by a thousandth, for clocks that run at different speeds, before it counts as wrong.
const SLACK_NS: i64 = 1_000_000;

impl Times {
    /// The delays, unless T2 and T3 contradict each other or our own two: T3 well before T2, or more time in the reflector
    /// than passed here. Whether the reflector's clock is right can't be seen from one exchange, and does not matter here.
    pub(crate) fn plausible_sample(self) -> Result<Sample, NoDelays> {
        let sample = self.sample();
        let slack_ns = SLACK_NS + sample.residence_ns.saturating_abs() / 1_000;
        if sample.residence_ns < -SLACK_NS || sample.round_trip_ns < -slack_ns {
            Err(NoDelays::Implausible)
        } else {
            Ok(sample)
        }
    }

    /// The delays.
    pub(crate) const fn sample(self) -> Sample {
        let residence_ns = difference(self.t3, self.t2);
        Sample {
            round_trip_ns: difference(self.t4, self.t1).wrapping_sub(residence_ns),
            residence_ns,
            forward_ns: difference(self.t2, self.t1),
            backward_ns: difference(self.t4, self.t3),
        }
    }
}

const fn difference(later: u64, earlier: u64) -> i64 {
    later.wrapping_sub(earlier) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residence_is_taken_out_of_the_round_trip_and_out_of_nothing_else() {
        // 30 there, 500 inside, 40 back; the reflector's clock is 1,000,000 ahead.
        let sample = Times { t1: 10_000, t2: 1_010_030, t3: 1_010_530, t4: 10_570 }.sample();
        assert_eq!(
            sample,
            Sample { round_trip_ns: 70, residence_ns: 500, forward_ns: 1_000_030, backward_ns: -999_960 }
        );
    }

    #[test]
    fn timestamps_that_contradict_each_other_give_no_delays_and_distant_clocks_do() {
        let times = Times { t1: 10_000_000_000, t2: 5_000_000, t3: 5_000_500, t4: 10_000_090_000 };
        assert_eq!(times.plausible_sample(), Ok(times.sample()), "a clock that is off by seconds");
        assert_eq!(Times { t3: 3_999_999, ..times }.plausible_sample(), Err(NoDelays::Implausible), "T3 before T2");
        let coarse = Times { t3: 4_999_999, ..times };
        assert_eq!(coarse.plausible_sample(), Ok(coarse.sample()), "T3 before T2 by a step of the clock");
        let too_long = Times { t3: times.t2 + 1_200_000, ..times };
        assert_eq!(too_long.plausible_sample(), Err(NoDelays::Implausible), "longer inside than away");
        let fast_clock = Times { t3: times.t2 + 90_100, ..times };
        assert_eq!(fast_clock.plausible_sample().unwrap().round_trip_ns, -100);
        // Ten seconds inside, by a clock that runs 500 ppm fast.
        let slow_reply = Times { t4: times.t1 + 10_000_000_000, t3: times.t2 + 10_005_000_000, ..times };
        assert_eq!(slow_reply.plausible_sample().unwrap().round_trip_ns, -5_000_000);
    }

    #[test]
    fn a_reflector_behind_us_gives_a_negative_forward_delay() {
        let sample = Times { t1: 10_000, t2: 9_000, t3: 9_000, t4: 10_050 }.sample();
        assert_eq!((sample.round_trip_ns, sample.forward_ns, sample.backward_ns), (50, -1_000, 1_050));
    }
}
