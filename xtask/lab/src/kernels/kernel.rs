//! Debian's kernels: which there are, and how they are fetched.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::setup::apt;
use xtask::steps::Steps;
use xtask::{exec, paths};

/// Name of the kernel that runs, among those of the lab.
pub(crate) const HERE: &str = "here";

/// Package of the emulator, and the file that it brings.
const QEMU: (&str, &str) = ("qemu-system-x86", "/usr/bin/qemu-system-x86_64");

/// The lab's other needs: packages, and the file that each brings.
const PACKAGES: &[(&str, &str)] = &[
    QEMU,
    ("busybox-static", "/bin/busybox"),
    ("cpio", "/usr/bin/cpio"),
    ("iproute2", "/sbin/ip"),
    ("bpftool", "/usr/sbin/bpftool"),
];

/// A kernel of the lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kernel {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// The prefix of its packages' names; a version follows.
    prefix: &'static str,
}

const SUFFIX: &str = "-cloud-amd64";

impl Kernel {
    /// The oldest that README promises, which is Debian 12's own, and the next one with long support.
    pub(crate) const ALL: [Self; 2] =
        [Self { name: "6.1", prefix: "linux-image-6.1.0-" }, Self { name: "6.12", prefix: "linux-image-6.12." }];

    /// The folder that its package is unpacked in.
    ///
    /// Fails where it is not there: [`provide`] gets it.
    pub(crate) fn folder(&self) -> Result<PathBuf> {
        self.unpacked().with_context(|| format!("kernel {} has not been fetched", self.name))
    }

    /// The kernel's release, as `uname -r` says it.
    pub(crate) fn release(&self) -> Result<String> {
        let folder = self.folder()?;
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(name.trim_start_matches("linux-image-").to_owned())
    }

    /// The newest that has been fetched.
    fn unpacked(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(folder()).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        newest(self, names).map(|name| folder().join(name))
    }
}

/// Returns the folder of the kernels.
pub(super) fn folder() -> PathBuf {
    paths::tools().join("kernels")
}

/// The emulator where it is unpacked and not installed.
fn unpacked_qemu() -> PathBuf {
    folder().join("qemu")
}

/// Returns the command of the emulator, installed or unpacked.
pub(super) fn qemu() -> Command {
    let (folder, program) = (unpacked_qemu(), QEMU.1);
    if Path::new(program).exists() || !folder.exists() {
        return Command::new(program);
    }
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let [libraries, early] = ["usr/lib", "lib"].map(|under| folder.join(under).join(&triple));
    let mut command = Command::new(folder.join(program.trim_start_matches('/')));
    command.env("LD_LIBRARY_PATH", format!("{}:{}", libraries.display(), early.display()));
    command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
    for firmware in ["qemu", "seabios"] {
        command.arg("-L").arg(folder.join("usr/share").join(firmware));
    }
    command
}

/// Installs and fetches what is missing for these kernels. What is there is not asked for again, so that this works offline.
///
/// No package of the machine is removed: if the emulator does not get on with one of them, it is unpacked instead.
///
/// Fails on other machines than x86-64 with apt-get.
pub(crate) fn provide(kernels: &[Kernel]) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the kernels of the lab are x86-64's, and this machine is {}", std::env::consts::ARCH);
    }
    let is_there =
        |(package, file): &(&str, &str)| Path::new(file).exists() || *package == QEMU.0 && unpacked_qemu().exists();
    let absent: Vec<&str> = PACKAGES.iter().filter(|tool| !is_there(tool)).map(|(package, _)| *package).collect();
    let wanted: Vec<&Kernel> = kernels.iter().filter(|kernel| kernel.unpacked().is_none()).collect();
    if absent.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    // The lists, the packages, the emulator.
    let mut steps = Steps::new(1 + 2 * usize::from(!absent.is_empty()) + wanted.len());
    apt::update(&["qemu and Debian's kernels"], &mut steps)?;
    let mut packages = absent.clone();
    if absent.contains(&QEMU.0) {
        let simulation = apt::Simulation::of(QEMU.0)?;
        if !simulation.removed.is_empty() {
            packages.retain(|package| *package != QEMU.0);
            unpack_qemu(&simulation, &mut steps)?;
        }
    }
    if !packages.is_empty() {
        apt::get(&packages, &mut steps)?;
    }
    for kernel in wanted {
        fetch(kernel, &mut steps)?;
    }
    Ok(())
}

/// Unpacks the emulator and the packages that it depends on; in its place only when complete.
fn unpack_qemu(simulation: &apt::Simulation, steps: &mut Steps) -> Result<()> {
    let title = format!("{} (unpacked: it does not get on with installed {})", QEMU.0, simulation.removed.join(" "));
    let partial = folder().join("qemu.partial");
    let _ = std::fs::remove_dir_all(&partial);
    steps.run(&title, |show| {
        apt::unpack(&simulation.installed, &partial, show)?;
        std::fs::rename(&partial, unpacked_qemu()).context("cannot put the emulator in its place")
    })
}

/// Downloads and unpacks the newest package of a kernel; in its place only when complete.
fn fetch(kernel: &Kernel, steps: &mut Steps) -> Result<()> {
    let pattern = format!("^{}", kernel.prefix.replace('.', r"\."));
    let listed = exec::capture(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    let Some(package) = newest(kernel, names) else {
        bail!("the package lists have no {}…{SUFFIX}: the lab needs those of Debian 12", kernel.prefix);
    };
    let partial = folder().join(format!("{}.partial", kernel.name));
    let _ = std::fs::remove_dir_all(&partial);
    steps.run(&format!("kernel {package} (apt-get download)"), |show| {
        apt::unpack(std::slice::from_ref(&package), &partial, show)?;
        std::fs::rename(&partial, folder().join(&package)).context("cannot put the kernel in its place")
    })
}

/// The name of the highest version among those that are of this kernel.
fn newest(kernel: &Kernel, names: impl Iterator<Item = String>) -> Option<String> {
    let is_ours = |name: &String| {
        let version = name.strip_prefix(kernel.prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
        version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    };
    names.filter(is_ours).max_by_key(|name| numbers(name))
}

/// The numbers in a name, in order: versions compare by them.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_found_by_number_and_only_among_its_own() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-dbg",
            "linux-image-6.1.0-58-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
            "6.1.partial",
        ];
        let found = Kernel::ALL.map(|kernel| newest(&kernel, names.iter().map(|name| (*name).to_owned())));
        assert_eq!(found[0].as_deref(), Some("linux-image-6.1.0-57-cloud-amd64"));
        assert_eq!(found[1].as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest(&Kernel::ALL[0], std::iter::empty()), None);
    }
}
