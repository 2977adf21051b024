//! The arguments of `teaparty report`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::exit_code::Exit;
use crate::layout::{columns, fold};
use crate::sender::saved_run::{SavedRun, comparison, html, table};
use crate::sys::stdio;

/// The arguments of `teaparty report`.
#[derive(Args, Debug)]
pub struct ReportArguments {
    /// Files that `teaparty sender` wrote with `--format json` or `jsonl`, or with `--hdr-log`. Of a stream that was cut off
    /// before its summary, the figures are computed again from its lines, and said to be.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Compare two measurements, the older one first.
    #[arg(long)]
    compare: bool,
    /// Write a self-contained HTML page with plots; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl ReportArguments {
    /// Reads the files and shows them.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let saved: Vec<SavedRun> = self.files.iter().map(|path| SavedRun::open(path)).collect::<anyhow::Result<_>>()?;
        let text = match (self.compare, self.html.is_some(), saved.as_slice()) {
            (true, false, [before, after]) => comparison(before, after),
            (true, true, [before, after]) => html::comparison(before, after),
            (true, ..) => {
                return Err(crate::exit_code::UsageError::new("--compare wants two files, the older one first").into());
            }
            (false, true, all) => html::page(all),
            (false, false, all) => all.iter().map(table).collect(),
        };
        match &self.html {
            Some(path) => write(path, &text)?,
            None => print(&fold(&text, columns(), 2))?,
        }
        Ok(Exit::Success)
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    stdio::print(text)?.any();
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return print(text);
    }
    std::fs::write(path, text).with_context(|| format!("cannot write to {}", path.display()))
}
