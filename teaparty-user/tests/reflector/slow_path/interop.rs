//! `stamp-suite` 1.0.0 as Session-Sender in authenticated mode. `tests/peers` has the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use teaparty_testing::reflector::{Net, V4, V6};
use teaparty_testing::skip::or_skip;

use super::authentication::count;
use super::signed::{SharedKey, hex};

/// The program: `cargo xtask test` installs it and says where it is.
fn program() -> Result<PathBuf, String> {
    let given = std::env::var_os("TEAPARTY_STAMP_SUITE").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/bin/stamp-suite");
    given.or(Some(installed)).filter(|path| path.is_file()).ok_or("no stamp-suite 1.0.0".into())
}

/// Measures five packets signed with `key`.
fn measure(net: &Net, program: &Path, to: &str, key: &SharedKey, chain: &[&str]) -> Value {
    // It wants the digits without anything in front.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hex(&key.octets)).unwrap();
    let output = net.in_far(|| {
        let mut command = Command::new(program);
        command.args(["--remote-addr", to, "--count", "5", "--send-delay", "5", "--timeout", "1", "--auth-mode", "A"]);
        command.args(["--local-addr", if to == V6 { "::" } else { "0.0.0.0" }]);
        command.args(["--output-format", "json", "--hmac-key-file"]).arg(file.path()).args(chain);
        command.output().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

#[test]
fn stamp_suite_sends_authenticated_and_accepts_our_replies() {
    let Some(program) = or_skip(program()) else { return };
    let Some(net) = or_skip(Net::new()) else { return };
    let (key, other) = (SharedKey::new(41), SharedKey::new(42));
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode, "--auth-key-file", key.path()]);
        for to in [V4, V6] {
            let summary = measure(&net, &program, to, &key, &[]);
            assert_eq!(summary["packets_received"], json!(5), "{mode} {to}: {summary}");
            let chain = ["--tlv-hmac", "on", "--verify-tlv-hmac", "--location", "--timestamp-info"];
            let summary = measure(&net, &program, to, &key, &chain);
            assert_eq!(summary["packets_received"], json!(5), "{mode} {to}: {summary}");
            let validation = &summary["measurements"]["tlv_validation"];
            assert_eq!(validation["hmac"]["verified"], json!(5), "{mode} {to}: {summary}");
            assert_eq!(validation["rejected_replies"], json!(0), "{mode} {to}: {summary}");
            // Replies are never signed with another key than the packet.
            let summary = measure(&net, &program, to, &other, &[]);
            assert_eq!(summary["packets_received"], json!(0), "{mode} {to}: {summary}");
        }
        let ended = reflector.stop();
        assert_eq!(count(&ended.out, "reflected"), 20, "{mode}: {}", ended.out);
        assert_eq!(count(&ended.out, "authentication-failed"), 10, "{mode}: {}", ended.out);
    }
}
