//! `testing_data/interop.toml`, and the comparison of results with it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// The two programs of a case.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Between {
    /// stamp-suite sends, we reflect.
    TheirSender,
    /// We send, stamp-suite reflects.
    OurSender,
    /// A vector or a case of `tlvs.toml` is sent to stamp-suite's reflector.
    Vectors,
}

/// One thing that both know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// Options of stamp-suite's sender; none where it can't ask for it.
    pub(crate) theirs: Option<String>,
    /// Options of our sender; none where it can't, or must not.
    pub(crate) ours: Option<String>,
    /// The TLV as `teaparty` calls it, and its type on the wire; none for base packets.
    pub(crate) tlv: Option<String>,
    pub(crate) code: Option<u8>,
    /// The expected outcome.
    pub(crate) expect: String,
    /// The expected TLV value in our summary, as far as it is named here.
    #[serde(default)]
    pub(crate) value: BTreeMap<String, toml::Value>,
    /// The expected parts of stamp-suite's summary, by JSON pointer below its measurements.
    #[serde(default)]
    pub(crate) reports: BTreeMap<String, toml::Value>,
    /// True if it is for unauthenticated sessions only.
    #[serde(default)]
    pub(crate) open_only: bool,
}

/// The party that is right in a disagreement.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Right {
    /// We are.
    Us,
    /// stamp-suite is.
    Them,
    /// The text allows both, or says nothing.
    Open,
}

/// Something that came back otherwise than expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disagreement {
    between: Between,
    case: String,
    /// With which engine of our reflector, `xdp` or `sockets`; with both where it is not said.
    engine: Option<String>,
    /// The observed outcome.
    seen: String,
    right: Right,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
    disagreement: Vec<Disagreement>,
}

fn file() -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/interop.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    file().case
}

/// The expected and the observed outcome of each case.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<String, (String, String)>);

impl Seen {
    pub(crate) fn note(&mut self, case: &str, expected: impl Into<String>, seen: impl Into<String>) {
        self.0.insert(case.to_owned(), (expected.into(), seen.into()));
    }

    /// Panics with everything that differs from the table; `setting` ends in the engine, where our program takes part.
    #[track_caller]
    pub(crate) fn judge(&self, between: Between, setting: &str) {
        let applies =
            |one: &Disagreement| one.between == between && one.engine.as_ref().is_none_or(|e| setting.ends_with(e));
        let listed: Vec<Disagreement> = file().disagreement.into_iter().filter(applies).collect();
        let mut wrong = Vec::new();
        for (case, (expected, seen)) in &self.0 {
            let known = listed.iter().find(|one| one.case == *case);
            match known {
                None if expected == seen => {}
                None => wrong.push(format!("{case}: `{seen}` instead of `{expected}`, and not in the table")),
                Some(_) if expected == seen => wrong.push(format!("{case}: they agree now; take it from the table")),
                Some(known) if known.seen != *seen => {
                    wrong.push(format!("{case}: `{seen}`, where the table has `{}`", known.seen));
                }
                Some(_) => {}
            }
        }
        assert!(wrong.is_empty(), "{between:?}, {setting}:\n{}", wrong.join("\n"));
        assert!(!self.0.is_empty());
    }
}

#[test]
fn the_table_says_who_is_right_and_why_and_names_cases_that_are_there() {
    let file = file();
    let vectors: Vec<String> = teaparty_testing::vectors::all().into_iter().map(|vector| vector.id).collect();
    let rules: Vec<String> = teaparty_testing::cases::all().into_iter().map(|case| case.name).collect();
    let mut keys: Vec<(Between, &str)> = Vec::new();
    for one in &file.disagreement {
        let is_there = match one.between {
            Between::Vectors => vectors.contains(&one.case) || rules.contains(&one.case),
            Between::TheirSender => file.case.iter().any(|case| case.name == one.case && case.theirs.is_some()),
            Between::OurSender => file.case.iter().any(|case| case.name == one.case && case.ours.is_some()),
        };
        assert!(is_there, "{:?}: there is no case {}", one.between, one.case);
        assert!(one.why.len() > 20, "{}: why?", one.case);
        // Our own errors are fixed, not listed.
        assert_ne!(one.right, Right::Them, "{}", one.case);
        keys.push((one.between, &one.case));
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "a disagreement is there twice");
}
