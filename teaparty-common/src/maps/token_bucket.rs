//! The token bucket: one word, and the arithmetic of everything that has a rate and a burst.
//!
//! A bucket is a virtual clock that each token moves on by the interval (GCRA): the time at which it will be full again. It
//! lies at most one burst and one interval ahead of CLOCK_MONOTONIC; whatever is further ahead comes from a clock that was
//! set, or from a larger burst that was configured before, and counts as a full bucket. All times are in nanoseconds of
//! CLOCK_MONOTONIC, and are compared modulo 2^64.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::session_table::SlotWords;

/// The settings of a token bucket.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct TokenRate {
    /// Nanoseconds in which the right to one more token is earned; 0 for no limit.
    pub interval_ns: u64,
    /// Nanoseconds of that right that may be saved up.
    pub burst_ns: u64,
}

/// Most time by which a packet may have been received before one that was charged earlier, on another processor.
const SKEW_NS: u64 = 100_000_000;

/// Attempts to charge a bucket that other processors charge at the same time. Each failure is another processor's success.
const ATTEMPTS: u32 = 4;

impl TokenRate {
    /// No limit.
    pub const NONE: Self = Self { interval_ns: 0, burst_ns: 0 };

    /// Returns true if there is a limit.
    #[inline(always)]
    pub const fn is_limited(self) -> bool {
        self.interval_ns != 0
    }

    /// Returns when a bucket is full again after one more token at `now_ns`, or `None` if that is above the limit.
    #[inline(always)]
    pub const fn charge(self, full_at_ns: u64, now_ns: u64) -> Option<u64> {
        let ahead = full_at_ns.wrapping_sub(now_ns) as i64;
        if ahead <= 0 || self.can_not_be(ahead) {
            return Some(now_ns.wrapping_add(self.interval_ns));
        }
        if ahead as u64 > self.burst_ns { None } else { Some(full_at_ns.wrapping_add(self.interval_ns)) }
    }

    /// Charges the bucket in a word that other processors charge too: together they take what one would. Returns true if
    /// that is within the limit.
    #[inline(always)]
    pub fn charge_shared(self, words: impl SlotWords, at: usize, now_ns: u64) -> bool {
        for _ in 0..ATTEMPTS {
            let there = words.get(at);
            let Some(charged) = self.charge(there, now_ns) else { return false };
            if words.exchange(at, there, charged) {
                return true;
            }
        }
        false
    }

    /// Returns the time until a bucket is full again, which is 0 or less if it is.
    #[inline(always)]
    pub const fn ahead_ns(self, full_at_ns: u64, now_ns: u64) -> i64 {
        let ahead = full_at_ns.wrapping_sub(now_ns) as i64;
        if ahead > 0 && self.can_not_be(ahead) { 0 } else { ahead }
    }

    /// Returns true if no bucket can be full so late: the clock was set since.
    #[inline(always)]
    const fn can_not_be(self, ahead_ns: i64) -> bool {
        ahead_ns as u64 > self.burst_ns.saturating_add(self.interval_ns).saturating_add(SKEW_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_was_charged_for_a_larger_burst_is_full_again() {
        let rate = TokenRate { interval_ns: 10, burst_ns: 25 };
        assert_eq!(rate.charge(1_000_000_000, 0), Some(10));
        assert_eq!(rate.charge(35, 0), None, "one burst and one interval are what there can be");
        assert_eq!(rate.charge(35 + SKEW_NS, 0), None, "on a processor that read the clock earlier");
        assert_eq!(rate.charge(36 + SKEW_NS, 0), Some(10));
        assert_eq!(rate.charge(25, 0), Some(35));
        assert_eq!(rate.charge(5, 10), Some(20));
        let most = TokenRate { interval_ns: u64::MAX, burst_ns: u64::MAX };
        assert_eq!(most.charge(u64::MAX, 5), Some(4), "times are compared modulo 2^64");
    }
}
