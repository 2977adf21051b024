//! `teaparty status`: what a running reflector does, asked of its API.

pub(super) mod address;
pub(super) mod client;
mod render;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use self::address::ApiAddress;
use self::client::Client;
use self::render::StatusSnapshot;
use super::form::CommandFormat;
use crate::exit_code::Exit;
use crate::layout::{columns, screen};
use crate::sys::stdio::{self, StdoutReader};

/// Shows what a running reflector does: interfaces, rates by verdict and reason, and the busiest sessions.
#[derive(Args, Clone, Debug)]
pub struct StatusArguments {
    /// Address of the reflector's API: http://ADDRESS:PORT, https://ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "URL|unix:PATH", default_value = "http://127.0.0.1:8000")]
    api: ApiAddress,
    /// Certificates by which to know an API by https (PEM): its issuer's, or its own [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    api_ca: Option<PathBuf>,
    /// File with the token that the API wants
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Look again at this interval in seconds, and show rates in between, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    watch: Option<u16>,
    /// Sessions to show, the busiest first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000))]
    top: u16,
    /// Output format; with --watch, json is one line for each look
    #[arg(long, value_enum, default_value_t)]
    format: CommandFormat,
}

impl StatusArguments {
    /// Asks once, or forever.
    pub fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(self.api.clone(), self.token_file.as_deref(), self.api_ca.as_deref())?;
        let mut before: Option<(Instant, StatusSnapshot)> = None;
        let is_redrawn = self.watch.is_some() && self.format == CommandFormat::Human && std::io::stdout().is_terminal();
        loop {
            let asked = Instant::now();
            let now = StatusSnapshot::ask(&client, self.top)?;
            let past = before.as_ref().map(|(at, seen)| (asked.duration_since(*at), seen));
            let text = match self.format {
                CommandFormat::Json => now.json(past)?,
                // The last line is the cursor's.
                CommandFormat::Human => {
                    now.human(past, columns(), screen().filter(|_| is_redrawn).map(|(_, rows)| rows - 1))
                }
            };
            let clear = if is_redrawn { "\x1b[H\x1b[2J" } else { "" };
            if stdio::print(format!("{clear}{text}\n"))? == StdoutReader::Gone {
                return Ok(Exit::Success);
            }
            let Some(seconds) = self.watch else { return Ok(Exit::Success) };
            before = Some((asked, now));
            std::thread::sleep(Duration::from_secs(seconds.into()).saturating_sub(asked.elapsed()));
        }
    }
}
