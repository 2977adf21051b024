//! Reads a saved measurement, whichever of the three forms it has. A stream is read line by line, since one of an hour does
//! not fit into memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::series::PacketSeries;
use super::{SavedRun, log, recompute};
use crate::sender::output::report::json::SCHEMA;

/// Longest summary that is read, and longest line of a stream: a summary of a thousand targets has 5 MB.
const MOST: u64 = 256 << 20;

impl SavedRun {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        Self::read(name, BufReader::new(file))
    }

    /// Reads a summary, a stream that ends with one or was cut off before, or a histogram log.
    pub(crate) fn read(name: String, mut input: impl BufRead) -> anyhow::Result<Self> {
        let is_log = input.fill_buf().with_context(|| format!("cannot read {name}"))?.starts_with(b"#");
        if is_log {
            let mut content = Vec::new();
            input.take(MOST).read_to_end(&mut content).with_context(|| format!("cannot read {name}"))?;
            return log::read(name, &content);
        }
        let mut stream = SavedStream::default();
        match stream.read(&name, input)? {
            Some(summary) => {
                check(&name, &summary)?;
                Ok(Self { name, summary, caveat: None, tracks: stream.tracks })
            }
            None if stream.packets == 0 => bail!(
                "{name} has no summary and no packets: it was not saved with --format json or jsonl, or the run was cut off \
                 before it wrote any"
            ),
            None => {
                let recounts = stream.tracks.iter().map(|(target, track)| (target.as_str(), &track.recount));
                let summary = recompute::summary(recounts);
                let caveat = Some(recompute::caveat(stream.packets, stream.is_torn));
                Ok(Self { name, summary, caveat, tracks: stream.tracks })
            }
        }
    }
}

/// Refuses what has a schema and is no summary of a run all the same, or is one of a later program.
fn check(name: &str, summary: &Value) -> anyhow::Result<()> {
    match summary["schema"].as_u64() {
        Some(schema) if schema <= u64::from(SCHEMA) => {}
        _ => bail!("{name} has schema {}, and this program knows up to {SCHEMA}", summary["schema"]),
    }
    if let Some(key) = missing(summary) {
        bail!(
            "{name} is no summary of a run: it lacks `{key}`; save one with `teaparty sender --format json` or jsonl"
        );
    }
    Ok(())
}

/// The first of the keys that every summary has and this one has not.
fn missing(summary: &Value) -> Option<String> {
    if !summary["version"].is_string() {
        return Some("version".into());
    }
    let Some(targets) = summary["targets"].as_array().filter(|targets| !targets.is_empty()) else {
        return Some("targets".into());
    };
    targets.iter().enumerate().find_map(|(place, target)| {
        let lacks = |key: &&str| match *key {
            "target" => !target[key].is_string(),
            // Without a single delay it is null.
            "round_trip_ns" => target.get(key).is_none(),
            _ => !target[key].is_u64(),
        };
        let key = ["target", "sent", "received", "lost", "round_trip_ns"].into_iter().find(lacks)?;
        Some(format!("targets[{place}].{key}"))
    })
}

/// The data of a stream beside its summary.
#[derive(Default)]
struct SavedStream {
    tracks: BTreeMap<String, PacketSeries>,
    /// Lines about packets.
    packets: u64,
    /// True if the last line has no end.
    is_torn: bool,
}

impl SavedStream {
    /// Reads a stream line by line, or all as one summary where the first line is no JSON of its own. Returns the summary.
    fn read(&mut self, name: &str, mut input: impl BufRead) -> anyhow::Result<Option<Value>> {
        let cannot = || format!("cannot read {name}");
        let mut summary = None;
        for number in 1u64.. {
            let mut line = Vec::new();
            if input.by_ref().take(MOST).read_until(b'\n', &mut line).with_context(cannot)? == 0 {
                break;
            }
            let mut value: Value = match serde_json::from_slice(&line) {
                Ok(value) => value,
                Err(error) if number == 1 => {
                    input.by_ref().take(MOST).read_to_end(&mut line).with_context(cannot)?;
                    return match serde_json::from_slice(&line) {
                        Ok(whole) => Ok(Some(whole).filter(is_summary)),
                        Err(_) => Err(error).with_context(|| format!("{name}, line 1: no JSON")),
                    };
                }
                // Whoever wrote it was stopped in the middle of it.
                Err(_)
                    if summary.is_none()
                        && !line.ends_with(b"\n")
                        && input.fill_buf().with_context(cannot)?.is_empty() =>
                {
                    self.is_torn = true;
                    break;
                }
                Err(error) => return Err(error).with_context(|| format!("{name}, line {number}: no JSON")),
            };
            if is_summary(&value) {
                summary = Some(value);
            } else if let Some(found) = value.get_mut("summary") {
                summary = Some(found.take());
            } else {
                self.note(&value);
            }
        }
        Ok(summary)
    }

    /// Takes in what a line says of one packet.
    fn note(&mut self, line: &Value) {
        let (Some(target), Some(epoch_ns), Some(fate)) =
            (line["target"].as_str(), line["epoch_ns"].as_u64(), line["fate"].as_str())
        else {
            return;
        };
        self.packets += 1;
        if !self.tracks.contains_key(target) {
            self.tracks.insert(target.to_owned(), PacketSeries::default());
        }
        let Some(track) = self.tracks.get_mut(target) else { return };
        track.recount.take(line, epoch_ns);
        match (fate, line["round_trip_ns"].as_i64()) {
            ("reply", Some(round_trip_ns)) => track.add(epoch_ns, Some(round_trip_ns)),
            ("lost", _) => track.add(epoch_ns, None),
            // Duplicates and the like are in no plot.
            _ => {}
        }
    }
}

fn is_summary(value: &Value) -> bool {
    value.get("schema").is_some()
}
