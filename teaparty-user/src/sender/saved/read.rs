//! Reads a saved measurement, whichever of the three forms it has. A stream is read line by line, since one of an hour does
//! not fit into memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::track::Track;
use super::{Saved, log};
use crate::sender::report::json::SCHEMA;

/// Longest summary that is read, and longest line of a stream: a summary of a thousand targets has 5 MB.
const MOST: u64 = 256 << 20;

impl Saved {
    /// Reads a file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        Self::read(name, BufReader::new(file))
    }

    /// Reads a summary, a stream that ends with one, or a histogram log.
    pub fn read(name: String, mut input: impl BufRead) -> anyhow::Result<Self> {
        let is_log = input.fill_buf().with_context(|| format!("cannot read {name}"))?.starts_with(b"#");
        if is_log {
            let mut content = Vec::new();
            input.take(MOST).read_to_end(&mut content).with_context(|| format!("cannot read {name}"))?;
            return log::read(name, &content);
        }
        let mut tracks = BTreeMap::new();
        let summary = read_json(&name, input, &mut tracks)?.with_context(|| {
            format!("{name} has no summary: it was not saved with --format json or jsonl, or the run did not end")
        })?;
        match summary["schema"].as_u64() {
            Some(schema) if schema <= u64::from(SCHEMA) => Ok(Self { name, summary, tracks }),
            schema => bail!("{name} has schema {schema:?}, and this program knows up to {SCHEMA}"),
        }
    }
}

/// Reads a stream line by line, or all as one summary where the first line is no JSON of its own.
fn read_json(
    name: &str,
    mut input: impl BufRead,
    tracks: &mut BTreeMap<String, Track>,
) -> anyhow::Result<Option<Value>> {
    let mut summary = None;
    for number in 1u64.. {
        let mut line = Vec::new();
        let len = input.by_ref().take(MOST).read_until(b'\n', &mut line);
        if len.with_context(|| format!("cannot read {name}"))? == 0 {
            break;
        }
        let mut value: Value = match serde_json::from_slice(&line) {
            Ok(value) => value,
            Err(error) if number == 1 => {
                input.by_ref().take(MOST).read_to_end(&mut line).with_context(|| format!("cannot read {name}"))?;
                return match serde_json::from_slice(&line) {
                    Ok(whole) => Ok(Some(whole).filter(is_summary)),
                    Err(_) => Err(error).with_context(|| format!("{name}, line 1: no JSON")),
                };
            }
            Err(error) => return Err(error).with_context(|| format!("{name}, line {number}: no JSON")),
        };
        if is_summary(&value) {
            summary = Some(value);
        } else if let Some(found) = value.get_mut("summary") {
            summary = Some(found.take());
        } else {
            note(&value, tracks);
        }
    }
    Ok(summary)
}

fn is_summary(value: &Value) -> bool {
    value.get("schema").is_some()
}

/// Takes in what a line says of one packet. Duplicates and the like are in the summary.
fn note(line: &Value, tracks: &mut BTreeMap<String, Track>) {
    let (Some(target), Some(epoch_ns)) = (line["target"].as_str(), line["epoch_ns"].as_u64()) else { return };
    let round_trip_ns = line["round_trip_ns"].as_i64();
    match line["fate"].as_str() {
        Some("reply") if round_trip_ns.is_some() => {}
        Some("lost") => {}
        _ => return,
    }
    if !tracks.contains_key(target) {
        tracks.insert(target.to_owned(), Track::default());
    }
    if let Some(track) = tracks.get_mut(target) {
        track.add(epoch_ns, round_trip_ns);
    }
}
