//! The options and the report of every benchmark.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use xtask::{exec, paths};

use super::figures::{self, Target};

/// Options of every bench.
#[derive(clap::Args)]
pub(super) struct Options {
    /// Measure everything so often, in turns; the medians count [default: what the bench needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure only rows whose name contains this, and leave out targets and report; may repeat
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// File for the report as JSON [default: target/bench/NAME.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail where a target is missed
    #[arg(long)]
    check: bool,
    /// Use these and build nothing
    #[arg(long, num_args = 1.., value_name = "FILE", hide = true)]
    built: Option<Vec<PathBuf>>,
}

/// The report of a bench.
pub(super) trait Report: Serialize {
    /// Writes its tables, all but the targets.
    fn print(&self);
    fn targets(&self) -> &[Target];
}

impl Options {
    /// Returns the number of rounds, or the usual one.
    pub(super) fn rounds_or(&self, usual: u32) -> u32 {
        self.rounds.unwrap_or(usual)
    }

    /// Returns true if a row of this name is to be measured.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only))
    }

    /// [`built`] by what was typed.
    pub(super) fn built<const N: usize>(
        &self,
        build: impl FnOnce() -> Result<[PathBuf; N]>,
    ) -> Result<Option<[PathBuf; N]>> {
        built(std::env::args_os().skip(1).collect(), self.built.as_deref(), build)
    }

    /// Prints the report of the bench called `name` and writes it down, if it is of all rows.
    pub(super) fn finish(&self, name: &str, report: &impl Report) -> Result<()> {
        report.print();
        if !self.only.is_empty() {
            return Ok(());
        }
        let targets = report.targets();
        figures::print(targets);
        let file = self.json.clone().unwrap_or_else(|| file(name));
        write(&file, report)?;
        println!("\nwritten to {}", paths::shown(&file));
        if self.check && figures::has_missed(targets) {
            bail!("a target is missed");
        }
        Ok(())
    }
}

/// `N` files that are needed: those that were `given` by `--built`, or made by `build`. None where this process is not root,
/// and another one with the arguments `words`, which is, has done everything.
pub(super) fn built<const N: usize>(
    mut words: Vec<OsString>,
    given: Option<&[PathBuf]>,
    build: impl FnOnce() -> Result<[PathBuf; N]>,
) -> Result<Option<[PathBuf; N]>> {
    let built = match given {
        Some(given) => given.to_vec().try_into().ok().with_context(|| format!("--built wants {N} files"))?,
        None => build()?,
    };
    words.push("--built".into());
    words.extend(built.iter().map(|file| file.clone().into_os_string()));
    Ok(if exec::again_as_root(&words)? { None } else { Some(built) })
}

/// Returns the file for a benchmark's report, unless the user names another one.
pub(super) fn file(name: &str) -> PathBuf {
    paths::root().join(format!("target/bench/{name}.json"))
}

fn write(file: &Path, report: &impl Serialize) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, serde_json::to_vec_pretty(report)?).with_context(|| format!("cannot write {}", file.display()))
}

/// The object and the conditions of a measurement, for reading the figures a year later.
#[derive(Serialize)]
pub(super) struct Machine {
    commit: String,
    kernel: String,
    processor: String,
    /// Processes that ran or wanted to in the minute before: others disturb what is measured.
    load_average: f64,
}

impl Machine {
    pub(super) fn this() -> Result<Self> {
        let mut git = std::process::Command::new("git");
        git.current_dir(paths::root()).args(["describe", "--always", "--dirty"]);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            commit: exec::capture(&mut git).unwrap_or_else(|_| "unknown".to_owned()),
            kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
            processor: processor(),
            load_average: load.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN),
        })
    }

    /// Writes the line that a report begins with.
    pub(super) fn print(&self) {
        let Self { commit, kernel, processor, load_average } = self;
        println!("commit {commit}, kernel {kernel}, {processor}, load average {load_average} at the start");
    }
}

pub(super) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    // Not `available_parallelism`, which may be one by now.
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} × {}", model.map_or("unknown processor", |(_, model)| model))
}
