//! Commands that other crates of the workspace carry out, so that xtask itself compiles little.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, anyhow};
use xtask::exec;
use xtask::program::{self, Profile};

/// A crate that has commands of `cargo xtask`, and the profile to build it with.
pub(crate) struct Delegate {
    package: &'static str,
    profile: Profile,
}

/// `bench` and `profile`. Optimized, because its floors are measured too.
pub(crate) const BENCH: Delegate = Delegate { package: "teaparty-bench", profile: Profile::Release };
/// `tidy`, `docs`, `codegen` and `conformance`.
pub(crate) const CHECKS: Delegate = Delegate { package: "teaparty-checks", profile: Profile::Dev };
/// `verify`, `kernels` and `demo`.
pub(crate) const LAB: Delegate = Delegate { package: "teaparty-lab", profile: Profile::Dev };

/// Arguments that the other program reads, `--help` among them.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

impl Delegate {
    /// Builds the program and runs its `command` in place of this process, so that signals and the exit status are its own.
    ///
    /// Returns only if it cannot be built or started.
    pub(crate) fn run(&self, command: &str, args: &Args) -> Result<()> {
        let mut program = Command::new(program::build(self.package, self.package, self.profile)?);
        let error = program.arg(command).args(&args.arguments).exec();
        Err(anyhow!(error).context(exec::cannot_start(&program)))
    }
}
