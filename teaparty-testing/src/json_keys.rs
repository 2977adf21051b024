//! The keys that the book's page about JSON lists, against those of real documents.

use std::collections::BTreeSet;

use serde_json::Value;

/// The keys of one section of `docs/reference/json.md`.
///
/// `a.b` is the key `b` of the object `a`, `[]` stands for each element of a list, `*` for a key that varies, and `**` for
/// all below. Later names of a row are keys of the object that the first one is in. Where the meaning has "keys as in `x`",
/// the keys below are those below `x`, or of the whole document for `the document`.
pub struct JsonKeys {
    section: String,
    /// Each path, and the one that has the keys below it.
    paths: Vec<(Vec<String>, Option<Vec<String>>)>,
}

impl JsonKeys {
    /// Reads the section of the page that is in the repository.
    pub fn of_book(section: &str) -> Self {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/json.md");
        Self::new(&std::fs::read_to_string(page).unwrap(), section)
    }

    /// Reads the section of a page.
    pub fn new(page: &str, section: &str) -> Self {
        let heading = format!("## {section}");
        let lines = page.lines().skip_while(|line| *line != heading).skip(1);
        let rows = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
        let paths: Vec<_> = rows.flat_map(row).collect();
        assert!(!paths.is_empty(), "the page about JSON has no section {section} with keys");
        Self { section: section.into(), paths }
    }

    /// Panics if the documents have a key that the section lacks.
    pub fn check(&self, document: &Value) {
        let missing = self.missing(&seen(&[document]));
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    /// Returns the keys of the documents that the section lacks, and those of the section that no document has.
    pub fn differences(&self, documents: &[&Value]) -> Vec<String> {
        let seen = seen(documents);
        // An element of a list is no key of its own.
        let is_seen = |path: &[String]| {
            let same =
                |one: &Vec<String>| matches(path, one) || one.get(..path.len()).is_some_and(|one| matches(path, one));
            seen.iter().any(same)
        };
        let gone = self.paths.iter().filter(|(path, _)| !is_seen(path));
        let gone = gone.map(|(path, _)| format!("{}: no document has {}", self.section, shown(path)));
        self.missing(&seen).into_iter().chain(gone).collect()
    }

    fn missing(&self, seen: &BTreeSet<Vec<String>>) -> Vec<String> {
        let missing = seen.iter().filter(|path| !self.has(path));
        missing.map(|path| format!("docs/reference/json.md, {}: lacks {}", self.section, shown(path))).collect()
    }

    /// Returns true if a path is in the section, by its own name or as one of an object with the same keys.
    fn has(&self, path: &[String]) -> bool {
        self.paths.iter().any(|(known, _)| matches(known, path))
            || self.paths.iter().any(|(known, alike)| {
                let Some(alike) = alike else { return false };
                path.len() > known.len()
                    && matches(known, &path[..known.len()])
                    && self.has(&[alike, &path[known.len()..]].concat())
            })
    }
}

/// Returns the paths of a row, each with the one that has the keys below it.
fn row(line: &str) -> Vec<(Vec<String>, Option<Vec<String>>)> {
    let mut cells = line.trim_start_matches("| ").splitn(2, " | ");
    let (names, meaning) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
    let names: Vec<Vec<String>> = names.split('`').skip(1).step_by(2).map(parts).collect();
    let parent = names[0][..names[0].len() - 1].to_vec();
    let alike = meaning.split_once("keys as in ").map(|(_, rest)| match rest.strip_prefix('`') {
        Some(rest) => parts(rest.split('`').next().unwrap_or_default()),
        None => Vec::new(),
    });
    let path =
        |(n, name): (usize, Vec<String>)| (if n == 0 { name } else { [&parent[..], &name].concat() }, alike.clone());
    names.into_iter().enumerate().map(path).collect()
}

fn parts(path: &str) -> Vec<String> {
    path.replace("[]", ".[]").split('.').map(str::to_owned).collect()
}

fn shown(path: &[String]) -> String {
    path.join(".").replace(".[]", "[]")
}

fn matches(known: &[String], path: &[String]) -> bool {
    let is_alike = |(known, part): (&String, &String)| known == part || (known == "*" && part != "[]");
    match known.split_last() {
        Some((last, above)) if last == "**" => path.len() > above.len() && above.iter().zip(path).all(is_alike),
        _ => known.len() == path.len() && known.iter().zip(path).all(is_alike),
    }
}

/// Returns the paths of all keys of the documents.
fn seen(documents: &[&Value]) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut left: Vec<(Vec<String>, &Value)> = documents.iter().map(|document| (Vec::new(), *document)).collect();
    while let Some((path, value)) = left.pop() {
        let below = |part: &str| [&path[..], &[part.to_owned()]].concat();
        for (key, value) in value.as_object().into_iter().flatten() {
            found.insert(below(key));
            left.push((below(key), value));
        }
        left.extend(value.as_array().into_iter().flatten().map(|value| (below("[]"), value)));
    }
    found
}
