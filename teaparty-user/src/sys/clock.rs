//! The system's clocks: what time it is, how far that may be off, and whether it was set since.
//!
//! Error Estimates rest on `ntp_adjtime`, which reports what the host's own synchronisation daemon told the kernel.
//! Nothing here changes a clock.

use std::io;

use serde::{Serialize, Serializer};
use teaparty_common::wire::{ErrorEstimate, Timestamp, TimestampFormat};

/// A source of time for measurements. Tests have clocks of their own.
pub trait ClockSource {
    /// Nanoseconds since 1970 on CLOCK_REALTIME, which is UTC.
    fn realtime_ns(&self) -> u64;

    /// Nanoseconds on CLOCK_MONOTONIC, which nobody sets.
    fn monotonic_ns(&self) -> u64;

    /// Nanoseconds since 1970 on CLOCK_TAI.
    fn tai_ns(&self) -> u64 {
        self.realtime_ns().wrapping_add_signed(self.state().tai_offset_ns())
    }

    /// Returns the kernel's statement about the quality of CLOCK_REALTIME.
    fn state(&self) -> ClockState;
}

/// The clocks of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl ClockSource for SystemClock {
    fn realtime_ns(&self) -> u64 {
        read(libc::CLOCK_REALTIME)
    }

    fn monotonic_ns(&self) -> u64 {
        read(libc::CLOCK_MONOTONIC)
    }

    fn tai_ns(&self) -> u64 {
        read(libc::CLOCK_TAI)
    }

    fn state(&self) -> ClockState {
        ClockState::read().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the clock's state, so it counts as not synchronised: ntp_adjtime");
            ClockState::UNKNOWN
        })
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call. These clocks exist on every Linux, so it can't fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    // No clock is negative on a system whose clock was set after 1970.
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The bound of a kernel that knows none, and of whatever it is rounded up to: NTP_PHASE_LIMIT, 16 s.
const NO_BOUND_NS: u64 = 16_000_000_000;

/// Returns a bound that a kernel claims for its clock; `None` if it is the one that means that nobody keeps the clock.
pub fn claimed_bound_ns(bound_ns: u64) -> Option<u64> {
    (bound_ns < NO_BOUND_NS).then_some(bound_ns)
}

/// Serialises a bound; an unknown one as null.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn claimed<S: Serializer>(bound_ns: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    claimed_bound_ns(*bound_ns).serialize(serializer)
}

/// The kernel's statement about CLOCK_REALTIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ClockState {
    /// True if a daemon keeps it synchronised to an external source (`STA_UNSYNC` clear).
    pub is_synchronized: bool,
    /// The daemon's guess of the error, in nanoseconds; null where nobody keeps the clock.
    #[serde(serialize_with = "claimed")]
    #[schema(value_type = Option<u64>)]
    pub estimated_error_ns: u64,
    /// The bound that the daemon claims and that the kernel lets grow since, in nanoseconds; null where nobody keeps the
    /// clock.
    #[serde(serialize_with = "claimed")]
    #[schema(value_type = Option<u64>)]
    pub maximum_error_ns: u64,
    /// CLOCK_TAI minus CLOCK_REALTIME in seconds: 37 where NTP or PTP set it, 0 where nobody did.
    pub tai_offset_s: i32,
}

impl ClockState {
    /// The state to assume where it can't be read: not synchronised, and off by 16 s, the kernel's own limit.
    pub const UNKNOWN: Self = Self {
        is_synchronized: false,
        estimated_error_ns: NO_BOUND_NS,
        maximum_error_ns: NO_BOUND_NS,
        tai_offset_s: 0,
    };

