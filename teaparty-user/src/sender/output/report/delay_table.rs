//! The table of a measurement's delays, for people: as many columns as fit.

use std::fmt::Write;

use crate::layout::nanos;
use crate::sender::session::histogram::DistributionFigures;
use crate::sender::session::stats::Statistics;
use crate::sender::session::variation::Variation;

/// Columns of a table's label, and of each of its figures.
const LABEL: usize = 12;
const FIGURE: usize = 11;

/// A figure of a distribution: its name, and how to take it from a distribution and its variation.
type Figure = (&'static str, fn(&DistributionFigures, &Variation) -> Option<i64>);

/// The figures of a row in their order.
const FIGURES: [Figure; 8] = [
    ("min", |figures, _| Some(figures.min)),
    ("mean", |figures, _| Some(figures.mean.round() as i64)),
    ("p50", |figures, _| Some(figures.p50)),
    ("p90", |figures, _| Some(figures.p90)),
    ("p99", |figures, _| Some(figures.p99)),
    ("p99.9", |figures, _| Some(figures.p99_9)),
    ("max", |figures, _| Some(figures.max)),
    ("jitter", |_, variation| variation.jitter().map(|jitter| jitter.round() as i64)),
];

/// Columns by importance: as many as fit are shown.
const IMPORTANCE: [&str; 8] = ["p50", "p99", "max", "jitter", "min", "mean", "p99.9", "p90"];

/// Returns the figures that a table of this many columns has.
fn shown(columns: usize) -> Vec<Figure> {
    let most = (columns.saturating_sub(LABEL) / FIGURE).clamp(1, FIGURES.len());
    FIGURES.into_iter().filter(|(name, _)| IMPORTANCE[..most].contains(name)).collect()
}

/// Writes the table of the delays; nothing if there are none.
pub(super) fn delay_table(text: &mut String, statistics: &Statistics, columns: usize) {
    if statistics.round_trip.count() == 0 {
        return;
    }
    let shown = shown(columns);
    let names: String = shown.iter().map(|(name, _)| format!("{name:>FIGURE$}")).collect();
    let _ = writeln!(text, "{:LABEL$}{names}", "");
    let none = Variation::default();
    for (label, distribution, variation) in [
        ("round trip", &statistics.round_trip, &statistics.round_trip_variation),
        ("residence", &statistics.residence, &none),
        ("forward", &statistics.forward, &statistics.forward_variation),
        ("backward", &statistics.backward, &statistics.backward_variation),
        ("pacing error", &statistics.pacing, &none),
    ] {
        let Some(figures) = distribution.figures() else { continue };
        let figure = |(_, take): &Figure| take(&figures, variation).map_or_else(String::new, nanos);
        let row: String = shown.iter().map(|one| format!("{:>FIGURE$}", figure(one))).collect();
        let _ = writeln!(text, "{}", format!("{label:<LABEL$}{row}").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_most_important_figures_that_fit() {
        let names = |columns| shown(columns).iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(40), ["p50", "p99"]);
        assert_eq!(names(80), ["min", "mean", "p50", "p99", "max", "jitter"]);
        assert_eq!(names(200), ["min", "mean", "p50", "p90", "p99", "p99.9", "max", "jitter"]);
    }
}
