//! rustup's nightly with the component `rust-src`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Rust, Source, has_source, rustc_version};
use crate::exec;
use crate::steps::Steps;

/// Any nightly: one that is installed is taken as it is, never updated.
pub(super) struct Nightly;

impl Source for Nightly {
    fn name(&self) -> &'static str {
        "rustup's nightly"
    }

    fn find(&self) -> Result<Rust> {
        let sysroot = sysroot()?;
        if !has_source(&sysroot) {
            bail!("rustup's nightly lacks the component rust-src");
        }
        let (cargo, rustc) = (sysroot.join("bin/cargo"), sysroot.join("bin/rustc"));
        if !cargo.is_file() {
            bail!("rustup's nightly lacks cargo");
        }
        let version = rustc_version(&rustc)?;
        let title = format!("Rust {} from rustup", version.release);
        Ok(Rust { title, cargo, rustc, bootstrap: false, llvm: version.llvm })
    }

    fn install(&self, steps: &mut Steps) -> Result<()> {
        if exec::find("rustup").is_none() {
            bail!("rustup is not on PATH");
        }
        let mut command = Command::new("rustup");
        let title = if has_nightly() {
            command.args(["component", "add", "rust-src", "cargo", "--toolchain", "nightly"]);
            "Rust's library source (rustup component rust-src for nightly)"
        } else {
            command.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
            command.arg("--no-self-update");
            "nightly Rust with its library source (rustup, some 100 MB)"
        };
        steps.run(title, |show| exec::follow(&mut command, show))
    }

    fn steps(&self) -> usize {
        1
    }
}

/// Installs clippy.
pub(super) fn install_clippy() -> Result<()> {
    let mut command = Command::new("rustup");
    command.args(["component", "add", "clippy", "--toolchain", "nightly"]);
    Steps::new(1).run("clippy (rustup component for nightly)", |show| exec::follow(&mut command, show))
}

/// Returns true if rustup has a nightly, complete or not.
pub(super) fn has_nightly() -> bool {
    sysroot().is_ok()
}

fn sysroot() -> Result<PathBuf> {
    // `+nightly` works only for rustup's own proxies, and cargo may have put its toolchain before them.
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let sysroot = exec::capture(&mut command).context("rustup has no nightly")?;
    Ok(PathBuf::from(sysroot))
}
