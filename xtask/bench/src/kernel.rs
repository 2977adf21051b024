//! `cargo xtask bench kernel`: nanoseconds per packet of the XDP program, beside floors measured in the same run.
//!
//! Every case runs once in each round, so that a disturbance hits all of them; the median over the rounds is what
//! counts, and what the harness itself takes is subtracted. Absolute figures depend on the machine; ratios are what we claim.

use std::path::PathBuf;

use anyhow::Result;
use xtask::build_ebpf::{self, Warnings};

use super::cases::{self, Case, Subject};
use super::options::Options;
use super::report::Report;
use super::{against, pin_to_one_processor, rig};
use crate::objects;

/// Fits in the punt ring, which is emptied between the runs.
const REPEAT: u32 = 10_000;
const ROUNDS: u32 = 51;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Measure the reflector of this object by turns with the present one, and nothing else: what a change has won
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let options = &args.options;
    let build = || Ok([build_ebpf::build(Warnings::Shown)?, objects::baseline()?]);
    let Some([object, floors]) = options.built(build)? else { return Ok(()) };
    pin_to_one_processor()?;
    let mut rig = rig::Rig::new(&object, &floors)?;
    let mut cases = cases::all();
    cases.retain(|case| options.wants(case.name));
    let rounds = options.rounds_or(ROUNDS);
    if let Some(before) = &args.against {
        return against::compare(&mut [rig::Rig::new(before, &floors)?, rig], &cases, rounds, REPEAT);
    }
    let samples = measure(&mut rig, &cases, rounds)?;
    options.finish("kernel", &Report::new(&cases, &samples, &rig.costs, rounds, REPEAT)?)
}

/// Nanoseconds per run for each case and round, those of the harness taken off.
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
