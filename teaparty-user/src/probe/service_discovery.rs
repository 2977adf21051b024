//! Targets from documents in the JSON or YAML of Prometheus's `file_sd` and `http_sd`, which others write and change.
//!
//! A document that can't be read, or has anything wrong, changes nothing: its targets stay as they last were. A file that a
//! pattern no longer finds has no targets any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};

use super::config::{MOST_TARGETS, Origin, TargetSource};
use super::document::{self, FetchError, MAX_DOCUMENT};
use super::target::{LABEL_OCTETS, LabelError, MOST_LABELS, TargetSpec, check_label};
use super::yaml::{self, YamlError};
use crate::api::reload::RELOAD_TIMEOUT;
use crate::exit_code::UsageError;
use crate::files;
use crate::files::stamp::FileStamp;
use crate::files::watch::ChangeWatch;
use crate::sender::target::parse_words;

/// A file is looked at so often, to see whether it has changed.
pub(crate) const FILE_LOOK: Duration = Duration::from_secs(2);
/// Files of one table at most.
const MOST_FILES: usize = 1_000;

/// Targets that have labels in common.
#[derive(Deserialize)]
struct TargetGroup {
    targets: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// The targets of a document, or what is wrong with it.
pub(crate) type DocumentTargets = Result<Vec<TargetSpec>, Arc<DocumentError>>;

/// The result of a source.
pub(crate) struct DiscoveredTargets {
    /// Documents by name, with their targets or with what is wrong.
    pub documents: Vec<(String, DocumentTargets)>,
    /// True if there are no others any more; it may not have been possible to look for all of them.
    pub is_all: bool,
}

/// A document that names no targets. Who shows it names the document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It can't be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The system does not let a pattern's files be looked for there.
    #[error("cannot be looked at: {0}")]
    Unsearchable(io::Error),
    /// The thread that reads files has ended.
    #[error(transparent)]
    Task(#[from] JoinError),
    /// A pattern finds too many files.
    #[error("stands for more than {MOST_FILES} files")]
    TooManyFiles,
    /// It is too long, with the files before it.
    #[error("makes a table's files longer than {most} MiB together", most = MAX_DOCUMENT >> 20)]
    TooLong,
    /// It is no YAML that is taken.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// It is no list of groups.
    #[error("is no list of {{\"targets\": [\"HOST:PORT\"], \"labels\": {{\"NAME\": \"VALUE\"}}}}: {0}")]
    NotAList(#[from] serde_json::Error),
    /// A group has no list of targets.
    #[error("a group has no targets; write \"targets\": [] where there are none")]
    NoTargets,
    /// A group has at most this many labels, with those of its table.
    #[error("a target has {0} labels, {MOST_LABELS} are the most")]
    TooManyLabels(usize),
    /// A label can't be.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A target has too few octets or too many.
    #[error("a target is empty, or longer than {LABEL_OCTETS} octets")]
    TargetLength,
    /// A target is no name with or without a port.
    #[error(transparent)]
    Target(#[from] UsageError),
    /// A target has no name.
    #[error("a target is empty")]
    EmptyTarget,
    /// It has more targets than a probe measures.
    #[error("has more than {MOST_TARGETS} targets")]
    TooManyTargets,
}

/// Returns the targets of a document by its name.
///
/// Labels that begin with `__` are for Prometheus alone and left out, as Prometheus does.
pub(crate) fn targets(name: &str, document: &str, source: &TargetSource) -> Result<Vec<TargetSpec>, DocumentError> {
    let is_yaml = matches!(source.origin, Origin::Files(_)) && (name.ends_with(".yml") || name.ends_with(".yaml"));
    let groups: serde_json::Result<Vec<TargetGroup>> =
        if is_yaml { serde_json::from_value(yaml::value(document)?) } else { serde_json::from_str(document) };
    let mut found = Vec::new();
    for TargetGroup { targets, labels } in groups? {
        let mut all = source.labels.clone();
        let targets = targets.ok_or(DocumentError::NoTargets)?;
        all.extend(labels.unwrap_or_default().into_iter().filter(|(name, _)| !name.starts_with("__")));
        if all.len() > MOST_LABELS {
            return Err(DocumentError::TooManyLabels(all.len()));
        }
        all.iter().try_for_each(|(name, value)| check_label(name, value))?;
        for target in targets {
            if target.is_empty() || target.len() > LABEL_OCTETS {
                return Err(DocumentError::TargetLength);
            }
            let specs = parse_words([target.as_str()])?;
            let spec = specs.into_iter().next().ok_or(DocumentError::EmptyTarget)?;
            found.push(TargetSpec {
                name: target,
                spec,
                labels: all.clone(),
                ssid: None,
                profile: source.profile.clone(),
            });
            if found.len() > MOST_TARGETS {
                return Err(DocumentError::TooManyTargets);
            }
        }
    }
    Ok(found)
}

/// Follows a source forever; to be aborted in the end. Says something when it is new, or wrong.
pub(crate) async fn follow(at: usize, source: TargetSource, found: Sender<(usize, DiscoveredTargets)>) {
    let mut last: Option<Texts> = None;
    let mut is_bad = false;
    let mut watch = watch(&source);
    loop {
        let (texts, stamps) = read(&source).await;
        // What is wrong is reported each time, to be counted.
        if is_bad || !last.as_ref().is_some_and(|last| last.is_same(&texts)) {
            let parse = |(name, text): &(String, ReadText)| {
                let text = text.as_ref().map_err(Arc::clone);
                (name.clone(), text.and_then(|text| targets(name, text, &source).map_err(Arc::new)))
            };
            let documents: Vec<_> = texts.documents.iter().map(parse).collect();
            is_bad = documents.iter().any(|(_, targets)| targets.is_err());
            let is_all = texts.is_all;
            if found.send((at, DiscoveredTargets { documents, is_all })).await.is_err() {
                return;
            }
        }
        last = Some(texts);
        match &mut watch {
            Some(watch) => {
                watch.set_seen(stamps);
                // Changed or not, files are read again after that time.
                let _ = timeout(source.refresh, watch.changed()).await;
            }
            None => sleep(source.refresh).await,
        }
    }
}

/// A document's text; the error is shared with those who report it.
type ReadText = Result<String, Arc<DocumentError>>;

/// The texts of a source's documents.
struct Texts {
    documents: Vec<(String, ReadText)>,
    is_all: bool,
}

impl Texts {
    /// Returns true if both are the same documents with the same texts. One that was not read is never the same.
    fn is_same(&self, other: &Self) -> bool {
        let is_pair = |((name, text), (other_name, other)): (&(String, ReadText), &(String, ReadText))| {
            name == other_name && text.as_ref().ok().zip(other.as_ref().ok()).is_some_and(|(text, other)| text == other)
        };
        self.is_all == other.is_all
            && self.documents.len() == other.documents.len()
            && self.documents.iter().zip(&other.documents).all(is_pair)
    }
}

/// Reads all documents; gives what shows whether files have changed, too, which is taken before they are read.
async fn read(source: &TargetSource) -> (Texts, Stamps) {
    match &source.origin {
        Origin::Http(address) => {
            let text = document::fetch(address, source.refresh).await;
            let document = (address.url.to_string(), text.map_err(|error| Arc::new(error.into())));
            (Texts { documents: vec![document], is_all: true }, Stamps::default())
        }
        Origin::Files(names) => {
            let (names, all) = (names.clone(), names.join(", "));
            let read = tokio::task::spawn_blocking(move || read_files(&names)).await;
            read.unwrap_or_else(|error| {
                let documents = vec![(all, Err(Arc::new(error.into())))];
                (Texts { documents, is_all: false }, Stamps::default())
            })
        }
    }
}

/// Watches the files of a source; `None` for one without files.
fn watch(source: &TargetSource) -> Option<ChangeWatch<Stamps>> {
    let Origin::Files(names) = &source.origin else { return None };
    let look = {
        let names = names.clone();
        move || Files::find(&names).stamps()
    };
    Some(ChangeWatch::new(names.join(", "), FILE_LOOK, RELOAD_TIMEOUT, look))
}

/// Files with their stamps.
type Stamps = Vec<(PathBuf, Option<FileStamp>)>;

/// The files that names and patterns are for, each once.
struct Files {
    paths: BTreeSet<PathBuf>,
    /// The failed look-ups, with their reasons.
    problems: Vec<(String, DocumentError)>,
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
                        let name = error.path().display().to_string();
                        files.problems.push((name, DocumentError::Unsearchable(error.into())));
                    }
                }
                if files.paths.len() > MOST_FILES {
                    files.problems.push((name.clone(), DocumentError::TooManyFiles));
                    return files;
                }
            }
        }
        files
    }

    fn stamps(&self) -> Stamps {
        self.paths.iter().map(|path| (path.clone(), FileStamp::of(path))).collect()
    }
}

