//! Targets from documents in the JSON or YAML of Prometheus's `file_sd` and `http_sd`, which others write and change.
//!
//! A document that can't be read, or has anything wrong, changes nothing: its targets stay as they last were. A file that a
//! pattern no longer finds has no targets any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::mpsc::Sender;

use super::config::{MOST_TARGETS, Origin, TargetSource};
use super::http_client::{self, MAX_DOCUMENT};
use super::target::{LABEL_OCTETS, MOST_LABELS, TargetSpec, label_problem};
use super::yaml;
use crate::files;
use crate::sender::target::parse_words;

/// A file is looked at so often, to see whether it has changed.
pub const FILE_LOOK: Duration = Duration::from_secs(2);
/// Files of one table at most.
const MOST_FILES: usize = 1_000;

/// Targets that have labels in common.
#[derive(Deserialize)]
struct TargetGroup {
    targets: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// The result of a source.
pub struct DiscoveredTargets {
    /// Documents by name, with their targets or with what is wrong.
    pub documents: Vec<(String, Result<Vec<TargetSpec>, String>)>,
    /// True if there are no others any more; it may not have been possible to look for all of them.
    pub is_all: bool,
}

/// The targets of a document by its name. The error says what is wrong with it.
///
/// Labels that begin with `__` are for Prometheus alone and left out, as Prometheus does.
pub fn targets(name: &str, document: &str, source: &TargetSource) -> Result<Vec<TargetSpec>, String> {
    let wrong =
        |error| format!("is no list of {{\"targets\": [\"HOST:PORT\"], \"labels\": {{\"NAME\": \"VALUE\"}}}}: {error}");
    let is_yaml = matches!(source.origin, Origin::Files(_)) && (name.ends_with(".yml") || name.ends_with(".yaml"));
    let groups: serde_json::Result<Vec<TargetGroup>> =
        if is_yaml { serde_json::from_value(yaml::value(document)?) } else { serde_json::from_str(document) };
    let groups = groups.map_err(wrong)?;
    let mut wanted = Vec::new();
    for TargetGroup { targets, labels } in groups {
        let mut all = source.labels.clone();
        let targets = targets.ok_or("a group has no targets; write \"targets\": [] where there are none")?;
        all.extend(labels.unwrap_or_default().into_iter().filter(|(name, _)| !name.starts_with("__")));
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
            wanted.push(TargetSpec {
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

/// Follows a source forever; to be aborted in the end. Says something when it is new, or wrong.
pub async fn follow(at: usize, source: TargetSource, found: Sender<(usize, DiscoveredTargets)>) {
    let mut last: Option<Texts> = None;
    let mut is_bad = false;
    loop {
        let (texts, stamps) = read(&source).await;
        // What is wrong is reported each time, to be counted.
        if last.as_ref() != Some(&texts) || is_bad {
            let parse = |(name, text): &(String, Result<String, String>)| {
                let targets = text.clone().and_then(|text| targets(name, &text, &source));
                (name.clone(), targets)
            };
            let documents: Vec<_> = texts.documents.iter().map(parse).collect();
            is_bad = documents.iter().any(|(_, targets)| targets.is_err());
            let is_all = texts.is_all;
            last = Some(texts);
            if found.send((at, DiscoveredTargets { documents, is_all })).await.is_err() {
                return;
            }
        }
        match &source.origin {
            Origin::Files(names) => wait_for_change(names, &stamps, source.refresh).await,
            Origin::Http(_) => tokio::time::sleep(source.refresh).await,
        }
    }
}

/// The texts of a source's documents.
#[derive(PartialEq)]
struct Texts {
    documents: Vec<(String, Result<String, String>)>,
    is_all: bool,
}

/// Reads all documents; gives what shows whether files have changed, too, which is taken before they are read.
async fn read(source: &TargetSource) -> (Texts, Stamps) {
    match &source.origin {
        Origin::Http(address) => {
            let document = (address.url.to_string(), http_client::fetch(address, source.refresh).await);
            (Texts { documents: vec![document], is_all: true }, Stamps::default())
        }
        Origin::Files(names) => {
            let (names, all) = (names.clone(), names.join(", "));
            let read = tokio::task::spawn_blocking(move || read_files(&names)).await;
            read.unwrap_or_else(|error| {
                let documents = vec![(all, Err(error.to_string()))];
                (Texts { documents, is_all: false }, Stamps::default())
            })
        }
    }
}

/// Until a file is another one, comes or goes, but no longer than its time.
async fn wait_for_change(names: &[String], stamps: &Stamps, refresh: Duration) {
    let until = tokio::time::Instant::now() + refresh;
    loop {
        let now = tokio::time::Instant::now();
        if now >= until {
            return;
        }
        tokio::time::sleep(FILE_LOOK.min(until - now)).await;
        let names = names.to_vec();
        let now = tokio::task::spawn_blocking(move || Files::find(&names).stamps()).await;
        if now.ok().as_ref() != Some(stamps) {
            return;
        }
    }
}

/// Files with what changes when they are written.
type Stamps = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Returns the fields of a file that change with its content.
pub fn stamp_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The files that names and patterns are for, each once.
struct Files {
    paths: BTreeSet<PathBuf>,
    /// The failed look-ups, with their reasons.
    problems: Vec<(String, String)>,
}

impl Files {
    /// A name without a pattern's characters is a file, whether it is there or not.
    fn find(names: &[String]) -> Self {
        let mut files = Self { paths: BTreeSet::new(), problems: Vec::new() };
        for name in names {
            if !name.contains(['*', '?', '[']) {
                files.paths.insert(name.into());
                continue;
            }
            // It was checked with the configuration.
            let Ok(paths) = glob::glob(name) else { continue };
            for path in paths {
                match path {
                    Ok(path) if !path.is_file() => {}
                    Ok(path) => drop(files.paths.insert(path)),
                    Err(error) => {
                        files.problems.push((
                            error.path().display().to_string(),
                            format!("cannot be looked at: {}", error.error()),
                        ));
                    }
                }
                if files.paths.len() > MOST_FILES {
                    files.problems.push((name.clone(), format!("stands for more than {MOST_FILES} files")));
                    return files;
                }
            }
        }
        files
    }

    fn stamps(&self) -> Stamps {
        self.paths.iter().map(|path| (path.clone(), stamp_of(path))).collect()
    }
}

fn read_files(names: &[String]) -> (Texts, Stamps) {
    let files = Files::find(names);
    let stamps = files.stamps();
    let mut room = MAX_DOCUMENT;
    let read = |path: &PathBuf| (path.display().to_string(), read_file(path, &mut room));
    let mut documents: Vec<_> = files.paths.iter().map(read).collect();
    let is_all = files.problems.is_empty();
    documents.extend(files.problems.into_iter().map(|(name, problem)| (name, Err(problem))));
    (Texts { documents, is_all }, stamps)
}

/// Reads a file of no more octets than there is room for, which becomes less by it.
fn read_file(path: &Path, room: &mut usize) -> Result<String, String> {
    let file = files::open_regular(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(*room as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    *room = room
        .checked_sub(text.len())
        .ok_or_else(|| format!("makes a table's files longer than {} MiB together", MAX_DOCUMENT >> 20))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::config::ProbeConfig;
    use crate::reflector::keys::KeyLoader;

    fn source() -> TargetSource {
        let text = "[[file-sd]]\nfile = \"x.json\"\nlabels = { site = \"north\", kind = \"core\" }\n";
        ProbeConfig::of(text, &KeyLoader::default(), Default::default()).ok().unwrap().sources.remove(0)
    }

    #[test]
    fn a_document_names_targets_with_their_labels() {
        let document = r#"[{"targets": ["a.example:5000", "[2001:db8::1]:862"],
            "labels": {"site": "south", "__meta_x": "left out"}}, {"targets": []}, {"targets": ["b"]}]"#;
        let wanted = targets("x.json", document, &source()).unwrap();
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
            (r#"[{"labels": {}}]"#, "no targets"),
            (r#"[{"targets": ["a:x"]}]"#, "a:x"),
            (r#"[{"targets": [""]}]"#, "empty"),
            (r#"[{"targets": ["a"], "labels": {"session": "1"}}]"#, "session"),
            (r#"[{"targets": ["a"], "labels": {"a-b": "1"}}]"#, "a-b"),
            (r#"[{"targets": ["a"], "labels": {"n": 1}}]"#, "is no list"),
        ] {
            let error = targets("x.json", document, &source()).err().unwrap_or_default();
            assert!(error.contains(part), "{document}: {error}");
        }
    }

    #[test]
    fn files_are_found_by_name_and_by_pattern_and_what_is_bad_is_told_by_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| format!("{}/{name}", folder.path().display());
        std::fs::write(name("a.json"), r#"[{"targets": ["a"]}]"#).unwrap();
        std::fs::write(name("b.yml"), "- targets: [b]\n").unwrap();
        std::fs::write(name("c.txt"), "not asked for").unwrap();
        std::fs::create_dir(name("d.json")).unwrap();
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|written| name(written)).collect();
            let (texts, stamps) = read_files(&names);
            assert_eq!(stamps.len(), texts.documents.len());
            let short = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            texts.documents.into_iter().map(|(name, text)| (short(&name), text.is_ok())).collect::<Vec<_>>()
        };
        let is = |name: &str, is_read| (name.to_owned(), is_read);
        assert_eq!(found(&["*.json", "?.yml", "a.json"]), [is("a.json", true), is("b.yml", true)]);
        assert_eq!(found(&["*.none"]), []);
        assert_eq!(found(&["none.json", "b.yml"]), [is("b.yml", true), is("none.json", false)]);
        // All of them together have an end.
        std::fs::write(name("e.big"), vec![b' '; MAX_DOCUMENT]).unwrap();
        assert_eq!(found(&["*.big", "a.json"]), [is("a.json", true), is("e.big", false)]);
    }

    #[test]
    fn yaml_names_targets_as_json_does() {
        let source = source();
        let document = "- targets: [\"a:5000\"]\n  labels: {site: 7}\n- targets: []\n  labels:\n";
        let wanted = targets("x.yaml", document, &source).unwrap();
        assert_eq!((wanted.len(), wanted[0].labels["site"].as_str()), (1, "7"));
        assert!(targets("x.json", document, &source).is_err());
        let error = targets("x.yml", "targets: [a]\n", &source).err().unwrap();
        assert!(error.contains("is no list"), "{error}");
    }
}
