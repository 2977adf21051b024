//! `cargo xtask bench sessions`: what a packet costs among many sessions, and what these cost to make, keep, list and forget.
//!
//! Test runs of the loaded program with packets of as many sessions as there are, in an order that no cache foresees. The
//! listing is the controller's: one system call for each key and one for each value.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{HashMap, Map};
use serde::Serialize;
use teaparty_common::maps::{Session, SessionKey};

use super::figures::{self, Spread, Target, spread};
use super::{cases, rig::Rig};
use crate::{build_ebpf, exec, paths};

/// Sessions at a time: powers of two near 1, 1,000, 100,000 and 1,000,000.
const COUNTS: [u32; 4] = [1, 1 << 10, 1 << 17, 1 << 20];
/// Packets of one measurement, at least.
const REPEAT: u32 = 100_000;
/// Places in the map for each session: it gives out places to processors in portions, and would evict before it is full.
const ROOM: f64 = 1.05;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each number of sessions is measured; the medians count
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where the report goes as JSON
    #[arg(long, value_name = "FILE", default_value_os_t = paths::root().join("target/bench/sessions.json"))]
    json: PathBuf,
    /// Fail where a target is missed
    #[arg(long)]
    check: bool,
    /// Measure these objects, the program and the floors, and build nothing
    #[arg(long, num_args = 2, value_name = "FILE", hide = true)]
    objects: Option<Vec<PathBuf>>,
}

/// All that one needs to read the figures a year later.
#[derive(Serialize)]
struct Report {
    commit: String,
    kernel: String,
    processor: String,
    rounds: u32,
    rows: Vec<Row>,
    targets: Vec<Target>,
}

#[derive(Serialize)]
struct Row {
    sessions: u32,
    /// For a packet of a session that is there.
    packet_ns: Spread,
    /// The same for the floor: a swap, two readings of the clock, one look-up in such a map, one addition.
    floor_ns: Spread,
    /// For a packet that makes its session.
    create_ns: f64,
    /// For each session: listing it, and removing it by its key.
    list_ns: f64,
    remove_ns: f64,
    /// What the kernel has reserved for the map, by its own account, for each place in it.
    octets_each: f64,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let objects = match &args.objects {
        Some(objects) => objects.clone(),
        None => vec![build_ebpf::build(build_ebpf::Warnings::Shown)?, build_ebpf::build_floors()?],
    };
    let mut words: Vec<OsString> = ["bench", "sessions", "--rounds"].map(Into::into).to_vec();
    words.extend([args.rounds.to_string().into(), "--json".into(), args.json.clone().into_os_string()]);
    words.extend(args.check.then(|| "--check".into()));
    words.push("--objects".into());
    words.extend(objects.iter().map(|object| object.clone().into_os_string()));
    if exec::again_as_root(&words)? {
        return Ok(());
    }
    super::pin_to_one_processor()?;
    let rows = COUNTS.map(|count| measure(&objects, count, args.rounds)).into_iter().collect::<Result<Vec<_>>>()?;
    let report = Report {
        commit: super::report::commit(),
        kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
        processor: super::report::processor(),
        rounds: args.rounds,
        targets: targets(&rows)?,
        rows,
    };
    report.print();
    super::write(&args.json, &report)?;
    println!("\nwritten to {}", paths::shown(&args.json));
    if args.check && figures::has_missed(&report.targets) {
        bail!("a target is missed");
    }
    Ok(())
}

fn measure(objects: &[PathBuf], sessions: u32, rounds: u32) -> Result<Row> {
    let places = ((f64::from(sessions) * ROOM) as u32).max(sessions + 1024);
    let mut rig = Rig::sized(&objects[0], &objects[1], places)?;
    let [nothing, floor, base] = cases::of_many_sessions();
    let create_ns = rig.run_many(&base, sessions, sessions)? - rig.run_many(&nothing, sessions, sessions)?;
    let repeat = REPEAT.max(sessions);
    // Makes the entries of the floor's map.
    rig.run_many(&floor, sessions, sessions)?;
    let (mut packets, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let harness = rig.run_many(&nothing, sessions, repeat)?;
        packets.push(rig.run_many(&base, sessions, repeat)? - harness);
        floors.push(rig.run_many(&floor, sessions, repeat)? - harness);
    }
    let octets_each = reserved(rig.sessions()?)? / f64::from(places);
    let mut map: HashMap<_, SessionKey, Session> = HashMap::try_from(rig.sessions()?)?;
    let start = Instant::now();
    let known: Vec<SessionKey> = map.iter().filter_map(Result::ok).map(|(key, _)| key).collect();
    let list_ns = start.elapsed().as_nanos() as f64 / f64::from(sessions);
    ensure!(known.len() == sessions as usize, "{} sessions were made, and {} are there", sessions, known.len());
    let start = Instant::now();
    for key in &known {
        map.remove(key)?;
    }
    let remove_ns = start.elapsed().as_nanos() as f64 / f64::from(sessions);
    let [packet_ns, floor_ns] = [packets, floors].map(|samples| spread(samples.into_iter()));
    Ok(Row { sessions, packet_ns, floor_ns, create_ns, list_ns, remove_ns, octets_each })
}

/// Octets that the kernel has reserved for a map.
fn reserved(map: &Map) -> Result<f64> {
    let Map::LruHashMap(data) = map else { bail!("the sessions are in a map of another kind") };
    let fd = data.fd().as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).context("the kernel does not say")?;
    Ok(line.trim().parse::<f64>()?)
}

fn targets(rows: &[Row]) -> Result<Vec<Target>> {
    let (Some(one), Some(most)) = (rows.first(), rows.last()) else { bail!("nothing was measured") };
    let ratio = most.packet_ns.median / one.packet_ns.median;
    Ok(vec![
        Target::at_most("1000000 sessions against 1, ns for a packet", 1.6, ratio),
        Target::at_most("octets in the kernel for a session, of 1000000", 400.0, most.octets_each),
    ])
}

impl Report {
    fn print(&self) {
        let Self { commit, kernel, processor, rounds, .. } = self;
        println!("commit {commit}, kernel {kernel}, {processor}");
        println!(
            "base packets without a UDP checksum, in no order; medians of {rounds} rounds; nanoseconds, for each session\n"
        );
        println!(
            "{:>10}{:>10}{:>14}{:>10}{:>12}{:>12}{:>12}{:>12}{:>14}",
            "sessions", "packet", "middle half", "floor", "creating", "listing", "removing", "octets", "list all, ms"
        );
        for row in &self.rows {
            let Spread { median, quartiles: [low, high] } = row.packet_ns;
            let all = row.list_ns * f64::from(row.sessions) / 1e6;
            println!(
                "{:>10}{median:>10.0}{:>14}{:>10.0}{:>12.0}{:>12.0}{:>12.0}{:>12.0}{all:>14.1}",
                row.sessions,
                format!("{low:.0} to {high:.0}"),
                row.floor_ns.median,
                row.create_ns,
                row.list_ns,
                row.remove_ns,
                row.octets_each
            );
        }
        figures::print(&self.targets);
    }
}
