//! The bench's table, and the same as JSON.

use anyhow::Result;
use serde::Serialize;

use super::cases::{self, Case};
use crate::exec;
use crate::verify::Cost;

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
pub(super) struct Report {
    commit: String,
    kernel: String,
    processor: String,
    rounds: u32,
    runs_per_round: u32,
    programs: Vec<Program>,
    cases: Vec<Row>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Program {
    name: String,
    instructions_walked: u32,
    bpf_octets: u32,
    machine_code_octets: u32,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// Octets of the frame.
    frame_len: usize,
    median_ns: f64,
    /// The middle half of the rounds lies between these.
    quartiles_ns: [f64; 2],
}

/// A claim, and what was measured.
#[derive(Serialize)]
struct Target {
    name: &'static str,
    at_most: f64,
    measured: f64,
    is_met: bool,
}

impl Report {
    /// `samples`: for each case, nanoseconds by round.
    pub(super) fn new(
        cases: &[Case],
        samples: &[Vec<f64>],
        costs: &[Cost],
        rounds: u32,
        runs_per_round: u32,
    ) -> Result<Self> {
        let rows: Vec<Row> = cases.iter().zip(samples).map(|(case, samples)| row(case, samples)).collect();
        let targets = targets(&rows);
        let programs = costs.iter().map(|cost| Program {
            name: cost.name.clone(),
            instructions_walked: cost.walked,
            bpf_octets: cost.translated,
            machine_code_octets: cost.jitted,
        });
        let programs = programs.collect();
        let (kernel, processor) = (nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(), processor());
        Ok(Self { commit: commit(), kernel, processor, rounds, runs_per_round, programs, cases: rows, targets })
    }

    pub(super) fn has_missed(&self) -> bool {
        self.targets.iter().any(|target| !target.is_met)
    }

    pub(super) fn print(&self) {
        let Self { commit, kernel, processor, rounds, runs_per_round, .. } = self;
        println!("commit {commit}, kernel {kernel}, {processor}");
        println!("median of {rounds} interleaved rounds of {runs_per_round} runs, what the harness takes subtracted\n");
        println!("{:<26}{:>8}{:>8}{:>14}{:>10}", "case", "octets", "ns", "middle half", "to floor");
        let floor = self.cases.iter().find(|row| row.name == cases::CLOCKS).map_or(f64::NAN, |row| row.median_ns);
        for Row { name, frame_len, median_ns, quartiles_ns: [low, high] } in &self.cases {
            let spread = format!("{low:.0} to {high:.0}");
            println!("{name:<26}{frame_len:>8}{median_ns:>8.0}{spread:>14}{:>10.2}", median_ns / floor);
        }
        println!("\n{:<18}{:>20}{:>14}{:>14}", "program", "instructions walked", "BPF octets", "machine code");
        for Program { name, instructions_walked, bpf_octets, machine_code_octets } in &self.programs {
            println!("{name:<18}{instructions_walked:>20}{bpf_octets:>14}{machine_code_octets:>14}");
        }
        println!("\n{:<48}{:>9}{:>10}", "target", "at most", "measured");
        for Target { name, at_most, measured, is_met } in &self.targets {
            println!("{name:<48}{at_most:>9.2}{measured:>10.2}  {}", if *is_met { "met" } else { "MISSED" });
        }
    }
}

fn row(case: &Case, samples: &[f64]) -> Row {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    let frame_len = super::frames::frame(&case.shape).len();
    Row { name: case.name, frame_len, median_ns: at(0.5), quartiles_ns: [at(0.25), at(0.75)] }
}

/// The claims about the cases that were measured.
fn targets(rows: &[Row]) -> Vec<Target> {
    let ns = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.median_ns);
    let ratio = |of, to| Some(ns(of)? / ns(to)?);
    let claims = [
        ("base, stateful, to swap with two clocks", 1.5, ratio(cases::BASE, cases::CLOCKS)),
        ("3 TLVs, to base", 1.4, ratio(cases::THREE_TLVS, cases::BASE)),
        ("1472 octets, to base", 1.1, ratio(cases::LONGEST, cases::BASE)),
        ("not ours, ns more than pass at once", 15.0, ns(cases::NOT_OURS).zip(ns(cases::PASS)).map(|(a, b)| a - b)),
    ];
    let target = |(name, at_most, measured): (_, _, Option<f64>)| {
        measured.map(|measured| Target { name, at_most, measured, is_met: measured <= at_most })
    };
    claims.into_iter().filter_map(target).collect()
}

pub(super) fn commit() -> String {
    let mut git = std::process::Command::new("git");
    git.current_dir(crate::paths::root()).args(["describe", "--always", "--dirty"]);
    exec::capture(&mut git).unwrap_or_else(|_| "unknown".to_owned())
}

pub(super) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    // Not `available_parallelism`, which by now is one.
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{count} × {}", model.map_or("unknown processor", |(_, model)| model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(base: f64) -> Vec<Row> {
        let row = |name, median_ns| Row { name, frame_len: 86, median_ns, quartiles_ns: [0.0; 2] };
        vec![
            row(cases::PASS, 0.0),
            row(cases::CLOCKS, 80.0),
            row(cases::BASE, base),
            row(cases::THREE_TLVS, 200.0),
            row(cases::LONGEST, 170.0),
            row(cases::NOT_OURS, 9.0),
        ]
    }

    #[test]
    fn a_base_of_more_than_one_and_a_half_floors_misses() {
        assert!(targets(&rows(120.0))[0].is_met);
        assert!(!targets(&rows(121.0))[0].is_met);
    }

    #[test]
    fn nothing_is_claimed_of_what_was_not_measured() {
        assert_eq!(targets(&rows(120.0)).len(), 4);
        assert_eq!(
            targets(&rows(120.0)[2..4]).iter().map(|target| target.name).collect::<Vec<_>>(),
            ["3 TLVs, to base"]
        );
    }
}
