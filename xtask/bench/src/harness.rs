//! The harness of `xtask/bench/ebpf/src/bin/baseline.rs`: it shows a program the same packet again and again, by BPF_PROG_TEST_RUN.

use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use teaparty_lab::programs;

/// As in `xtask/bench/ebpf/src/bin/baseline.rs`.
const TEMPLATE_LEN: usize = 2048;

pub(super) const XDP_DROP: u32 = 1;
pub(super) const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;

/// The object with harness and floors, loaded.
pub(super) struct Harness {
    floors: Ebpf,
}

/// The end of a run, and the mean of all runs in nanoseconds, the harness included.
pub(super) struct Timed {
    pub(super) action: u32,
    pub(super) ns: f64,
}

impl Harness {
    pub(super) fn load(floors: &Path) -> Result<Self> {
        Self::sized(floors, 1 << 16)
    }

    /// With this many places for the sessions of the floors.
    pub(super) fn sized(floors: &Path, places: u32) -> Result<Self> {
        let slots = places.next_power_of_two();
        let mut floors = programs::load_sized(floors, &[("floor_sessions", places), ("floor_slots", slots)])?;
        programs::costs(&mut floors)?;
        Array::<_, u32>::try_from(floors.map_mut("slots_mask").context("no map `slots_mask`")?)?.set(
            0,
            slots - 1,
            0,
        )?;
        Ok(Self { floors })
    }

    /// A floor, by the name of its program.
    pub(super) fn floor(&self, name: &str) -> Result<ProgramFd> {
        program(&self.floors, name)
    }

    /// Runs a program `repeat` times on a frame.
    pub(super) fn time(&mut self, under_test: &ProgramFd, frame: &[u8], repeat: u32) -> Result<Timed> {
        self.prepare(under_test, frame)?;
        self.run("harness", frame, repeat)
    }

    /// Times packets of `sessions` sessions in random order, each session once before one comes
    /// again. The source address, which must be IPv4, is the harness's to set; the frame has no UDP checksum.
    pub(super) fn time_many(
        &mut self,
        under_test: &ProgramFd,
        frame: &[u8],
        sessions: u32,
        stride: u32,
        repeat: u32,
    ) -> Result<Timed> {
        self.prepare(under_test, frame)?;
        let many = self.floors.map_mut("many").context("no map `many`")?;
        Array::<_, [u32; 4]>::try_from(many)?.set(0, [0, sessions, stride, 0], 0)?;
        self.run("harness_many", frame, repeat)
    }

    fn prepare(&mut self, under_test: &ProgramFd, frame: &[u8]) -> Result<()> {
        let mut template = [0; TEMPLATE_LEN];
        template
            .get_mut(..frame.len())
            .context("the frame is longer than the harness can restore")?
            .copy_from_slice(frame);
        let map = self.floors.map_mut("template").context("no map `template`")?;
        Array::<_, [u8; TEMPLATE_LEN]>::try_from(map)?.set(0, template, 0)?;
        let map = self.floors.map_mut("template_len").context("no map `template_len`")?;
        Array::<_, u32>::try_from(map)?.set(0, frame.len() as u32, 0)?;
        let map = self.floors.map_mut("under_test").context("no map `under_test`")?;
        Ok(ProgramArray::try_from(map)?.set(0, under_test, 0)?)
    }

    fn run(&self, harness: &str, frame: &[u8], repeat: u32) -> Result<Timed> {
        let harness: &Xdp =
            self.floors.program(harness).with_context(|| format!("no program `{harness}`"))?.try_into()?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = harness.test_run(options).context("BPF_PROG_TEST_RUN failed")?;
        Ok(Timed { action: result.return_value, ns: result.duration.as_nanos() as f64 })
    }
}

/// A loaded program of an object.
pub(super) fn program(object: &Ebpf, name: &str) -> Result<ProgramFd> {
    let program: &Xdp =
        object.program(name).with_context(|| format!("the object has no program `{name}`"))?.try_into()?;
    Ok(program.fd()?.try_clone()?)
}

/// Returns the distance from one session to the next, so that all get used: about the golden section of them, which
/// is as far as can be from all that were before, and without a divisor in common.
pub(super) fn stride(sessions: u32) -> u32 {
    let has_common = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a != 1
    };
    let golden = (f64::from(sessions) * 0.618_033_988_749_895) as u32;
    (golden..).find(|stride| !has_common(sessions, *stride)).expect("there is a prime number above") % sessions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_its_turn_before_one_comes_again() {
        for sessions in [1, 2, 3, 1_000, 100_000] {
            let (stride, mut at) = (stride(sessions), 0);
            let mut seen = vec![false; sessions as usize];
            for _ in 0..sessions {
                assert!(!std::mem::replace(&mut seen[at as usize], true), "{at} of {sessions} comes twice");
                at = (at + stride) % sessions;
            }
        }
    }
}
