//! Debian's packages `rustc-web` and `rust-web-src`: a stable Rust with its library source, new enough for us even in
//! Debian 12, where `RUSTC_BOOTSTRAP=1` opens the `-Z` flags.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Rust, Source, apt, has_source, rustc_version};
use crate::steps::Steps;

/// `cargo-web` is the cargo of the same version; `rust-web-llvm` holds the host linker that it uses.
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-llvm", "rust-web-src"];

/// The first release whose `core` has what the program uses.
const OLDEST_MINOR: u32 = 95;

/// The package of clippy, of the same version.
const CLIPPY: &str = "rust-web-clippy";

pub(super) struct Packages;

/// Installs clippy.
pub(super) fn install_clippy() -> Result<()> {
    apt::install(&[CLIPPY], &mut Steps::new(apt::STEPS))
}

impl Source for Packages {
    fn name(&self) -> &'static str {
        "Debian's Rust packages"
    }

    fn find(&self) -> Result<Rust> {
        let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
        if !cargo.is_file() || !rustc.is_file() || !has_source(Path::new("/usr")) {
            bail!("the packages {} are not all installed", PACKAGES.join(", "));
        }
        let version = rustc_version(&rustc)?;
        let minor = version.release.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
        if minor.context("/usr/bin/rustc names no release")? < OLDEST_MINOR {
            bail!("/usr/bin/rustc is {}, and the program needs 1.{OLDEST_MINOR} or newer", version.release);
        }
        let title = format!("Rust {} from Debian", version.release);
        Ok(Rust { title, cargo, rustc, bootstrap: true, llvm: version.llvm })
    }

    fn install(&self, steps: &mut Steps) -> Result<()> {
        apt::install(&apt::missing(PACKAGES), steps)
    }

    fn steps(&self) -> usize {
        apt::STEPS
    }
}
