//! The arguments of `teaparty report`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::exit::Exit;
use crate::sender::saved::{Saved, comparison, html, table};

/// The arguments of `teaparty report`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Files that `teaparty sender --format json` or `jsonl` wrote.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Compare two measurements, the older one first.
    #[arg(long)]
    compare: bool,
    /// Write a self-contained HTML page with plots; `-` is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "compare")]
    html: Option<PathBuf>,
}

impl Arguments {
    /// Reads the files and shows them.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let saved: Vec<Saved> = self.files.iter().map(|path| Saved::open(path)).collect::<anyhow::Result<_>>()?;
        match (&self.html, saved.as_slice()) {
            (Some(path), all) => write(path, &html::page(all))?,
            (None, [before, after]) if self.compare => print(&comparison(before, after))?,
            (None, _) if self.compare => {
                return Err(crate::exit::UsageError::new("--compare wants two files, the older one first").into());
            }
            (None, all) => all.iter().try_for_each(|saved| print(&table(saved)))?,
        }
        Ok(Exit::Success)
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).context("cannot write the output")
}

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return print(text);
    }
    std::fs::write(path, text).with_context(|| format!("cannot write to {}", path.display()))
}
