//! Saved measurements (`--format json` or `jsonl`): read again, shown again, compared.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::report::json::SCHEMA;
use super::report::nanos;

pub mod html;

/// A saved measurement.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What to call it: the file's name.
    pub name: String,
    /// The summary, as it was written.
    pub summary: Value,
    /// Single packets, where the file has them.
    pub points: Vec<Point>,
}

/// One packet of a saved stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The target's name.
    pub target: String,
    /// When, in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// Round trip in nanoseconds; `None` for a loss.
    pub round_trip_ns: Option<i64>,
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
    /// Reads a file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let content = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Self::parse(name, &content)
    }

    /// Reads a summary, or a stream that ends with one.
    pub fn parse(name: String, content: &str) -> anyhow::Result<Self> {
        let mut points = Vec::new();
        let summary = match serde_json::from_str::<Value>(content) {
            Ok(summary) if summary.get("schema").is_some() => Some(summary),
            _ => read_stream(&name, content, &mut points)?,
        };
        let summary = summary.with_context(|| {
            format!("{name} has no summary: it was not saved with --format json or jsonl, or the run did not end")
        })?;
        match summary["schema"].as_u64() {
            Some(schema) if schema <= u64::from(SCHEMA) => Ok(Self { name, summary, points }),
            schema => anyhow::bail!("{name} has schema {schema:?}, and this program knows up to {SCHEMA}"),
        }
    }

    /// The targets' parts of the summary.
    pub fn targets(&self) -> impl Iterator<Item = &Value> {
        self.summary["targets"].as_array().into_iter().flatten()
    }
}

fn read_stream(name: &str, content: &str, points: &mut Vec<Point>) -> anyhow::Result<Option<Value>> {
    let mut summary = None;
    for (number, line) in content.lines().enumerate() {
        let mut value: Value =
            serde_json::from_str(line).with_context(|| format!("{name}, line {}: no JSON", number + 1))?;
        if let Some(found) = value.get_mut("summary") {
            summary = Some(found.take());
            continue;
        }
        let fate = value["fate"].as_str().unwrap_or_default();
        if let (Some(target), Some(epoch_ns), true) =
            (value["target"].as_str(), value["epoch_ns"].as_u64(), matches!(fate, "reply" | "lost"))
        {
            let round_trip_ns = value["round_trip_ns"].as_i64();
            points.push(Point { target: target.into(), epoch_ns, round_trip_ns });
        }
    }
    Ok(summary)
}

fn title(target: &Value) -> String {
    let field = |name: &str| target[name].as_str().unwrap_or("?").to_owned();
    format!("{} ({})", field("target"), field("address"))
}

/// A measurement as a table, one column for each target.
pub fn table(saved: &Saved) -> String {
    let summary = &saved.summary;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "--- {}: teaparty {} on {}, {} ---",
        saved.name,
        summary["version"].as_str().unwrap_or("?"),
        summary["host"]["name"].as_str().unwrap_or("?"),
        nanos(summary["duration_ns"].as_i64().unwrap_or(0))
    );
    for target in saved.targets() {
        let _ = writeln!(text, "{}", title(target));
        for (label, pointer, unit) in QUANTITIES {
            let value = target.pointer(pointer).and_then(Value::as_f64);
            let _ = writeln!(text, "  {label:<16}{:>14}", unit.write(value));
        }
        let is_reliable = target["one_way"]["reliable"].as_bool() == Some(true);
        let claim = if is_reliable { "synchronised" } else { "not synchronised: one-way delays are unreliable" };
        let _ = writeln!(text, "  clocks {claim}");
    }
    text
}

/// Two measurements side by side, target by target in the order of the second one's names.
pub fn comparison(before: &Saved, after: &Saved) -> String {
    let mut text = format!("--- {} → {} ---\n", before.name, after.name);
    for target in after.targets() {
        let Some(other) = before.targets().find(|other| other["target"] == target["target"]) else {
            let _ = writeln!(text, "{}: only in {}", title(target), after.name);
            continue;
        };
        let _ = writeln!(text, "{}", title(target));
        for (label, pointer, unit) in QUANTITIES {
            let [old, new] = [other, target].map(|target| target.pointer(pointer).and_then(Value::as_f64));
            let change = match (old, new) {
                (Some(old), Some(new)) if old != 0.0 => format!("{:+.1} %", (new - old) / old.abs() * 100.0),
                _ => String::new(),
            };
            let (old, new) = (unit.write(old), unit.write(new));
            let _ = writeln!(text, "  {label:<16}{old:>14}{new:>14}{change:>12}");
        }
    }
    for target in before.targets() {
        if !after.targets().any(|other| other["target"] == target["target"]) {
            let _ = writeln!(text, "{}: only in {}", title(target), before.name);
        }
    }
    text
}

#[cfg(test)]
mod tests;
