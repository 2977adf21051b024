//! The programs on both sides, started and stopped.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use teaparty_testing::local::{LocalReflector, free_port};

/// The key of authenticated sessions, in hexadecimal.
pub(crate) const KEY: &str = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf";

/// stamp-suite.
pub(crate) fn stamp_suite() -> Result<PathBuf, &'static str> {
    let given = std::env::var_os("TEAPARTY_STAMP_SUITE").map(PathBuf::from);
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/xtask/bin/stamp-suite");
    given.or(Some(installed)).filter(|path| path.exists()).ok_or("no stamp-suite; see tests/peers/stamp_suite.rs")
}

/// A file with the key as each of the programs wants it.
pub(crate) struct KeyFiles {
    pub(crate) ours: tempfile::NamedTempFile,
    pub(crate) theirs: tempfile::NamedTempFile,
}

impl KeyFiles {
    pub(crate) fn new() -> Self {
        let with = |text: String| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            file
        };
        Self { ours: with(format!("hex:{KEY}")), theirs: with(KEY.into()) }
    }
}

/// Ours on lo, once it says that it is ready.
pub(crate) fn our_reflector(options: &[&str]) -> LocalReflector {
    LocalReflector::ours(&[&["--api", "none"], options].concat())
}

/// Theirs on 127.0.0.1, once its port is taken.
pub(crate) fn their_reflector(options: &[&str]) -> LocalReflector {
    let port = free_port();
    let child = Command::new(stamp_suite().unwrap())
        .args(["--is-reflector", "--local-addr", "127.0.0.1", "--local-port", &port.to_string()])
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = LocalReflector::new(child, port);
    for _ in 0..500 {
        if UdpSocket::bind(("127.0.0.1", port)).is_err() {
            return running;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("stamp-suite does not listen");
}

/// Measures with our sender: the summary.
pub(crate) fn our_sender(port: u16, options: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(format!("sender 127.0.0.1 {port} -c 5 -i 5ms -W 1s --format json {options}").split_whitespace());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{options}: {error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Measures with theirs, on this thread's network: the measurements of its summary.
pub(crate) fn their_sender(port: u16, options: &str) -> Value {
    let mut command = Command::new(stamp_suite().unwrap());
    command.args(["--remote-addr", "127.0.0.1", "--remote-port", &port.to_string()]);
    let delay = if options.contains("--send-delay") { "" } else { " --send-delay 5" };
    command.args(format!("--count 5 --timeout 1 --output-format json{delay}").split(' '));
    command.args(options.split_whitespace());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let summary = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let summary = summary.into_iter().find(|line| line["type"] == "summary");
    let said = String::from_utf8_lossy(&output.stderr);
    summary.unwrap_or_else(|| panic!("{options}: no summary: {text}{said}"))["measurements"].take()
}

/// Returns true if everything that `part` names is in `whole`.
pub(crate) fn holds(whole: &Value, part: &std::collections::BTreeMap<String, toml::Value>) -> Result<(), String> {
    for (pointer, wanted) in part {
        let path = if pointer.starts_with('/') { pointer.clone() } else { format!("/{pointer}") };
        let wanted = serde_json::to_value(wanted).unwrap();
        let found = whole.pointer(&path).unwrap_or(&Value::Null);
        if *found != wanted {
            return Err(format!("{path} is {found}, not {wanted}"));
        }
    }
    Ok(())
}
