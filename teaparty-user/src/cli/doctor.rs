//! `teaparty doctor`: what may be typed.

use clap::Args;

use super::form::CommandFormat;
use crate::doctor::{DoctorReport, DoctorVerdict};
use crate::exit_code::Exit;
use crate::layout::{columns, fold};
use crate::sys::stdio;

/// Says what this host has and lacks for a reflector, and what to do about it. Changes nothing; exit status 1 where the
/// XDP program will not answer.
#[derive(Args, Clone, Debug)]
pub struct DoctorArguments {
    /// Interface to look at; may repeat [default: all that are up and have an address]
    #[arg(long, short, value_name = "NAME")]
    iface: Vec<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: CommandFormat,
}

impl DoctorArguments {
    /// Looks and says.
    pub fn run(self) -> anyhow::Result<Exit> {
        let report = DoctorReport::new(&self.iface)?;
        let text = match self.format {
            CommandFormat::Human => fold(&report.to_string(), columns(), 19),
            CommandFormat::Json => serde_json::to_string_pretty(&report)?,
        };
        // Whoever closed the pipe has seen enough; the exit status tells the rest.
        stdio::print(format!("{text}\n"))?.any();
        Ok(if report.verdict == DoctorVerdict::Failure { Exit::Failure } else { Exit::Success })
    }
}
