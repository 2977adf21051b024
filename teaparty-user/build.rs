//! Finds the XDP program's object, to be embedded, or says what the program will lack without it.
//!
//! Sets `cfg(teaparty_ebpf)` and the variable `TEAPARTY_EBPF_OBJECT` (an absolute path) for the crate if there is an
//! object. Builds nothing: `cargo xtask build-ebpf` does, with a toolchain that `cargo build` need not have. Writes nothing, and reads
//! nothing outside of the crate but what the environment names.

use std::env;
use std::path::{Path, PathBuf};

/// A ready object, from whoever builds or packages us.
const VARIABLE: &str = "TEAPARTY_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rustc-check-cfg=cfg(teaparty_ebpf)");
    let Some(object) = given().or_else(built) else {
        println!(
            "cargo::warning=no eBPF object: this `teaparty` will have the socket engine only; \
             build the object with `cargo xtask build-ebpf`, or set {VARIABLE} to a ready one"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", object.display());
    match check(&object) {
        Ok(object) => {
            println!("cargo::rustc-cfg=teaparty_ebpf");
            println!("cargo::rustc-env={VARIABLE}={}", object.display());
        }
        Err(reason) => println!("cargo::error=eBPF object {}: {reason}", object.display()),
    }
}

/// The object that the environment names.
fn given() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The object in the folder of this crate: that of a package, or the one that `cargo xtask build-ebpf` made.
fn built() -> Option<PathBuf> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let folder = manifest.join("object");
    // The folder is always there, and the object may come.
    println!("cargo::rerun-if-changed={}", folder.display());
    let object = folder.join("teaparty-ebpf.o");
    object.is_file().then_some(object)
}

/// The object's absolute path, if it is a relocatable ELF file for BPF.
fn check(object: &Path) -> Result<PathBuf, String> {
    let bytes = std::fs::read(object).map_err(|error| format!("{error}; correct or unset {VARIABLE}"))?;
    // e_ident: magic, 64 bit, little endian; e_type ET_REL; e_machine EM_BPF.
    let is_bpf = bytes.starts_with(b"\x7fELF\x02\x01") && bytes.get(16..20) == Some(&[1, 0, 247, 0]);
    if !is_bpf {
        return Err("is no relocatable ELF object for little-endian BPF; build it with `cargo xtask build-ebpf`".into());
    }
    object.canonicalize().map_err(|error| error.to_string())
}
