//! Packages of Debian and its kin, through `apt-get`, as root or through sudo.

use std::process::Command;

use anyhow::{Result, bail};

use crate::exec;
use crate::steps::Steps;

/// How many steps [`install`] and [`install_any`] take.
pub(crate) const STEPS: usize = 2;

/// Whether this system has apt-get.
pub(crate) fn is_here() -> bool {
    exec::find("apt-get").is_some()
}

/// Installs the first of `candidates` that the freshly fetched package lists have, and returns its name.
///
/// Fails where there is no `apt-get`, or none of them is to be had, or it would drive out another package.
pub(crate) fn install_any<'a>(candidates: &[&'a str], steps: &mut Steps) -> Result<&'a str> {
    update(candidates, steps)?;
    let Some(package) = candidates.iter().copied().find(|name| knows(name)) else {
        bail!("the package lists have no {}", candidates.join(" and no "));
    };
    get(&[package], steps)?;
    Ok(package)
}

/// Installs all of `packages`, after fetching the package lists.
///
/// Fails where there is no `apt-get`, or a package is not to be had or would drive out another.
pub(crate) fn install(packages: &[&str], steps: &mut Steps) -> Result<()> {
    update(packages, steps)?;
    if let Some(unknown) = packages.iter().find(|name| !knows(name)) {
        bail!("the package lists have no {unknown}");
    }
    get(packages, steps)
}

/// Fetches the package lists; `wanted` is named where there is no `apt-get`.
pub(crate) fn update(wanted: &[&str], steps: &mut Steps) -> Result<()> {
    if !is_here() {
        bail!("there is no apt-get to install {} with", wanted.join(" "));
    }
    steps.run("package lists (apt-get update)", |show| exec::follow(apt_get().arg("update"), show))
}

fn get(packages: &[&str], steps: &mut Steps) -> Result<()> {
    let title = format!("packages {} (apt-get install)", packages.join(" "));
    steps.run(&title, |show| {
        let upgraded = removed_by(packages);
        let mut command = apt_get();
        command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages).args(upgraded);
        exec::follow(&mut command, show)
    })
}

/// Returns the installed packages that apt would remove for `packages`.
///
/// They are older than the package lists, and a new package does not get on with that. Named beside `packages` they are
/// upgraded.
fn removed_by(packages: &[&str]) -> Vec<String> {
    let mut simulation = Command::new("apt-get");
    simulation.args(["--simulate", "install", "--no-install-recommends"]).args(packages);
    simulation.output().map(|output| removals(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

/// Returns the packages of the lines `Remv NAME [VERSION] …` of a simulation.
fn removals(simulation: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Remv ")?.split_whitespace().next().map(str::to_owned);
    simulation.lines().filter_map(name).collect()
}

/// Whether the package lists on this machine have `package`.
fn knows(package: &str) -> bool {
    let shown = Command::new("apt-cache").args(["show", "--no-all-versions", package]).output();
    shown.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Which of `packages` dpkg does not have installed. All of them where there is no dpkg.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
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
    use super::removals;

    #[test]
    fn packages_that_would_be_removed_are_read_from_a_simulation() {
        let text = "Reading package lists...\nThe following packages will be REMOVED:\n  qemu-utils\n\
                    Remv qemu-utils [1:7.2+dfsg-7]\nInst cpio (2.13 Debian:12.15/oldstable [amd64])\n\
                    Remv old:i386 [1] [new:amd64 ]\n";
        assert_eq!(removals(text), ["qemu-utils", "old:i386"]);
        assert!(removals("Inst cpio (2.13)\n").is_empty());
    }
}
