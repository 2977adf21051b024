//! `cargo xtask bench` and `cargo xtask profile`: the place where every claim of speed is made and can be repeated.
//!
//! One file for each bench. All of them measure in interleaved rounds, so that a disturbance hits everything alike, take
//! medians, and put floors and other implementations beside us. Absolute figures depend on the machine; ratios are what we claim.

mod against;
mod all;
mod cases;
mod figures;
mod frames;
mod harness;
mod kernel;
mod live;
mod net;
mod objects;
mod options;
mod prices;
mod profile;
mod report;
mod rig;
mod ring;
mod running;
mod sender;
mod sessions;
mod slow_path;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure: packets in the kernel, over veth, by many sessions, by the controller, and the sender; beside floors and peers
    Bench(Args),
    /// Say where time goes: in the kernel by part of the program and by single steps, in processes by flame graphs
    Profile(profile::Args),
}

#[derive(clap::Args)]
#[command(after_long_help = HELP)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

const HELP: &str = "\
Every bench prints a table, the targets of which it knows with a verdict each, and keeps both as JSON under target/bench/.
Rows named `floor` do the least that any program would have to; where a target is missed, one of them shows what is
possible at all. Absolute figures depend on the machine and on what else it does, the load average stands at the head;
compare ratios of one run.

Needs root (asks for it through sudo), two processors for live, slow-path and sender, and no network: traffic stays in
namespaces that are removed at the end. A bench takes half a minute to some minutes.

  cargo xtask bench                    all of them one after the other, then every target in one table
  cargo xtask bench kernel --only TLV  some rows only, without verdicts
  cargo xtask bench live --check       fail where a target is missed";

#[derive(Subcommand)]
enum What {
    /// All of these one after the other, then the whole list of targets
    All(all::Args),
    /// Nanoseconds per packet of the XDP program, beside floors; instructions walked and machine code
    Kernel(kernel::Args),
    /// Replies of the engines over a veth pair and the truth of their timestamps, beside stamp-suite and floors
    Live(live::Args),
    /// Replies of the controller: authenticated packets and History, beside stamp-suite and echo floors
    SlowPath(slow_path::Args),
    /// Cost of 1 to 1,000,000 sessions: time for each packet, memory, and to make, list and forget them
    Sessions(sessions::Args),
    /// Speed and evenness of the sender, beside stamp-suite and irtt
    Sender(sender::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Bench(args) => bench(&args),
        Task::Profile(args) => profile::main(&args),
    };
    xtask::exec::exit(done.map(|()| ExitCode::SUCCESS))
}

fn bench(args: &Args) -> Result<()> {
    let all = What::All(all::Args::default());
    match args.what.as_ref().unwrap_or(&all) {
        What::All(args) => all::main(args),
        What::Kernel(args) => kernel::main(args),
        What::Live(args) => live::main(args),
        What::Sessions(args) => sessions::main(args),
        What::SlowPath(args) => slow_path::main(args),
        What::Sender(args) => sender::main(args),
    }
}

/// A test run stays on the processor that asks for it; moving between runs would cost caches.
fn pin_to_one_processor() -> Result<()> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let itself = nix::unistd::Pid::from_raw(0);
    let allowed = sched_getaffinity(itself)?;
    // The last one: interrupts like the first.
    let processor = (0..CpuSet::count()).rev().find(|processor| allowed.is_set(*processor).unwrap_or(false));
    let mut only = CpuSet::new();
    only.set(processor.context("no processor to run on")?)?;
    Ok(sched_setaffinity(itself, &only)?)
}

/// Two processors: for the load and for the reflector.
fn processors() -> Result<[usize; 2]> {
    use nix::sched::{CpuSet, sched_getaffinity};
    let allowed = sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let mut found = (0..CpuSet::count()).filter(|processor| allowed.is_set(*processor).unwrap_or(false));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => bail!("this needs two processors: one for the load, one for the reflector"),
    }
}
