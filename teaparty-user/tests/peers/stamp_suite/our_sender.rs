//! Our sender against their reflector.

use serde_json::Value;
use teaparty_testing::local::LocalReflector;
use teaparty_testing::skip::or_skip;

use super::programs::{KeyFiles, holds, our_sender, stamp_suite, their_reflector};
use super::table::{Between, Case, Seen, cases};

/// Returns the outcome of a case, in a word.
fn outcome(case: &Case, summary: &Value) -> String {
    let received = summary["received"].as_u64().unwrap();
    if received == 0 {
        return "silence".into();
    }
    if received != summary["sent"].as_u64().unwrap() {
        return format!("{received} replies");
    }
    let Some(name) = &case.tlv else { return "answered".into() };
    let tally = &summary["targets"][0]["tlvs"][name];
    let outcomes = ["answered", "unrecognized", "malformed", "not_conformant", "not_authentic", "skipped"];
    let found: Vec<&str> = outcomes.into_iter().filter(|outcome| tally[outcome].as_u64().unwrap_or(0) > 0).collect();
    if found == ["answered"]
        && let Err(difference) = holds(&tally["value"], &case.value)
    {
        return difference;
    }
    found.join(" and ")
}

const OPTIONS: [&str; 3] = ["--stateful-reflector", "--reflector-member-link-id", "7"];

fn all(reflector: &LocalReflector, is_authenticated: bool, option: &str) -> Seen {
    let mut seen = Seen::default();
    for case in cases().iter().filter(|case| !(is_authenticated && case.open_only)) {
        let Some(ours) = &case.ours else { continue };
        let summary = our_sender(reflector.port, &format!("{option} {ours}"));
        seen.note(&case.name, &case.expect, outcome(case, &summary));
        if is_authenticated && summary["received"] != 0 && ours.contains("tlvs") {
            let hmac = summary["targets"][0]["tlvs"].get("hmac");
            let is_verified = hmac.is_none_or(|hmac| hmac["answered"] == summary["received"]);
            assert!(is_verified, "{}: {hmac:?}", case.name);
        }
    }
    seen
}

#[test]
fn open_sessions_of_ours_with_their_reflector() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    all(&their_reflector(&OPTIONS), false, "").judge(Between::OurSender, "open");
}

#[test]
fn authenticated_sessions_of_ours_with_their_reflector() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    let keys = KeyFiles::new();
    let theirs = keys.theirs.path().to_str().unwrap();
    let signed = ["-A", "A", "--hmac-key-file", theirs, "--verify-tlv-hmac"];
    let reflector = their_reflector(&[&OPTIONS[..], &signed].concat());
    let option = format!("--auth-key-file {}", keys.ours.path().display());
    all(&reflector, true, &option).judge(Between::OurSender, "authenticated");
    std::fs::write(keys.ours.path(), "wrong").unwrap();
    assert_eq!(our_sender(reflector.port, &option)["received"], 0, "a wrong key");
}

#[test]
fn every_size_of_ours_with_their_reflector() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    let reflector = their_reflector(&[]);
    for size in [44, 48, 49, 100, 1_472] {
        let summary = our_sender(reflector.port, &format!("--size {size}"));
        assert_eq!(summary["received"], 5, "{size}");
        assert!(summary["round_trip_ns"]["min"].as_i64().unwrap() > -100_000, "{size}");
    }
}
