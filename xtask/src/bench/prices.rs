//! Times programs by themselves in the harness: what `cargo xtask profile` asks for.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};

use super::figures::{Spread, spread};
use super::frames;
use super::rig::{TEMPLATE_LEN, XDP_TX};
use crate::verify;

/// Runs of one measurement.
const REPEAT: u32 = 20_000;

/// Nanoseconds of a run of each named program of `object`, those of the harness in `floors` included. All in each round,
/// so that a disturbance hits all of them.
pub(crate) fn measure(floors: &Path, object: &Path, names: &[&str], rounds: u32) -> Result<Vec<Spread>> {
    let mut floors = verify::load(floors)?;
    verify::costs(&mut floors)?;
    let mut object = verify::load(object)?;
    verify::costs(&mut object)?;
    let frame = frames::frame(&frames::Shape {
        source: [192, 0, 2, 2].into(),
        destination: [192, 0, 2, 1].into(),
        destination_port: frames::OUR_PORT,
        tags: &[],
        tlvs: Vec::new(),
    });
    let mut template = [0; TEMPLATE_LEN];
    template.get_mut(..frame.len()).context("the harness has no room for the frame")?.copy_from_slice(&frame);
    Array::<_, [u8; TEMPLATE_LEN]>::try_from(floors.map_mut("template").context("no map `template`")?)?
        .set(0, template, 0)?;
    Array::<_, u32>::try_from(floors.map_mut("template_len").context("no map `template_len`")?)?.set(
        0,
        frame.len() as u32,
        0,
    )?;
    let fd = |name: &&str| -> Result<ProgramFd> {
        let program: &Xdp = object.program(name).with_context(|| format!("no program `{name}`"))?.try_into()?;
        Ok(program.fd()?.try_clone()?)
    };
    let programs = names.iter().map(fd).collect::<Result<Vec<_>>>()?;
    let mut samples = vec![Vec::new(); names.len()];
    // One round to warm up: it makes the entries that are looked up.
    for round in 0..=rounds {
        for ((program, name), samples) in programs.iter().zip(names).zip(&mut samples) {
            let under_test = floors.map_mut("under_test").context("no map `under_test`")?;
            ProgramArray::try_from(under_test)?.set(0, program, 0)?;
            let harness: &Xdp = floors.program("harness").context("no program `harness`")?.try_into()?;
            let options = TestRunOptions { data_in: Some(&frame), repeat: REPEAT, ..TestRunOptions::default() };
            let result = harness.test_run(options).context("BPF_PROG_TEST_RUN failed")?;
            ensure!(result.return_value == XDP_TX, "{name} ended with action {}", result.return_value);
            if round > 0 {
                samples.push(result.duration.as_nanos() as f64);
            }
        }
    }
    Ok(samples.into_iter().map(|samples| spread(samples.into_iter())).collect())
}
