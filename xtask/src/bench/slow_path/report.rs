//! The table of `bench slow-path`, and the same as JSON.

use anyhow::{Context, Result};
use serde::Serialize;

use super::subjects;
use crate::bench::figures::{self, Spread, Target, spread};
use crate::bench::report::{commit, processor};

/// What one round gave for one subject.
#[derive(Default)]
pub(super) struct Round {
    /// Replies per second under a flood.
    pub(super) replies_pps: f64,
    /// Processor time of the process for a million replies, in seconds.
    pub(super) seconds_per_million: f64,
    /// At 1,000 packets per second.
    pub(super) calm: Option<Quality>,
    /// At 80 % of the replies per second of this round.
    pub(super) busy: Option<Quality>,
    /// Part of a processor that is used while no packets come.
    pub(super) idle: f64,
}

/// What the timestamps of one run of packets say.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Quality {
    /// Packets sent per second.
    pub(super) sent_pps: f64,
    pub(super) residence_p50_us: f64,
    pub(super) residence_p99_us: f64,
    pub(super) net_error_p50_us: f64,
    pub(super) net_error_p99_us: f64,
    /// Part of the packets that was not answered.
    pub(super) loss: f64,
}

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
pub(super) struct Report {
    commit: String,
    kernel: String,
    processor: String,
    rounds: usize,
    offered_pps: f64,
    rows: Vec<Row>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    replies_pps: Spread,
    seconds_per_million: Spread,
    idle: Spread,
    calm: Option<Summary>,
    busy: Option<Summary>,
}

#[derive(Serialize)]
struct Summary {
    sent_pps: Spread,
    residence_p50_us: Spread,
    residence_p99_us: Spread,
    net_error_p50_us: Spread,
    net_error_p99_us: Spread,
    loss: Spread,
}

impl Summary {
    fn new(rounds: &[Quality]) -> Option<Self> {
        let of = |pick: fn(&Quality) -> f64| spread(rounds.iter().map(pick));
        (!rounds.is_empty()).then(|| Self {
            sent_pps: of(|quality| quality.sent_pps),
            residence_p50_us: of(|quality| quality.residence_p50_us),
            residence_p99_us: of(|quality| quality.residence_p99_us),
            net_error_p50_us: of(|quality| quality.net_error_p50_us),
            net_error_p99_us: of(|quality| quality.net_error_p99_us),
            loss: of(|quality| quality.loss),
        })
    }
}

impl Report {
    /// `rounds`: for each subject in order, what its rounds gave.
    pub(super) fn new(names: &[&'static str], rounds: &[Vec<Round>], offered_pps: f64) -> Result<Self> {
        let mut report = Self::without_targets(names, rounds, offered_pps)?;
        report.targets = targets(&report.rows)?;
        Ok(report)
    }

    /// The same of some subjects only.
    pub(super) fn without_targets(names: &[&'static str], rounds: &[Vec<Round>], offered_pps: f64) -> Result<Self> {
        Ok(Self {
            commit: commit(),
            kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
            processor: processor(),
            rounds: rounds.first().map_or(0, Vec::len),
            offered_pps,
            targets: Vec::new(),
            rows: names.iter().zip(rounds).map(|(name, rounds)| row(name, rounds)).collect(),
        })
    }

    pub(super) fn has_missed(&self) -> bool {
        figures::has_missed(&self.targets)
    }

    pub(super) fn print(&self) {
        let Self { commit, kernel, processor, rounds, offered_pps, .. } = self;
        println!("commit {commit}, kernel {kernel}, {processor}: the load on one, the reflector on another");
        println!(
            "medians of {rounds} interleaved rounds, and the middle half of them; µs as p50/p99; loss at 80 % of the maximum\n"
        );
        println!(
            "{:<30}{:>9}{:>18}{:>10}{:>7}{:>16}{:>16}{:>9}{:>16}{:>16}{:>8}",
            format!("flood of {offered_pps:.0} pps"),
            "replies/s",
            "middle half",
            "CPU s/M",
            "idle",
            "residence 1000",
            "net error 1000",
            "80% pps",
            "residence 80%",
            "net error 80%",
            "loss"
        );
        for row in &self.rows {
            let rate = row.replies_pps;
            print!(
                "{:<30}{:>9.0}{:>18}{:>10.2}{:>6.1}%",
                row.name,
                rate.median,
                format!("{:.0} to {:.0}", rate.quartiles[0], rate.quartiles[1]),
                row.seconds_per_million.median,
                row.idle.median * 100.0
            );
            let times = |summary: &Summary| {
                let residence = pair(summary.residence_p50_us, summary.residence_p99_us);
                format!("{residence:>16}{:>16}", pair(summary.net_error_p50_us, summary.net_error_p99_us))
            };
            if let (Some(calm), Some(busy)) = (&row.calm, &row.busy) {
                print!("{}{:>9.0}{}{:>7.2}%", times(calm), busy.sent_pps.median, times(busy), busy.loss.median * 100.0);
            }
            println!();
        }
        figures::print(&self.targets);
    }
}

fn pair(p50: Spread, p99: Spread) -> String {
    format!("{:.1}/{:.1}", p50.median, p99.median)
}

fn row(name: &'static str, rounds: &[Round]) -> Row {
    let qualities = |pick: fn(&Round) -> Option<Quality>| rounds.iter().filter_map(pick).collect::<Vec<_>>();
    Row {
        name,
        replies_pps: spread(rounds.iter().map(|round| round.replies_pps)),
        seconds_per_million: spread(rounds.iter().map(|round| round.seconds_per_million)),
        idle: spread(rounds.iter().map(|round| round.idle)),
        calm: Summary::new(&qualities(|round| round.calm)),
        busy: Summary::new(&qualities(|round| round.busy)),
    }
}

fn targets(rows: &[Row]) -> Result<Vec<Target>> {
    let find = |name: &str| rows.iter().find(|row| row.name == name).with_context(|| format!("no row {name}"));
    let (ring, socket, suite) = (find(subjects::RING)?, find(subjects::SOCKET)?, find(subjects::STAMP_SUITE)?);
    let pps = |row: &Row| row.replies_pps.median;
    let calm = ring.calm.as_ref().context("the ring engine did not answer")?;
    let busy = |row: &Row| row.busy.as_ref().map_or(f64::NAN, |busy| busy.net_error_p50_us.median);
    let idle = |row: &Row| row.idle.median * 100.0;
    Ok(vec![
        Target::at_least("replies/s of the ring engine, to stamp-suite", 4.0, pps(ring) / pps(suite)),
        Target::at_least("replies/s of the socket engine, to stamp-suite", 1.0, pps(socket) / pps(suite)),
        Target::at_least(
            "replies/s of the ring engine, to recvmmsg/sendmmsg echo",
            0.7,
            pps(ring) / pps(find(subjects::UDP)?),
        ),
        Target::at_least(
            "replies/s of the ring engine, to packet ring echo",
            0.5,
            pps(ring) / pps(find(subjects::PACKET)?),
        ),
        Target::at_most("residence p50 of the ring engine at 1000 packets/s, µs", 30.0, calm.residence_p50_us.median),
        Target::at_most("net error p50 of the ring engine at 80 % of its maximum, µs", 20.0, busy(ring)),
        Target::at_most("net error p50 of the socket engine at 80 % of its maximum, µs", 20.0, busy(socket)),
        Target::at_most("processor used by the ring engine when idle, %", 0.1, idle(ring)),
        Target::at_most("processor used by the socket engine when idle, %", 0.1, idle(socket)),
    ])
}
