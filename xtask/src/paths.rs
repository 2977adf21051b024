//! Where things are in the repository and under `target/`.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// Cargo's target folder for everything but the eBPF build.
pub fn host_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Returns the folder of installed tools and remembered decisions.
pub fn tools() -> PathBuf {
    root().join("target/xtask")
}

/// Cargo's target folder for the eBPF build: its own, because the host's is locked while `cargo run` builds.
pub fn ebpf_target() -> PathBuf {
    root().join("target/ebpf")
}

/// The finished object with its debug sections.
pub fn ebpf_object() -> PathBuf {
    ebpf_target().join("teaparty-ebpf.o")
}

/// The object that `teaparty-user/build.rs` embeds. It is in the folder of the crate, so that a package has it too.
pub fn embedded_object() -> PathBuf {
    root().join("teaparty-user/object/teaparty-ebpf.o")
}

/// A path as a person wants to read it: relative to the workspace where it is inside.
pub fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(root()).unwrap_or(path).display()
}
