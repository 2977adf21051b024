//! What the project does to itself: one subcommand per file, and no product logic.

mod build_ebpf;
mod codegen;
mod exec;
mod paths;
mod setup;
mod steps;
mod tidy;

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
    /// Check what no compiler checks: paths in documents, heads of files, things left undone, generated tables
    Tidy,
    /// Write into documents what they repeat from the source
    Codegen(codegen::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup(args) => setup::main(&args),
        Task::BuildEbpf(args) => build_ebpf::main(&args),
        Task::Tidy => tidy::main(),
        Task::Codegen(args) => codegen::main(&args),
    };
    // Not returned from main, which would print a backtrace where RUST_BACKTRACE is set.
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
