//! `teaparty config`: writes and looks at configuration files without running anything.

mod init;
pub mod schema;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use self::schema::schema;
use super::reflector;
use crate::config::config_text;
use crate::config::diagnostic::{Diagnostic, Diagnostics};
use crate::config::file_kind::FileKind;
use crate::config::legacy;
use crate::config::plan::ProcessPlan;
use crate::exit_code::Exit;
use crate::layout::count;
use crate::reflector::keys::KeyLoader;
use crate::sys::stdio;

/// Writes, checks and converts configuration files.
#[derive(Args, Debug)]
pub struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Say all that is wrong with a reflector's file
    ///
    /// With line, column, key and remedy; exit status 2 if anything is wrong.
    Check {
        /// The file, or the folder of one and its drop-ins; - is standard input
        file: PathBuf,
    },
    /// Write a file to begin with, all of it comments
    ///
    /// Every key is in it, with what it is for and its default.
    Init {
        /// The file; - is standard output [default: /etc/teaparty/teaparty.toml, for probe /etc/teaparty/probe.toml]
        file: Option<PathBuf>,
        /// Whose file
        #[arg(long = "for", value_name = "PROGRAM", value_enum, default_value_t)]
        kind: FileKind,
        /// Overwrite a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Convert the YAML of the earlier Teaparty
    ///
    /// Differences from cerfcast/teaparty are reported, and are comments in the file.
    Convert {
        /// The YAML file; - is standard input
        file: PathBuf,
        /// File to write, once all of it could be read [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the JSON Schema of configuration files
    Schema {
        /// Whose files
        #[arg(long = "for", value_name = "PROGRAM", value_enum, default_value_t)]
        kind: FileKind,
    },
}

impl ConfigArguments {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<Exit> {
        match self.command {
            ConfigCommand::Check { file } => check(file),
            ConfigCommand::Convert { file, output } => convert(&file, output.as_deref()),
            ConfigCommand::Init { file, kind, force } => init::init(kind, file.as_deref(), force),
            ConfigCommand::Schema { kind } => {
                let schema = serde_json::to_string_pretty(&schema(kind))?;
                stdio::print(format!("{schema}\n"))?.any();
                Ok(Exit::Success)
            }
        }
    }
}

/// Reads a file as the reflector would, keys included, and tells what is wrong with it.
fn check(file: PathBuf) -> anyhow::Result<Exit> {
    match ProcessPlan::read(&reflector::of_file(file), &KeyLoader::default()) {
        Ok(plan) => {
            for planned in &plan.reflectors {
                let ports: Vec<String> = planned.config.ports.iter().map(u16::to_string).collect();
                let good = format!(
                    "good: {} on {} port {}, {}\n",
                    planned.name(),
                    planned.config.interfaces.join(", "),
                    ports.join(", "),
                    count(planned.sessions.len() as u64, "provisioned session")
                );
                stdio::print(good)?.any();
            }
            Ok(Exit::Success)
        }
        Err(problems) => {
            stdio::complain(problems);
            Ok(Exit::Usage)
        }
    }
}

/// Writes a file of the earlier implementation as a file of this one.
fn convert(file: &Path, output: Option<&Path>) -> anyhow::Result<Exit> {
    let wrong = |list| Diagnostics::of_file(file, list);
    let read = config_text::whole_text(file)
        .map_err(|error| vec![Diagnostic { place: None, key: String::new(), what: error.to_string() }]);
    let converted = match read.and_then(|yaml| legacy::convert(&yaml)) {
        Ok(converted) => converted,
        Err(list) => {
            stdio::complain(wrong(list));
            return Ok(Exit::Usage);
        }
    };
    if !converted.notes.is_empty() {
        stdio::complain(wrong(converted.notes));
    }
    match output.filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            std::fs::write(path, converted.text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => stdio::print(converted.text)?.any(),
    }
    Ok(Exit::Success)
}
