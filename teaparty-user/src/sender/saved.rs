//! Saved measurements (`--format json` or `jsonl`, or `--hdr-log`): read again, shown again, compared.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::report::nanos;

pub mod html;
mod log;
mod plots;
mod read;
mod recount;
mod track;

use track::Track;

/// A saved measurement.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What to call it: the file's name.
    pub name: String,
    /// The summary, as it was written; of a histogram log, or a stream without one, what can be said from it.
    pub summary: Value,
    /// What is to be said of the figures wherever they are shown, if anything.
    pub caveat: Option<String>,
    /// What the file says of single packets or of how they were distributed, by target.
    tracks: BTreeMap<String, Track>,
}

/// The quantities of a target that are shown and compared, with how to find and write them.
const QUANTITIES: [(&str, &str, Unit); 12] = [
    ("sent", "/sent", Unit::Count),
    ("received", "/received", Unit::Count),
    ("lost", "/lost", Unit::Count),
    ("lost there", "/lost_far_end", Unit::Count),
    ("lost back", "/lost_near_end", Unit::Count),
    ("round trip p50", "/round_trip_ns/p50", Unit::Nanos),
    ("round trip p99", "/round_trip_ns/p99", Unit::Nanos),
    ("round trip max", "/round_trip_ns/max", Unit::Nanos),
    ("jitter", "/variation_ns/round_trip/jitter", Unit::Nanos),
    ("residence p50", "/residence_ns/p50", Unit::Nanos),
    ("there p50", "/forward_ns/p50", Unit::Nanos),
    ("back p50", "/backward_ns/p50", Unit::Nanos),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Nanos,
}

impl Unit {
    fn write(self, value: Option<f64>) -> String {
        match (value, self) {
            (None, _) => "-".into(),
            (Some(value), Self::Count) => format!("{value:.0}"),
            (Some(value), Self::Nanos) => nanos(value.round() as i64),
        }
    }
}

impl Saved {
    /// The targets' parts of the summary.
    pub fn targets(&self) -> impl Iterator<Item = &Value> {
        self.summary["targets"].as_array().into_iter().flatten()
    }

    /// What the file has of a target beside its summary.
    fn track(&self, target: &Value) -> Option<&Track> {
        self.tracks.get(target["target"].as_str()?)
    }
}

/// The targets of the later of two measurements, each with the same one of the earlier.
fn pairs<'a>(before: &'a Saved, after: &'a Saved) -> impl Iterator<Item = (Option<&'a Value>, &'a Value)> {
    after.targets().map(|target| (before.targets().find(|other| other["target"] == target["target"]), target))
}

/// The targets that only the earlier of two measurements has.
fn gone<'a>(before: &'a Saved, after: &'a Saved) -> impl Iterator<Item = &'a Value> {
    before.targets().filter(|target| !after.targets().any(|other| other["target"] == target["target"]))
}

/// A quantity of two measurements, and by how much it changed.
fn change((_, pointer, unit): (&str, &str, Unit), before: &Value, after: &Value) -> [String; 3] {
    let [old, new] = [before, after].map(|target| target.pointer(pointer).and_then(Value::as_f64));
    let change = match (old, new) {
        (Some(old), Some(new)) if old != 0.0 => format!("{:+.1} %", (new - old) / old.abs() * 100.0),
        _ => String::new(),
    };
    [unit.write(old), unit.write(new), change]
}

fn title(target: &Value) -> String {
    let field = |name: &str| target[name].as_str().unwrap_or("?").to_owned();
    format!("{} ({})", field("target"), field("address"))
}

/// What is to be thought of a target's one-way delays.
fn clocks(target: &Value) -> &'static str {
    match target["one_way"]["reliable"].as_bool() {
        Some(true) => "synchronised",
        Some(false) => "not synchronised: one-way delays are unreliable",
        None => "unknown: one-way delays are to be taken with care",
    }
}

/// A measurement as a table, one column for each target.
pub fn table(saved: &Saved) -> String {
    let summary = &saved.summary;
    let length = nanos(summary["duration_ns"].as_i64().unwrap_or(0));
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
            let _ = writeln!(text, "  {label:<16}{:>14}", unit.write(value));
        }
        let _ = writeln!(text, "  clocks {}", clocks(target));
    }
    text
}

/// Two measurements side by side, target by target in the order of the second one's names.
pub fn comparison(before: &Saved, after: &Saved) -> String {
    let mut text = format!("--- {} → {} ---\n", before.name, after.name);
    for saved in [before, after] {
        if let Some(caveat) = &saved.caveat {
            let _ = writeln!(text, "{} {caveat}", saved.name);
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
            let _ = writeln!(text, "  {:<16}{old:>14}{new:>14}{change:>12}", quantity.0);
        }
    }
    for target in gone(before, after) {
        let _ = writeln!(text, "{}: only in {}", title(target), before.name);
    }
    text
}

#[cfg(test)]
mod tests;
