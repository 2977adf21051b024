//! What a step of the clock does to the times that the kernel program has left in sessions.
//!
//! The program reads CLOCK_TAI and takes it for CLOCK_MONOTONIC by an offset that the controller publishes. Between a step
//! and the new offset its times are off by the step.

/// Time in which a step is noticed and the new offset published, in nanoseconds: the clock is looked at once a second, and
/// at once where the kernel announces the step.
const NOTICED_WITHIN_NS: u64 = 2_000_000_000;

/// A step of CLOCK_TAI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// The step (positive: forward), in nanoseconds.
    by_ns: i64,
    /// CLOCK_MONOTONIC when the new offset was published.
    at_ns: u64,
    /// Most time by which the step may have preceded.
    window_ns: u64,
}

impl ClockStep {
    /// A step of a watched clock, by `by_ns`, whose offset was published at `at_ns` of CLOCK_MONOTONIC.
    pub const fn noticed(by_ns: i64, at_ns: u64) -> Self {
        Self { by_ns, at_ns, window_ns: NOTICED_WITHIN_NS }
    }

    /// A step that may have been at any time, while no controller ran.
    pub const fn unwatched(by_ns: i64, at_ns: u64) -> Self {
        Self { by_ns, at_ns, window_ns: u64::MAX / 4 }
    }

    /// Returns the time of a session's last packet that is to stand in place of `last_ns`, or `None` where that may be right.
    ///
    /// In doubt a session counts as younger: it is forgotten late, and not too soon.
    pub fn corrected(&self, last_ns: u64) -> Option<u64> {
        let age = self.at_ns.wrapping_sub(last_ns) as i64;
        if last_ns == 0 {
            // Of a session that has had none.
            return None;
        }
        if age < 0 {
            // A packet that has come in the meantime, or one that came while the program's clock was ahead.
            return (age.unsigned_abs() > NOTICED_WITHIN_NS).then_some(self.at_ns);
        }
        if self.by_ns.unsigned_abs() < NOTICED_WITHIN_NS {
            // Not worth more than a packet's delay.
            return None;
        }
        // The age that it has if it was written after the step.
        let other = age.wrapping_add(self.by_ns);
        let may_be_after = self.by_ns < 0 && other.unsigned_abs() <= self.window_ns && other <= self.window_ns as i64;
        may_be_after.then(|| self.at_ns.wrapping_sub(other.max(0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn what_was_written_in_the_moment_of_a_step_is_set_right_and_the_rest_stays() {
        // Up for 1000 s, published half a second after the step.
        for (by, last, expected, what) in [
            (-120, 880 * S, Some(1000 * S), "back by two minutes: just now"),
            (-120, 879 * S, Some(999 * S), "a second before"),
            (-120, 999 * S, None, "before the step, and right"),
            (-120, 700 * S, None, "idle"),
            (-120, 860 * S, None, "too long ago for the moment of the step"),
            (-1200, (200 * S).wrapping_neg(), Some(1000 * S), "back to before the host was started"),
            (7200, 8200 * S, Some(1000 * S), "ahead by two hours"),
            (7200, 999 * S, None, "before the step, and right"),
            (7200, 1, None, "idle"),
            (-1, 999 * S, None, "not worth it"),
            (-120, 0, None, "no packet yet"),
            (-120, 1000 * S + 5, None, "a packet that has come since"),
        ] {
            let step = ClockStep::noticed(by * S as i64, 1000 * S);
            assert_eq!(step.corrected(last), expected, "{what}");
        }
    }

    #[test]
    fn after_a_time_without_a_controller_sessions_are_rather_younger() {
        let back = ClockStep::unwatched(-3600 * S as i64, 10_000 * S);
        assert_eq!(back.corrected(6_400 * S), Some(10_000 * S), "written after the step, just now");
        assert_eq!(back.corrected(5_000 * S), Some(8_600 * S));
        assert_eq!(back.corrected(9_000 * S), Some(10_000 * S), "not after it, but nobody can know");
        let ahead = ClockStep::unwatched(7200 * S as i64, 10_000 * S);
        assert_eq!(ahead.corrected(17_199 * S), Some(10_000 * S));
        assert_eq!(ahead.corrected(9_000 * S), None);
        assert_eq!(ClockStep::unwatched(0, 10_000 * S).corrected(9_000 * S), None);
    }
}
