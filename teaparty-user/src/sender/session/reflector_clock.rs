//! What a reflector's timestamps tell of its clock: whether it was set during the run, and whether its format can be true. Pure.

use teaparty_common::wire::{Timestamp, TimestampFormat};

use crate::sys::clock::ClockState;

/// A year: a clock that is further off was never set.
const FAR_NS: u64 = 366 * 86_400 * 1_000_000_000;
/// TAI minus UTC since 2017, in nanoseconds.
pub(crate) const TAI_OFFSET_NS: u64 = 37_000_000_000;
/// Most difference from [`TAI_OFFSET_NS`] for an offset of two clocks to be explained by it.
const NEAR_TAI_NS: i64 = 1_000_000_000;
/// Errors of timestamps that make no step.
const SLACK_NS: i64 = 2_000_000;
/// Slewing that makes no step: a thousandth of the time that has passed.
const SLEW: i64 = 1_000;

/// Returns the format that a timestamp must have, where that is not the one that its Error Estimate names (the Z bit).
///
/// PTP has no more than 999,999,999 nanoseconds, and the two formats count from epochs that lie 70 years apart.
pub(crate) fn other_format(
    timestamp: Timestamp,
    format: TimestampFormat,
    clock: &ClockState,
    near_ns: u64,
) -> Option<TimestampFormat> {
    let other = match format {
        TimestampFormat::Ntp => TimestampFormat::Ptp,
        TimestampFormat::Ptp => TimestampFormat::Ntp,
    };
    let is_possible = |format| format == TimestampFormat::Ntp || timestamp.bits() as u32 <= 999_999_999;
    let distance = |format| clock.realtime_ns(timestamp, format, near_ns).abs_diff(near_ns);
    let is_other = !is_possible(format) || is_possible(other) && distance(format) > FAR_NS && distance(other) <= FAR_NS;
    (is_other && timestamp.bits() != 0).then_some(other)
}

/// Returns whether a reply's PTP timestamps, or ours, lack the offset from UTC to TAI: one-way delays are then off by 37 s.
///
/// `offset_ns` is the reflector's clock minus ours, both taken for UTC by our kernel's offset.
pub(crate) fn lacks_tai_offset(format: TimestampFormat, clock: &ClockState, offset_ns: i64) -> bool {
    let is_near = |expected_ns: i64| (offset_ns - expected_ns).abs() <= NEAR_TAI_NS;
    match (format, clock.tai_offset_s) {
        (TimestampFormat::Ntp, _) => false,
        // Ours is unknown, and so is what theirs means.
        (TimestampFormat::Ptp, 0) => true,
        (TimestampFormat::Ptp, _) => is_near(-(TAI_OFFSET_NS as i64)),
    }
}

/// One exchange, as far as the reflector's clock is concerned. All in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    /// Number of the packet, from 0.
    pub index: u64,
    /// T4, on our clock.
    pub t4_ns: u64,
    /// Our clock minus the monotonic clock, which changes when ours is set.
    pub own_offset_ns: i64,
    /// T2 − T1.
    pub forward_ns: i64,
    /// T4 − T3.
    pub backward_ns: i64,
}

impl ClockReading {
    /// The reflector's clock minus ours, up to half of the round trip.
    fn offset_ns(&self) -> i64 {
        self.forward_ns.saturating_sub(self.backward_ns) / 2
    }

    fn round_trip_ns(&self) -> i64 {
        self.forward_ns.saturating_add(self.backward_ns)
    }
}

/// The verdict on the reflector's clock from one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Nothing new.
    Same,
    /// It was set by this many nanoseconds since the exchange before.
    Step(i64),
    /// A reply of before the last step, which came late.
    Earlier,
}

/// Follows a reflector's clock from reply to reply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReflectorClock {
    last: Option<ClockReading>,
    /// The first packet after the last step.
    since_index: u64,
}

