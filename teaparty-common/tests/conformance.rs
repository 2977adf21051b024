//! Keeps `testing_data/conformance.toml` honest: what it names exists, and what claims a row is named there.

mod support {
    pub(crate) mod rows;
}

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use support::rows::{List, Row};
use teaparty_testing::{cases, vectors};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("testing_data/conformance.toml")).expect("the list is there");
    toml::from_str::<List>(&text).expect("the list is well formed").row
}

/// The names of all functions marked as tests in the workspace.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders: Vec<PathBuf> = ["teaparty-common", "teaparty-user"]
        .iter()
        .flat_map(|krate| ["src", "tests"].map(|f| root().join(krate).join(f)))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                collect(&fs::read_to_string(&entry).expect("a source"), &mut names);
            }
        }
    }
    names
}

/// The functions behind `#[test]` and `#[tokio::test]`.
fn collect(source: &str, names: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ") {
            if is_test {
                names.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
            is_test = false;
        }
    }
}

/// The rows that a test's name ends in: `…_c001_c144` says C001 and C144.
fn claims(name: &str) -> Vec<String> {
    let is_row = |word: &str| word.len() == 4 && word.starts_with('c') && word[1..].bytes().all(|d| d.is_ascii_digit());
    name.rsplit('_').take_while(|word| is_row(word)).map(str::to_uppercase).collect()
}

#[test]
fn every_row_is_complete_and_there_once() {
    let rows = rows();
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "a row is there twice");
    assert!(rows.len() >= 203, "rows have been lost: {}", rows.len());
    for row in &rows {
        assert!(
            ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "must", "ours", "–", "MAY/MUST", "SHOULD/MUST"]
                .contains(&row.level.as_str()),
            "{}: level {}",
            row.id,
            row.level
        );
        assert!(["S", "R", "B", "S/R"].contains(&row.role.as_str()), "{}: role {}", row.id, row.role);
        for text in [&row.section, &row.statement, &row.on_the_wire] {
            assert!(!text.is_empty(), "{}: something is not said", row.id);
        }
        match &row.untested {
            None => assert!(row.is_shown(), "{}: nothing shows it; `untested` is to say why", row.id),
            Some(reason) => {
                assert!(!row.is_shown(), "{}: it is shown, so `untested` can go", row.id);
                assert!(reason.len() > 20, "{}: why is there no test?", row.id);
            }
        }
    }
}

#[test]
fn what_a_row_names_exists() {
    let tests = test_names();
    let vectors: BTreeSet<String> = vectors::all().into_iter().map(|vector| vector.id).collect();
    let cases: BTreeSet<String> = cases::all().into_iter().map(|case| case.name).collect();
    let mut missing = Vec::new();
    for row in rows() {
        for (named, there) in [(&row.vectors, &vectors), (&row.cases, &cases), (&row.tests, &tests)] {
            missing
                .extend(named.iter().filter(|name| !there.contains(*name)).map(|name| format!("{}: {name}", row.id)));
        }
    }
    assert!(missing.is_empty(), "named in conformance.toml and not there:\n{}", missing.join("\n"));
}

#[test]
fn what_claims_a_row_is_named_there() {
    let rows = rows();
    let mut unnamed = Vec::new();
    for name in test_names() {
        for id in claims(&name) {
            if !rows.iter().any(|row| row.id == id && row.tests.contains(&name)) {
                unnamed.push(format!("{id}: {name}"));
            }
        }
    }
    for case in cases::all() {
        for id in &case.rows {
            if !rows.iter().any(|row| row.id == *id && row.cases.contains(&case.name)) {
                unnamed.push(format!("{id}: {}", case.name));
            }
        }
    }
    assert!(unnamed.is_empty(), "add to conformance.toml:\n{}", unnamed.join("\n"));
}

#[test]
fn a_name_claims_the_rows_that_it_ends_in() {
    assert_eq!(claims("the_number_is_copied_c001_c144"), ["C144", "C001"]);
    assert!(claims("one_c999_in_the_middle").is_empty());
    let mut names = BTreeSet::new();
    collect("#[test]\nfn one_c999() {}\nfn two() {}\n#[tokio::test]\nasync fn three() {}", &mut names);
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["one_c999", "three"]);
}
