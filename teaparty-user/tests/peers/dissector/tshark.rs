//! Runs tshark with the dissector over frames, and reads what it prints.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::NamedTempFile;

/// The fields of a packet with their values, in the order of the packet. Numbers are decimal, and true is 1.
pub(crate) type Fields = BTreeMap<String, Vec<String>>;

/// The line that tshark prints on stderr as root, whatever it is asked.
const ROOT_WARNING: &str = "Running as user \"root\" and group \"root\". This could be dangerous.";
/// Stands between the values of one field.
const SEPARATOR: char = '|';

/// Returns an error if tshark is not there.
pub(crate) fn installed() -> Result<(), String> {
    let output = Command::new("tshark").arg("--version").output();
    output.map(drop).map_err(|error| format!("tshark: {error}"))
}

/// The dissector.
pub(crate) fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/wireshark/stamp.lua")
}

/// Writes Ethernet frames with their times, in nanoseconds since 1970, as a capture that keeps `snaplen` octets of each.
pub(crate) fn capture<'a>(frames: impl IntoIterator<Item = (u64, &'a [u8])>, snaplen: usize) -> NamedTempFile {
    // The head of a pcap file with nanoseconds: version 2.4, no offset, Ethernet.
    let mut octets = Vec::new();
    for word in [0xa1b2_3c4d_u32, 4 << 16 | 2, 0, 0, snaplen as u32, 1] {
        octets.extend(word.to_le_bytes());
    }
    for (time, frame) in frames {
        let kept = &frame[..frame.len().min(snaplen)];
        let times = [(time / 1_000_000_000) as u32, (time % 1_000_000_000) as u32];
        for word in [times[0], times[1], kept.len() as u32, frame.len() as u32] {
            octets.extend(word.to_le_bytes());
        }
        octets.extend(kept);
    }
    let mut file = tempfile::Builder::new().suffix(".pcap").tempfile().unwrap();
    file.write_all(&octets).unwrap();
    file
}

/// Returns what tshark prints with these arguments and the dissector.
///
/// Panics if it fails, or has anything to say on stderr: that is where Lua's errors go.
pub(crate) fn run(arguments: &[&str]) -> String {
    let script = format!("lua_script:{}", script().display());
    let output = Command::new("tshark").args(arguments).args(["-X", &script, "-n"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).replace(ROOT_WARNING, "");
    assert!(output.status.success() && stderr.trim().is_empty(), "tshark {arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the names of all fields of the dissector, without the expert infos.
pub(crate) fn names() -> Vec<String> {
    let list = run(&["-G", "fields"]);
    let names = list.lines().filter_map(|line| line.split('\t').nth(2)).filter(|name| name.starts_with("stamp."));
    names.filter(|name| !name.starts_with("stamp.expert.")).map(str::to_owned).collect()
}

/// Returns the fields of each packet of a capture, which is read twice, so that requests know their replies.
pub(crate) fn fields(capture: &Path, names: &[String], more: &[&str]) -> Vec<Fields> {
    let aggregator = format!("aggregator={SEPARATOR}");
    let path = capture.to_str().unwrap();
    let mut arguments = vec!["-2", "-r", path, "-T", "fields", "-E", "separator=/t", "-E", &aggregator];
    arguments.extend(names.iter().flat_map(|name| ["-e", name]));
    arguments.extend(more);
    let table = run(&arguments);
    table
        .lines()
        .map(|line| names.iter().zip(line.split('\t')).filter_map(|(name, cell)| field(name, cell)).collect())
        .collect()
}

fn field(name: &str, cell: &str) -> Option<(String, Vec<String>)> {
    let values = || cell.split(SEPARATOR).map(normal).collect();
    (!cell.is_empty()).then(|| (name.to_owned(), values()))
}

/// Returns a value as all versions of tshark could print it.
fn normal(value: &str) -> String {
    let hex = value.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match (value, hex) {
        ("True", _) => "1".to_owned(),
        ("False", _) => "0".to_owned(),
        (_, Some(number)) => number.to_string(),
        _ => value.to_owned(),
    }
}