    /// Asks the kernel (`adjtimex`, read only).
    pub fn read() -> io::Result<Self> {
        // SAFETY: all-zero is a valid `timex`, and `modes` 0 asks to change nothing.
        let mut timex: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: `timex` outlives the call.
        if unsafe { libc::adjtimex(&raw mut timex) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // The kernel gives both errors in microseconds.
        let nanos = |micros: libc::c_long| u64::try_from(micros).unwrap_or(0).saturating_mul(1_000);
        Ok(Self {
            is_synchronized: timex.status & libc::STA_UNSYNC == 0,
            estimated_error_ns: nanos(timex.esterror as _),
            maximum_error_ns: nanos(timex.maxerror as _),
            tai_offset_s: timex.tai,
        })
    }

    /// The Error Estimate that a packet with timestamps in `format` may claim.
    ///
    /// RFC 4656 §4.1.2 leaves open which error is meant; we claim the maximum, because a number that people add to a
    /// delay has to be a bound and not a hope.
    pub const fn error_estimate(&self, format: TimestampFormat) -> ErrorEstimate {
        ErrorEstimate::new(self.is_synchronized, format, self.maximum_error_ns)
    }

    /// The wire timestamp of an instant of CLOCK_REALTIME. PTP's timescale is TAI, NTP's is UTC.
    pub const fn timestamp(&self, realtime_ns: u64, format: TimestampFormat) -> Timestamp {
        let tai_offset_ns = self.tai_offset_ns() as u64;
        Timestamp::from_nanos(format.nanos(realtime_ns.wrapping_add(tai_offset_ns), tai_offset_ns), format)
    }

    /// The instant of CLOCK_REALTIME that a wire timestamp means, in the era nearest to `near_ns`.
    pub const fn realtime_ns(&self, timestamp: Timestamp, format: TimestampFormat, near_ns: u64) -> u64 {
        let nanos = timestamp.to_nanos(format, near_ns);
        match format {
            TimestampFormat::Ntp => nanos,
            TimestampFormat::Ptp => nanos.saturating_add_signed(-self.tai_offset_ns()),
        }
    }

    /// CLOCK_TAI minus CLOCK_REALTIME in nanoseconds.
    pub const fn tai_offset_ns(&self) -> i64 {
        self.tai_offset_s as i64 * 1_000_000_000
    }
}

/// Notices that CLOCK_REALTIME was set, by watching its distance from CLOCK_MONOTONIC.
///
/// Both follow the same oscillator and the same slewing, so the distance changes only by a step (or a leap second).
#[derive(Clone, Copy, Debug)]
pub struct StepDetector {
    offset_ns: i64,
}

impl StepDetector {
    /// Smaller changes of the distance come from reading the two clocks one after the other.
    pub const THRESHOLD_NS: i64 = 1_000_000;

    /// Begins to watch.
    pub fn new(clock: &impl ClockSource) -> Self {
        Self { offset_ns: offset(clock, ClockSource::realtime_ns) }
    }

    /// Returns the step of the clock since the last call (positive: forward), in nanoseconds; `None` without one.
    pub fn observe(&mut self, clock: &impl ClockSource) -> Option<i64> {
        observe(&mut self.offset_ns, offset(clock, ClockSource::realtime_ns))
    }
}

/// CLOCK_TAI minus CLOCK_MONOTONIC: what turns the kernel program's readings of CLOCK_TAI into intervals.
///
/// A leap second does not change it; a step of the clock and a new TAI offset do.
#[derive(Clone, Copy, Debug)]
pub struct TaiOffset {
    offset_ns: i64,
}

impl TaiOffset {
    /// Reads it.
    pub fn new(clock: &impl ClockSource) -> Self {
        Self { offset_ns: offset(clock, ClockSource::tai_ns) }
    }

    /// Returns it in nanoseconds, modulo 2^64. The same value until CLOCK_TAI is set.
    pub const fn ns(&self) -> u64 {
        self.offset_ns as u64
    }

