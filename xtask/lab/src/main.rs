//! The part of `cargo xtask` that needs kernels: loads the XDP program in each that README promises, and tries the
//! reflector there; and the demo. Kept out of xtask, so that a first `cargo xtask` command compiles no BPF loader.

mod demo;
mod kernels;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show a reflector, a sender, and a probe with Prometheus, in two network namespaces, until Ctrl-C
    Demo(demo::Args),
    /// Try the reflector on every kernel that we promise to run on: 6.1 and 6.12 in qemu, and the one that runs
    Kernels(kernels::Args),
    #[command(hide = true)]
    KernelsInside(kernels::inside::Args),
    /// Load every program, say what that costs the kernel's verifier, fail over budget
    Verify(verify::Args),
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    xtask::exec::exit(match Cli::parse().task {
        Task::Demo(args) => demo::main(&args).map(done),
        Task::Kernels(args) => kernels::main(&args),
        Task::KernelsInside(args) => kernels::inside::main(&args).map(done),
        Task::Verify(args) => verify::main(&args).map(done),
    })
}
