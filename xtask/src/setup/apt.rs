//! Packages of Debian and its kin, through `apt-get`, as root or through sudo.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::exec;
use crate::steps::Steps;

/// The number of steps of [`install`] and [`install_any`].
pub const STEPS: usize = 2;

/// Returns true if this system has apt-get.
pub fn is_here() -> bool {
    exec::find("apt-get").is_some()
}

/// Installs the first of `candidates` that the freshly fetched package lists have, and returns its name.
///
/// Fails where there is no `apt-get`, or none of them is available, or it would drive out another package.
pub fn install_any<'a>(candidates: &[&'a str], steps: &mut Steps) -> Result<&'a str> {
    update(candidates, steps)?;
    let Some(package) = candidates.iter().copied().find(|name| knows(name)) else {
        bail!("the package lists have no {}", candidates.join(" and no "));
    };
    get(&[package], steps)?;
    Ok(package)
}

/// Installs all of `packages`, after fetching the package lists.
///
/// Fails where there is no `apt-get`, or a package is unavailable or would drive out another.
pub fn install(packages: &[&str], steps: &mut Steps) -> Result<()> {
    update(packages, steps)?;
    get(packages, steps)
}

/// Fetches the package lists; `wanted` is named where there is no `apt-get`.
pub fn update(wanted: &[&str], steps: &mut Steps) -> Result<()> {
    if !is_here() {
        bail!("there is no apt-get to install {} with", wanted.join(" "));
    }
    steps.run("package lists (apt-get update)", |show| exec::follow(apt_get().arg("update"), show))
}

/// Installs all of `packages`, by package lists that are there.
///
/// Fails if the lists lack one of them, or one would drive out another package.
pub fn get(packages: &[&str], steps: &mut Steps) -> Result<()> {
    if let Some(unknown) = packages.iter().find(|name| !knows(name)) {
        bail!("the package lists have no {unknown}");
    }
    let title = format!("packages {} (apt-get install)", packages.join(" "));
    steps.run(&title, |show| {
        let mut command = apt_get();
        command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
        exec::follow(&mut command, show)
    })
}

/// A simulation of apt for a package.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Packages that would be installed: it, and what it depends on.
    pub installed: Vec<String>,
    /// Packages of the machine that would go, because they do not get on with one of these.
    pub removed: Vec<String>,
}

impl Simulation {
    /// Simulates the installation of `package`.
    pub fn of(package: &str) -> Result<Self> {
        let mut command = Command::new("apt-get");
        command.args(["--simulate", "install", "--no-install-recommends", package]);
        Ok(Self::read(&exec::capture(&mut command)?))
    }

    /// Reads the lines `Inst NAME (…)` of new packages and `Remv NAME …`. An `Inst` with an installed version in brackets is
    /// an upgrade, and not counted.
    fn read(text: &str) -> Self {
        let names = |verb: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(verb)?.split_once(' '));
            lines
                .filter(|(_, rest)| verb == "Remv " || !rest.starts_with('['))
                .map(|(name, _)| name.to_owned())
                .collect()
        };
        Self { installed: names("Inst "), removed: names("Remv ") }
    }
}

/// Downloads `packages` and unpacks them in `folder`, which is made. Nothing is installed.
pub fn unpack(packages: &[String], folder: &Path, show: impl FnMut(&str)) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--option", "APT::Sandbox::User=root"]).args(packages).current_dir(folder);
    exec::follow(&mut download, show)?;
    for entry in std::fs::read_dir(folder)? {
        let archive = entry?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            exec::capture(Command::new("dpkg").arg("--extract").arg(&archive).arg(folder))?;
            std::fs::remove_file(&archive)?;
        }
    }
    Ok(())
}

/// Returns true if the package lists on this machine have `package`.
fn knows(package: &str) -> bool {
    let shown = Command::new("apt-cache").args(["show", "--no-all-versions", package]).output();
    shown.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Returns those of `packages` that dpkg does not have installed. All of them where there is no dpkg.
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    // dpkg-query fails if it knows none of them or one not, and still lists the others.
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Abbrev} ${Package}\n"]).args(packages);
    let listed = query.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let installed = |name: &str| listed.lines().any(|line| line.strip_prefix("ii  ") == Some(name));
    packages.iter().copied().filter(|name| !installed(name)).collect()
}

fn apt_get() -> Command {
    let mut command = exec::as_root("env");
    // Another apt may be at work: wait for it rather than fail.
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--option", "DPkg::Lock::Timeout=300"]);
    command
}

#[cfg(test)]
mod tests {
    use super::Simulation;

    #[test]
    fn new_and_removed_packages_are_read_from_a_simulation() {
        let text = "Reading package lists...\nThe following packages will be REMOVED:\n  qemu-utils\n\
                    Remv qemu-utils [1:10.0~bpo12+1]\nInst cpio (2.13 Debian:12.15/oldstable [amd64])\n\
                    Inst linux-perf [6.1.1] (6.1.2 Debian [amd64])\nConf cpio (2.13 Debian [amd64])\n";
        let expected = Simulation { installed: vec!["cpio".into()], removed: vec!["qemu-utils".into()] };
        assert_eq!(Simulation::read(text), expected);
    }
}
