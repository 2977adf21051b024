//! `cargo xtask setup`: a Rust that builds for BPF and the linker that goes with it, taken or installed.
//!
//! Three needs: a Rust that accepts `-Z` flags, the standard library's source of exactly that version, and bpf-linker
//! on an LLVM at least as new as that Rust's. `rustup` and `debian` are two ways to the first two, `linker` to
//! the third. What was found is remembered, so that asking again costs a few `stat` calls.

pub mod apt;
mod debian;
mod linker;
mod rustup;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::paths;
use crate::steps::Steps;

/// Set to a ready object, this makes every toolchain unnecessary.
pub const OBJECT_VARIABLE: &str = "TEAPARTY_EBPF_OBJECT";

/// The options of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// Source of Rust with its library source; `auto` takes what is complete, else completes the first that works
    #[arg(long, value_enum, default_value_t, env = "TEAPARTY_EBPF_TOOLCHAIN")]
    toolchain: Choice,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Choice {
    /// rustup's nightly where there is one, else Debian's packages, else rustup's nightly after all
    #[default]
    Auto,
    /// rustup's nightly with the component rust-src
    Rustup,
    /// Debian's packages rustc-web and rust-web-src
    Debian,
}

/// The toolchain of the eBPF build, found or installed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Toolchain {
    /// For people: which Rust, which LLVM.
    pub title: String,
    /// The compiler.
    pub rust: Rust,
    /// bpf-linker.
    pub linker: PathBuf,
}

/// A Rust that can build `core` for BPF.
#[derive(Clone, Serialize, Deserialize)]
pub struct Rust {
    /// For people: which Rust.
    pub title: String,
    /// Its cargo.
    pub cargo: PathBuf,
    /// Its compiler.
    pub rustc: PathBuf,
    /// True if it is a stable release that takes `-Z` flags only with `RUSTC_BOOTSTRAP=1`.
    pub bootstrap: bool,
    /// Major version of the LLVM inside, which bpf-linker's must reach.
    pub llvm: u32,
}

/// One way to a [`Rust`].
trait Source {
    fn name(&self) -> &'static str;
    /// Looks for it without changing anything; the error says what is missing.
    fn find(&self) -> Result<Rust>;
    /// Installs what is missing.
    fn install(&self, steps: &mut Steps) -> Result<()>;
    /// Returns the number of steps of [`Source::install`].
    fn steps(&self) -> usize;
}

/// Finds or installs what the eBPF build needs, and says what it is.
///
/// Fails where it can neither be found nor installed.
pub fn main(args: &Args) -> Result<()> {
    if let Some(object) = ready_object()? {
        println!("nothing to set up: {OBJECT_VARIABLE} gives the object {}", object.display());
        return Ok(());
    }
    let toolchain = provide(args.toolchain)?;
    println!("ready to build for BPF: {}", toolchain.title);
    Ok(())
}

