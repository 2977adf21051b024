//! What all reports have: medians of rounds, and claims with what was measured.

use serde::Serialize;

/// A median, and between what the middle half of the rounds lies.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quartiles: [f64; 2],
}

/// The spread of some values; not a number without any.
pub(super) fn spread(values: impl Iterator<Item = f64>) -> Spread {
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
}

impl Target {
    pub(super) fn at_least(name: &'static str, limit: f64, measured: f64) -> Self {
        Self { name, limit, is_upper: false, measured, is_met: measured >= limit }
    }

    pub(super) fn at_most(name: &'static str, limit: f64, measured: f64) -> Self {
        Self { name, limit, is_upper: true, measured, is_met: measured <= limit }
    }
}

/// Prints a table of them, if there are any.
pub(super) fn print(targets: &[Target]) {
    if !targets.is_empty() {
        println!("\n{:<76}{:>10}{:>10}", "target", "limit", "measured");
    }
    for Target { name, limit, is_upper, measured, is_met } in targets {
        let limit = format!("{} {limit}", if *is_upper { "≤" } else { "≥" });
        println!("{name:<76}{limit:>10}{measured:>10.2}  {}", if *is_met { "met" } else { "MISSED" });
    }
}

/// Whether one of them is missed.
pub(super) fn has_missed(targets: &[Target]) -> bool {
    targets.iter().any(|target| !target.is_met)
}
