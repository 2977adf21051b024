//! The programs on both sides, started and stopped.

use std::io::BufRead;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

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

/// A running reflector; ends when dropped.
pub(crate) struct Reflector {
    child: Child,
    pub(crate) port: u16,
}

impl Reflector {
    /// Theirs on 127.0.0.1, once its port is taken.
    pub(crate) fn theirs(options: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new(stamp_suite().unwrap())
            .args(["--is-reflector", "--local-addr", "127.0.0.1", "--local-port", &port.to_string()])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { child, port };
        for _ in 0..500 {
            if UdpSocket::bind(("127.0.0.1", port)).is_err() {
                return running;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("stamp-suite does not listen");
    }

    /// Ours on lo, once it says that it is ready.
    pub(crate) fn ours(options: &[&str]) -> Self {
        let port = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_teaparty"))
            .args(["reflector", "--api", "none", "--iface", "lo", "--port", &port.to_string()])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().any(|line| line.unwrap().contains("is ready"));
        let running = Self { child, port };
        assert!(ready, "the reflector ended before it was ready");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
