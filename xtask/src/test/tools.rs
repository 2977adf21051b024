//! What tests use besides this repository: scapy and stamp-suite, and as root system programs and the BPF file system.
//!
//! Each is installed when it is missing and can be had; where it can't, the tests that need it skip and say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::apt;
use crate::steps::Steps;
use crate::{exec, paths};

/// Package and the program that it brings.
const PACKAGES: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("ethtool", "ethtool"),
    ("iproute2", "ip"),
    ("openssl", "openssl"),
    ("prometheus", "promtool"),
    ("systemd", "systemd-analyze"),
    ("tmux", "tmux"),
    ("tshark", "tshark"),
    ("python3-jsonschema", "jsonschema"),
    ("python3-venv", "python3"),
];

/// The independent encoder and decoder of STAMP packets.
const SCAPY: &str = "2.8.0";

/// The other implementation, which measures and reflects.
const STAMP_SUITE: &str = "1.0.0";

/// What was found or installed.
#[derive(Default)]
pub(super) struct Tools {
    variables: Vec<(&'static str, PathBuf)>,
}

impl Tools {
    /// Where tests look for the tools.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.variables.iter().map(|(name, path)| (*name, path.as_path()))
    }
}

/// Finds the tools, or installs them; what takes root only as root, because the tests that use it skip without anyway.
///
/// Fails only if the BPF file system can't be mounted; what can't be installed is said and left out.
pub(super) fn provide() -> Result<Tools> {
    let mut packages = Vec::new();
    if nix::unistd::geteuid().is_root() {
        mount_bpffs()?;
        packages = missing_packages();
    } else {
        eprintln!("Not root: tests that need it will be skipped.");
    }
    let has_suite = has_stamp_suite();
    let missing = usize::from(!scapy_python().is_file()) + usize::from(!has_suite);
    let mut steps = Steps::new(missing + if packages.is_empty() { 0 } else { apt::STEPS });
    if !packages.is_empty() {
        say(apt::install(&packages, &mut steps));
    }
    if !scapy_python().is_file() {
        say(install_scapy(&mut steps));
    }
    if !has_suite {
        say(install_stamp_suite(&mut steps));
    }
    let found = [("TEAPARTY_SCAPY_PYTHON", scapy_python()), ("TEAPARTY_STAMP_SUITE", stamp_suite())];
    Ok(Tools { variables: found.into_iter().filter(|(_, path)| path.is_file()).collect() })
}

/// A tool that can't be had costs tests, which the table will show; it is no reason to run none.
fn say(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("warning: {error:#}\nTests that need this will be skipped.");
    }
}

fn missing_packages() -> Vec<&'static str> {
    let names: Vec<_> = PACKAGES.iter().map(|(package, _)| *package).collect();
    if exec::find("dpkg-query").is_some() {
        return apt::missing(&names);
    }
    // Elsewhere the packages are called otherwise, and the program is what matters.
    PACKAGES.iter().filter(|(_, program)| exec::find(program).is_none()).map(|(package, _)| *package).collect()
}

/// Pins live in it. Containers and minimal systems have not mounted it.
fn mount_bpffs() -> Result<()> {
    const PATH: &str = "/sys/fs/bpf";
    let mounts = std::fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    if mounts.lines().any(|line| line.split(' ').nth(1) == Some(PATH)) {
        return Ok(());
    }
    exec::capture(Command::new("mount").args(["-t", "bpf", "bpf", PATH])).map(drop)
}

fn scapy_folder() -> PathBuf {
    paths::tools().join(format!("scapy-{SCAPY}"))
}

fn scapy_python() -> PathBuf {
    scapy_folder().join("bin/python")
}

/// A virtual environment of its own; put in its place only when complete.
fn install_scapy(steps: &mut Steps) -> Result<()> {
    let folder = scapy_folder();
    let title = format!("scapy {SCAPY} (Python package)");
    let result = steps.run(&title, |show| {
        // The system's own, because that is the one that python3-venv completes.
        let system = Path::new("/usr/bin/python3");
        let python = if system.is_file() { system } else { Path::new("python3") };
        exec::follow(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder), show)?;
        let mut pip = Command::new(scapy_python());
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", &format!("scapy=={SCAPY}")]);
        exec::follow(&mut pip, show)
    });
    if result.is_err() {
        // Half of it would look like all of it the next time.
        let _ = std::fs::remove_dir_all(&folder);
    }
    result
}

/// The other implementation, for the bench; installed where it is missing.
pub(crate) fn provide_stamp_suite() -> Result<PathBuf> {
    if !has_stamp_suite() {
        install_stamp_suite(&mut Steps::new(1))?;
    }
    Ok(stamp_suite())
}

/// The round-trip tester that people compare with, for the bench; Debian's package.
pub(crate) fn provide_irtt() -> Result<PathBuf> {
    if exec::find("irtt").is_none() {
        apt::install(&["irtt"], &mut Steps::new(apt::STEPS))?;
    }
    exec::find("irtt").context("there is no irtt on PATH; install it (Debian: apt-get install irtt)")
}

fn stamp_suite() -> PathBuf {
    paths::tools().join("bin/stamp-suite")
}

/// Whether it is there in this version, by the list that cargo keeps of what it installed.
fn has_stamp_suite() -> bool {
    let list = std::fs::read_to_string(paths::tools().join(".crates.toml")).unwrap_or_default();
    list.contains(&format!("\"stamp-suite {STAMP_SUITE} ")) && stamp_suite().is_file()
}

fn install_stamp_suite(steps: &mut Steps) -> Result<()> {
    let title = format!("stamp-suite {STAMP_SUITE} (compiles for about two minutes)");
    steps.run(&title, |show| {
        let mut command = exec::cargo();
        command.args(["install", "stamp-suite", "--version", STAMP_SUITE, "--locked", "--features", "hwtstamp"]);
        command.arg("--root").arg(paths::tools()).arg("--target-dir").arg(paths::tools().join("build"));
        exec::follow(&mut command, show)
    })
}
