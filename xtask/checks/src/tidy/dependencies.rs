//! The oldest Rust: no dependency may need a newer one than the workspace promises.
//!
//! Licences, bans and sources are in `deny.toml`, which cargo-deny checks in `.ci/run`. It does not look at this.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use xtask::exec;

/// Dependencies of other platforms are neither fetched nor checked.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The workspace and all its dependencies, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// The oldest Rust that it promises to compile with.
    rust_version: Option<String>,
    manifest_path: PathBuf,
}

/// Returns cargo's list of all dependencies, for [`problems`].
///
/// Fails if `Cargo.lock` is not up to date.
pub(super) fn metadata() -> Result<String> {
    let mut command = exec::cargo();
    command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", PLATFORM]);
    exec::capture(&mut command).context("cannot list the dependencies")
}

/// Returns the dependencies in `metadata` that need a newer Rust than the oldest that a crate of the workspace promises.
pub(super) fn problems(metadata: &str) -> Vec<String> {
    let metadata: Metadata = match serde_json::from_str(metadata) {
        Ok(metadata) => metadata,
        Err(error) => return vec![format!("`cargo metadata` is not as expected: {error}")],
    };
    let (ours, others): (Vec<&Package>, Vec<&Package>) =
        metadata.packages.iter().partition(|package| package.manifest_path.starts_with(&metadata.workspace_root));
    let Some(promised) = ours.iter().filter_map(|package| release(package.rust_version.as_deref()?)).min() else {
        return vec!["Cargo.toml: no crate says its `rust-version`".to_owned()];
    };
    others.into_iter().filter_map(|package| newer(package, promised)).collect()
}

fn newer(package: &Package, promised: [u32; 3]) -> Option<String> {
    let Package { name, version, rust_version, .. } = package;
    let needed = rust_version.as_deref()?;
    let is_newer = release(needed)? > promised;
    is_newer
        .then(|| format!("Cargo.lock: {name} {version} needs Rust {needed}, newer than `rust-version` in Cargo.toml"))
}

/// Returns the numbers of a release of Rust: `1.88` or `1.88.0`.
fn release(version: &str) -> Option<[u32; 3]> {
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ours: &str, needed: &str) -> Vec<String> {
        let package = |name: &str, folder: &str, rust_version: &str| {
            format!(
                r#"{{"name": "{name}", "version": "1.0.0", "rust_version": {rust_version},
                    "manifest_path": "{folder}/{name}/Cargo.toml"}}"#
            )
        };
        let packages = [
            package("ours", "/here", ours),
            package("later", "/here", r#""1.95""#),
            package("theirs", "/there", needed),
            package("silent", "/there", "null"),
        ];
        problems(&format!(r#"{{"packages": [{}], "workspace_root": "/here"}}"#, packages.join(",")))
    }

    #[test]
    fn a_dependency_may_need_no_newer_rust() {
        for needed in [r#""1.56""#, r#""1.88""#, r#""1.88.0""#, "null"] {
            assert_eq!(found(r#""1.88""#, needed), [""; 0], "{needed}");
        }
        for needed in [r#""1.88.1""#, r#""1.90""#, r#""2.0""#] {
            let problems = found(r#""1.88""#, needed);
            assert!(
                problems.len() == 1 && problems[0].starts_with("Cargo.lock: theirs 1.0.0 needs Rust "),
                "{problems:?}"
            );
        }
        // The oldest promise counts, and a list that can't be read is no clean one.
        assert_eq!(found("null", r#""1.95""#), [""; 0]);
        assert_eq!(problems("{}").len(), 1);
        assert_eq!(problems(r#"{"packages": [], "workspace_root": "/here"}"#).len(), 1);
    }
}
