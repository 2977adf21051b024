//! Our sender against our own reflector, both as the program that users run, over sockets on `lo`.

use serde_json::{Value, json};
use teaparty_testing::local::{LocalReflector, free_port};
use teaparty_testing::sender::{summary, teaparty};

/// Starts `teaparty reflector` with these options, by sockets.
fn start(options: &[&str]) -> LocalReflector {
    LocalReflector::ours(&[&["--xdp-mode", "off"], options].concat())
}

fn measure(reflector: &LocalReflector, rest: &str) -> (i32, Value) {
    summary(&format!("sender 127.0.0.1 {} -c 6 -i 5ms -W 500ms --format json {rest}", reflector.port))
}

fn answered(summary: &Value, name: &str) -> u64 {
    summary["targets"][0]["tlvs"][name]["answered"].as_u64().unwrap_or(0)
}

#[test]
fn bit_errors_are_measured_both_ways_and_none_is_found_on_lo() {
    let (code, summary) = measure(&start(&[]), "tlvs bit-error-rate --size 64");
    let expected = json!({
        "forward": 0, "forward_octets": 384, "forward_burst_max": 0,
        "backward": 0, "backward_octets": 384, "backward_burst_max": 0,
    });
    assert_eq!((code, &summary["targets"][0]["bit_errors"]), (0, &expected), "{summary}");
}

#[test]
fn every_tlv_is_answered_as_its_text_says() {
    let own_port = free_port();
    let reflector = start(&["--allow-destination-port", "--micro-session-id", "4"]);
    let (code, summary) = measure(
        &reflector,
        &format!(
            "--dscp af11 --ecn ect1 tlvs time -- location --source --destination -- class-of-service --dscp ef --ecn ect0 \
         -- direct-measurement -- access-report -- followup -- history -- destination-address --address 127.0.0.1 \
         -- micro-session --sender-id 3 -- destination-port --port {own_port} -- padding -- unrecognized"
        ),
    );
    assert_eq!((code, &summary["received"]), (0, &json!(6)), "{summary}");
    let tlvs = [
        "time",
        "location",
        "class-of-service",
        "direct-measurement",
        "followup",
        "history",
        "destination-address",
        "micro-session",
        "destination-port",
        "padding",
    ];
    for name in tlvs {
        assert_eq!(answered(&summary, name), 6, "{name}");
    }
    let tlvs = &summary["targets"][0]["tlvs"];
    assert_eq!(tlvs["unrecognized"]["unrecognized"], json!(6));
    assert_eq!(tlvs["access-report"]["value"]["access_id"], json!(1));
    assert_eq!(tlvs["direct-measurement"]["value"], json!({ "sender_tx": 6, "reflector_rx": 6, "reflector_tx": 5 }));
    assert_eq!(tlvs["micro-session"]["value"], json!({ "sender": 3, "reflector": 4 }));
    let history = tlvs["history"]["value"].as_array().unwrap();
    let sequences: Vec<_> = history.iter().map(|entry| entry["sender_sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [4, 3, 2], "newest first");
    let words = tlvs["class-of-service"]["words"].as_str().unwrap();
    assert_eq!(words, "reply came back with DSCP EF ECN ECT(0) as asked; the path kept DSCP AF11 ECN ECT(1)");
    assert_eq!(summary["reflector_stateful"], json!(true), "Follow-Up Telemetry gives it away");
}

#[test]
fn return_paths_are_refused_or_obeyed_by_policy() {
    let reflector = start(&[]);
    let words = format!("sender 127.0.0.1 {} -c 3 -i 1ms -W 100ms", reflector.port);
    let (code, text, _) = teaparty(&format!("{words} tlvs return-path --no-reply"));
    assert!(code == 0 && text.contains("no reply was asked for"), "{code} {text}");
    let (code, summary) = measure(&reflector, "tlvs return-path --same-link");
    assert_eq!((code, answered(&summary, "return-path")), (0, 6));
    let (code, summary) = measure(&reflector, "tlvs return-path --address 127.0.0.9");
    assert_eq!((code, &summary["targets"][0]["tlvs"]["return-path"]["unrecognized"]), (0, &json!(6)));
}

#[test]
fn authenticated_sessions_with_tlvs_need_the_right_key_and_nothing_else() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "hex:000102030405060708090a0b0c0d0e0f\n").unwrap();
    let source = key.path().to_str().unwrap().to_owned();
    let reflector = start(&["--auth-key-file", &source, "--tlv-key-file", &source]);
    let (code, summary) = measure(&reflector, &format!("--auth-key-file {source}"));
    assert_eq!((code, &summary["received"]), (0, &json!(6)));
    let (code, summary) =
        measure(&reflector, &format!("--auth-key-file {source} tlvs time -- class-of-service --dscp ef"));
    assert_eq!((code, answered(&summary, "hmac"), answered(&summary, "time")), (0, 6, 6), "{summary}");
    let wrong = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(wrong.path(), "wrong").unwrap();
    assert_eq!(measure(&reflector, &format!("--auth-key-file {}", wrong.path().display())).0, 4);
    assert_eq!(measure(&reflector, "").0, 4);
}

#[test]
fn malformed_packets_come_back_marked() {
    let reflector = start(&[]);
    let (code, summary) = measure(&reflector, "--malformed bad-length tlvs time");
    assert_eq!((code, answered(&summary, "time")), (0, 6));
    assert_eq!(summary["targets"][0]["tlvs"]["padding"]["malformed"], json!(6));
    // Flags that arrive are no input to those that go back (RFC 8972 §4).
    let (code, summary) = measure(&reflector, "--malformed bad-flags");
    assert_eq!((code, answered(&summary, "padding")), (0, 6));
}

#[test]
fn bursts_of_replies_are_counted_and_waited_for_c243() {
    for state in [&["--allow-reflected-control"][..], &["--allow-reflected-control", "--stateless"]] {
        let reflector = start(state);
        let (code, summary) = measure(&reflector, "tlvs reflected-control --count 5 --interval 4ms");
        let counts = ["sent", "received", "further_replies", "further_replies_lost", "duplicates"];
        assert_eq!((code, counts.map(|key| summary[key].as_u64().unwrap())), (0, [6, 6, 24, 0, 0]), "{state:?}");
        // Six bursts of 16 ms each, one after the other.
        assert!(summary["duration_ns"].as_u64().unwrap() >= 6 * 16_000_000, "{state:?}");
    }
}
