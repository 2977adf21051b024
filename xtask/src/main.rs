//! What the project does to itself: one subcommand per file, and no product logic.

mod delegate;
mod dist;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{build_ebpf, exec, setup, test};

use self::delegate::{BENCH, CHECKS, LAB};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "What Teaparty does to itself")]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Provide what the eBPF build needs and lacks: Rust with library source, LLVM, bpf-linker
    Setup(setup::Args),
    /// Build the XDP program into target/ebpf/teaparty-ebpf.o and for teaparty-user to embed (runs `setup` when something is missing)
    BuildEbpf(build_ebpf::Args),
    /// Build what is missing or old, then start `teaparty` with these arguments
    Run(run::Args),
    /// Show a reflector, a sender, and a probe with Prometheus, in two network namespaces, until Ctrl-C
    Demo(delegate::Args),
    /// Run the tests, say what was skipped and why
    Test(test::Args),
    /// Run the tests and print, for each row of the conformance list, whether what shows it passed
    Conformance(delegate::Args),
    /// Measure: packets in the kernel, over veth, by many sessions, by the controller, and the sender; beside floors and peers
    Bench(delegate::Args),
    /// Say where time goes: in the kernel by part of the program and by single steps, in processes by flame graphs
    Profile(delegate::Args),
    /// Try the reflector on every kernel that we promise to run on: 6.1 and 6.12 in qemu, and the one that runs
    Kernels(delegate::Args),
    /// Load every program, say what that costs the kernel's verifier, fail over budget
    Verify(delegate::Args),
    /// Check what no compiler checks: paths and links in documents, heads of files, things left undone, layers
    Tidy(delegate::Args),
    /// Write man pages, completions and the schemas of configuration files into target/dist
    Dist(dist::Args),
    /// Build the book of docs/ into target/book (installs mdbook when it is missing), and check its links and generated pages
    Docs(delegate::Args),
    /// Write the pages of the book that repeat the source: the reference and the conformance list
    Codegen(delegate::Args),
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    exec::exit(match Cli::parse().task {
        Task::Setup(args) => setup::main(&args).map(done),
        Task::BuildEbpf(args) => build_ebpf::main(&args).map(done),
        Task::Run(args) => run::main(&args).map(done),
        Task::Demo(args) => LAB.run("demo", &args).map(done),
        Task::Test(args) => test::main(&args),
        Task::Conformance(args) => CHECKS.run("conformance", &args).map(done),
        Task::Bench(args) => BENCH.run("bench", &args).map(done),
        Task::Profile(args) => BENCH.run("profile", &args).map(done),
        Task::Kernels(args) => LAB.run("kernels", &args).map(done),
        Task::Verify(args) => LAB.run("verify", &args).map(done),
        Task::Tidy(args) => CHECKS.run("tidy", &args).map(done),
        Task::Dist(args) => dist::main(&args).map(done),
        Task::Docs(args) => CHECKS.run("docs", &args).map(done),
        Task::Codegen(args) => CHECKS.run("codegen", &args).map(done),
    })
}
