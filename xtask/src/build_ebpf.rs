//! `cargo xtask build-ebpf`: the XDP program, compiled and linked into one object with BTF.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{self, Toolchain};
use crate::{exec, paths};

const TARGET: &str = "bpfel-unknown-none";

/// `v3` has 32-bit jumps and atomic operations that return the old value; BTF is made from the debug information.
// `allows-misaligned-mem-access`: packet memory is not aligned, and without it LLVM reads it octet by octet. Fields on the
// stack must be aligned all the same; where LLVM merges some that are not, the verifier says so.
// The last one lets LLVM expand small copies and fills in place: without it each is a call, and memset as a global
// function is refused by the verifier.
const FLAGS: &[&str] = &[
    "-Ctarget-cpu=v3",
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
    "-Clink-arg=--disable-expand-memcpy-in-order",
];

/// The package of the product's object, and that of the objects that only measurements use: names and options.
const PRODUCT: &[&str] = &["teaparty-ebpf"];
const BENCH: &[&str] = &["teaparty-bench-ebpf", "--features", "bpf"];

/// Options that keep a command of cargo for the whole workspace from compiling for the host what is compiled for BPF.
pub const NOT_FOR_THE_HOST: [&str; 4] = ["--exclude", "teaparty-ebpf", "--exclude", "teaparty-bench-ebpf"];

/// The options of `cargo xtask build-ebpf`.
#[derive(clap::Args)]
pub struct Args {
    /// Treat warnings of the compiler as errors
    #[arg(long)]
    deny_warnings: bool,
    /// Build nothing: have clippy look at all BPF programs, those of the benchmarks too (installs it when it is missing)
    #[arg(long)]
    clippy: bool,
}

/// The treatment of the compiler's warnings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Warnings {
    /// They are shown.
    Shown,
    /// They are errors.
    Denied,
}

/// Builds the object and prints its path, or has clippy look at its source.
///
/// Fails like [`build`].
pub fn main(args: &Args) -> Result<()> {
    let warnings = if args.deny_warnings { Warnings::Denied } else { Warnings::Shown };
    if args.clippy {
        return lint(warnings);
    }
    let object = build(warnings)?;
    println!("{}", paths::shown(&object));
    Ok(())
}

/// Builds the object and returns where it is; its time stamp changes only when its content does.
///
/// Fails if it does not compile; cargo has then shown why.
pub fn build(warnings: Warnings) -> Result<PathBuf> {
    if let Some(object) = setup::ready_object()? {
        return Ok(object);
    }
    let toolchain = setup::toolchain()?;
    let built = compile(&toolchain, PRODUCT, "teaparty-ebpf", warnings)?;
    publish(&built, &paths::ebpf_object(), &toolchain.rust)?;
    Ok(paths::ebpf_object())
}

/// Builds the object `name` of those that only measurements use, and returns its path.
///
/// Fails if it does not compile; cargo has then shown why.
pub fn build_bench(name: &str) -> Result<PathBuf> {
    compile(&setup::toolchain()?, BENCH, name, Warnings::Shown)
}

fn compile(toolchain: &Toolchain, package: &[&str], name: &str, warnings: Warnings) -> Result<PathBuf> {
    let mut command = for_bpf(&toolchain.rust.cargo, toolchain, warnings);
    command.args(["build", "--release", "--bin", name, "--package"]).args(package);
    exec::show(&mut command)?;
    Ok(paths::ebpf_target().join(TARGET).join("release").join(name))
}

/// Has clippy look at all BPF programs, as they are compiled for BPF.
fn lint(warnings: Warnings) -> Result<()> {
    let toolchain = setup::toolchain()?;
    let mut command = for_bpf(&setup::clippy(&toolchain.rust)?, &toolchain, warnings);
    // It calls the cargo that this variable names.
    command.env("CARGO", &toolchain.rust.cargo).args(["clippy", "--release"]);
    for package in [PRODUCT, BENCH] {
        command.arg("--package").args(package);
    }
    exec::show(&mut command)
}

/// Cargo, or a program that calls it, set up to compile for BPF with `toolchain`; the subcommand is still to be added.
fn for_bpf(program: &Path, toolchain: &Toolchain, warnings: Warnings) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::root());
    // What the cargo that runs us says about itself and about xtask is wrong for the other cargo.
    exec::without_package(&mut command);
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "RUSTC_WRAPPER", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    let denied = (warnings == Warnings::Denied).then_some("-Dwarnings");
    let flags = FLAGS.iter().copied().chain(denied).collect::<Vec<_>>().join("\x1f");
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    command.env("CARGO_TARGET_DIR", paths::ebpf_target());
    command.env("CARGO_BUILD_TARGET", TARGET).env("CARGO_UNSTABLE_BUILD_STD", "core");
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    command.env("RUSTC", &toolchain.rust.rustc);
    if toolchain.rust.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

/// Puts the object in its place, and without debug sections, which are four fifths of it, where `teaparty-user` embeds it.
fn publish(built: &Path, object: &Path, rust: &setup::Rust) -> Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    replace(object, &read(built)?)?;
    let stripped = object.with_extension("stripped");
    strip(object, &stripped, rust)?;
    replace(&paths::embedded_object(), &read(&stripped)?)
}

/// Leaves out what debuggers read; BTF stays, with the source lines that the verifier and bpftool show. A toolchain without the
/// program for it leaves all of it.
fn strip(object: &Path, stripped: &Path, rust: &setup::Rust) -> Result<()> {
    let sysroot = PathBuf::from(exec::capture(Command::new(&rust.rustc).args(["--print", "sysroot"]))?);
    let host = exec::capture(Command::new(&rust.rustc).args(["--print", "host-tuple"]))?;
    let objcopy = sysroot.join("lib/rustlib").join(host).join("bin/rust-objcopy");
    if !objcopy.is_file() {
        eprintln!("warning: {} has no rust-objcopy; the program will be larger by debug sections", rust.title);
        return std::fs::copy(object, stripped)
            .map(drop)
            .with_context(|| format!("cannot write {}", stripped.display()));
    }
    let mut command = Command::new(objcopy);
    // LLVM is in there.
    command.env("LD_LIBRARY_PATH", sysroot.join("lib")).arg("--strip-debug").args([object, stripped]);
    exec::capture(&mut command).map(drop)
}

/// Writes a file unless it has this content already.
fn replace(file: &Path, new: &[u8]) -> Result<()> {
    if std::fs::read(file).is_ok_and(|old| old == new) {
        return Ok(());
    }
    // By renaming, so that nobody reads half of it.
    let partial = file.with_extension("partial");
    std::fs::write(&partial, new).with_context(|| format!("cannot write {}", partial.display()))?;
    std::fs::rename(&partial, file).with_context(|| format!("cannot write {}", file.display()))
}
