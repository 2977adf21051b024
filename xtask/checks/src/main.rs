//! The part of `cargo xtask` that reads the repository's own documents and sources. Kept out of xtask, so that a first
//! `cargo xtask` command compiles no parser of Markdown or TOML.

mod codegen;
mod conformance;
mod docs;
mod tidy;

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
    /// Run the tests and print, for each row of the conformance list, whether what shows it passed
    Conformance,
    /// Check what no compiler checks: paths and links in documents, heads of files, things left undone, layers
    Tidy,
    /// Build the book of docs/ into target/book (installs mdbook when it is missing), and check its links and generated pages
    Docs(docs::Args),
    /// Write the pages of the book that repeat the source: the reference and the conformance list
    Codegen(codegen::Args),
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    xtask::exec::exit(match Cli::parse().task {
        Task::Conformance => conformance::main(),
        Task::Tidy => tidy::main().map(done),
        Task::Docs(args) => docs::main(&args).map(done),
        Task::Codegen(args) => codegen::main(&args).map(done),
    })
}
