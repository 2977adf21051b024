//! Distributions of nanoseconds in bounded memory: every quantile exact to three digits, whatever the duration.
//!
//! Values may be negative: a one-way delay between two clocks that disagree is. Buckets are those of HdrHistogram with
//! three significant digits (2048 of width 1, then 1024 for each doubling), but in pages that exist only where values
//! fell, so that a thousand targets cost megabytes and not a gigabyte.

use serde::Serialize;

/// Buckets for each doubling: relative width under 1/1024.
const SUB_BUCKETS: u64 = 1024;
/// Buckets in a page.
const PAGE: usize = 256;

/// Counts of values by magnitude, on one side of zero.
#[derive(Clone, Debug, Default)]
struct Buckets {
    pages: Vec<Option<Box<[u64; PAGE]>>>,
}

impl Buckets {
    fn add(&mut self, magnitude: u64, count: u64) {
        let index = bucket_of(magnitude);
        let page = index / PAGE;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page].get_or_insert_with(|| Box::new([0; PAGE]))[index % PAGE] += count;
    }

    /// Buckets that are not empty, by rising magnitude: the middle of their range, and their count.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        self.pages.iter().enumerate().filter_map(|(page, buckets)| Some((page, buckets.as_ref()?))).flat_map(
            |(page, buckets)| {
                let occupied = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
                occupied.map(move |(index, count)| (middle_of(page * PAGE + index), *count))
            },
        )
    }
}

fn bucket_of(magnitude: u64) -> usize {
    if magnitude < 2 * SUB_BUCKETS {
        return magnitude as usize;
    }
    // At least 11 significant bits: shift so that the highest of them is bit 10.
    let shift = u64::from(magnitude.ilog2()) - u64::from(SUB_BUCKETS.ilog2());
    (shift * SUB_BUCKETS + (magnitude >> shift)) as usize
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB_BUCKETS {
        return bucket;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let low = (bucket - shift * SUB_BUCKETS) << shift;
    low + (1 << shift >> 1)
}

/// The distribution of a quantity in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    below_zero: Buckets,
    from_zero: Buckets,
    count: u64,
    min: i64,
    max: i64,
    mean: f64,
    /// Sum of squared distances from the mean (Welford), which does not lose digits as the sum of squares would.
    squares: f64,
}

/// A distribution in figures, all in nanoseconds. Quantiles are exact to three digits, the others exactly computed.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct DistributionFigures {
    /// Smallest value.
    pub min: i64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: i64,
    /// 90th percentile.
    pub p90: i64,
    /// 99th percentile.
    pub p99: i64,
    /// 99.9th percentile.
    pub p99_9: i64,
    /// 99.99th percentile.
    pub p99_99: i64,
    /// Largest value.
    pub max: i64,
    /// Standard deviation of the population.
    pub stddev: f64,
    /// Delay variation as RFC 5481 §4.2 has it: how far the 99.9th percentile is above the smallest value.
    pub pdv_p99_9: i64,
    /// Values that went in.
    pub samples: u64,
}

impl Distribution {
    /// Takes one value in.
    pub fn record(&mut self, nanos: i64) {
        if nanos < 0 { &mut self.below_zero } else { &mut self.from_zero }.add(nanos.unsigned_abs(), 1);
        self.min = if self.count == 0 { nanos } else { self.min.min(nanos) };
        self.max = if self.count == 0 { nanos } else { self.max.max(nanos) };
        self.count += 1;
        let distance = nanos as f64 - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (nanos as f64 - self.mean);
    }

    /// Records a value with this count.
    pub fn record_many(&mut self, nanos: i64, count: u64) {
        if count == 0 {
            return;
        }
        let mut same = Self { count, min: nanos, max: nanos, mean: nanos as f64, ..Self::default() };
        if nanos < 0 { &mut same.below_zero } else { &mut same.from_zero }.add(nanos.unsigned_abs(), count);
        self.merge(&same);
    }

    /// Octets of the buckets that exist.
    #[cfg(test)]
    pub(super) fn bucket_octets(&self) -> usize {
        let pages = self.below_zero.pages.iter().chain(&self.from_zero.pages);
        pages.flatten().count() * size_of::<[u64; PAGE]>()
    }

