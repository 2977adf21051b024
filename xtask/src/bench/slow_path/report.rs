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

/// What the timestamps of one run of packets say, in microseconds.
#[derive(Clone, Copy)]
pub(super) struct Quality {
    /// Packets sent per second.
    pub(super) sent_pps: f64,
    /// T3 − T2 and the net error; floors write no timestamps.
    pub(super) stated: Option<[Percentiles<f64>; 2]>,
    pub(super) round_trip: Percentiles<f64>,
    /// Part of the packets that was not answered.
    pub(super) loss: f64,
}

/// Of a delay.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Percentiles<T> {
    pub(super) p50: T,
    pub(super) p99: T,
    pub(super) p99_9: T,
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
    residence_us: Option<Percentiles<Spread>>,
    net_error_us: Option<Percentiles<Spread>>,
    round_trip_us: Percentiles<Spread>,
    loss: Spread,
}

impl Percentiles<Spread> {
    fn of(rounds: &[Percentiles<f64>]) -> Self {
        let of = |pick: fn(&Percentiles<f64>) -> f64| spread(rounds.iter().map(pick));
        Self { p50: of(|one| one.p50), p99: of(|one| one.p99), p99_9: of(|one| one.p99_9) }
    }
}

impl Summary {
    fn new(rounds: &[Quality]) -> Option<Self> {
        let of = |pick: fn(&Quality) -> f64| spread(rounds.iter().map(pick));
        let stated: Option<Vec<_>> = rounds.iter().map(|quality| quality.stated).collect();
        let stated = |index: usize| {
            let values: Option<Vec<_>> = stated.as_ref().map(|all| all.iter().map(|two| two[index]).collect());
            values.map(|values| Percentiles::of(&values))
        };
        let round_trips: Vec<_> = rounds.iter().map(|quality| quality.round_trip).collect();
        (!rounds.is_empty()).then(|| Self {
            sent_pps: of(|quality| quality.sent_pps),
            residence_us: stated(0),
            net_error_us: stated(1),
            round_trip_us: Percentiles::of(&round_trips),
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
        println!("medians of {rounds} interleaved rounds, and the middle half of them\n");
        println!(
            "{:<32}{:>10}{:>20}{:>10}{:>8}",
            format!("flood of {offered_pps:.0} packets/s"),
            "replies/s",
            "middle half",
            "CPU s/M",
            "idle"
        );
        for Row { name, replies_pps, seconds_per_million, idle, .. } in &self.rows {
            println!(
                "{name:<32}{:>10.0}{:>20}{:>10.2}{:>7.1}%",
                replies_pps.median,
                format!("{:.0} to {:.0}", replies_pps.quartiles[0], replies_pps.quartiles[1]),
                seconds_per_million.median,
                idle.median * 100.0
            );
        }
        for (title, is_calm) in [("1000 packets/s; p50/p99/p99.9", true), ("80 % of its maximum", false)] {
            println!(
                "\n{title:<32}{:>10}{:>20}{:>20}{:>20}{:>8}",
                "packets/s", "residence µs", "net error µs", "round trip µs", "loss"
            );
            for row in &self.rows {
                let Some(summary) = (if is_calm { &row.calm } else { &row.busy }) else { continue };
                let stated = |percentiles: &Option<_>| percentiles.as_ref().map_or("-".into(), three);
                println!(
                    "{:<32}{:>10.0}{:>20}{:>20}{:>20}{:>7.2}%",
                    row.name,
                    summary.sent_pps.median,
                    stated(&summary.residence_us),
                    stated(&summary.net_error_us),
                    three(&summary.round_trip_us),
                    summary.loss.median * 100.0
                );
            }
        }
        figures::print(&self.targets);
    }
}

fn three(percentiles: &Percentiles<Spread>) -> String {
    let Percentiles { p50, p99, p99_9 } = percentiles;
    let digits = |value: f64| if value < 100.0 { 1 } else { 0 };
    [p50, p99, p99_9].map(|one| format!("{:.*}", digits(one.median), one.median)).join("/")
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
    let history = find(subjects::RING_HISTORY)?;
    let packet = find(subjects::PACKET)?;
    let residence = |row: &Row| row.calm.as_ref().and_then(|calm| calm.residence_us.as_ref()).map(|one| one.p50.median);
    let net_error = |row: &Row| row.busy.as_ref().and_then(|busy| busy.net_error_us.as_ref()).map(|one| one.p50.median);
    let round_trip = |row: &Row| row.calm.as_ref().map(|calm| calm.round_trip_us.p50.median);
    let [calm, busy] = [residence, net_error].map(|of| move |row| of(row).unwrap_or(f64::NAN));
    let round_trips = round_trip(ring).zip(round_trip(packet)).map_or(f64::NAN, |(ring, packet)| ring / packet);
    let idle = |row: &Row| row.idle.median * 100.0;
    Ok(vec![
        Target::at_least("replies/s of the ring engine, to stamp-suite", 4.0, pps(ring) / pps(suite)),
        Target::at_least("replies/s of the socket engine, to stamp-suite", 1.0, pps(socket) / pps(suite)),
        Target::at_least(
            "replies/s of the ring engine, to recvmmsg/sendmmsg echo",
            0.7,
            pps(ring) / pps(find(subjects::UDP)?),
        ),
        Target::at_least("replies/s of the ring engine, to packet ring echo", 0.5, pps(ring) / pps(packet)),
        Target::at_most("residence p50 of the ring engine at 1000 packets/s, µs", 30.0, calm(ring)),
        Target::at_most("round trip p50 of the ring engine at 1000 packets/s, to packet ring echo", 1.3, round_trips),
        Target::at_most("net error p50 of the ring engine at 80 % of its maximum, µs", 20.0, busy(ring)),
        Target::at_most("net error p50 of the ring engine with History, likewise, µs", 20.0, busy(history)),
        Target::at_most("net error p50 of the socket engine at 80 % of its maximum, µs", 20.0, busy(socket)),
        Target::at_most("processor used by the ring engine when idle, %", 0.1, idle(ring)),
        Target::at_most("processor used by the socket engine when idle, %", 0.1, idle(socket)),
    ])
}
