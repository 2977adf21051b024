//! `cargo xtask bench sessions`: what a packet costs among many sessions, and what these cost to make, keep, list and forget.
//!
//! Packets of as many sessions as there are, in an order that no cache foresees, are run by the loaded program; beside it
//! stand floors that do no more than find a session's place. Listing and forgetting are a running reflector's own.

mod controller;
mod report;

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::Map;
use xtask::build_ebpf::{self, Warnings};
use xtask::exec;
use xtask::program::{self, Profile};

use self::controller::{Controlled, Controller};
use self::report::{Report, Row};
use super::figures::spread;
use super::net::Net;
use super::options::{Machine, Options};
use super::{against, cases, rig::Rig};
use crate::objects;

/// Sessions at a time.
const COUNTS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
/// Packets of one measurement, at least.
const REPEAT: u32 = 100_000;
/// Places in the map for each session: one that is full forgets some before their time.
const ROOM: f64 = 1.05;
const ROUNDS: u32 = 7;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Measure packets with the program of this object by turns with the present one, and nothing else
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let options = &args.options;
    let build = || {
        let object = build_ebpf::build(Warnings::Shown)?;
        Ok([object, objects::baseline()?, program::teaparty(Profile::Release)?])
    };
    let Some([object, floors, teaparty]) = options.built(build)? else { return Ok(()) };
    ensure!(exec::find("curl").is_some(), "this needs curl, which asks the reflector for its sessions; install it");
    super::pin_to_one_processor()?;
    let machine = Machine::this()?;
    let rounds = options.rounds_or(ROUNDS);
    if let Some(before) = &args.against {
        against::print_head();
        for sessions in COUNTS.into_iter().filter(|sessions| options.wants(&sessions.to_string())) {
            let rig = |object| Rig::sized(object, &floors, places(sessions));
            against::compare_many(&mut [rig(before)?, rig(&object)?], sessions, rounds, REPEAT.max(sessions))?;
        }
        return Ok(());
    }
    let net = Net::new()?;
    let mut rows = Vec::new();
    for sessions in COUNTS {
        if options.wants(&sessions.to_string()) {
            eprint!("\r{sessions} sessions{:<16}", "");
            let controlled = Controller { teaparty: &teaparty, floors: &floors, net: &net }.measure(sessions)?;
            rows.push(measure(&object, &floors, sessions, rounds, controlled)?);
        }
    }
    eprintln!();
    options.finish("sessions", &Report::new(machine, rounds, rows))
}

/// Places for this many sessions.
fn places(sessions: u32) -> u32 {
    ((f64::from(sessions) * ROOM) as u32).max(sessions + 1024)
}

fn measure(object: &Path, floors: &Path, sessions: u32, rounds: u32, controlled: Controlled) -> Result<Row> {
    let mut rig = Rig::sized(object, floors, places(sessions))?;
    let [nothing, clocks, array, map, base] = cases::of_many_sessions();
    let create_ns = rig.make_many(&base, sessions)? - rig.make_many(&nothing, sessions)?;
    let repeat = REPEAT.max(sessions);
    // Makes the entries of the floor's map.
    rig.make_many(&map, sessions)?;
    let mut samples = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let harness = rig.run_many(&nothing, sessions, repeat)?;
        for (case, samples) in [&base, &clocks, &array, &map].into_iter().zip(&mut samples) {
            samples.push(rig.run_many(case, sessions, repeat)? - harness);
        }
    }
    let [packet_ns, clocks_ns, array_ns, map_ns] = samples.map(|samples| spread(samples.into_iter()));
    let octets_each = reserved(rig.sessions()?)? / f64::from(sessions);
    Ok(Row { sessions, packet_ns, clocks_ns, array_ns, map_ns, create_ns, octets_each, controlled })
}

/// Octets that the kernel has reserved for a map, by its own account.
fn reserved(map: &Map) -> Result<f64> {
    let (Map::LruHashMap(data) | Map::HashMap(data) | Map::Array(data)) = map else {
        bail!("the sessions are in a map of another kind")
    };
    let fd = data.fd().as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).context("the kernel does not say")?;
    Ok(line.trim().parse::<f64>()?)
}
