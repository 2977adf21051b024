//! Reads histogram logs (`--hdr-log`, and others' with tags of the same form) as measurements: distributions, and no counts
//! of what was lost.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Map, Value, json};

use super::SavedRun;
use super::series::PacketSeries;
use crate::sender::session::histogram::Distribution;

/// Most values of a histogram that a line of a log may hold when unpacked, in octets: three digits up to 2^64 have 0.5 MB.
const MOST_ENCODED: usize = 16 << 20;

/// The quantities that a log has a line for, as the tag says them.
const QUANTITIES: [&str; 4] = ["round_trip", "residence", "forward", "backward"];

/// The distributions of a target, by quantity.
type Distributions = BTreeMap<&'static str, Distribution>;

/// Reads a log. Lines of the same target and quantity are taken together.
pub(super) fn read(name: String, content: &[u8]) -> anyhow::Result<SavedRun> {
    let mut targets: BTreeMap<String, Distributions> = BTreeMap::new();
    let mut duration_ns = 0u64;
    let mut started_ns = None;
    for entry in IntervalLogIterator::new(content) {
        let entry = entry.map_err(|error| anyhow!("{name} is no histogram log: {error:?}"))?;
        let interval = match entry {
            LogEntry::Interval(interval) => interval,
            LogEntry::StartTime(start) => {
                started_ns = Some(start.as_nanos() as u64);
                continue;
            }
            LogEntry::BaseTime(_) => continue,
        };
        let tag = interval.tag().map(|tag| tag.as_str()).unwrap_or_default();
        let parts = tag.rsplit_once('/');
        let quantity = parts.and_then(|(_, quantity)| QUANTITIES.iter().find(|known| **known == quantity));
        let (Some((target, _)), Some(quantity)) = (parts, quantity) else {
            return Err(anyhow!(
                "{name} has a histogram tagged {tag:?}; known are TARGET/{}",
                QUANTITIES.join(", TARGET/")
            ));
        };
        let histogram = decode(interval.encoded_histogram()).with_context(|| format!("{name}: histogram of {tag}"))?;
        targets.entry(target.to_owned()).or_default().entry(*quantity).or_default().merge(&histogram);
        duration_ns = duration_ns.max((interval.start_timestamp() + interval.duration()).as_nanos() as u64);
    }
    if targets.is_empty() {
        return Err(anyhow!("{name} has no histogram"));
    }
    let summary = json!({
        "duration_ns": duration_ns,
        "started_ns": started_ns,
        "targets": targets.iter().map(|(target, distributions)| summary(target, distributions)).collect::<Vec<_>>(),
    });
    let track = |distributions: &Distributions| PacketSeries {
        round_trip: distributions.get("round_trip").cloned().unwrap_or_default(),
        ..PacketSeries::default()
    };
    let tracks = targets.iter().map(|(target, distributions)| (target.clone(), track(distributions))).collect();
    Ok(SavedRun { name, summary, caveat: None, tracks })
}

/// Returns a target's summary, as far as the log has its figures.
fn summary(target: &str, distributions: &Distributions) -> Value {
    let mut summary = Map::from_iter([("target".to_owned(), json!(target)), ("address".to_owned(), json!(target))]);
    for (quantity, distribution) in distributions {
        summary.insert(format!("{quantity}_ns"), json!(distribution.figures()));
    }
    Value::Object(summary)
}

fn decode(encoded: &str) -> anyhow::Result<Distribution> {
    let octets = BASE64_STANDARD.decode(encoded).context("no base64")?;
    if octets.len() > MOST_ENCODED {
        return Err(anyhow!("longer than {MOST_ENCODED} octets"));
    }
    let histogram: Histogram<u64> =
        Deserializer::new().deserialize(&mut octets.as_slice()).map_err(|error| anyhow!("no histogram: {error}"))?;
    let mut distribution = Distribution::default();
    for value in histogram.iter_recorded() {
        // The middle of the range that the value stands for, as it is everywhere here.
        let middle = histogram.median_equivalent(value.value_iterated_to()).min(histogram.max());
        distribution.record_many(middle.min(i64::MAX as u64) as i64, value.count_since_last_iteration());
    }
    Ok(distribution)
}
