//! The table of `bench sender`, and the same as JSON.

use serde::Serialize;

use super::PACED;
use super::programs::Subject;
use crate::figures::{Spread, Target, spread};
use crate::options::{self, Machine};

/// The result of one round for one program.
pub(super) struct Round {
    /// Packets per second.
    pub(super) highest_pps: f64,
    /// Processor time for a million packets at that rate, in seconds.
    pub(super) seconds_per_million: f64,
    /// At each rate of [`PACED`].
    pub(super) pacing: Vec<Pacing>,
}

/// The evenness of departures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    reached_pps: f64,
    error_p50_us: f64,
    error_p99_us: f64,
}

impl Pacing {
    /// `departures`: nanoseconds, in order. The error of a packet is how much later it left than by the even schedule
    /// that begins as late as possible with no packet ahead of it.
    pub(super) fn new(asked_pps: f64, reached_pps: f64, departures: &[u64]) -> Self {
        let first = departures.first().copied().unwrap_or(0);
        let mut errors: Vec<f64> = departures
            .iter()
            .enumerate()
            .map(|(index, at)| (at - first) as f64 / 1e3 - index as f64 * 1e6 / asked_pps)
            .collect();
        errors.sort_by(f64::total_cmp);
        let at = |part: f64| errors[((errors.len() - 1) as f64 * part) as usize] - errors[0];
        Self { reached_pps, error_p50_us: at(0.5), error_p99_us: at(0.99) }
    }
}

/// The result of one round for minimal programs.
pub(super) struct Floor {
    /// Replies per second to packets sent one by one.
    pub(super) pps: f64,
    /// With GSO.
    pub(super) trains_pps: f64,
    /// Of a loop that only reads the clock, at each rate of [`PACED`].
    pub(super) pacing: Vec<Pacing>,
}

/// The memory of our program.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Memory {
    /// Packets in all.
    pub(super) samples: u64,
    /// After a tenth of them, in KiB.
    pub(super) early_kib: u64,
    /// After all of them.
    pub(super) late_kib: u64,
}

/// The cost of scale.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Scale {
    pub(super) memory: Memory,
    /// Processors that a thousand targets at ten packets a second each take.
    pub(super) processors: f64,
}

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    rounds: usize,
    rows: Vec<Row>,
    /// The limits of this machine.
    floor: FloorRow,
    /// The conditions of the measurement of all programs.
    scale: Option<Scale>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    highest_pps: Spread,
    seconds_per_million: Spread,
    pacing: Vec<PacingRow>,
}

#[derive(Serialize)]
struct PacingRow {
    asked_pps: f64,
    reached_pps: Spread,
    error_p50_us: Spread,
    error_p99_us: Spread,
}

#[derive(Serialize)]
struct FloorRow {
    /// Replies per second to two threads that do nothing but send packets and take replies in.
    pps: Spread,
    /// With GSO.
    trains_pps: Spread,
    /// A loop that only reads the clock.
    pacing: Vec<PacingRow>,
}

impl Report {
    /// `rounds`: for each of the subjects in order, what its rounds gave.
    /// `floor`: the same of the floors.
    pub(super) fn new(
        machine: Machine,
        subjects: &[Subject],
        rounds: &[Vec<Round>],
        floor: &[Floor],
        scale: Option<Scale>,
    ) -> Self {
        let rows: Vec<Row> = subjects.iter().zip(rounds).map(|(subject, rounds)| row(*subject, rounds)).collect();
        let floor = FloorRow {
            pps: spread(floor.iter().map(|round| round.pps)),
            trains_pps: spread(floor.iter().map(|round| round.trains_pps)),
            pacing: (0..PACED.len()).map(|place| pacing(place, floor.iter().map(|round| &round.pacing))).collect(),
        };
        Self {
            machine,
            rounds: rounds.first().map_or(0, Vec::len),
            targets: targets(&rows, &floor, scale),
            rows,
            floor,
            scale,
        }
    }
}

impl options::Report for Report {
    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn print(&self) {
        let Self { machine, rounds, .. } = self;
        machine.print();
        println!(
            "medians of {rounds} interleaved rounds; packets/s reached and pacing error p50/p99 in µs,\nby a tap on the interface\n"
        );
        print!("{:<18}{:>15}{:>10}", "", "loss-free pps", "CPU s/M");
        PACED.iter().for_each(|rate| print!("{:>30}", format!("at {rate:.0} pps")));
        println!();
        for row in &self.rows {
            print!("{:<18}{:>15.0}{:>10.2}", row.name, row.highest_pps.median, row.seconds_per_million.median);
            print_pacing(&row.pacing);
        }
        let FloorRow { pps, trains_pps, pacing } = &self.floor;
        println!("{:<18}{:>15.0}", "floor: send, take", pps.median);
        println!("{:<18}{:>15.0}", "floor, GSO", trains_pps.median);
        print!("{:<43}", "floor: a loop that only reads the clock");
        print_pacing(pacing);
        let Some(Scale { memory, processors }) = self.scale else { return };
        println!(
            "\nteaparty's memory after {} packets {} KiB, after {} {} KiB; 1000 targets at 10 packets/s: {processors:.2} processors",
            memory.samples / 10,
            memory.early_kib,
            memory.samples,
            memory.late_kib,
        );
    }
}

