//! How much one delay varies from packet to packet. Pure.

use serde::Serialize;

/// Packets among which one looks for a neighbour's delay: a reply that is overtaken by more is in no pair.
const WINDOW: u64 = 128;

/// Variation of one delay: between packets sent one after the other (jitter; IPDV of RFC 3393 and RFC 5481 §4.1), whatever
/// order their replies came in, and between replies as they came, smoothed (RFC 3550 §6.4.1).
#[derive(Clone, Debug, Default, Serialize)]
#[serde(into = "VariationFigures")]
pub struct Variation {
    filtered: f64,
    /// Differences that went into `filtered`.
    differences: u64,
    ipdv_mean: f64,
    ipdv_max: u64,
    pairs: u64,
    last: Option<i64>,
    /// By number modulo [`WINDOW`]; nothing before the first.
    recent: Vec<Option<(u64, i64)>>,
}

/// The figures of reports: null where nothing could be compared.
#[derive(Serialize)]
struct VariationFigures {
    /// The common meaning of the word: as `ipdv_mean`.
    jitter: Option<f64>,
    /// The last state of RFC 3550's filter.
    jitter_rfc3550: Option<f64>,
    /// Of absolute differences: that of signed ones says nothing but whether delay has grown.
    ipdv_mean: Option<f64>,
    ipdv_max: Option<u64>,
    pairs: u64,
}

impl From<Variation> for VariationFigures {
    fn from(variation: Variation) -> Self {
        Self {
            jitter: variation.jitter(),
            jitter_rfc3550: variation.jitter_rfc3550(),
            ipdv_mean: variation.jitter(),
            ipdv_max: (variation.pairs > 0).then_some(variation.ipdv_max),
            pairs: variation.pairs,
        }
    }
}

impl Variation {
    /// Returns the mean of the absolute differences between consecutive packets (RFC 3393), in nanoseconds; `None` without
    /// such a pair.
    pub fn jitter(&self) -> Option<f64> {
        (self.pairs > 0).then_some(self.ipdv_mean)
    }

    /// Returns the last state of RFC 3550's filter (§6.4.1), in nanoseconds: of each new difference a sixteenth counts, so it
    /// shows the last few replies and no more. `None` for fewer than two replies.
    pub fn jitter_rfc3550(&self) -> Option<f64> {
        (self.differences > 0).then_some(self.filtered)
    }

    /// Takes in the delay of packet `index`, once for each packet, in the order in which replies come.
    pub fn record(&mut self, index: u64, delay_ns: i64) {
        if let Some(last) = self.last.replace(delay_ns) {
            self.differences += 1;
            self.filtered += (delay_ns.abs_diff(last) as f64 - self.filtered) / 16.0;
        }
        if self.recent.is_empty() {
            self.recent = vec![None; WINDOW as usize];
        }
        // The later one may have come first.
        for neighbour in [index.checked_sub(1), index.checked_add(1)].into_iter().flatten() {
            if let Some((of, delay)) = self.recent[(neighbour % WINDOW) as usize]
                && of == neighbour
            {
                self.pair(delay_ns.abs_diff(delay));
            }
        }
        self.recent[(index % WINDOW) as usize] = Some((index, delay_ns));
    }

    fn pair(&mut self, difference: u64) {
        self.pairs += 1;
        self.ipdv_mean += (difference as f64 - self.ipdv_mean) / self.pairs as f64;
        self.ipdv_max = self.ipdv_max.max(difference);
    }

    /// Forgets the last delays: those that come are not to be compared with them.
    pub fn interrupt(&mut self) {
        self.last = None;
        self.recent.clear();
    }

