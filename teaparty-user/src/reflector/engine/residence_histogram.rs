//! How long packets stay in an engine, from arrival until T3 is read, as a histogram. By the monotonic clock, so it is not
//! T3 − T2 where somebody sets the system's clock in between.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of the buckets but the last one, in nanoseconds: 1, 2.5 and 5 by decade.
pub(crate) const BOUNDS_NS: [u64; 14] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    100_000_000,
];

/// The histogram of one engine. Engines add, and others read, without a lock.
#[derive(Default)]
pub(crate) struct ResidenceHistogram {
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResidenceSnapshot {
    /// Replies with a time up to each of [`BOUNDS_NS`] and above the one before; the last of them is what is above all.
    pub buckets: [u64; BOUNDS_NS.len() + 1],
    /// All times together, in nanoseconds.
    pub sum_ns: u64,
}

impl ResidenceHistogram {
    /// Adds a reply's time in nanoseconds.
    pub(crate) fn add(&self, ns: u64) {
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns the totals. A reply that is added at this moment may be in the sum and not in the buckets yet.
    pub(crate) fn get(&self) -> ResidenceSnapshot {
        ResidenceSnapshot {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let residence = ResidenceHistogram::default();
        for ns in [0, 1_000, 1_001, 100_000_000, 100_000_001, u64::from(u32::MAX)] {
            residence.add(ns);
        }
        let got = residence.get();
        assert_eq!((got.buckets[0], got.buckets[1], got.buckets[13], got.buckets[14]), (2, 1, 1, 2));
        assert_eq!(got.sum_ns, 1_000 + 1_001 + 200_000_001 + u64::from(u32::MAX));
    }
}
