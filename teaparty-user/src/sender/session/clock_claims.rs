//! What the Error Estimates of packets claim of a clock.

use serde::Serialize;
use teaparty_common::wire::ErrorEstimate;

use crate::sys::clock::claimed_bound_ns;

/// The claims of the Error Estimates on one side (RFC 8762 §4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClockClaims {
    /// Packets whose estimate claims synchronisation to an external source.
    pub synchronized: u64,
    /// Packets whose estimate does not.
    pub unsynchronized: u64,
    /// Packets whose estimate names no bound: Multiplier 0 (RFC 4656 §4.1.2), or the 16 s of a kernel that knows none.
    pub unknown_bounds: u64,
    /// Largest error bound claimed, in nanoseconds.
    error_ns_max: u64,
}

/// Returns the error bound that an estimate claims, in nanoseconds; `None` where it claims none.
pub(crate) fn bound_ns(estimate: ErrorEstimate) -> Option<u64> {
    claimed_bound_ns(estimate.bound_ns()).filter(|_| estimate.multiplier() != 0)
}

impl ClockClaims {
    /// Takes in one estimate.
    pub fn record(&mut self, estimate: ErrorEstimate) {
        *(if estimate.is_synchronized() { &mut self.synchronized } else { &mut self.unsynchronized }) += 1;
        match bound_ns(estimate) {
            Some(bound) => self.error_ns_max = self.error_ns_max.max(bound),
            None => self.unknown_bounds += 1,
        }
    }

    /// Raises the bound: timestamps without the offset to TAI are off by that.
    pub fn raise(&mut self, bound_ns: u64) {
        self.error_ns_max = self.error_ns_max.max(bound_ns);
    }

    /// Returns the largest error bound claimed, in nanoseconds; `None` where a packet claimed none, or there was no packet.
    pub fn error_ns_max(&self) -> Option<u64> {
        (self.unknown_bounds == 0 && self.synchronized + self.unsynchronized > 0).then_some(self.error_ns_max)
    }

    /// Returns true if every one claimed it.
    pub fn is_synchronized(&self) -> bool {
        self.synchronized > 0 && self.unsynchronized == 0
    }

    /// Takes in all of another session's.
    pub fn merge(&mut self, other: &Self) {
        self.synchronized += other.synchronized;
        self.unsynchronized += other.unsynchronized;
        self.unknown_bounds += other.unknown_bounds;
        self.error_ns_max = self.error_ns_max.max(other.error_ns_max);
    }
}

#[cfg(test)]
mod tests {
    use teaparty_common::wire::TimestampFormat;

    use super::*;

    #[test]
    fn one_unsynchronised_packet_takes_the_claim_away() {
        let mut claims = ClockClaims::default();
        assert!(!claims.is_synchronized());
        claims.record(ErrorEstimate::from_bits(0x8a05));
        assert!(claims.is_synchronized());
        claims.record(ErrorEstimate::from_bits(0x0a01));
        assert!(!claims.is_synchronized());
        assert_eq!(claims.error_ns_max(), Some(1193));
    }

    #[test]
    fn a_bound_that_nobody_knows_is_no_bound() {
        for unknown in [0x8a00, 0x0000, ErrorEstimate::new(false, TimestampFormat::Ntp, 16_000_000_000).bits()] {
            let mut claims = ClockClaims::default();
            claims.record(ErrorEstimate::from_bits(0x8a05));
            claims.record(ErrorEstimate::from_bits(unknown));
            assert_eq!((claims.error_ns_max(), claims.unknown_bounds), (None, 1), "{unknown:#x}");
        }
        assert_eq!(ClockClaims::default().error_ns_max(), None);
    }
}
