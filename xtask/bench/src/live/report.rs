//! The tables of `bench live`, and the same as JSON.

use serde::Serialize;

use super::super::figures::{Spread, Target, spread};
use super::super::options::{self, Machine};
use super::MANY_PPS;
use super::subjects::{self, Subject};

/// The result of one round for one subject.
#[derive(Default)]
pub(super) struct Round {
    /// Replies per second under a flood, and the part of its packets that was not answered.
    pub(super) saturated_pps: f64,
    pub(super) loss: f64,
    /// The most replies per second without the loss of one packet; of the parts that were tried.
    pub(super) loss_free_pps: f64,
    /// Processor time of the process for a million replies, in seconds, where it is one that answers.
    pub(super) seconds_per_million: Option<f64>,
    /// Part of a processor that the process uses while no packets come.
    pub(super) idle: Option<f64>,
    /// At 1,000 packets per second, at 80 % of the saturated rate, and at 1,000,000.
    pub(super) calm: Option<Truth>,
    pub(super) busy: Option<Truth>,
    pub(super) many: Option<Truth>,
}

/// The timestamps of one run of packets: p50, p99 and p99.9 in microseconds.
pub(super) struct Truth {
    /// Packets per second that were sent; one at a time, which may be fewer than was asked for.
    pub(super) sent_pps: f64,
    pub(super) residence_us: [f64; 3],
    pub(super) net_error_us: [f64; 3],
    /// Part of the packets that was not answered.
    pub(super) loss: f64,
}

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    rounds: usize,
    rows: Vec<Row>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    saturated_pps: Spread,
    loss: Spread,
    loss_free_pps: Spread,
    /// Of the process where one answers. Where a program on the interface does, of the one processor: generator, veth pair
    /// and the program that counts included.
    seconds_per_million: Spread,
    idle: Option<Spread>,
    calm: Option<Summary>,
    busy: Option<Summary>,
    many: Option<Summary>,
}

#[derive(Serialize)]
struct Summary {
    sent_pps: Spread,
    residence_us: [Spread; 3],
    net_error_us: [Spread; 3],
    loss: Spread,
}

impl Summary {
    fn new<'a>(rounds: impl Iterator<Item = &'a Truth> + Clone) -> Option<Self> {
        rounds.clone().next()?;
        let of = |pick: &dyn Fn(&Truth) -> f64| spread(rounds.clone().map(pick));
        Some(Self {
            sent_pps: of(&|truth| truth.sent_pps),
            residence_us: [0, 1, 2].map(|i| of(&|truth| truth.residence_us[i])),
            net_error_us: [0, 1, 2].map(|i| of(&|truth| truth.net_error_us[i])),
            loss: of(&|truth| truth.loss),
        })
    }
}

