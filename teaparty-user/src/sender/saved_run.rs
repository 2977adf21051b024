//! Saved measurements (`--format json` or `jsonl`, or `--hdr-log`): read again, shown again, compared.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::layout::nanos;

pub(crate) mod html;
mod log;
mod plots;
mod read;
mod recompute;
mod series;

use series::PacketSeries;

/// A saved measurement.
#[derive(Clone, Debug)]
pub(crate) struct SavedRun {
    /// Its name: the file's.
    pub name: String,
    /// The summary, as it was written; of a histogram log, or a stream without one, what can be said from it.
    pub summary: Value,
    /// A caveat for the figures wherever they are shown.
    pub caveat: Option<String>,
    /// The file's data of single packets or of their distributions, by target.
    tracks: BTreeMap<String, PacketSeries>,
}

/// The quantities of a target that are shown and compared, with how to find and write them.
const QUANTITIES: [(&str, &str, Unit); 16] = [
    ("sent", "/sent", Unit::Count),
    ("received", "/received", Unit::Count),
    ("lost", "/lost", Unit::Count),
    ("loss", "/loss", Unit::Percent),
    ("lost, far end", "/lost_far_end", Unit::Count),
    ("lost, near end", "/lost_near_end", Unit::Count),
    ("round trip mean", "/round_trip_ns/mean", Unit::Nanos),
    ("round trip p50", "/round_trip_ns/p50", Unit::Nanos),
    ("round trip p99", "/round_trip_ns/p99", Unit::Nanos),
    ("round trip p99.9", "/round_trip_ns/p99_9", Unit::Nanos),
    ("round trip max", "/round_trip_ns/max", Unit::Nanos),
    ("jitter", "/variation_ns/round_trip/jitter", Unit::Nanos),
    ("residence p50", "/residence_ns/p50", Unit::Nanos),
    ("forward p50", "/forward_ns/p50", Unit::Nanos),
    ("backward p50", "/backward_ns/p50", Unit::Nanos),
    ("pacing error p99", "/pacing_error_ns/p99", Unit::Nanos),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    /// A fraction of 0 to 1.
    Percent,
    Nanos,
}

impl Unit {
    fn write(self, value: Option<f64>) -> String {
        match (value, self) {
            (None, _) => "-".into(),
            (Some(value), Self::Count) => format!("{value:.0}"),
            (Some(value), Self::Percent) => format!("{:.3} %", value * 100.0),
            (Some(value), Self::Nanos) => nanos(value.round() as i64),
        }
    }
}

impl SavedRun {
    /// The targets' parts of the summary.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Value> {
        self.summary["targets"].as_array().into_iter().flatten()
    }

    /// Returns the file's data of a target beside its summary.
    fn track(&self, target: &Value) -> Option<&PacketSeries> {
        self.tracks.get(target["target"].as_str()?)
    }
}

/// The targets of the later of two measurements, each with the same one of the earlier.
fn pairs<'a>(before: &'a SavedRun, after: &'a SavedRun) -> impl Iterator<Item = (Option<&'a Value>, &'a Value)> {
    after.targets().map(|target| (before.targets().find(|other| other["target"] == target["target"]), target))
}

/// The targets that only the earlier of two measurements has.
fn gone<'a>(before: &'a SavedRun, after: &'a SavedRun) -> impl Iterator<Item = &'a Value> {
    before.targets().filter(|target| !after.targets().any(|other| other["target"] == target["target"]))
}

/// A quantity of two measurements, and the later one as a multiple of the earlier one.
fn change((_, pointer, unit): (&str, &str, Unit), before: &Value, after: &Value) -> [String; 3] {
    let [old, new] = [before, after].map(|target| target.pointer(pointer).and_then(Value::as_f64));
    let ratio = match (old, new) {
        (Some(old), Some(new)) if old == new => "=".into(),
        // Clocks that are apart make one-way delays negative; a multiple of them means nothing.
        (Some(old), Some(new)) if old > 0.0 && new >= 0.0 => format!("×{:.2}", new / old),
        (Some(0.0), Some(_)) => "from 0".into(),
        _ => String::new(),
    };
    [unit.write(old), unit.write(new), ratio]
}

