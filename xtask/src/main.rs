//! What the project does to itself: one subcommand per file, and no product logic.

mod bench;
mod build_ebpf;
mod codegen;
mod conformance;
mod dist;
mod exec;
mod kernels;
mod paths;
mod run;
mod setup;
mod steps;
mod test;
mod tidy;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What Teaparty does to itself", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Provide what the eBPF build needs and lacks: Rust with library source, LLVM, bpf-linker
    Setup(setup::Args),
    /// Build the XDP program into target/ebpf/teaparty-ebpf.o (runs `setup` when something is missing)
    BuildEbpf(build_ebpf::Args),
    /// Build what is missing or old, then start `teaparty` with these arguments
    Run(run::Args),
    /// Run the tests, say what was skipped and why
    Test(test::Args),
    /// Run the tests and print, for each row of the conformance list, whether what shows it passed
    Conformance,
    /// Measure: packets in the kernel, over veth, by many sessions, by the controller, and the sender; beside floors and peers
    Bench(bench::Args),
    /// Say where time goes: in the kernel by part of the program and by single steps, in processes by flame graphs
    Profile(bench::profile::Args),
    /// Try the reflector on every kernel that we promise to run on: 6.1 and 6.12 in qemu, and the one that runs
    Kernels(kernels::Args),
    #[command(hide = true)]
    KernelsInside(kernels::inside::Args),
    /// Load every program, say what that costs the kernel's verifier, fail over budget
    Verify(verify::Args),
    /// Check what no compiler checks: paths in documents, heads of files, things left undone, generated tables
    Tidy,
    /// Write man pages, completions and the schemas of configuration files into target/dist
    Dist(dist::Args),
    /// Write into documents what they repeat from the source
    Codegen(codegen::Args),
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().task {
        Task::Setup(args) => setup::main(&args).map(done),
        Task::BuildEbpf(args) => build_ebpf::main(&args).map(done),
        Task::Run(args) => run::main(&args).map(done),
        Task::Test(args) => test::main(&args),
        Task::Conformance => conformance::main(),
        Task::Bench(args) => bench::main(&args).map(done),
        Task::Profile(args) => bench::profile::main(&args).map(done),
        Task::Kernels(args) => kernels::main(&args),
        Task::KernelsInside(args) => kernels::inside::main(&args).map(done),
        Task::Verify(args) => verify::main(&args).map(done),
        Task::Tidy => tidy::main().map(done),
        Task::Dist(args) => dist::main(&args).map(done),
        Task::Codegen(args) => codegen::main(&args).map(done),
    };
    // Not returned from main, which would print a backtrace where RUST_BACKTRACE is set.
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
