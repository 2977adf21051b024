//! bpf-linker, built once against an LLVM that reads what rustc's LLVM writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use super::apt;
use crate::steps::Steps;
use crate::{exec, paths};

const VERSION: &str = "0.13.0";

/// LLVM releases that this bpf-linker can be built on and that know how to read packet memory in words; see `build_ebpf`.
const LLVM: std::ops::RangeInclusive<u32> = 22..=23;

/// The most steps of [`provide`].
pub(super) const STEPS: usize = apt::STEPS + 1;

pub(super) struct Linker {
    pub(super) title: String,
    pub(super) path: PathBuf,
}

/// A linker installed earlier that is good for bitcode of LLVM `needed`.
pub(super) fn find(needed: u32) -> Option<Linker> {
    usable(needed).find_map(|llvm| {
        let path = folder(llvm).join("bin/bpf-linker");
        // One whose LLVM library has been uninstalled since is no linker.
        exec::capture(Command::new(&path).arg("--version")).ok()?;
        Some(linker(llvm, path))
    })
}

/// The linker, after installing LLVM's development files and building it where needed.
pub(super) fn provide(needed: u32, steps: &mut Steps) -> Result<Linker> {
    if let Some(linker) = find(needed) {
        return Ok(linker);
    }
    if usable(needed).next().is_none() {
        bail!("this Rust's LLVM is {needed}, and bpf-linker {VERSION} knows none newer than {}", LLVM.end());
    }
    let (llvm, prefix) = match installed_llvm(needed) {
        Some(found) => found,
        None => install_llvm(needed, steps)?,
    };
    let title = format!("bpf-linker {VERSION} on LLVM {llvm} (compiles for about a minute)");
    steps.run(&title, |show| exec::follow(&mut build(llvm, &prefix), show))?;
    Ok(linker(llvm, folder(llvm).join("bin/bpf-linker")))
}

fn linker(llvm: u32, path: PathBuf) -> Linker {
    Linker { title: format!("bpf-linker {VERSION} on LLVM {llvm}"), path }
}

fn usable(needed: u32) -> impl Iterator<Item = u32> {
    needed.max(*LLVM.start())..=*LLVM.end()
}

/// One folder for each combination: that the program is there says which one it is.
fn folder(llvm: u32) -> PathBuf {
    paths::tools().join(format!("bpf-linker-{VERSION}-llvm-{llvm}"))
}

fn build(llvm: u32, prefix: &Path) -> Command {
    let mut command = exec::cargo();
    command.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--no-default-features"]);
    command.args(["--features", &format!("llvm-{llvm}"), "--root"]).arg(folder(llvm));
    command.arg("--target-dir").arg(paths::tools().join("build")).env("LLVM_PREFIX", prefix);
    command
}

/// An LLVM with its development files, and where it is.
fn installed_llvm(needed: u32) -> Option<(u32, PathBuf)> {
    usable(needed).find_map(|llvm| {
        let named = exec::find(&format!("llvm-config-{llvm}"));
        let config = named.or_else(|| exec::find("llvm-config").filter(|path| major(path) == Some(llvm)))?;
        let prefix = PathBuf::from(exec::capture(Command::new(&config).arg("--prefix")).ok()?);
        let headers = exec::capture(Command::new(&config).arg("--includedir")).ok()?;
        Path::new(&headers).join("llvm-c/Core.h").is_file().then_some((llvm, prefix))
    })
}

fn major(config: &Path) -> Option<u32> {
    exec::capture(Command::new(config).arg("--version")).ok()?.split('.').next()?.parse().ok()
}

fn install_llvm(needed: u32, steps: &mut Steps) -> Result<(u32, PathBuf)> {
    let names: Vec<String> = usable(needed).map(|llvm| format!("llvm-{llvm}-dev")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let package = apt::install_any(&names, steps)
        .map_err(|error| anyhow!("LLVM {needed} or newer is missing with its development files: {error:#}"))?;
    match installed_llvm(needed) {
        Some(found) => Ok(found),
        None => bail!("{package} is installed, and still no llvm-config of version {needed} or newer is on PATH"),
    }
}
