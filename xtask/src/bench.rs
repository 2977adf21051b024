//! `cargo xtask bench`: nanoseconds per packet of the XDP program, beside floors measured in the same run.
//!
//! Every case runs once in each round, so that a disturbance hits all of them; the median over the rounds is what
//! counts, and what the harness itself takes is subtracted. Absolute figures depend on the machine; ratios are what we claim.

mod cases;
mod figures;
mod frames;
mod live;
mod net;
pub(crate) mod prices;
mod report;
mod rig;
mod ring;
mod running;
mod sender;
mod sessions;
mod slow_path;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{build_ebpf, exec, paths};
use cases::{Case, Subject};
use report::Report;

/// Fits in the punt ring, which is emptied between the runs.
const REPEAT: u32 = 10_000;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// How often each case is measured; the median counts
    #[arg(long, default_value_t = 51, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE", default_value_os_t = paths::root().join("target/bench/kernel.json"))]
    json: PathBuf,
    /// Measure only cases whose name contains this, without the targets; may repeat
    #[arg(long)]
    only: Vec<String>,
    /// Fail where a target is missed
    #[arg(long)]
    check: bool,
    /// Measure these objects, the program and the floors, and build nothing
    #[arg(long, num_args = 2, value_name = "FILE")]
    objects: Option<Vec<PathBuf>>,
}

/// What else can be measured than the XDP program by itself.
#[derive(clap::Subcommand)]
enum What {
    /// What the XDP program and the socket engine answer over a veth pair, beside stamp-suite and floors
    Live(live::Args),
    /// What the controller answers: authenticated packets and History, beside stamp-suite and echo floors
    SlowPath(slow_path::Args),
    /// What many sessions cost: time for each packet, memory, and to make, list and forget them
    Sessions(sessions::Args),
    /// How fast and how evenly the sender sends, beside stamp-suite and irtt
    Sender(sender::Args),
}

pub(crate) fn main(args: &Args) -> Result<()> {
    match &args.what {
        Some(What::Live(args)) => return live::main(args),
        Some(What::Sessions(args)) => return sessions::main(args),
        Some(What::SlowPath(args)) => return slow_path::main(args),
        Some(What::Sender(args)) => return sender::main(args),
        None => {}
    }
    let objects = match &args.objects {
        Some(objects) => objects.clone(),
        None => vec![build_ebpf::build(build_ebpf::Warnings::Shown)?, build_ebpf::build_floors()?],
    };
    if exec::again_as_root(&again(args, &objects))? {
        return Ok(());
    }
    pin_to_one_processor()?;
    let mut rig = rig::Rig::new(&objects[0], &objects[1])?;
    let mut cases = cases::all();
    if !args.only.is_empty() {
        cases.retain(|case| args.only.iter().any(|only| case.name.contains(only)));
    }
    let samples = measure(&mut rig, &cases, args.rounds)?;
    let report = Report::new(&cases, &samples, &rig.costs, args.rounds, REPEAT)?;
    report.print();
    if !args.only.is_empty() {
        return Ok(());
    }
    write(&args.json, &report)?;
    println!("\nwritten to {}", paths::shown(&args.json));
    if args.check && report.has_missed() {
        bail!("a target is missed");
    }
    Ok(())
}

/// Our own arguments, for the one that runs as root.
fn again(args: &Args, objects: &[PathBuf]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["bench".into(), "--rounds".into(), args.rounds.to_string().into()];
    words.extend(["--json".into(), args.json.clone().into_os_string()]);
    words.extend(args.only.iter().flat_map(|name| ["--only".into(), name.into()]));
    words.extend(args.check.then(|| "--check".into()));
    words.push("--objects".into());
    words.extend(objects.iter().map(|object| object.clone().into_os_string()));
    words
}

/// A test run stays on the processor that asks for it; moving between runs would cost caches.
pub(crate) fn pin_to_one_processor() -> Result<()> {
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

/// Nanoseconds per run for each case and round, those of the harness still in them.
fn measure(rig: &mut rig::Rig, cases: &[Case], rounds: u32) -> Result<Vec<Vec<f64>>> {
    let mut samples = vec![Vec::new(); cases.len()];
    // One round to warm up: it makes the sessions and fills the caches.
    for round in 0..=rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            let ns = rig.run(case, REPEAT)?;
            // What restoring a packet of just this length costs, in the same round.
            let empty = Case { subject: Subject::Floor("floor_pass"), shape: case.shape.clone(), ..*case };
            let harness = rig.run(&empty, REPEAT)?;
            if round > 0 {
                samples.push(ns - harness);
            }
        }
    }
    Ok(samples)
}

fn write(file: &std::path::Path, report: &impl serde::Serialize) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(file, serde_json::to_vec_pretty(report)?).with_context(|| format!("cannot write {}", file.display()))
}