impl Report {
    pub(super) fn new(machine: Machine, measured: &[(&'static Subject, Vec<Round>)]) -> Self {
        let rows: Vec<Row> = measured.iter().map(|(subject, rounds)| row(subject, rounds)).collect();
        let rounds = measured.first().map_or(0, |(_, rounds)| rounds.len());
        Self { machine, rounds, targets: targets(&rows), rows }
    }
}

impl options::Report for Report {
    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn print(&self) {
        let rounds = self.rounds;
        self.machine.print();
        println!(
            "load, veth pair and XDP programs on one processor, processes on another; medians of {rounds} interleaved rounds\n"
        );
        println!(
            "{:<32}{:>12}{:>24}{:>8}{:>12}{:>9}{:>8}",
            "one session", "replies/s", "middle half", "loss", "loss-free", "CPU s/M", "idle"
        );
        for row in &self.rows {
            let rate = row.saturated_pps;
            let middle = format!("{:.0} to {:.0}", rate.quartiles[0], rate.quartiles[1]);
            let idle = row.idle.map_or(String::new(), |idle| format!("{:.1}%", idle.median * 100.0));
            let (loss, free, used) =
                (row.loss.median * 100.0, row.loss_free_pps.median, row.seconds_per_million.median);
            println!("{:<32}{:>12.0}{middle:>24}{loss:>7.1}%{free:>12.0}{used:>9.3}{idle:>8}", row.name, rate.median);
        }
        println!(
            "CPU s/M: a processor's seconds for a million replies; with generator and veth where the kernel answers"
        );
        println!(
            "\n{:<32}{:>12}{:>32}{:>26}{:>8}",
            "µs as p50 / p99 / p99.9", "packets/s", "residence", "net error", "loss"
        );
        for row in &self.rows {
            for summary in [&row.calm, &row.busy, &row.many].into_iter().flatten() {
                let times = |of: [Spread; 3]| of.map(|spread| format!("{:.2}", spread.median)).join(" / ");
                let (residence, error) = (times(summary.residence_us), times(summary.net_error_us));
                let (pps, loss) = (summary.sent_pps.median, summary.loss.median * 100.0);
                println!("{:<32}{pps:>12.0}{residence:>32}{error:>26}{loss:>7.2}%", row.name);
            }
        }
    }
}

fn row(subject: &Subject, rounds: &[Round]) -> Row {
    let saturated_pps = spread(rounds.iter().map(|round| round.saturated_pps));
    // Of the reflector that answers in the kernel, the process is idle.
    let seconds = |round: &Round| match round.seconds_per_million {
        Some(used) if !subject.is_in_kernel() => used,
        _ => 1e6 / round.saturated_pps,
    };
    let idle: Option<Vec<f64>> = rounds.iter().map(|round| round.idle).collect();
    Row {
        name: subject.name,
        saturated_pps,
        loss: spread(rounds.iter().map(|round| round.loss)),
        loss_free_pps: spread(rounds.iter().map(|round| round.loss_free_pps)),
        seconds_per_million: spread(rounds.iter().map(seconds)),
        idle: idle.map(|idle| spread(idle.into_iter())),
        calm: Summary::new(rounds.iter().filter_map(|round| round.calm.as_ref())),
        busy: Summary::new(rounds.iter().filter_map(|round| round.busy.as_ref())),
        many: Summary::new(rounds.iter().filter_map(|round| round.many.as_ref())),
    }
}

/// The claims about the subjects that were measured.
fn targets(rows: &[Row]) -> Vec<Target> {
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let pps = |name: &str| find(name).map(|row| row.saturated_pps.median);
    let free = |name: &str| find(name).map(|row| row.loss_free_pps.median);
    let ratio = |of: Option<f64>, to: Option<f64>| of.zip(to).map(|(of, to)| of / to);
    // Not a number, and so a miss, where the generator was too slow for it.
    let many = |name: &str| {
        let many = find(name)?.many.as_ref()?;
        Some(if many.sent_pps.median < 0.95 * MANY_PPS { f64::NAN } else { many.net_error_us[0].median })
    };
    let residence = |name: &str| find(name)?.calm.as_ref().map(|calm| calm.residence_us[0].median);
    let busy = |name: &str| find(name)?.busy.as_ref().map(|busy| busy.net_error_us[0].median);
    let idle = |name: &str| find(name)?.idle.map(|idle| idle.median * 100.0);
    let at_least =
        |name, limit, measured: Option<f64>| measured.map(|measured| Target::at_least(name, limit, measured));
    let at_most = |name, limit, measured: Option<f64>| measured.map(|measured| Target::at_most(name, limit, measured));
    let claims = [
        at_least("saturated, to swap with two clocks", 0.8, ratio(pps(subjects::XDP), pps(subjects::CLOCKS)))
            .map(|target| target.beside("floor with a hash map", ratio(pps(subjects::MAP), pps(subjects::CLOCKS)))),
        at_least("loss-free, to swap with two clocks", 0.8, ratio(free(subjects::XDP), free(subjects::CLOCKS))),
        at_least("saturated, to stamp-suite", 25.0, ratio(pps(subjects::XDP), pps(subjects::STAMP_SUITE))),
        at_most(
            "net error p50 at 1000000 packets/s, to a minimal stateless reply",
            1.1,
            ratio(many(subjects::XDP), many(subjects::REPLY)),
        ),
        at_most("residence p50 in the kernel at 1000 packets/s, µs", 0.2, residence(subjects::XDP)),
        at_most("net error p50 of the slow path (History) at 80 % of its maximum, µs", 20.0, busy(subjects::RING)),
        at_most("net error p50 of the socket engine at 80 % of its maximum, µs", 20.0, busy(subjects::SOCKET)),
        at_most("processor used when idle after traffic, with XDP, %", 0.1, idle(subjects::XDP)),
        at_most("processor used when idle after traffic, with sockets, %", 0.1, idle(subjects::SOCKET)),
    ];
    claims.into_iter().flatten().collect()
}
