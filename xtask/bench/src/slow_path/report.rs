//! The table of `bench slow-path`, and the same as JSON.

use serde::Serialize;

use super::subjects;
use crate::figures::{Spread, Target, spread};
use crate::options::{self, Machine};

/// The result of one round for one subject.
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

/// The timestamps of one run of packets, in microseconds.
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
    machine: Machine,
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
    pub(super) fn new(machine: Machine, names: &[&'static str], rounds: &[Vec<Round>], offered_pps: f64) -> Self {
        let rows: Vec<Row> = names.iter().zip(rounds).map(|(name, rounds)| row(name, rounds)).collect();
        let rounds = rounds.first().map_or(0, Vec::len);
        Self { machine, rounds, offered_pps, targets: targets(&rows), rows }
    }
}

impl options::Report for Report {
    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn print(&self) {
        let Self { machine, rounds, offered_pps, .. } = self;
        machine.print();
        println!("the load on one processor, the reflector on another");
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

/// The claims about the subjects that were measured.
fn targets(rows: &[Row]) -> Vec<Target> {
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let pps = |name: &str| find(name).map(|row| row.replies_pps.median);
    let ratio = |of, to| Some(pps(of)? / pps(to)?);
    let residence = |name: &str| Some(find(name)?.calm.as_ref()?.residence_us.as_ref()?.p50.median);
    let net_error = |name: &str| Some(find(name)?.busy.as_ref()?.net_error_us.as_ref()?.p50.median);
    let round_trip = |name: &str| Some(find(name)?.calm.as_ref()?.round_trip_us.p50.median);
    let round_trips = || Some(round_trip(subjects::RING)? / round_trip(subjects::PACKET)?);
    let idle = |name: &str| find(name).map(|row| row.idle.median * 100.0);
    let at_least = |name, limit, measured: Option<f64>| Some(Target::at_least(name, limit, measured?));
    let at_most = |name, limit, measured: Option<f64>| Some(Target::at_most(name, limit, measured?));
    use subjects::{LINK, PACKET, RING, RING_HISTORY, SOCKET, STAMP_SUITE, UDP};
    let claims = [
        at_least("replies/s of the ring engine, to stamp-suite", 4.0, ratio(RING, STAMP_SUITE)),
        at_least("replies/s of the socket engine, to stamp-suite", 1.0, ratio(SOCKET, STAMP_SUITE)),
        at_least("replies/s of the ring engine, to recvmmsg/sendmmsg echo", 0.7, ratio(RING, UDP)),
        at_least("replies/s of the ring engine, to packet ring echo", 0.5, ratio(RING, PACKET)),
        at_most("residence p50 of the ring engine at 1000 packets/s, µs", 30.0, residence(RING))
            .map(|target| target.beside("round trip of the packet ring echo", round_trip(PACKET))),
        at_most("round trip p50 of the ring engine at 1000 packets/s, to packet ring echo", 1.3, round_trips()),
        at_most("net error p50 of the ring engine at 80 % of its maximum, µs", 20.0, net_error(RING)),
        at_most("net error p50 of the ring engine with History, to authenticated, µs", 20.0, net_error(RING_HISTORY)),
        at_most("net error p50 of the socket engine at 80 % of its maximum, µs", 20.0, net_error(SOCKET)),
        at_most("processor used by the ring engine when idle, %", 0.1, idle(RING)),
        at_most("processor used by the socket engine when idle, %", 0.1, idle(SOCKET)),
        at_most("processor used by the link engine when idle, %", 0.1, idle(LINK)),
    ];
    claims.into_iter().flatten().collect()
}