fn print_pacing(rows: &[PacingRow]) {
    for PacingRow { reached_pps, error_p50_us, error_p99_us, .. } in rows {
        let errors = format!("{:.1}/{:.1}", error_p50_us.median, error_p99_us.median);
        print!("{:>30}", format!("{:.0}  {errors}", reached_pps.median));
    }
    println!();
}

fn row(subject: Subject, rounds: &[Round]) -> Row {
    Row {
        name: subject.name(),
        highest_pps: spread(rounds.iter().map(|round| round.highest_pps)),
        seconds_per_million: spread(rounds.iter().map(|round| round.seconds_per_million)),
        pacing: (0..PACED.len()).map(|place| pacing(place, rounds.iter().map(|round| &round.pacing))).collect(),
    }
}

/// `rounds`: each with the pacing at all rates; `place` is the rate's in [`PACED`].
fn pacing<'a>(place: usize, rounds: impl Iterator<Item = &'a Vec<Pacing>> + Clone) -> PacingRow {
    let of = |pick: fn(&Pacing) -> f64| spread(rounds.clone().map(|round| pick(&round[place])));
    PacingRow {
        asked_pps: PACED[place],
        reached_pps: of(|pacing| pacing.reached_pps),
        error_p50_us: of(|pacing| pacing.error_p50_us),
        error_p99_us: of(|pacing| pacing.error_p99_us),
    }
}

/// The claims about what was measured.
fn targets(rows: &[Row], floor: &FloorRow, scale: Option<Scale>) -> Vec<Target> {
    let find = |subject: Subject| rows.iter().find(|row| row.name == subject.name());
    let highest = |subject| find(subject).map(|row| row.highest_pps.median);
    let paced =
        |row: &Row| row.pacing.iter().find(|pacing| pacing.asked_pps == 10_000.0).map(|it| it.error_p99_us.median);
    let growth = |it: Scale| (it.memory.late_kib as f64 / it.memory.early_kib as f64 - 1.0) * 100.0;
    let at_most = |name, limit, measured: Option<f64>| Some(Target::at_most(name, limit, measured?));
    let to_suite = highest(Subject::Teaparty).zip(highest(Subject::StampSuite)).map(|(ours, suite)| ours / suite);
    let claims = [
        to_suite.map(|ratio| Target::at_least("highest loss-free rate, to stamp-suite", 3.0, ratio)),
        highest(Subject::Trains).map(|pps| {
            Target::at_least("highest loss-free rate of one process, with GSO, packets/s", 500_000.0, pps)
                .beside("two threads that only send and take in", Some(floor.trains_pps.median))
        }),
        at_most("pacing error p99 at 10000 packets/s, µs", 50.0, find(Subject::Teaparty).and_then(paced)),
        at_most("the same with --realtime, µs", 50.0, find(Subject::Realtime).and_then(paced)),
        at_most("growth of memory from a tenth to all of an hour's samples, %", 5.0, scale.map(growth)),
        at_most("1000 targets at 10 packets/s each, processors", 0.5, scale.map(|it| it.processors)),
    ];
    claims.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_on_schedule_have_no_error_and_a_late_one_its_own() {
        let mut departures: Vec<u64> = (0..100).map(|index| 5_000 + index * 1_000_000).collect();
        let even = Pacing::new(1_000.0, 1_000.0, &departures);
        assert_eq!((even.error_p50_us, even.error_p99_us), (0.0, 0.0));
        departures[98] += 70_000;
        departures[99] += 70_000;
        let late = Pacing::new(1_000.0, 1_000.0, &departures);
        assert_eq!((late.error_p50_us, late.error_p99_us), (0.0, 70.0));
    }

    #[test]
    fn a_late_start_is_no_error_of_all_that_follow() {
        // The first packet left 300 µs late, the others on time.
        let departures = [300_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000];
        let pacing = Pacing::new(1_000.0, 1_000.0, &departures);
        assert_eq!((pacing.error_p50_us, pacing.error_p99_us), (0.0, 0.0));
    }
}