/// The object that the environment gives, if it gives one.
///
/// Fails if it names no file.
pub fn ready_object() -> Result<Option<PathBuf>> {
    let Some(object) = std::env::var_os(OBJECT_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    if !object.is_file() {
        bail!("{OBJECT_VARIABLE} names {}, which is no file; correct or unset it", object.display());
    }
    Ok(Some(object))
}

/// The toolchain, set up first where something is missing. Next to instant when nothing is.
pub fn toolchain() -> Result<Toolchain> {
    let choice = match std::env::var("TEAPARTY_EBPF_TOOLCHAIN") {
        Ok(name) => Choice::from_str(&name, true)
            .map_err(|_| anyhow::anyhow!("TEAPARTY_EBPF_TOOLCHAIN is {name:?}; it may be auto, rustup or debian"))?,
        Err(_) => Choice::Auto,
    };
    provide(choice)
}

/// Returns the program `cargo-clippy` of a Rust, installed first where it is missing.
///
/// Fails where it can't be installed.
pub fn clippy(rust: &Rust) -> Result<PathBuf> {
    let program = rust.cargo.with_file_name("cargo-clippy");
    if !program.is_file() {
        if rust.bootstrap { debian::install_clippy() } else { rustup::install_clippy() }
            .with_context(|| format!("{} has no clippy", rust.title))?;
    }
    Ok(program)
}

fn provide(choice: Choice) -> Result<Toolchain> {
    if let Some(toolchain) = remembered(choice) {
        return Ok(toolchain);
    }
    let sources: &[&dyn Source] = match choice {
        // A nightly fetched today may have an LLVM that Debian has not; one that is there was somebody's choice.
        Choice::Auto if apt::is_here() && !rustup::has_nightly() => &[&debian::Packages, &rustup::Nightly],
        Choice::Auto => &[&rustup::Nightly, &debian::Packages],
        Choice::Rustup => &[&rustup::Nightly],
        Choice::Debian => &[&debian::Packages],
    };
    let toolchain = find_complete(sources).map_or_else(|| install_first(sources), Ok)?;
    remember(choice, &toolchain)?;
    Ok(toolchain)
}

/// The first source that lacks nothing.
fn find_complete(sources: &[&dyn Source]) -> Option<Toolchain> {
    sources.iter().find_map(|source| {
        let rust = source.find().ok()?;
        let linker = linker::find(rust.llvm)?;
        Some(assemble(rust, linker))
    })
}

/// The first source whose missing parts can be installed.
fn install_first(sources: &[&dyn Source]) -> Result<Toolchain> {
    eprintln!("Setting up the eBPF build, which is needed once.");
    let mut failures = Vec::new();
    for source in sources {
        match install(*source) {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => {
                eprintln!("{} will not do: {error:#}", source.name());
                failures.push(format!(
                    "- {}: {}",
                    source.name(),
                    error.root_cause().to_string().lines().next().unwrap_or_default()
                ));
            }
        }
    }
    bail!(
        "no Rust that builds for BPF could be had:\n{}\nInstall rustup's nightly with `rustup toolchain install nightly \
         --component rust-src` and LLVM's development files, or set {OBJECT_VARIABLE} to a ready object, or build \
         without (`cargo build`): the program then has the socket engine only",
        failures.join("\n")
    )
}

fn install(source: &dyn Source) -> Result<Toolchain> {
    let missing = source.find().err();
    let mut steps = Steps::new(missing.as_ref().map_or(0, |_| source.steps()) + linker::STEPS);
    if missing.is_some() {
        source.install(&mut steps)?;
    }
    let rust = source.find()?;
    let linker = linker::provide(rust.llvm, &mut steps)?;
    Ok(assemble(rust, linker))
}

fn assemble(rust: Rust, linker: linker::Linker) -> Toolchain {
    Toolchain { title: format!("{}, {}", rust.title, linker.title), rust, linker: linker.path }
}

/// A decision of an earlier run: valid while the programs it names are the ones that were looked at.
#[derive(Serialize, Deserialize)]
struct Memory {
    choice: Choice,
    stamps: [u64; 3],
    toolchain: Toolchain,
}

fn memory_file() -> PathBuf {
    paths::tools().join("toolchain.json")
}

fn remembered(choice: Choice) -> Option<Toolchain> {
    let memory: Memory = serde_json::from_slice(&std::fs::read(memory_file()).ok()?).ok()?;
    let current = memory.choice == choice && Some(memory.stamps) == stamps(&memory.toolchain);
    current.then_some(memory.toolchain)
}

fn remember(choice: Choice, toolchain: &Toolchain) -> Result<()> {
    let stamps = stamps(toolchain).context("a program that was just found has disappeared")?;
    let memory = Memory { choice, stamps, toolchain: toolchain.clone() };
    std::fs::create_dir_all(paths::tools())?;
    let file = memory_file();
    std::fs::write(&file, serde_json::to_vec_pretty(&memory)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

fn stamps(toolchain: &Toolchain) -> Option<[u64; 3]> {
    let Rust { cargo, rustc, .. } = &toolchain.rust;
    Some([modified(cargo)?, modified(rustc)?, modified(&toolchain.linker)?])
}

fn modified(file: &Path) -> Option<u64> {
    let time: SystemTime = file.metadata().ok()?.modified().ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// The output of `rustc -vV`: release and major version of its LLVM.
struct Version {
    release: String,
    llvm: u32,
}

fn rustc_version(rustc: &Path) -> Result<Version> {
    let text = crate::exec::capture(std::process::Command::new(rustc).arg("-vV"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let release = field("release:").context("rustc -vV names no release")?.to_owned();
    let llvm = field("LLVM version:").and_then(|version| version.split('.').next()?.parse().ok());
    Ok(Version { release, llvm: llvm.context("rustc -vV names no LLVM version")? })
}

/// Returns true if the standard library's source lies in this sysroot.
fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}
