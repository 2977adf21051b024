//! axe-core, which finds what keeps people from using a page. It comes from a Python package that holds the npm package's file, so
//! that no test needs npm.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::Steps;
use crate::{exec, paths};

/// The package: axe-core 4.12.1.
const PACKAGE: (&str, &str) = ("axe-playwright-python", "0.1.8");

/// Returns where the script is, if it is there.
pub(super) fn script() -> PathBuf {
    folder().join("axe_playwright_python/axe.min.js")
}

/// Installs the package alone with the pip of `python`: the packages that it names drive browsers, and are large.
pub(super) fn install(python: &Path, steps: &mut Steps) -> Result<()> {
    let (name, version) = PACKAGE;
    steps.run(&format!("axe-core, from {name} {version}"), |show| {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target"]);
        exec::follow(pip.arg(folder()).arg(format!("{name}=={version}")), show)?;
        script().metadata().with_context(|| format!("{name} has no {}", script().display())).map(drop)
    })
}

fn folder() -> PathBuf {
    paths::tools().join(format!("{}-{}", PACKAGE.0, PACKAGE.1))
}