/// The summary's round trips by length: middles of ranges in nanoseconds, and how many there were in each.
fn distribution(saved: &SavedRun, target: &Value) -> Vec<(i64, u64)> {
    if let Some(track) = saved.track(target).filter(|track| track.round_trip.count() > 0) {
        return track.round_trip.buckets().collect();
    }
    let pairs = target["round_trip_histogram"].as_array().into_iter().flatten();
    pairs.filter_map(|pair| Some((pair.get(0)?.as_i64()?, pair.get(1)?.as_u64()?))).collect()
}

/// Returns the start of a measurement, if it is known: date and time in UTC.
fn began(saved: &SavedRun) -> Option<String> {
    saved.summary["started_ns"].as_u64().map(utc)
}

/// A moment since 1970 as date and time, `2026-11-30 04:05:06 UTC`.
fn utc(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days; the era of 400 years begins in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + next;
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

fn title(target: &Value) -> String {
    let field = |name: &str| target[name].as_str().unwrap_or("?").to_owned();
    format!("{} ({})", field("target"), field("address"))
}

/// Returns the verdict on a target's one-way delays.
fn clocks(target: &Value) -> &'static str {
    match target["one_way"]["reliable"].as_bool() {
        Some(true) => "synchronised",
        Some(false) => "not synchronised: one-way delays are unreliable",
        None => "unknown: one-way delays are to be taken with care",
    }
}

/// A measurement as a table, one column for each target.
pub(crate) fn table(saved: &SavedRun) -> String {
    let summary = &saved.summary;
    let length = nanos(summary["duration_ns"].as_i64().unwrap_or(0));
    let length = began(saved).map_or(length.clone(), |began| format!("{began}, {length}"));
    let mut text = match &saved.caveat {
        Some(caveat) => format!("--- {}: {length} ---\n{caveat}\n", saved.name),
        None => format!(
            "--- {}: teaparty {} on {}, {length} ---\n",
            saved.name,
            summary["version"].as_str().unwrap_or("?"),
            summary["host"]["name"].as_str().unwrap_or("?"),
        ),
    };
    for target in saved.targets() {
        let _ = writeln!(text, "{}", title(target));
        for (label, pointer, unit) in QUANTITIES {
            let value = target.pointer(pointer).and_then(Value::as_f64);
            let _ = writeln!(text, "  {label:<18}{:>14}", unit.write(value));
        }
        let _ = writeln!(text, "  clocks {}", clocks(target));
    }
    text
}

/// Two measurements side by side, target by target in the order of the second one's names.
pub(crate) fn comparison(before: &SavedRun, after: &SavedRun) -> String {
    let mut text = format!("--- {} → {} ---\n", before.name, after.name);
    for saved in [before, after] {
        if let Some(caveat) = &saved.caveat {
            let _ = writeln!(text, "{} {caveat}", saved.name);
        }
        if let Some(began) = began(saved) {
            let _ = writeln!(text, "{}: {began}", saved.name);
        }
    }
    for (other, target) in pairs(before, after) {
        let Some(other) = other else {
            let _ = writeln!(text, "{}: only in {}", title(target), after.name);
            continue;
        };
        let _ = writeln!(text, "{}", title(target));
        for quantity in QUANTITIES {
            let [old, new, change] = change(quantity, other, target);
            let _ = writeln!(text, "  {:<18}{old:>14}{new:>14}{change:>10}", quantity.0);
        }
    }
    for target in gone(before, after) {
        let _ = writeln!(text, "{}: only in {}", title(target), before.name);
    }
    text
}

#[cfg(test)]
mod tests;