    /// Reads it again. Returns how far CLOCK_TAI was set since the last call (positive: forward), in nanoseconds; `None` if
    /// it was not.
    pub fn observe(&mut self, clock: &impl ClockSource) -> Option<i64> {
        observe(&mut self.offset_ns, offset(clock, ClockSource::tai_ns))
    }
}

fn observe(known_ns: &mut i64, offset_ns: i64) -> Option<i64> {
    let step = offset_ns.wrapping_sub(*known_ns);
    if step.saturating_abs() < StepDetector::THRESHOLD_NS {
        return None;
    }
    *known_ns = offset_ns;
    Some(step)
}

/// Another clock minus monotonic, from the closest of three pairs of readings, so that losing the CPU between two readings
/// is not taken for a step.
fn offset<C: ClockSource>(clock: &C, other: impl Fn(&C) -> u64) -> i64 {
    let attempt = || {
        let before = clock.monotonic_ns();
        let other = other(clock);
        let after = clock.monotonic_ns();
        (after - before, other.wrapping_sub(before + (after - before) / 2) as i64)
    };
    let first = attempt();
    let best = [attempt(), attempt()].into_iter().fold(first, |a, b| if b.0 < a.0 { b } else { a });
    best.1
}

/// Longest that a packet waits between its arrival and our looking at it, in nanoseconds. What seems to have come earlier
/// came while the clock was set.
const LONGEST_WAIT_NS: u64 = 2_000_000_000;

/// Returns an arrival on CLOCK_MONOTONIC as what it can be at `now_ns`: neither later, nor earlier than by the longest wait.
///
/// Arrivals are known on a clock that may have been set between the arrival and this look.
pub const fn plausible_arrival(arrival_ns: u64, now_ns: u64) -> u64 {
    let wait = now_ns.wrapping_sub(arrival_ns) as i64;
    if wait < 0 {
        now_ns
    } else if wait as u64 > LONGEST_WAIT_NS {
        now_ns.saturating_sub(LONGEST_WAIT_NS)
    } else {
        arrival_ns
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::cell::Cell;

    use super::*;

    /// A clock under the test's control.
    struct Fixed(Cell<u64>, Cell<u64>);

    impl ClockSource for Fixed {
        fn realtime_ns(&self) -> u64 {
            self.0.get()
        }
        fn monotonic_ns(&self) -> u64 {
            self.1.get()
        }
        fn state(&self) -> ClockState {
            ClockState::UNKNOWN
        }
    }

    #[test]
    fn a_step_is_seen_once_and_time_passing_is_none() {
        let clock = Fixed(Cell::new(1_700_000_000_000_000_000), Cell::new(5_000_000_000));
        let mut steps = StepDetector::new(&clock);
        clock.0.set(clock.0.get() + 60_000_000_000);
        clock.1.set(clock.1.get() + 60_000_000_000);
        assert_eq!(steps.observe(&clock), None);
        clock.0.set(clock.0.get() - 1_000_000_000);
        assert_eq!(steps.observe(&clock), Some(-1_000_000_000));
        assert_eq!(steps.observe(&clock), None);
        clock.0.set(clock.0.get() + 999_999);
        assert_eq!(steps.observe(&clock), None);
    }

    #[test]
    fn the_tai_offset_is_the_same_until_the_clock_is_set() {
        let clock = Fixed(Cell::new(1_700_000_000_000_000_000), Cell::new(5_000_000_000));
        let mut offset = TaiOffset::new(&clock);
        let before = offset.ns();
        assert_eq!(before, 1_700_000_000_000_000_000 - 5_000_000_000);
        clock.0.set(clock.0.get() + 60_000_000_100);
        clock.1.set(clock.1.get() + 60_000_000_000);
        assert_eq!((offset.observe(&clock), offset.ns()), (None, before), "not even by nanoseconds");
        clock.0.set(clock.0.get() - 120_000_000_000);
        assert_eq!(offset.observe(&clock), Some(-119_999_999_900));
        assert_eq!(offset.ns(), before - 119_999_999_900);
    }

    #[test]
    fn an_arrival_is_never_in_the_future_and_never_long_ago() {
        const S: u64 = 1_000_000_000;
        for (arrival, now, expected) in [
            (99 * S, 100 * S, 99 * S),
            (98 * S, 100 * S, 98 * S),
            // The clock was set ahead or back in the meantime.
            (7_300 * S, 100 * S, 100 * S),
            (100 * S - 1, 220 * S, 218 * S),
            ((20 * S).wrapping_neg(), 100 * S, 98 * S),
            (0, S, 0),
        ] {
            assert_eq!(plausible_arrival(arrival, now), expected, "{arrival} at {now}");
        }
    }

    #[test]
    fn this_host_does_not_step_by_itself() {
        let mut steps = StepDetector::new(&SystemClock);
        for _ in 0..1_000 {
            assert_eq!(steps.observe(&SystemClock), None);
        }
    }

    #[test]
    fn the_kernel_tells_its_state() {
        let state = ClockState::read().unwrap();
        let estimate = state.error_estimate(TimestampFormat::Ntp);
        assert_eq!(estimate.is_synchronized(), state.is_synchronized);
        assert!(estimate.bound_ns() >= state.maximum_error_ns);
        assert_ne!(estimate.multiplier(), 0);
    }

    #[test]
    fn the_bound_of_a_clock_that_nobody_keeps_is_null() {
        let unknown = serde_json::to_value(ClockState::UNKNOWN).unwrap();
        assert_eq!((&unknown["maximum_error_ns"], &unknown["estimated_error_ns"]), (&json!(null), &json!(null)));
        let kept = ClockState { is_synchronized: true, maximum_error_ns: 2_000_000, ..ClockState::UNKNOWN };
        assert_eq!(serde_json::to_value(kept).unwrap()["maximum_error_ns"], 2_000_000);
    }

    #[test]
    fn ptp_timestamps_are_tai_and_come_back_as_utc() {
        let state = ClockState { tai_offset_s: 37, ..ClockState::UNKNOWN };
        let now = 1_746_049_288_271_330_430;
        // Unix seconds 1746049288 + 37 and the plain nanoseconds.
        let ptp = state.timestamp(now, TimestampFormat::Ptp);
        assert_eq!(ptp.bits(), (1_746_049_325 << 32) | 271_330_430);
        assert_eq!(state.realtime_ns(ptp, TimestampFormat::Ptp, now), now);
        let ntp = state.timestamp(now, TimestampFormat::Ntp);
        assert_eq!(state.realtime_ns(ntp, TimestampFormat::Ntp, now), now);
    }
}