impl ReflectorClock {
    /// Takes in one reading.
    ///
    /// Each exchange knows the difference of the clocks up to half of its round trip: what is further from the last one
    /// than both halves is a step, whatever the path does.
    pub(crate) fn observe(&mut self, reading: ClockReading) -> ClockVerdict {
        if reading.index < self.since_index {
            return ClockVerdict::Earlier;
        }
        let Some(last) = self.last.replace(reading) else { return ClockVerdict::Same };
        let elapsed_ns = i64::try_from(reading.t4_ns.abs_diff(last.t4_ns)).unwrap_or(i64::MAX);
        let is_own_step = reading.own_offset_ns.abs_diff(last.own_offset_ns) > SLACK_NS as u64;
        let change_ns = reading.offset_ns().saturating_sub(last.offset_ns());
        let doubt_ns = (reading.round_trip_ns().saturating_add(last.round_trip_ns()) / 2)
            .saturating_add(SLACK_NS)
            .saturating_add(elapsed_ns / SLEW);
        if is_own_step || change_ns.saturating_abs() <= doubt_ns {
            return ClockVerdict::Same;
        }
        self.since_index = reading.index;
        ClockVerdict::Step(change_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;
    const NOW: u64 = 1_795_000_000_000_000_000;

    /// An exchange with these true delays and this difference of the clocks.
    fn exchange(index: u64, forward_ns: i64, backward_ns: i64, clock_ns: i64) -> ClockReading {
        ClockReading {
            index,
            t4_ns: NOW + index * 100_000_000,
            own_offset_ns: 7,
            forward_ns: forward_ns + clock_ns,
            backward_ns: backward_ns - clock_ns,
        }
    }

    #[test]
    fn a_clock_that_is_set_makes_a_step_and_a_path_that_changes_does_not() {
        let mut clock = ReflectorClock::default();
        assert_eq!(clock.observe(exchange(0, 5 * MS, 5 * MS, 0)), ClockVerdict::Same);
        // All of the delay moves to one direction.
        assert_eq!(clock.observe(exchange(1, 0, 80 * MS, 0)), ClockVerdict::Same);
        assert_eq!(clock.observe(exchange(2, 80 * MS, 0, 0)), ClockVerdict::Same);
        assert_eq!(clock.observe(exchange(3, 5 * MS, 5 * MS, 0)), ClockVerdict::Same);
        assert_eq!(clock.observe(exchange(5, 5 * MS, 5 * MS, -3_000 * MS)), ClockVerdict::Step(-3_000 * MS));
        // One of before comes late.
        assert_eq!(clock.observe(exchange(4, 5 * MS, 150 * MS, 0)), ClockVerdict::Earlier);
        assert_eq!(clock.observe(exchange(6, 5 * MS, 5 * MS, -3_000 * MS)), ClockVerdict::Same);
        // Slewed by 500 ppm for 100 s.
        let slewed = ClockReading { t4_ns: NOW + 100_000_000_000, ..exchange(7, 5 * MS, 5 * MS, -2_950 * MS) };
        assert_eq!(clock.observe(slewed), ClockVerdict::Same);
    }

    #[test]
    fn our_own_step_is_none_of_the_reflectors() {
        let mut clock = ReflectorClock::default();
        clock.observe(exchange(0, MS, MS, 0));
        let ours = ClockReading { own_offset_ns: 7 + 5_000 * MS, ..exchange(1, MS, MS, -5_000 * MS) };
        assert_eq!(clock.observe(ours), ClockVerdict::Same);
        let next = ClockReading { own_offset_ns: 7 + 5_000 * MS, ..exchange(2, MS, MS, -5_000 * MS) };
        assert_eq!(clock.observe(next), ClockVerdict::Same);
    }

    #[test]
    fn a_format_that_can_not_be_is_told_by_fraction_and_seconds() {
        let clock = ClockState { tai_offset_s: 37, ..ClockState::UNKNOWN };
        let [ntp, ptp] = [TimestampFormat::Ntp, TimestampFormat::Ptp];
        for near_ns in [NOW, NOW + 999_999_999, NOW + 123_456_789] {
            for (format, other) in [(ntp, ptp), (ptp, ntp)] {
                let timestamp = clock.timestamp(near_ns, format);
                assert_eq!(other_format(timestamp, format, &clock, near_ns), None);
                assert_eq!(other_format(timestamp, other, &clock, near_ns), Some(format), "{near_ns} {format:?}");
            }
        }
        // A clock that was never set is wrong, and its format is not.
        let unset = clock.timestamp(5_000_000_000, ptp);
        assert_eq!(other_format(unset, ptp, &clock, NOW), None);
        assert_eq!(other_format(Timestamp::from_bits(0), ptp, &clock, NOW), None);
    }

    #[test]
    fn a_ptp_clock_without_the_offset_to_tai_is_37_seconds_off() {
        let known = ClockState { tai_offset_s: 37, ..ClockState::UNKNOWN };
        let ptp = TimestampFormat::Ptp;
        assert!(lacks_tai_offset(ptp, &known, -37_000 * MS + 3 * MS));
        assert!(
            !lacks_tai_offset(ptp, &known, 3 * MS) && !lacks_tai_offset(TimestampFormat::Ntp, &known, -37_000 * MS)
        );
        assert!(lacks_tai_offset(ptp, &ClockState::UNKNOWN, 3 * MS));
    }
}
