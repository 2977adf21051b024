//! What is kept of a target's packets for plots, however many there were.

use super::recompute::RecomputedRun;
use crate::sender::session::histogram::Distribution;

/// More packets than this are thinned out in a plot; the figures beside it are of all of them.
const MOST_POINTS: usize = 5_000;

/// Packets over time, thinned out evenly as they become too many.
#[derive(Clone, Debug)]
pub(super) struct Downsampled<T> {
    /// The kept items, in the order of arrival.
    pub(super) kept: Vec<T>,
    /// The number of all items.
    pub(super) seen: u64,
    /// One of this many is kept.
    step: u64,
}

impl<T> Default for Downsampled<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), seen: 0, step: 1 }
    }
}

impl<T> Downsampled<T> {
    pub(super) fn add(&mut self, item: T) {
        if self.seen.is_multiple_of(self.step) {
            if self.kept.len() == 2 * MOST_POINTS {
                let mut is_odd = true;
                self.kept.retain(|_| {
                    is_odd = !is_odd;
                    !is_odd
                });
                self.step *= 2;
            }
            self.kept.push(item);
        }
        self.seen += 1;
    }
}

/// A file's data of a target's packets.
#[derive(Clone, Debug, Default)]
pub(super) struct PacketSeries {
    /// Arrival of a reply, and its round trip; both in nanoseconds, the first since 1970.
    pub(super) replies: Downsampled<(u64, i64)>,
    /// Transmit times of lost packets.
    pub(super) losses: Downsampled<u64>,
    /// The round trips of all replies.
    pub(super) round_trip: Distribution,
    /// The substitute for a missing summary.
    pub(super) recount: RecomputedRun,
}

impl PacketSeries {
    /// Takes a reply in, or with no round trip a loss.
    pub(super) fn add(&mut self, epoch_ns: u64, round_trip_ns: Option<i64>) {
        match round_trip_ns {
            None => self.losses.add(epoch_ns),
            Some(round_trip_ns) => {
                self.replies.add((epoch_ns, round_trip_ns));
                self.round_trip.record(round_trip_ns);
            }
        }
    }

    /// The first and the last moment of which something is kept; `None` where nothing is.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        let moments = || self.replies.kept.iter().map(|(at, _)| *at).chain(self.losses.kept.iter().copied());
        Some((moments().min()?, moments().max()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_measurement_is_thinned_out_evenly_and_its_distribution_is_whole() {
        let mut track = PacketSeries::default();
        for n in 0..1_000_000u64 {
            track.add(n, (n % 10 != 0).then_some(n as i64));
        }
        assert_eq!((track.replies.seen, track.losses.seen), (900_000, 100_000));
        assert_eq!(track.round_trip.count(), 900_000);
        let kept = track.replies.kept.len();
        assert!((MOST_POINTS..=2 * MOST_POINTS).contains(&kept), "{kept}");
        let first_half = track.replies.kept.iter().filter(|(at, _)| *at < 500_000).count();
        assert!(first_half.abs_diff(kept / 2) <= 1, "{first_half} of {kept}");
        assert_eq!(track.span().unwrap().0, 0);
    }
}
