//! The guest's file system: an initramfs with this program as its first process, the program, their libraries, and modules.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use xtask::{exec, paths};

use super::Subject;
use super::kernel::{Kernel, folder};

/// The vectors, in the repository.
pub(super) const VECTORS: &str = "testing_data/vectors/vectors.json";

/// Places in the guest.
pub(super) const GUEST_LAB: &str = "/bin/teaparty-lab";
pub(super) const GUEST_TEAPARTY: &str = "/bin/teaparty";
pub(super) const GUEST_OBJECT: &str = "/teaparty-ebpf.o";
pub(super) const GUEST_VECTORS: &str = "/vectors.json";
pub(super) const GUEST_MODULES: &str = "/modules";

/// Modules in the order in which they can be loaded. Debian's package has no list of what needs what: that is made when
/// it is installed. What a kernel has built in is no file.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "veth",
    "dummy",
    "llc",
    "stp",
    "bridge",
    "macvlan",
    "garp",
    "mrp",
    "8021q",
    "tls",
    "bonding",
    "sch_netem",
];

/// Builds the file system for a kernel and returns the file that it is in.
pub(super) fn build(kernel: &Kernel, subject: &Subject) -> Result<PathBuf> {
    let root = folder().join(format!("{}.root", kernel.name));
    let _ = std::fs::remove_dir_all(&root);
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    for folder in ["bin", "sbin", "dev", "proc", "sys", "run", "tmp", "etc", GUEST_MODULES] {
        std::fs::create_dir_all(inside(folder))?;
    }
    let itself = std::env::current_exe().context("cannot find the program itself")?;
    let mut programs = vec![(itself.as_path(), GUEST_LAB)];
    if let Some(teaparty) = &subject.teaparty {
        programs.push((teaparty, GUEST_TEAPARTY));
        programs.extend([(Path::new("/sbin/ip"), "/sbin/ip"), (Path::new("/usr/sbin/bpftool"), "/sbin/bpftool")]);
    }
    for (program, place) in programs {
        strip(program, &inside(place))?;
        for library in libraries(program)? {
            let place = root.join(library.strip_prefix("/").expect("ldd gives absolute paths"));
            std::fs::create_dir_all(place.parent().expect("it is in a folder"))?;
            copy(&library, &place)?;
        }
    }
    copy(Path::new("/bin/busybox"), &inside("/bin/busybox"))?;
    symlink("busybox", inside("/bin/sh"))?;
    copy(&subject.object, &inside(GUEST_OBJECT))?;
    copy(&paths::root().join(VECTORS), &inside(GUEST_VECTORS))?;
    modules(&kernel.folder()?, &inside(GUEST_MODULES))?;
    pack(&root, &root.with_extension("cpio"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display())).map(drop)
}

/// Copies a program without its debug information where that can be taken out, which is most of it.
fn strip(program: &Path, to: &Path) -> Result<()> {
    if exec::capture(Command::new("strip").arg("-o").arg(to).arg(program)).is_ok() {
        return Ok(());
    }
    copy(program, to)
}

/// The shared libraries of a program, the loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    Ok(exec::capture(Command::new("ldd").arg(program))?.lines().filter_map(library).collect())
}

/// The file in a line of `ldd`: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader without an arrow.
fn library(line: &str) -> Option<PathBuf> {
    line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from)
}

/// Copies the modules, unpacked and numbered in the order in which they are to be loaded.
fn modules(kernel: &Path, to: &Path) -> Result<()> {
    let found = exec::capture(Command::new("find").arg(kernel.join("lib/modules")).args(["-name", "*.ko*"]))?;
    for (number, name) in MODULES.iter().enumerate() {
        let of_name =
            |path: &&str| path.rsplit('/').next().and_then(|file| file.split_once(".ko")).map(|(n, _)| n) == Some(name);
        let Some(file) = found.lines().find(of_name) else { continue };
        let place = to.join(format!("{number:02}-{name}.ko"));
        if file.ends_with(".xz") {
            let unpacked = File::create(&place)?;
            let mut unpack = Command::new("/bin/busybox");
            unpack.args(["unxz", "-c"]).stdin(File::open(file)?).stdout(unpacked);
            exec::show(&mut unpack)?;
        } else {
            copy(Path::new(file), &place)?;
        }
    }
    Ok(())
}

/// Packs a folder. Not compressed: unpacking would take the emulated processor longer than reading.
fn pack(root: &Path, image: &Path) -> Result<PathBuf> {
    let mut find = Command::new("find").arg(".").current_dir(root).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--format=newc", "--quiet", "--owner=0:0"]).current_dir(root);
    let packed = exec::show(cpio.stdin(names).stdout(File::create(image)?));
    find.wait()?;
    packed.map(|()| image.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00)";
        let found: Vec<PathBuf> = said.lines().filter_map(library).collect();
        assert_eq!(found, [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]);
    }
}
