//! What all reports have: medians of rounds, and claims with what was measured.

use serde::Serialize;

/// A median, and between what the middle half of the rounds lies.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quartiles: [f64; 2],
}

/// The spread of some values; not a number without any.
pub(crate) fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * part).round() as usize).copied();
    let at = |part| at(part).unwrap_or(f64::NAN);
    Spread { median: at(0.5), quartiles: [at(0.25), at(0.75)] }
}

/// A claim, and what was measured.
#[derive(Serialize)]
pub(super) struct Target {
    name: &'static str,
    limit: f64,
    is_upper: bool,
    measured: f64,
    is_met: bool,
    /// The result of a floor, which does no more than it has to: where that misses the target too, it is out of reach.
    floor: Option<Floor>,
}

#[derive(Serialize)]
struct Floor {
    name: &'static str,
    measured: f64,
}

impl Target {
    pub(super) fn at_least(name: &'static str, limit: f64, measured: f64) -> Self {
        Self { name, limit, is_upper: false, measured, is_met: measured >= limit, floor: None }
    }

    pub(super) fn at_most(name: &'static str, limit: f64, measured: f64) -> Self {
        Self { name, limit, is_upper: true, measured, is_met: measured <= limit, floor: None }
    }

    /// Adds what a floor reaches, if it was measured.
    pub(super) fn beside(self, name: &'static str, measured: Option<f64>) -> Self {
        Self { floor: measured.map(|measured| Floor { name, measured }), ..self }
    }

    #[cfg(test)]
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    #[cfg(test)]
    pub(super) fn is_met(&self) -> bool {
        self.is_met
    }
}

/// The verdict in words.
pub(super) fn verdict(is_met: bool, limit: f64, measured: f64) -> String {
    if is_met {
        return "met".to_owned();
    }
    if measured.is_nan() {
        return "MISSED, not measured".to_owned();
    }
    format!("MISSED by {:.0} %", (measured / limit - 1.0).abs() * 100.0)
}

/// Prints the head of a table of targets.
pub(super) fn print_head() {
    println!("\n{:<76}{:>10}{:>10}", "target", "limit", "measured");
}

/// Prints one line of it.
pub(super) fn print_line(name: &str, limit: f64, is_upper: bool, measured: f64, verdict: &str) {
    let limit = format!("{} {limit}", if is_upper { "≤" } else { "≥" });
    println!("{name:<76}{limit:>10}{measured:>10.2}  {verdict}");
}

/// Prints a table of targets, if there are any.
pub(super) fn print(targets: &[Target]) {
    if !targets.is_empty() {
        print_head();
    }
    for Target { name, limit, is_upper, measured, is_met, floor } in targets {
        let mut verdict = verdict(*is_met, *limit, *measured);
        if let Some(Floor { name, measured }) = floor {
            verdict += &format!("; {name}: {measured:.2}");
        }
        print_line(name, *limit, *is_upper, *measured, &verdict);
    }
}

/// Returns true if one of them is missed.
pub(super) fn has_missed(targets: &[Target]) -> bool {
    targets.iter().any(|target| !target.is_met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_says_by_how_much() {
        assert_eq!(verdict(false, 1.5, 2.1), "MISSED by 40 %");
        assert_eq!(verdict(false, 0.8, 0.6), "MISSED by 25 %");
        assert_eq!(verdict(true, 0.8, 0.9), "met");
    }

    #[test]
    fn what_was_not_measured_is_no_success() {
        assert!(!Target::at_most("", 1.0, f64::NAN).is_met());
        assert!(!Target::at_least("", 1.0, f64::NAN).is_met());
    }

    #[test]
    fn a_spread_has_the_middle_half() {
        let spread = spread([5.0, 1.0, 3.0, 2.0, 4.0].into_iter());
        assert_eq!((spread.median, spread.quartiles), (3.0, [2.0, 4.0]));
    }
}
