//! `cargo xtask bench slow-path`: what the controller answers, beside another implementation and floors, in one run.
//!
//! Two namespaces and a veth pair. The load and the kernel's part of receiving are on one processor, the reflector and
//! the kernel's part of its sending on another. Every subject is restarted in each round; the medians count.

pub(super) mod echo;
pub(super) mod load;
pub(super) mod packets;
mod report;
pub(super) mod subjects;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::build_ebpf::{self, Warnings};
use xtask::program::{self, Profile};
use xtask::tools;

use self::echo::Floor;
use self::load::{Load, Note, Sample, processor_time};
use self::report::{Percentiles, Quality, Report, Round};
use self::subjects::{Programs, Subject};
use super::net::{End, Net, Priority};
use super::options::{Machine, Options};
use super::processors;
use crate::objects;

const ROUNDS: u32 = 5;
/// Time for a flood to fill all queues.
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Packets per second of the flood: more than any of the subjects answers
    #[arg(long, default_value_t = 1_000_000.0)]
    offered: f64,
    /// Be one of the floors
    #[arg(long, hide = true)]
    floor: Option<Floor>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    if let Some(floor) = args.floor {
        return echo::run(floor);
    }
    let build = || {
        build_ebpf::build(Warnings::Shown)?;
        Ok([program::teaparty(Profile::Release)?, tools::provide_stamp_suite()?, objects::traffic_gen()?])
    };
    let Some([teaparty, stamp_suite, object]) = args.options.built(build)? else { return Ok(()) };
    let [load_on, reflect_on] = processors()?;
    let machine = Machine::this()?;
    let net = Net::new()?;
    let _priority = Priority::raise();
    let folder = std::env::temp_dir().join(format!("teaparty-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let measured = (|| {
        let bench = Bench {
            programs: Programs { teaparty, stamp_suite },
            net: &net,
            object,
            folder: folder.clone(),
            processor: reflect_on,
            time: Duration::from_secs_f64(args.seconds),
            offered_pps: args.offered,
        };
        let mut load = Load::new(&net, &bench.object, load_on)?;
        bench.measure(&mut load, args)
    })();
    let _ = std::fs::remove_dir_all(&folder);
    let (names, rounds) = measured?;
    args.options.finish("slow-path", &Report::new(machine, &names, &rounds, args.offered))
}

struct Bench<'a> {
    programs: Programs,
    net: &'a Net,
    object: PathBuf,
    folder: PathBuf,
    processor: usize,
    time: Duration,
    offered_pps: f64,
}

impl Bench<'_> {
    /// All subjects in each round, so that a disturbance hits all of them.
    fn measure(&self, load: &mut Load<'_>, args: &Args) -> Result<(Vec<&'static str>, Vec<Vec<Round>>)> {
        let mut subjects = subjects::all();
        subjects.retain(|subject| args.options.wants(subject.name));
        let all = args.options.rounds_or(ROUNDS);
        let mut rounds: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
        for round in 1..=all {
            for (subject, rounds) in subjects.iter().zip(&mut rounds) {
                eprint!("\rround {round} of {all}: {:<32}", subject.name);
                rounds.push(self.round(load, subject).with_context(|| subject.name)?);
            }
        }
        eprintln!();
        Ok((subjects.iter().map(|subject| subject.name).collect(), rounds))
    }

    fn round(&self, load: &mut Load<'_>, subject: &Subject) -> Result<Round> {
        let _pass = if subject.has_program() { None } else { Some(self.net.attach_pass(End::Near, &self.object)?) };
        let running = subject.start(&self.programs, self.net, self.processor, &self.folder)?;
        load.prepare(subject.kind)?;
        load.wait_until_answered()?;
        let (used, replies_pps) = load.send(self.offered_pps, WARM_UP, Note::Nothing, || {
            let before = processor_time(running.pid())?;
            std::thread::sleep(self.time);
            Ok(processor_time(running.pid())? - before)
        })?;
        let mut round = Round { replies_pps, ..Round::default() };
        round.seconds_per_million = used.as_secs_f64() / (replies_pps * self.time.as_secs_f64() / 1e6);
        // What is left in the queues.
        std::thread::sleep(WARM_UP);
        let note = if subject.is_reflector() { Note::Times } else { Note::Echo };
        round.calm = Some(quality(load.observe(1_000.0, self.time, note)?)?);
        round.busy = Some(quality(load.observe(replies_pps * 0.8, self.time, note)?)?);
        std::thread::sleep(WARM_UP);
        let (before, start) = (processor_time(running.pid())?, Instant::now());
        std::thread::sleep(self.time);
        round.idle = (processor_time(running.pid())? - before).as_secs_f64() / start.elapsed().as_secs_f64();
        Ok(round)
    }
}

fn quality((samples, sent, sent_pps): (Vec<Sample>, u64, f64)) -> Result<Quality> {
    ensure!(!samples.is_empty(), "none of {sent} packets was answered");
    let stated: Option<Vec<[i64; 2]>> = samples
        .iter()
        .map(|sample| sample.residence.map(|residence| [residence, sample.round_trip - residence]))
        .collect();
    let stated = stated.map(|all| [0, 1].map(|index| percentiles(all.iter().map(|two| two[index]).collect())));
    Ok(Quality {
        sent_pps,
        stated,
        round_trip: percentiles(samples.iter().map(|sample| sample.round_trip).collect()),
        loss: 1.0 - samples.len() as f64 / sent as f64,
    })
}

/// Of nanoseconds, in microseconds.
fn percentiles(mut values: Vec<i64>) -> Percentiles<f64> {
    values.sort_unstable();
    let at = |part: f64| values[((values.len() - 1) as f64 * part) as usize] as f64 / 1_000.0;
    Percentiles { p50: at(0.5), p99: at(0.99), p99_9: at(0.999) }
}
