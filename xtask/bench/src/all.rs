//! `cargo xtask bench all`: every bench, then every target in one table.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use xtask::exec;

use super::figures::{print_head, print_line, verdict};
use super::options;

/// The benches in their order, by the names of the subcommands.
const BENCHES: [&str; 5] = ["kernel", "live", "sessions", "slow-path", "sender"];

#[derive(clap::Args, Default)]
pub(super) struct Args {
    /// Rounds of each bench [default: what it needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure nothing: show what the last runs left under target/bench/
    #[arg(long)]
    show: bool,
    /// Leave out this bench; may repeat
    #[arg(long, value_name = "NAME", value_parser = BENCHES)]
    without: Vec<String>,
    /// Fail where a target is missed
    #[arg(long)]
    check: bool,
}

/// As much of a report as this table needs.
#[derive(Deserialize)]
struct Kept {
    machine: Machine,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Machine {
    commit: String,
    load_average: f64,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    limit: f64,
    is_upper: bool,
    /// Not a number is `null` in JSON.
    measured: Option<f64>,
    is_met: bool,
    floor: Option<Floor>,
}

#[derive(Deserialize)]
struct Floor {
    name: String,
    measured: Option<f64>,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let benches = || BENCHES.iter().filter(|bench| !args.without.iter().any(|name| name == *bench));
    if !args.show {
        let itself = std::env::current_exe().context("cannot find the program itself")?;
        for bench in benches() {
            println!("=== bench {bench}");
            let mut command = Command::new(&itself);
            command.args(["bench", bench]);
            if let Some(rounds) = args.rounds {
                command.args(["--rounds", &rounds.to_string()]);
            }
            exec::show(&mut command)?;
            println!();
        }
    }
    print_head();
    let mut has_missed = false;
    for bench in benches() {
        let file = options::file(bench);
        let Kept { machine: Machine { commit, load_average }, targets } = read(&file, bench)?;
        println!("{bench} (commit {commit}, load average {load_average})");
        for Target { name, limit, is_upper, measured, is_met, floor } in targets {
            let measured = measured.unwrap_or(f64::NAN);
            let mut verdict = verdict(is_met, limit, measured);
            if let Some(Floor { name, measured }) = floor {
                verdict += &format!("; {name}: {:.2}", measured.unwrap_or(f64::NAN));
            }
            print_line(&format!("  {name}"), limit, is_upper, measured, &verdict);
            has_missed |= !is_met;
        }
    }
    if args.check && has_missed {
        bail!("a target is missed");
    }
    Ok(())
}

fn read(file: &Path, bench: &str) -> Result<Kept> {
    let text = std::fs::read(file)
        .with_context(|| format!("cannot read {}; `cargo xtask bench {bench}` writes it", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no report of this version's", file.display()))
}
