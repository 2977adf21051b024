//! Builds programs of the workspace for the host.

use std::path::PathBuf;

use anyhow::Result;

use crate::{exec, paths};

/// A profile of cargo.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Unoptimized: quick to build.
    Dev,
    /// Optimized: quick to run.
    Release,
}

impl Profile {
    /// The folder of its programs in cargo's target folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds `teaparty` and returns its path.
///
/// Fails if it does not compile; cargo has then shown why.
pub fn teaparty(profile: Profile) -> Result<PathBuf> {
    build("teaparty-user", "teaparty", profile)
}

/// Builds the program `name` of `package` and returns its path.
///
/// Fails if it does not compile; cargo has then shown why.
pub fn build(package: &str, name: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = exec::cargo();
    command.args(["build", "--quiet", "--package", package, "--bin", name]);
    command.args((profile == Profile::Release).then_some("--release"));
    exec::build(name, &mut command)?;
    Ok(paths::host_target().join(profile.folder()).join(name))
}
