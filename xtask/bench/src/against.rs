//! `--against FILE` of the kernel's benches: two objects of the program by turns, so that a change is judged by one run.

use anyhow::Result;

use super::cases::{self, Capture, Case, Subject};
use super::figures::spread;
use super::rig::Rig;

/// Measures the cases that are the reflector's with both objects, and prints what became of them.
pub(super) fn compare(rigs: &mut [Rig; 2], cases: &[Case], rounds: u32, repeat: u32) -> Result<()> {
    print_head();
    // Of objects before capture there is no program with it.
    let compared = |case: &&Case| !matches!(case.subject, Subject::Floor(_)) && case.capture == Capture::Off;
    for case in cases.iter().filter(compared) {
        let empty = Case { subject: Subject::Floor("floor_pass"), shape: case.shape.clone(), ..*case };
        // What makes the sessions and fills the caches.
        for rig in rigs.iter_mut() {
            rig.run(case, repeat)?;
        }
        by_turns(case.name, rigs, rounds, |rig| Ok(rig.run(case, repeat)? - rig.run(&empty, repeat)?))?;
    }
    Ok(())
}

/// Compares a base packet among many sessions.
pub(super) fn compare_many(rigs: &mut [Rig; 2], sessions: u32, rounds: u32, repeat: u32) -> Result<()> {
    let [nothing, .., base] = cases::of_many_sessions();
    for rig in rigs.iter_mut() {
        rig.make_many(&base, sessions)?;
    }
    by_turns(&format!("{sessions} sessions"), rigs, rounds, |rig| {
        Ok(rig.run_many(&base, sessions, repeat)? - rig.run_many(&nothing, sessions, repeat)?)
    })
}

/// Prints the head of a comparison.
pub(super) fn print_head() {
    println!("{:<44}{:>10}{:>10}{:>12}  middle half", "ns net of the harness", "before", "now", "difference");
}

/// In each round both are measured, the one and the other going first; what disturbs a round disturbs both.
fn by_turns(name: &str, rigs: &mut [Rig; 2], rounds: u32, mut net: impl FnMut(&mut Rig) -> Result<f64>) -> Result<()> {
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..rounds {
        let mut ns = [0.0; 2];
        for turn in 0..2 {
            let which = (round as usize + turn) % 2;
            ns[which] = net(&mut rigs[which])?;
        }
        for (samples, ns) in samples.iter_mut().zip([ns[0], ns[1], ns[1] - ns[0]]) {
            samples.push(ns);
        }
    }
    let [before, now, difference] = samples.map(|samples| spread(samples.into_iter()));
    let [low, high] = difference.quartiles;
    println!(
        "{name:<44}{:>10.1}{:>10.1}{:>+12.1}  {low:+.1} to {high:+.1}",
        before.median, now.median, difference.median
    );
    Ok(())
}
