//! `cargo xtask run -- ARGUMENTS`: the program with its XDP program inside, built where needed, then started.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow};
use xtask::program::{self, Profile};
use xtask::{build_ebpf, exec};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments of `teaparty`; with `reflector` among them it is started as root, through sudo where needed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    build_ebpf::build(build_ebpf::Warnings::Shown)?;
    let program = program::teaparty(Profile::Release)?;
    let mut command = launch(&args.arguments, program);
    // Takes our place, so that signals and the exit status are the program's.
    let error = command.args(&args.arguments).exec();
    Err(anyhow!(error).context(exec::cannot_start(&command)))
}

/// Only a reflector attaches programs to interfaces; everything else runs as whoever asks.
fn launch(arguments: &[OsString], program: PathBuf) -> Command {
    if arguments.iter().any(|argument| argument == "reflector") {
        exec::as_root(program)
    } else {
        Command::new(program)
    }
}