    /// Values that went in.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes all values of another distribution in.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.mean += distance * theirs / (ours + theirs);
        self.squares += other.squares + distance * distance * ours * theirs / (ours + theirs);
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        for (into, from) in [(&mut self.below_zero, &other.below_zero), (&mut self.from_zero, &other.from_zero)] {
            from.iter().for_each(|(magnitude, count)| into.add(magnitude, count));
        }
    }

    /// The value that `fraction` (0 to 1) of all values do not exceed; `None` without values.
    pub fn quantile(&self, fraction: f64) -> Option<i64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((fraction * self.count as f64).ceil() as u64).clamp(1, self.count);
        if rank == self.count {
            return Some(self.max);
        }
        let mut seen = 0;
        for (value, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return Some(value.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// Occupied buckets by rising value: the middle of each and how many values fell into it.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, u64)> {
        let below =
            self.below_zero.iter().rev().map(|(magnitude, count)| (0i64.saturating_sub_unsigned(magnitude), count));
        let from = self.from_zero.iter().map(|(magnitude, count)| (0i64.saturating_add_unsigned(magnitude), count));
        below.chain(from)
    }

    /// The values in at most `ranges` ranges of equal width from the smallest to the 99th percentile: the middle of each
    /// range and how many values it holds. Those above are left out, because a single one would squeeze all the others.
    pub fn histogram(&self, ranges: usize) -> Vec<(i64, u64)> {
        let (Some(top), true) = (self.quantile(0.99), ranges > 0) else { return Vec::new() };
        let width = (top.abs_diff(self.min) / ranges as u64 + 1) as i64;
        let mut counts = vec![0u64; ranges];
        for (value, count) in self.buckets().filter(|(value, _)| *value <= top) {
            let range = (value.max(self.min).abs_diff(self.min) / width as u64) as usize;
            counts[range.min(ranges - 1)] += count;
        }
        counts.into_iter().enumerate().map(|(i, count)| (self.min + width * i as i64 + width / 2, count)).collect()
    }

    /// The figures; `None` without values, because none is not zero.
    pub fn figures(&self) -> Option<DistributionFigures> {
        let quantile = |fraction| self.quantile(fraction);
        Some(DistributionFigures {
            min: quantile(0.0).map(|_| self.min)?,
            mean: self.mean,
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
            p99_9: quantile(0.999)?,
            p99_99: quantile(0.9999)?,
            max: self.max,
            pdv_p99_9: quantile(0.999)?.saturating_sub(self.min),
            stddev: (self.squares / self.count as f64).max(0.0).sqrt(),
            samples: self.count,
        })
    }

    /// Returns an HdrHistogram of the values, for its log format. That has no negative values: those count as 0, and
    /// their number is returned beside it.
    pub fn to_hdr(&self) -> (hdrhistogram::Histogram<u64>, u64) {
        let mut histogram = hdrhistogram::Histogram::new(3).expect("three digits are possible");
        let mut negative = 0;
        for (value, count) in self.buckets() {
            negative += if value < 0 { count } else { 0 };
            histogram.record_n(value.max(0) as u64, count).expect("a histogram that resizes takes every value");
        }
        (histogram, negative)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[i64]) -> Distribution {
        let mut distribution = Distribution::default();
        values.iter().for_each(|value| distribution.record(*value));
        distribution
    }

    #[test]
    fn no_values_have_no_figures() {
        assert_eq!(Distribution::default().figures(), None);
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn figures_of_one_to_a_thousand_are_the_textbook_ones() {
        let figures = of(&(1..=1000).collect::<Vec<i64>>()).figures().unwrap();
        assert_eq!(
            (figures.min, figures.p50, figures.p90, figures.p99, figures.p99_9, figures.max),
            (1, 500, 900, 990, 999, 1000)
        );
        assert_eq!(figures.samples, 1000);
        assert!((figures.mean - 500.5).abs() < 1e-9);
        // The population's: sqrt((n² − 1) / 12).
        assert!((figures.stddev - 288.674_990_257_210_5).abs() < 1e-6, "{}", figures.stddev);
    }

    #[test]
    fn negative_values_sort_below_positive_ones() {
        let distribution = of(&[-5_000_000, -3, 0, 4, 5_000_000]);
        assert_eq!(distribution.quantile(0.5), Some(0));
        assert_eq!(distribution.figures().unwrap().min, -5_000_000);
        let low = distribution.quantile(0.2).unwrap();
        assert!((low + 5_000_000).abs() < 5_000, "{low}");
    }

    #[test]
    fn ranges_hold_all_but_the_outliers() {
        let mut values: Vec<i64> = (0..2_000).collect();
        values.push(1 << 40);
        let ranges = of(&values).histogram(10);
        // 99 % of 2001 values.
        assert_eq!(ranges.iter().map(|(_, count)| count).sum::<u64>(), 1_981);
        assert!(ranges.iter().all(|(_, count)| (190..=200).contains(count)), "{ranges:?}");
        assert_eq!(of(&[5]).histogram(3), [(5, 1), (6, 0), (7, 0)]);
        assert!(of(&[]).histogram(3).is_empty());
    }

    #[test]
    fn memory_does_not_grow_with_the_number_of_values() {
        let pages = |d: &Distribution| d.from_zero.pages.iter().flatten().count();
        let mut distribution = Distribution::default();
        let fill =
            |distribution: &mut Distribution| (0..100_000).for_each(|i| distribution.record(100_000 + i * 7 % 50_000));
        fill(&mut distribution);
        let before = pages(&distribution);
        (0..10).for_each(|_| fill(&mut distribution));
        assert_eq!(pages(&distribution), before);
        assert!(before <= 5, "{before}");
    }

    #[test]
    fn an_hdr_histogram_of_it_has_the_same_quantiles() {
        let distribution = of(&(0..10_000).map(|i| i * i).collect::<Vec<i64>>());
        let (histogram, negative) = distribution.to_hdr();
        assert_eq!((histogram.len(), negative), (10_000, 0));
        for fraction in [0.1, 0.5, 0.9, 0.999] {
            let ours = distribution.quantile(fraction).unwrap() as f64;
            let theirs = histogram.value_at_quantile(fraction) as f64;
            assert!((ours - theirs).abs() <= theirs / 900.0, "{fraction}: {ours} {theirs}");
        }
        assert_eq!(of(&[-1, -2, 3]).to_hdr().1, 2);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_values_to_three_digits(value in any::<u64>()) {
            let middle = middle_of(bucket_of(value));
            prop_assert!(middle.abs_diff(value) <= value / 2048 + 1, "{value} {middle}");
            prop_assert_eq!(bucket_of(middle), bucket_of(value));
        }

        #[test]
        fn quantiles_are_within_a_thousandth_of_the_sorted_values(mut values in prop::collection::vec(-1i64 << 40..1i64 << 40, 1..300), percent in 0u32..=100) {
            let distribution = of(&values);
            values.sort_unstable();
            let rank = (f64::from(percent) / 100.0 * values.len() as f64).ceil().max(1.0) as usize;
            let exact = values[rank - 1];
            let found = distribution.quantile(f64::from(percent) / 100.0).unwrap();
            prop_assert!(found.abs_diff(exact) <= exact.unsigned_abs() / 1000 + 1, "{} {}", found, exact);
        }

        #[test]
        fn merging_equals_recording_together(a in prop::collection::vec(-1_000_000i64..1_000_000, 0..50), b in prop::collection::vec(-1_000_000i64..1_000_000, 0..50)) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let together = of(&[a, b].concat());
            prop_assert_eq!(merged.figures().is_some(), together.figures().is_some());
            if let (Some(merged), Some(together)) = (merged.figures(), together.figures()) {
                prop_assert_eq!((merged.min, merged.p50, merged.p99, merged.max, merged.samples), (together.min, together.p50, together.p99, together.max, together.samples));
                prop_assert!((merged.mean - together.mean).abs() < 1.0);
                prop_assert!((merged.stddev - together.stddev).abs() < 1.0);
            }
        }
    }
}
