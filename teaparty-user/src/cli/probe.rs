//! `teaparty probe`: measures many targets forever.

use std::path::PathBuf;

use clap::Args;

use crate::exit_code::Exit;
use crate::layout::count;
use crate::probe::config::{ProbeCliOverrides, ProbeConfig};
use crate::probe::run::{self, ProbeFormat};
use crate::reflector::keys::KeyLoader;
use crate::sys::stdio;

/// Measures many targets forever.
#[derive(Args, Debug)]
#[command(
    after_help = "`teaparty config schema --for probe` describes all keys of the file. It is read again when it changes and at SIGHUP.\n\
    SIGINT and SIGTERM end the probe. Exit status: 0 ended as asked, 1 failure, 2 usage."
)]
pub struct ProbeArguments {
    /// The file with targets and settings (TOML), or a folder of probe.toml and probe.conf.d/*.toml; - is standard input, which can't be read again.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Say what is wrong with the file: line, column, key and remedy; measure nothing.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    typed: ProbeCliOverrides,
    /// Format of standard output: jsonl is a line for each target and period of the service level.
    #[arg(short, long, value_enum, default_value_t)]
    format: ProbeFormat,
}

impl ProbeArguments {
    /// Measures, or checks the file.
    pub fn run(self) -> anyhow::Result<Exit> {
        let loader = KeyLoader::default();
        let config = match ProbeConfig::read(&self.config, &loader, self.typed) {
            Ok(config) => config,
            Err(problems) => {
                stdio::complain(problems);
                return Ok(Exit::Usage);
            }
        };
        if self.check {
            let targets = count(config.targets.len() as u64, "target");
            let sources = count(config.sources.len() as u64, "source");
            stdio::print(format!("good: {targets}, {sources} of more\n"))?.any();
            return Ok(Exit::Success);
        }
        run::run(&self.config, config, loader, self.typed, self.format)
    }
}
