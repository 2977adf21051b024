//! A minimal Debian in a folder, in which tests boot the units: debootstrap makes it once, and tests change only what they lay over
//! it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::apt;
use crate::steps::Steps;
use crate::{exec, paths};

/// The release. Its C library must be as new as that of the machine on which the program was built.
const RELEASE: &str = "trixie";
/// By what it is made, and booted.
const PACKAGES: &[&str] = &["debian-archive-keyring", "debootstrap", "systemd-container"];
/// What it has beside the packages without which there is no Debian.
const INCLUDED: &str = "--include=systemd-sysv";

/// The number of steps of [`install`].
pub(super) const STEPS: usize = apt::STEPS + 1;

/// Returns the root of its file system.
pub(super) fn root() -> PathBuf {
    paths::tools().join(format!("debian-{RELEASE}"))
}

/// Returns true if it is not there, or nothing to boot it with.
pub(super) fn is_missing() -> bool {
    !root().is_dir() || exec::find("systemd-nspawn").is_none()
}

/// Makes it. Takes root.
pub(super) fn install(steps: &mut Steps) -> Result<()> {
    apt::install(PACKAGES, steps)?;
    steps.run(&format!("Debian {RELEASE} in a folder (debootstrap, about a minute)"), |show| {
        let (root, partial) = (root(), paths::tools().join("debian.partial"));
        if root.is_dir() {
            return Ok(());
        }
        // What an interrupted run has left.
        if partial.exists() {
            std::fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", paths::shown(&partial)))?;
        }
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", INCLUDED, RELEASE]).arg(&partial);
        exec::follow(&mut command, show)?;
        std::fs::rename(&partial, &root).with_context(|| format!("cannot make {}", paths::shown(&root)))
    })
}
