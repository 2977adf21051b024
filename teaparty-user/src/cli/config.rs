//! `teaparty config`: looks at configuration files without running anything.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::reflector;
use crate::config::plan::Plan;
use crate::config::schema::schema;
use crate::exit::Exit;
use crate::reflector::keys::KeyLoader;

/// Checks and converts configuration files.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Say what is wrong with a file for `teaparty reflector --config`: line, column, key and remedy; exit status 2 if
    /// anything is
    Check {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Print the JSON Schema of configuration files, for editors and other programs
    Schema,
}

impl Arguments {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            Command::Check { file } => Ok(check(file)),
            Command::Schema => {
                let schema = serde_json::to_string_pretty(&schema())?;
                writeln!(std::io::stdout(), "{schema}").context("cannot print the schema")?;
                Ok(Exit::Success)
            }
        }
    }
}

/// Reads a file as the reflector would, keys included, and tells what is wrong with it.
fn check(file: PathBuf) -> Exit {
    match Plan::read(&reflector::of_file(file), &KeyLoader::default()) {
        Ok(plan) => {
            for planned in &plan.reflectors {
                let ports: Vec<String> = planned.config.ports.iter().map(u16::to_string).collect();
                // Nobody may be reading; the exit status says it too.
                let _ = writeln!(
                    std::io::stdout(),
                    "good: {} on {} port {}, {} provisioned sessions",
                    planned.name(),
                    planned.config.interfaces.join(", "),
                    ports.join(", "),
                    planned.sessions.len()
                );
            }
            Exit::Success
        }
        Err(problems) => {
            eprintln!("{problems}");
            Exit::Usage
        }
    }
}
