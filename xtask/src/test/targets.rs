//! The workspace's test programs: compiled by cargo, listed from its messages.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{build_ebpf, exec};
use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One test program.
pub(super) struct Target {
    /// For people: crate and target.
    pub(super) name: String,
    /// The program.
    pub(super) executable: PathBuf,
    /// The crate's folder, which tests find as their working directory.
    pub(super) folder: PathBuf,
    /// True if its tests skip without root.
    pub(super) needs_root: bool,
    /// True if each of its tests is to have the machine for itself.
    pub(super) is_serial: bool,
    /// `teaparty`, where cargo built it along.
    program: Option<PathBuf>,
}

impl Target {
    /// Returns the environment that cargo would set for it.
    pub(super) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = vec![("CARGO_MANIFEST_DIR", self.folder.clone())];
        variables.extend(self.program.clone().map(|program| ("CARGO_BIN_EXE_teaparty", program)));
        variables
    }
}

/// A line of `cargo test --no-run --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Described>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Compiles all test programs but those of the BPF crate; unit tests come first, those that need root last.
///
/// Fails if they don't compile; cargo has then shown why.
pub(super) fn compile() -> Result<Vec<Target>> {
    let mut command = exec::cargo();
    command.args(["test", "--no-run", "--workspace"]).args(build_ebpf::NOT_FOR_THE_HOST);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile: see above");
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Message> = stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = messages.iter().find_map(ordinary_program);
    let mut targets: Vec<Target> = messages.iter().filter_map(|message| test(message, program.as_deref())).collect();
    if targets.is_empty() {
        bail!("cargo listed no test programs; has the format of its messages changed?");
    }
    targets.sort_by_key(|target| (target.needs_root, target.name.clone()));
    Ok(targets)
}

fn ordinary_program(message: &Message) -> Option<PathBuf> {
    let is_ordinary = !message.profile.as_ref()?.test && message.target.as_ref()?.name == "teaparty";
    message.executable.clone().filter(|_| is_ordinary)
}

fn test(message: &Message, program: Option<&Path>) -> Option<Target> {
    if message.reason != "compiler-artifact" || !message.profile.as_ref()?.test {
        return None;
    }
    let described = message.target.as_ref()?;
    let kind = described.kind.first()?;
    let folder = message.manifest_path.as_ref()?.parent()?.to_owned();
    let crate_name = folder.file_name()?.to_string_lossy().into_owned();
    let name = match kind.as_str() {
        "lib" => crate_name,
        "test" => format!("{crate_name} tests/{}", described.name),
        _ => format!("{crate_name} {kind} {}", described.name),
    };
    let text = std::fs::read_to_string(&described.src_path).unwrap_or_default();
    let (needs_root, is_serial) = if kind == "test" { needs(&text) } else { (false, false) };
    let executable = message.executable.clone()?;
    Some(Target { name, executable, folder, needs_root, is_serial, program: program.map(Path::to_owned) })
}

/// Returns what the doc comment at the head of a test program says: it needs root, and its tests run one at a time.
fn needs(text: &str) -> (bool, bool) {
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let words = header.join(" ").to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let needs_root = words.contains("needs root") || words.contains("root is needed");
    (needs_root, needs_root && !words.contains("in parallel"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_of_a_file_says_that_root_is_needed() {
        assert_eq!(needs("//! Live. It needs\n//! root.\n\nuse std;\n"), (true, true));
        assert_eq!(needs("//! The program: root is needed, an interface is not.\n"), (true, true));
        assert_eq!(needs("//! Pure.\n\n//! needs root\n"), (false, false));
    }

    #[test]
    fn tests_with_root_run_in_parallel_where_the_head_says_so() {
        assert_eq!(needs("//! Needs root; tests run in\n//! parallel.\n"), (true, false));
        assert_eq!(needs("//! Runs in parallel.\n"), (false, false));
    }
}
