//! `teaparty reflector` and `teaparty detach`: what may be typed, and its way into [`ReflectorSettings`].

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::config::cli_overrides::CliOverrides;
use crate::config::plan::{CliInput, ProcessPlan};
use crate::config::service::Service;
use crate::daemon::{self, Prepared};
use crate::exit_code::{Exit, UsageError};
use crate::reflector::config::ReflectorSettings;
use crate::reflector::kernel::pins::{self, Detached};
use crate::reflector::keys::KeyLoader;
use crate::sys::hardening;
use crate::sys::stdio;

/// Answers STAMP test packets (Session-Reflector).
#[derive(Args, Debug)]
pub struct ReflectorArguments {
    #[command(flatten)]
    settings: CliOverrides<ReflectorSettings>,
    /// Short for --timestamp-format ptp
    #[arg(long, conflicts_with = "timestamp_format")]
    ptp: bool,
    /// File with settings for all of this, in TOML, or a folder of teaparty.toml and conf.d/*.toml; what is typed wins over it. - is standard input. The last one counts
    #[arg(long, value_name = "FILE", overrides_with = "config")]
    config: Option<PathBuf>,
    #[command(flatten)]
    service: CliOverrides<Service>,
    /// The prepared action.
    #[arg(skip)]
    prepared: Option<Prepared>,
}

/// Removes the reflector that a killed teaparty, or one with --keep, has left on an interface.
#[derive(Args, Clone, Debug)]
pub struct DetachArguments {
    /// Interface; may repeat
    #[arg(long, short, value_name = "NAME", required_unless_present = "all")]
    iface: Vec<String>,
    /// All leftovers, under any name, and the pins of deleted interfaces
    #[arg(long, conflicts_with = "iface")]
    all: bool,
}

impl ReflectorArguments {
    /// Reads the configuration file and the keys; gives what the file and the options say of the process.
    pub fn read(&mut self) -> anyhow::Result<Service> {
        hardening::forbid_dumps().context("cannot forbid core dumps, which would hold keys")?;
        let asked = CliInput {
            file: self.config.clone(),
            service: self.service.clone(),
            settings: self.settings.clone(),
            ptp: self.ptp,
        };
        let loader = KeyLoader::default();
        let plan = ProcessPlan::read(&asked, &loader).map_err(|wrong| UsageError::new(wrong.to_string()))?;
        Ok(self.prepared.insert(Prepared { asked, loader, plan }).plan.service.clone())
    }

    /// Answers until SIGINT or SIGTERM. Prints the ready block and the summary to standard output.
    pub fn run(mut self) -> anyhow::Result<Exit> {
        if self.prepared.is_none() {
            self.read()?;
        }
        daemon::run_alone(self.prepared.context("nothing is planned")?)
    }
}

/// Returns the input of a command line with nothing but this file.
pub fn of_file(file: PathBuf) -> CliInput {
    CliInput { file: Some(file), service: CliOverrides::nothing(), settings: CliOverrides::nothing(), ptp: false }
}

impl DetachArguments {
    /// Removes what was left behind.
    pub fn run(self) -> anyhow::Result<Exit> {
        if self.all {
            return detach_all();
        }
        for interface in &self.iface {
            let was_there = pins::detach(interface)?;
            let what = if was_there { "detached" } else { "nothing of teaparty's is attached" };
            stdio::print(format!("{interface}: {what}\n"))?.any();
        }
        Ok(Exit::Success)
    }
}

/// Removes all that was left behind, and says of each folder what became of it.
fn detach_all() -> anyhow::Result<Exit> {
    let mut exit = Exit::Success;
    let all = pins::detach_all()?;
    if all.is_empty() {
        stdio::print("nothing of teaparty's is attached\n")?.any();
    }
    for (name, outcome) in all {
        let what = match outcome {
            Ok(Detached::Program) => "detached",
            Ok(Detached::Stale) => "removed, nothing answers by it any more",
            Ok(Detached::Running) => "a reflector is running there; stop it first",
            Ok(Detached::Elsewhere) => "of another network namespace; run this in there",
            Err(error) => {
                tracing::error!(interface = %name, %error);
                exit = Exit::Failure;
                continue;
            }
        };
        stdio::print(format!("{name}: {what}\n"))?.any();
    }
    Ok(exit)
}
