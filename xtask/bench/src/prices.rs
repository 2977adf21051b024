//! Times programs by themselves in the harness: what `cargo xtask profile` asks for.

use std::path::Path;

use anyhow::{Result, ensure};
use teaparty_lab::programs;

use super::figures::{Spread, spread};
use super::frames;
use super::harness::{self, Harness, XDP_TX};

/// Runs of one measurement.
const REPEAT: u32 = 20_000;

/// Nanoseconds of a run of each named program of `object`, those of the harness in `floors` included. All in each round,
/// so that a disturbance hits all of them.
pub(crate) fn measure(floors: &Path, object: &Path, names: &[&str], rounds: u32) -> Result<Vec<Spread>> {
    let mut harness = Harness::load(floors)?;
    let mut object = programs::load(object)?;
    programs::costs(&mut object)?;
    let frame = frames::frame(&frames::Shape {
        source: [192, 0, 2, 2].into(),
        destination: [192, 0, 2, 1].into(),
        destination_port: frames::OUR_PORT,
        protocol: frames::UDP,
        tags: &[],
        tlvs: Vec::new(),
    });
    let programs = names.iter().map(|name| harness::program(&object, name)).collect::<Result<Vec<_>>>()?;
    let mut samples = vec![Vec::new(); names.len()];
    // One round to warm up: it makes the entries that are looked up.
    for round in 0..=rounds {
        for ((program, name), samples) in programs.iter().zip(names).zip(&mut samples) {
            let timed = harness.time(program, &frame, REPEAT)?;
            ensure!(timed.action == XDP_TX, "{name} ended with action {}", timed.action);
            if round > 0 {
                samples.push(timed.ns);
            }
        }
    }
    Ok(samples.into_iter().map(|samples| spread(samples.into_iter())).collect())
}
