//! Targets from documents in the JSON of Prometheus's `file_sd` and `http_sd`, which others write and change.
//!
//! A document that can't be read, or has anything wrong, changes nothing: the targets of the last good one stay.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::config::{MOST_TARGETS, Origin, Source};
use super::http::{self, MAX_DOCUMENT};
use super::target::{LABEL_OCTETS, MOST_LABELS, Wanted, label_problem};
use crate::sender::target::parse_words;

/// A file is looked at so often, to see whether it has changed.
pub const FILE_LOOK: Duration = Duration::from_secs(2);

/// Targets that have labels in common.
#[derive(Deserialize)]
struct TargetGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What a source has come up with: its place among the sources, and its targets or what is wrong.
pub type Found = (usize, Result<Vec<Wanted>, String>);

/// The targets of a document. The error says what is wrong with it.
///
/// Labels that begin with `__` are for Prometheus alone and left out, as Prometheus does.
pub fn targets(document: &str, source: &Source) -> Result<Vec<Wanted>, String> {
    let groups: Vec<TargetGroup> = serde_json::from_str(document)
        .map_err(|error| format!("is no list of {{\"targets\": [\"HOST:PORT\"], \"labels\": {{}}}}: {error}"))?;
    let mut wanted = Vec::new();
    for TargetGroup { targets, labels } in groups {
        let mut all = source.labels.clone();
        all.extend(labels.into_iter().filter(|(name, _)| !name.starts_with("__")));
        if all.len() > MOST_LABELS {
            return Err(format!("a target has {} labels, {MOST_LABELS} are the most", all.len()));
        }
        if let Some(problem) = all.iter().find_map(|(name, value)| label_problem(name, value)) {
            return Err(problem);
        }
        for target in targets {
            if target.is_empty() || target.len() > LABEL_OCTETS {
                return Err(format!("a target is empty, or longer than {LABEL_OCTETS} octets"));
            }
            let specs = parse_words([target.as_str()]).map_err(|error| error.to_string())?;
            let Some(spec) = specs.into_iter().next() else { return Err("a target is empty".into()) };
            wanted.push(Wanted {
                name: target,
                spec,
                labels: all.clone(),
                ssid: None,
                profile: source.profile.clone(),
            });
            if wanted.len() > MOST_TARGETS {
                return Err(format!("has more than {MOST_TARGETS} targets"));
            }
        }
    }
    Ok(wanted)
}

/// Follows a source for ever; to be aborted in the end. Says something when it is new, or wrong.
pub async fn follow(at: usize, source: Source, found: Sender<Found>) {
    let mut last: Option<Result<String, String>> = None;
    let mut is_bad = false;
    let mut stamp = None;
    loop {
        let read = match &source.origin {
            Origin::File(path) => {
                stamp = stamp_of(path);
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.unwrap_or_else(|error| Err(error.to_string()))
            }
            Origin::Http(url) => http::fetch(url, source.refresh).await,
        };
        // What is wrong is told each time, to be counted.
        let is_new = last.as_ref() != Some(&read) || read.is_err() || is_bad;
        if is_new {
            let targets = match &read {
                Ok(document) => targets(document, &source),
                Err(problem) => Err(problem.clone()),
            };
            is_bad = targets.is_err();
            last = Some(read);
            if found.send((at, targets)).await.is_err() {
                return;
            }
        }
        match &source.origin {
            Origin::File(path) => wait_for_change(path, stamp, source.refresh).await,
            Origin::Http(_) => tokio::time::sleep(source.refresh).await,
        }
    }
}

/// Until a file is another one, but no longer than its time.
async fn wait_for_change(path: &Path, stamp: Option<(SystemTime, u64)>, refresh: Duration) {
    let until = tokio::time::Instant::now() + refresh;
    loop {
        let now = tokio::time::Instant::now();
        if now >= until {
            return;
        }
        tokio::time::sleep(FILE_LOOK.min(until - now)).await;
        if stamp_of(path) != stamp {
            return;
        }
    }
}

/// What changes when a file is written.
pub fn stamp_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_DOCUMENT as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() > MAX_DOCUMENT { Err(format!("is longer than {} MiB", MAX_DOCUMENT >> 20)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::config::Config;
    use crate::reflector::keys::KeyLoader;

    fn source() -> Source {
        let text = "[[file-sd]]\nfile = \"x.json\"\nlabels = { site = \"north\", kind = \"core\" }\n";
        Config::of(text, &KeyLoader::default()).ok().unwrap().sources.remove(0)
    }

    #[test]
    fn a_document_names_targets_with_their_labels() {
        let document = r#"[{"targets": ["a.example:5000", "[2001:db8::1]:862"],
            "labels": {"site": "south", "__meta_x": "left out"}}, {"targets": []}, {"targets": ["b"]}]"#;
        let wanted = targets(document, &source()).unwrap();
        let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        assert_eq!(names, ["a.example:5000", "[2001:db8::1]:862", "b"]);
        assert_eq!(wanted[0].spec.port, Some(5000));
        let labels = |at: usize| wanted[at].labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
        assert_eq!(labels(0), ["kind=core", "site=south"]);
        assert_eq!(labels(2), ["kind=core", "site=north"]);
    }

    #[test]
    fn a_document_with_anything_wrong_names_no_target() {
        for (document, part) in [
            ("", "is no list"),
            ("{}", "is no list"),
            (r#"[{"labels": {}}]"#, "targets"),
            (r#"[{"targets": ["a:x"]}]"#, "a:x"),
            (r#"[{"targets": [""]}]"#, "empty"),
            (r#"[{"targets": ["a"], "labels": {"session": "1"}}]"#, "session"),
            (r#"[{"targets": ["a"], "labels": {"a-b": "1"}}]"#, "a-b"),
            (r#"[{"targets": ["a"], "labels": {"n": 1}}]"#, "is no list"),
        ] {
            let error = targets(document, &source()).err().unwrap_or_default();
            assert!(error.contains(part), "{document}: {error}");
        }
    }
}
