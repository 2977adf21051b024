//! The table of `bench sessions`, and the same as JSON.

use serde::Serialize;

use super::controller::Controlled;
use crate::figures::{Spread, Target};
use crate::options::{self, Machine};

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
pub(super) struct Report {
    machine: Machine,
    rounds: u32,
    rows: Vec<Row>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) sessions: u32,
    /// For a packet of a session that is there.
    pub(super) packet_ns: Spread,
    /// For floors: a swap with two readings of the clock; with the session's place in an array besides, and an addition
    /// there; with a look-up in a hash map of the kernel's instead.
    pub(super) clocks_ns: Spread,
    pub(super) array_ns: Spread,
    pub(super) map_ns: Spread,
    /// For a packet that makes its session.
    pub(super) create_ns: f64,
    /// The kernel's memory for each session.
    pub(super) octets_each: f64,
    pub(super) controlled: Controlled,
}

impl Report {
    pub(super) fn new(machine: Machine, rounds: u32, rows: Vec<Row>) -> Self {
        Self { machine, rounds, targets: targets(&rows), rows }
    }
}

fn targets(rows: &[Row]) -> Vec<Target> {
    let find = |sessions| rows.iter().find(|row| row.sessions == sessions);
    let (Some(one), Some(most)) = (find(1), find(1_000_000)) else { return Vec::new() };
    let ratio = |of: fn(&Row) -> f64| of(most) / of(one);
    vec![
        Target::at_most("1000000 sessions against 1, ns for a packet", 1.6, ratio(|row| row.packet_ns.median))
            .beside("floor with an array", Some(ratio(|row| row.array_ns.median))),
        Target::at_most("octets in the kernel for a session, of 1000000", 400.0, most.octets_each),
    ]
}

impl options::Report for Report {
    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn print(&self) {
        self.machine.print();
        println!("base packets without a UDP checksum, in no order; medians of {} rounds\n", self.rounds);
        println!(
            "{:>9} | {:>6}{:>14}{:>8}{:>8}{:>8}{:>9} | {:>8} | {:>10}{:>10}{:>10}{:>8}{:>10}",
            "sessions",
            "packet",
            "middle half",
            "clocks",
            "array",
            "map",
            "creating",
            "octets",
            "page, ms",
            "page, CPU",
            "over, ms",
            "each ns",
            "process"
        );
        for row in &self.rows {
            let Spread { median, quartiles: [low, high] } = row.packet_ns;
            // Of a few sessions it would be a share of what is there in any case.
            let each = |value: f64| if row.sessions < 1_000 { "-".to_owned() } else { format!("{value:.0}") };
            let Controlled { page_ms, page_cpu_ms, over_ms, resident_kib, .. } = row.controlled;
            println!(
                "{:>9} | {median:>6.0}{:>14}{:>8.0}{:>8.0}{:>8.0}{:>9.0} | {:>8} | {page_ms:>10.1}{page_cpu_ms:>10.1}{over_ms:>10.1}{:>8}{resident_kib:>6} KiB",
                row.sessions,
                format!("{low:.0} to {high:.0}"),
                row.clocks_ns.median,
                row.array_ns.median,
                row.map_ns.median,
                row.create_ns,
                each(row.octets_each),
                each(over_ms * 1e6 / f64::from(row.sessions)),
            );
        }
        println!(
            "
packet, creating: ns of a packet of a session that is there, and of one that makes its session, net of the harness
clocks, array, map: floors; a swap with two readings of the clock, then with a session's slot in an array or a hash map
octets: of the kernel's map for each session
page: the API's first 10,000 sessions, from request to last octet, and the processor time of the reflector
over: processor time until the reflector has forgotten all of them, whose time was over; process: its memory before"
        );
    }
}
