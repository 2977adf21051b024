//! What the test harness of Rust says, read: which tests passed, failed, or skipped themselves.

use std::collections::{BTreeMap, BTreeSet};

/// The results of one test program.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Names of tests that ran and passed.
    pub passed: Vec<String>,
    /// Names.
    pub failed: Vec<String>,
    /// Names and reasons.
    pub skipped: BTreeMap<String, String>,
}

impl Outcome {
    /// One line for people.
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed.len(), self.failed.len(), self.skipped.len())
    }
}

/// Reads the output of a test program, or of several that ran one after the other.
///
/// A test that failed is failed, whatever it says about skipping.
pub(super) fn read(output: &str) -> Outcome {
    let (mut passed, mut failed) = (Vec::new(), BTreeSet::new());
    let mut skipped = BTreeMap::new();
    let mut speaker = None;
    for line in output.lines() {
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            speaker = Some(test);
        } else if let Some((test, reason)) = said_skipped(line) {
            skipped.insert(speaker.unwrap_or(test).to_owned(), reason.to_owned());
        } else if let Some((test, end)) = result(line) {
            match end {
                "ok" => passed.push(test.to_owned()),
                "FAILED" => drop(failed.insert(test.to_owned())),
                _ => drop(ignored(end).map(|reason| skipped.insert(test.to_owned(), reason.to_owned()))),
            }
        }
    }
    skipped.retain(|test, _| !failed.contains(test));
    passed.retain(|test| !skipped.contains_key(test));
    Outcome { passed, failed: failed.into_iter().collect(), skipped }
}

/// `SKIPPED: <test>: <reason>`, wherever in the line it begins: a progress line may not have ended.
fn said_skipped(line: &str) -> Option<(&str, &str)> {
    let (_, said) = line.split_once("SKIPPED: ")?;
    // A path in front of the test's name has `::` in it.
    let (test, reason) = said.split_once(": ")?;
    Some((test.trim(), reason.trim()))
}

/// `test <name> ... <end>`.
fn result(line: &str) -> Option<(&str, &str)> {
    let (test, end) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    Some((test.trim_end_matches(" - should panic"), end.trim()))
}

/// `ignored` or `ignored, <reason>`.
fn ignored(end: &str) -> Option<&str> {
    let reason = end.strip_prefix("ignored")?;
    Some(reason.strip_prefix(", ").unwrap_or("ignored, and the test does not say why"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 5 tests
test wire::round_trip ... ok
test live::veth ... ok
test live::slow ... ignored, takes an hour
test live::broken ... FAILED
test panics - should panic ... ok

successes:

---- live::veth stdout ----
SKIPPED: veth: no root: run it with sudo

test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
";

    #[test]
    fn skipped_tests_are_not_passed_ones() {
        let outcome = read(OUTPUT);
        assert_eq!(outcome.passed.len(), 2);
        assert_eq!(outcome.failed, ["live::broken"]);
        let skipped: Vec<_> = outcome.skipped.iter().map(|(test, reason)| (test.as_str(), reason.as_str())).collect();
        assert_eq!(skipped, [("live::slow", "takes an hour"), ("live::veth", "no root: run it with sudo")]);
    }

    #[test]
    fn a_failed_test_can_not_skip() {
        let outcome = read("test a ... FAILED\nSKIPPED: a: no root\n");
        assert_eq!((outcome.passed.len(), outcome.failed.len(), outcome.skipped.len()), (0, 1, 0));
    }

    #[test]
    fn silence_is_nothing_passed() {
        assert_eq!(read(""), Outcome::default());
    }
}
