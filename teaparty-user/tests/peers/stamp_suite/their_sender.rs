//! Their sender against our reflector: the XDP program on the `lo` of a network namespace, and the socket engine.

use serde_json::Value;
use teaparty_testing::local::LocalReflector;
use teaparty_testing::namespace::alone;
use teaparty_testing::skip::or_skip;

use super::programs::{KeyFiles, holds, our_reflector, stamp_suite, their_sender};
use super::table::{Between, Case, Seen, cases};

/// Returns the outcome of the case as their sender sees it, in a word.
fn outcome(case: &Case, summary: &Value) -> String {
    let answered = summary["answered_probes"].as_u64().unwrap();
    if answered == 0 {
        return "silence".into();
    }
    if answered != 5 {
        return format!("{answered} replies");
    }
    let validation = &summary["tlv_validation"];
    if validation["rejected_replies"] != 0 {
        return format!("{} rejected", validation["rejected_replies"]);
    }
    if let Err(difference) = holds(summary, &case.reports) {
        return difference;
    }
    let Some(code) = case.code else { return "answered".into() };
    let entry = &validation["by_type"][code.to_string()];
    if entry["observed"].as_u64().unwrap_or(0) == 0 {
        return "missing".into();
    }
    let flags = [
        ("unrecognized", "unrecognized"),
        ("malformed", "malformed"),
        ("integrity_failed", "not_authentic"),
        ("conformant_reflected", "not_conformant"),
    ];
    let set = flags.into_iter().filter(|(key, _)| entry["flags"][key].as_u64().unwrap_or(0) > 0);
    let set: Vec<&str> = set.map(|(_, name)| name).collect();
    if set.is_empty() { "answered".into() } else { set.join(" and ") }
}

const OPTIONS: [&str; 2] = ["--micro-session-id", "7"];

fn all(reflector: &LocalReflector, is_authenticated: bool, option: &str) -> Seen {
    let mut seen = Seen::default();
    for case in cases().iter().filter(|case| !(is_authenticated && case.open_only)) {
        let Some(theirs) = &case.theirs else { continue };
        let summary = their_sender(reflector.port, &format!("{option} {theirs}"));
        seen.note(&case.name, &case.expect, outcome(case, &summary));
        let hmac = &summary["tlv_validation"]["hmac"];
        assert!(hmac["failed"] == 0 && hmac["unverified"] == 0, "{}: {hmac}", case.name);
        if is_authenticated && case.code.is_some_and(|code| code != 1) && summary["answered_probes"] != 0 {
            assert_ne!(hmac["verified"], 0, "{}: {hmac}", case.name);
        }
    }
    seen
}

/// Open and authenticated sessions with one of our reflectors that has these options besides.
fn check(engine: &[&str], setting: &str) {
    let reflector = our_reflector(&[&OPTIONS, engine].concat());
    all(&reflector, false, "").judge(Between::TheirSender, &format!("open, {setting}"));
    drop(reflector);
    let keys = KeyFiles::new();
    let ours = keys.ours.path().to_str().unwrap();
    let reflector = our_reflector(&[&OPTIONS, engine, &["--auth-key-file", ours]].concat());
    let option = format!("-A A --hmac-key-file {}", keys.theirs.path().display());
    all(&reflector, true, &option).judge(Between::TheirSender, &format!("authenticated, {setting}"));
}

#[test]
fn their_sender_with_our_xdp_program() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    or_skip(alone(|| check(&["--xdp-mode", "skb"], "xdp")));
}

#[test]
fn their_sender_with_our_sockets() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    check(&["--xdp-mode", "off"], "sockets");
}

#[test]
fn their_sender_with_our_frames() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    or_skip(alone(|| check(&["--xdp-mode", "off", "--link-layer"], "frames")));
}