fn read_files(names: &[String]) -> (Texts, Stamps) {
    let files = Files::find(names);
    let stamps = files.stamps();
    let mut room = MAX_DOCUMENT;
    let read = |path: &PathBuf| (path.display().to_string(), read_file(path, &mut room).map_err(Arc::new));
    let mut documents: Vec<_> = files.paths.iter().map(read).collect();
    let is_all = files.problems.is_empty();
    documents.extend(files.problems.into_iter().map(|(name, problem)| (name, Err(Arc::new(problem)))));
    (Texts { documents, is_all }, stamps)
}

/// Reads a file of no more octets than there is room for, which becomes less by it.
fn read_file(path: &Path, room: &mut usize) -> Result<String, DocumentError> {
    let file = files::open_regular(path).map_err(DocumentError::Unreadable)?;
    let mut text = String::new();
    let read = file.take(*room as u64 + 1).read_to_string(&mut text);
    read.map_err(DocumentError::Unreadable)?;
    *room = room.checked_sub(text.len()).ok_or(DocumentError::TooLong)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::config::ProbeConfig;
    use crate::reflector::keys::KeyLoader;

    fn source() -> TargetSource {
        let text = "[[file-sd]]\nfile = \"x.json\"\nlabels = { site = \"north\", kind = \"core\" }\n";
        ProbeConfig::of(&text.into(), &KeyLoader::default(), Default::default()).ok().unwrap().sources.remove(0)
    }

    #[test]
    fn a_document_names_targets_with_their_labels() {
        let document = r#"[{"targets": ["a.example:5000", "[2001:db8::1]:862"],
            "labels": {"site": "south", "__meta_x": "left out"}}, {"targets": []}, {"targets": ["b"]}]"#;
        let found = targets("x.json", document, &source()).unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["a.example:5000", "[2001:db8::1]:862", "b"]);
        assert_eq!(found[0].spec.port, Some(5000));
        let labels = |at: usize| found[at].labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
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
            let error = targets("x.json", document, &source()).err().unwrap().to_string();
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
        let found = targets("x.yaml", document, &source).unwrap();
        assert_eq!((found.len(), found[0].labels["site"].as_str()), (1, "7"));
        assert!(targets("x.json", document, &source).is_err());
        let error = targets("x.yml", "targets: [a]\n", &source).err().unwrap().to_string();
        assert!(error.contains("is no list"), "{error}");
    }
}
