//! The table of `bench kernel`, and the same as JSON.

use anyhow::Result;
use serde::Serialize;
use teaparty_lab::programs::Cost;

use super::cases::{self, Case};
use super::figures::{Spread, Target, spread};
use super::options::{self, Machine};

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
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
    ns: Spread,
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
        Ok(Self { machine: Machine::this()?, rounds, runs_per_round, programs, cases: rows, targets })
    }
}

impl options::Report for Report {
    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn print(&self) {
        let Self { machine, rounds, runs_per_round, .. } = self;
        machine.print();
        let width = self.cases.iter().map(|row| row.name.len()).max().unwrap_or(0).max("case".len()) + 2;
        println!("median of {rounds} interleaved rounds of {runs_per_round} runs, what the harness takes subtracted\n");
        println!("{:<width$}{:>8}{:>8}{:>14}{:>10}", "case", "octets", "ns", "middle half", "to floor");
        let floor = self.cases.iter().find(|row| row.name == cases::CLOCKS).map(|row| row.ns.median);
        for Row { name, frame_len, ns: Spread { median, quartiles: [low, high] } } in &self.cases {
            let spread = format!("{low:.0} to {high:.0}");
            // Without the floor's row there is no ratio to it.
            let ratio = floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.2}", median / floor));
            println!("{name:<width$}{frame_len:>8}{median:>8.0}{spread:>14}{ratio:>10}");
        }
        println!("\n{:<18}{:>20}{:>14}{:>14}", "program", "instructions walked", "BPF octets", "machine code");
        for Program { name, instructions_walked, bpf_octets, machine_code_octets } in &self.programs {
            println!("{name:<18}{instructions_walked:>20}{bpf_octets:>14}{machine_code_octets:>14}");
        }
    }
}

fn row(case: &Case, samples: &[f64]) -> Row {
    let frame_len = super::frames::frame(&case.shape).len();
    Row { name: case.name, frame_len, ns: spread(samples.iter().copied()) }
}

/// The claims about the cases that were measured.
fn targets(rows: &[Row]) -> Vec<Target> {
    let ns = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.ns.median);
    let ratio = |of, to| Some(ns(of)? / ns(to)?);
    let at_most = |name, limit, measured: Option<f64>| Some(Target::at_most(name, limit, measured?));
    let claims = [
        at_most("base, stateful, to swap with two clocks", 1.5, ratio(cases::BASE, cases::CLOCKS))
            .map(|target| target.beside("floor with a hash map", ratio(cases::SESSION, cases::CLOCKS))),
        at_most("3 TLVs, to base", 1.4, ratio(cases::THREE_TLVS, cases::BASE)),
        at_most("1472 octets, to base", 1.1, ratio(cases::LONGEST, cases::BASE))
            .map(|target| target.beside("48 octets with such a TLV", ratio(cases::SHORTEST, cases::BASE))),
        at_most(
            "not ours, ns more than pass at once",
            15.0,
            ns(cases::NOT_OURS).zip(ns(cases::PASS)).map(|(ours, pass)| ours - pass),
        ),
        at_most(
            "capture of others, ns more than base",
            15.0,
            ns(cases::UNCAPTURED).zip(ns(cases::BASE)).map(|(capture, base)| capture - base),
        ),
    ];
    claims.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(base: f64) -> Vec<Row> {
        let row = |name, ns| Row { name, frame_len: 86, ns: spread([ns].into_iter()) };
        vec![
            row(cases::PASS, 0.0),
            row(cases::CLOCKS, 80.0),
            row(cases::BASE, base),
            row(cases::THREE_TLVS, 200.0),
            row(cases::LONGEST, 170.0),
            row(cases::NOT_OURS, 9.0),
            row(cases::UNCAPTURED, base + 9.0),
        ]
    }

    #[test]
    fn a_base_of_more_than_one_and_a_half_floors_misses() {
        assert!(targets(&rows(120.0))[0].is_met());
        assert!(!targets(&rows(121.0))[0].is_met());
    }

    #[test]
    fn nothing_is_claimed_of_what_was_not_measured() {
        assert_eq!(targets(&rows(120.0)).len(), 5);
        assert_eq!(targets(&rows(120.0)[2..4]).iter().map(Target::name).collect::<Vec<_>>(), ["3 TLVs, to base"]);
    }
}