    /// Takes in all of another session's; each counts by how much it has seen.
    pub fn merge(&mut self, other: &Self) {
        let join = |ours: &mut f64, theirs: f64, counts: (&mut u64, u64)| {
            *counts.0 += counts.1;
            if *counts.0 > 0 {
                *ours += (theirs - *ours) * counts.1 as f64 / *counts.0 as f64;
            }
        };
        join(&mut self.filtered, other.filtered, (&mut self.differences, other.differences));
        join(&mut self.ipdv_mean, other.ipdv_mean, (&mut self.pairs, other.pairs));
        self.ipdv_max = self.ipdv_max.max(other.ipdv_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::session::random::Random;

    fn of(arrivals: &[(u64, i64)]) -> Variation {
        let mut variation = Variation::default();
        arrivals.iter().for_each(|(index, delay)| variation.record(*index, *delay));
        variation
    }

    #[test]
    fn loss_leaves_a_gap_in_jitter_and_none_in_the_filter() {
        let variation = of(&[(0, 100), (1, 116), (3, 1_000), (4, 968)]);
        assert_eq!((variation.pairs, variation.ipdv_max, variation.jitter()), (2, 32, Some(24.0)));
        // RFC 3550: J += (|D| − J) / 16, from each reply to the next.
        let expected = [16.0, 884.0, 32.0].iter().fold(0.0, |jitter, d| jitter + (d - jitter) / 16.0);
        assert!((variation.jitter_rfc3550().unwrap() - expected).abs() < 1e-9);
        // Every second one is lost: no packet has a neighbour.
        let variation = of(&[(0, 100), (2, 40_000), (4, 100)]);
        assert_eq!((variation.pairs, variation.jitter()), (0, None));
        assert!(variation.jitter_rfc3550().unwrap() > 2_000.0);
    }

    #[test]
    fn two_packets_and_a_bad_run_with_a_quiet_end_have_their_jitter() {
        // As people read it: 8.2 µs apart are 8.2 µs, and a run that was bad until its last second was bad.
        assert_eq!(of(&[(0, 100_000), (1, 108_200)]).jitter(), Some(8_200.0));
        let bad = (0..900).map(|index| (index, if index % 2 == 0 { 0 } else { 1_000_000 }));
        let quiet = (900..1_000).map(|index| (index, 0));
        let variation = of(&bad.chain(quiet).collect::<Vec<_>>());
        assert!(variation.jitter().unwrap() > 890_000.0 && variation.jitter_rfc3550().unwrap() < 2_000.0);
    }

    #[test]
    fn overtaken_replies_are_compared_with_their_neighbours_all_the_same() {
        // Any order of arrival within the window gives the pairs of the order of sending.
        let mut random = Random::new(3);
        let delays: Vec<i64> = (0..500).map(|_| (random.bits() % 1_000_000) as i64).collect();
        let mut order: Vec<usize> = (0..delays.len()).collect();
        for part in order.chunks_mut(50) {
            for at in (1..part.len()).rev() {
                part.swap(at, (random.bits() % (at as u64 + 1)) as usize);
            }
        }
        let arrivals: Vec<(u64, i64)> = order.iter().map(|index| (*index as u64, delays[*index])).collect();
        let variation = of(&arrivals);
        let truth: Vec<u64> = delays.windows(2).map(|pair| pair[1].abs_diff(pair[0])).collect();
        let mean = truth.iter().sum::<u64>() as f64 / truth.len() as f64;
        assert_eq!((variation.pairs, variation.ipdv_max), (499, *truth.iter().max().unwrap()));
        assert!((variation.jitter().unwrap() - mean).abs() < 1e-3);
    }

    #[test]
    fn what_was_not_compared_is_null() {
        let text = |variation| serde_json::to_string(&variation).unwrap();
        let nothing = r#"{"jitter":null,"jitter_rfc3550":null,"ipdv_mean":null,"ipdv_max":null,"pairs":0}"#;
        assert_eq!(text(Variation::default()), nothing);
        assert_eq!(text(of(&[(7, 5)])), nothing);
        assert_eq!(
            text(of(&[(7, 5), (8, 21)])),
            r#"{"jitter":16.0,"jitter_rfc3550":1.0,"ipdv_mean":16.0,"ipdv_max":16,"pairs":1}"#
        );
    }

    #[test]
    fn sessions_together_count_by_how_much_they_have_seen() {
        let mut all = Variation::default();
        all.merge(&of(&[(0, 0), (1, 10)]));
        all.merge(&of(&[(0, 0), (1, 40), (2, 0), (3, 40)]));
        all.merge(&of(&[(0, 9)]));
        assert_eq!((all.pairs, all.jitter(), all.ipdv_max), (4, Some(32.5), 40));
    }
}
