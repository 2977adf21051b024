//! Our sender against `stamp-suite` 1.0.0 as reflector: each TLV that both know, and the disagreements with who is right.
//!
//! Needs its program: `cargo install stamp-suite --version 1.0.0 --locked --root target/xtask`, or its path in the
//! environment variable STAMP_SUITE. Without it the tests are skipped.

#[path = "support/probe.rs"]
mod probe;
mod sender_support;

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use probe::or_skip;
use sender_support::summary;
use serde_json::{Value, json};

struct Peer {
    child: Child,
    port: u16,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let given = std::env::var_os("STAMP_SUITE").map(PathBuf::from);
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/bin/stamp-suite");
    given.or(Some(installed)).filter(|path| path.exists())
}

/// The reflector, once it answers; `None`, having said so, where there is no program.
fn reflector(test: &str, options: &[&str]) -> Option<Peer> {
    let program = or_skip(test, program().ok_or("no stamp-suite; see the head of tests/sender_interop.rs"))?;
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(program)
        .args(["--is-reflector", "--local-addr", "127.0.0.1", "--local-port", &port.to_string()])
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peer = Peer { child, port };
    for _ in 0..200 {
        if UdpSocket::bind(("127.0.0.1", port)).is_err() {
            return Some(peer);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("stamp-suite does not listen");
}

fn measure(peer: &Peer, rest: &str) -> (i32, Value) {
    summary(&format!("sender 127.0.0.1 {} -c 5 -i 5ms -W 500ms --format json {rest}", peer.port))
}

#[test]
fn open_sessions_of_every_size_agree() {
    let Some(peer) = reflector("open_sessions_of_every_size_agree", &[]) else { return };
    for size in [44, 48, 49, 100, 1_472] {
        let (code, summary) = measure(&peer, &format!("--size {size}"));
        assert_eq!((code, &summary["received"]), (0, &json!(5)), "{size}");
        assert!(summary["round_trip_ns"]["min"].as_i64().unwrap() > -100_000);
    }
}

#[test]
fn tlvs_that_both_know_are_answered() {
    let Some(peer) = reflector("tlvs_that_both_know_are_answered", &["--stateful-reflector"]) else { return };
    let chain = "--dscp af11 --ecn ect1 tlvs time -- location -- class-of-service --dscp ef --ecn ect0 -- \
                 direct-measurement -- followup -- padding -- access-report -- destination-address --address 127.0.0.1";
    let (code, summary) = measure(&peer, chain);
    assert_eq!((code, &summary["received"]), (0, &json!(5)));
    let tlvs = summary["targets"][0]["tlvs"].as_object().unwrap();
    for name in
        ["time", "location", "class-of-service", "direct-measurement", "followup", "padding", "destination-address"]
    {
        assert_eq!(tlvs[name]["answered"], json!(5), "{name}: {}", tlvs[name]);
    }
    assert!(tlvs["access-report"]["answered"].as_u64().unwrap() >= 1);
    let words = tlvs["class-of-service"]["words"].as_str().unwrap();
    assert!(words.starts_with("reply came back with DSCP EF ECN ECT(0) as asked"), "{words}");
    assert!(words.ends_with("the path kept DSCP AF11 ECN ECT(1)"), "{words}");
    assert_eq!(tlvs["location"]["value"]["source"], json!("127.0.0.1"));
    // Follow-Up Telemetry tells of an earlier reply, so this reflector counts.
    assert_eq!(summary["reflector_stateful"], json!(true));
}

#[test]
fn tlvs_that_only_we_know_come_back_unrecognised() {
    let Some(peer) = reflector("tlvs_that_only_we_know_come_back_unrecognised", &[]) else { return };
    let (code, summary) = measure(&peer, "tlvs history -- destination-port --port 49999 -- unrecognized");
    assert_eq!(code, 0);
    for name in ["history", "destination-port", "unrecognized"] {
        assert_eq!(summary["targets"][0]["tlvs"][name]["unrecognized"], json!(5), "{name}");
    }
}

#[test]
fn authenticated_sessions_agree_with_and_without_tlvs() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap();
    let theirs = key.path().to_str().unwrap();
    let test = "authenticated_sessions_agree_with_and_without_tlvs";
    let Some(peer) = reflector(test, &["-A", "A", "--hmac-key-file", theirs, "--verify-tlv-hmac"]) else { return };
    let ours = tempfile::NamedTempFile::new().unwrap();
    let hex = format!("hex:{}", std::fs::read_to_string(key.path()).unwrap());
    std::fs::write(ours.path(), hex).unwrap();
    for chain in ["", "tlvs time -- location", "--size 200 tlvs class-of-service --dscp ef"] {
        let (code, summary) = measure(&peer, &format!("--auth-key-file {} {chain}", ours.path().display()));
        assert_eq!((code, &summary["received"]), (0, &json!(5)), "{chain}: {summary}");
        if !chain.is_empty() {
            assert_eq!(summary["targets"][0]["tlvs"]["hmac"]["answered"], json!(5), "{chain}: {summary}");
        }
    }
    std::fs::write(ours.path(), "wrong").unwrap();
    assert_eq!(measure(&peer, &format!("--auth-key-file {}", ours.path().display())).0, 4);
}
