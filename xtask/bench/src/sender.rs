//! `cargo xtask bench sender`: how fast and how evenly the sender sends, beside other programs, in one run.
//!
//! Two namespaces and a veth pair. Our reflector answers by XDP in one, so that whatever is lost or late is the sender's;
//! irtt, which has a protocol of its own, has its own server there. The highest rate is by the interface's count of packets;
//! when they left is read from a tap on it, the same for all. Every program is restarted for each measurement, in
//! interleaved rounds.

mod counter;
mod floor;
mod programs;
mod report;
mod tap;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::build_ebpf::{self, Warnings};
use xtask::program::{self, Profile};
use xtask::tools;

use self::programs::{Programs, Run, Subject};
use self::report::{Floor, Memory, Pacing, Report, Round, Scale};
use self::tap::Tap;
use super::net::{End, NEAR_V4, Net};
use super::options::{Machine, Options};
use crate::objects;

const ROUNDS: u32 = 3;
/// Rates that pacing is measured at.
const PACED: [f64; 3] = [1_000.0, 10_000.0, 100_000.0];
/// The search for the highest rate begins here, and goes up in steps of this.
const LOWEST_PPS: f64 = 5_000.0;
const STEP: f64 = 1.6;
/// It ends when the rate is known this well.
const RESOLUTION: f64 = 1.06;
/// A rate counts as reached if so much of it is.
const REACHED: f64 = 0.97;
/// End of the search: more than one process can send.
const HIGHEST_PPS: f64 = 2_000_000.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Packets of the measurement of memory: an hour at 1000 packets per second
    #[arg(long, default_value_t = 3_600_000)]
    samples: u64,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let build = || {
        build_ebpf::build(Warnings::Shown)?;
        Ok([
            program::teaparty(Profile::Release)?,
            tools::provide_stamp_suite()?,
            tools::provide_irtt()?,
            objects::traffic_gen()?,
        ])
    };
    let Some([teaparty, stamp_suite, irtt, object]) = args.options.built(build)? else { return Ok(()) };
    let machine = Machine::this()?;
    let [_, reflect_on] = super::processors()?;
    let net = Net::new()?;
    net.join_received(End::Far)?;
    let _pass = net.attach_pass(End::Far, &object)?;
    let programs = Programs { teaparty, stamp_suite, irtt };
    let _servers = programs.serve(&net, reflect_on)?;
    let bench = Bench { programs, net: &net, seconds: args.seconds };
    bench.wait_until_answered()?;
    let subjects: Vec<Subject> =
        Subject::ALL.into_iter().filter(|subject| args.options.wants(subject.name())).collect();
    let all = args.options.rounds_or(ROUNDS);
    let mut rounds: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
    let mut floor = Vec::new();
    for round in 1..=all {
        for (subject, rounds) in subjects.iter().zip(&mut rounds) {
            eprint!("\rround {round} of {all}: {:<32}", subject.name());
            rounds.push(bench.round(*subject).with_context(|| subject.name())?);
        }
        eprint!("\rround {round} of {all}: {:<32}", "floors");
        floor.push(bench.floor()?);
    }
    let scale = if subjects.len() == Subject::ALL.len() {
        eprint!("\rmemory and a thousand targets{:<32}", "");
        Some(Scale { memory: bench.memory(args.samples)?, processors: bench.thousand_targets()? })
    } else {
        None
    };
    eprintln!();
    args.options.finish("sender", &Report::new(machine, &subjects, &rounds, &floor, scale))
}

struct Bench<'a> {
    programs: Programs,
    net: &'a Net,
    seconds: f64,
}

impl Bench<'_> {
    fn wait_until_answered(&self) -> Result<()> {
        for _ in 0..50 {
            let run = self.programs.run(self.net, Subject::Teaparty, 100.0, 5)?;
            if run.sent == 5 && run.lost == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("the reflector does not answer within some seconds")
    }

    fn round(&self, subject: Subject) -> Result<Round> {
        let highest_pps = self.highest(subject)?;
        let run = self.programs.run(self.net, subject, highest_pps, self.count(highest_pps))?;
        let pacing = PACED.iter().map(|rate| self.pacing(subject, *rate)).collect::<Result<_>>()?;
        Ok(Round { highest_pps, seconds_per_million: run.processor.as_secs_f64() * 1e6 / run.sent as f64, pacing })
    }

    fn count(&self, rate_pps: f64) -> u64 {
        ((rate_pps * self.seconds) as u64).clamp(2, Tap::FRAMES as u64)
    }

    /// The highest rate at which nothing is lost and which is reached: up in steps, then between the last two.
    fn highest(&self, subject: Subject) -> Result<f64> {
        let mut reached = 0.0;
        let mut missed = LOWEST_PPS;
        while missed < HIGHEST_PPS && self.is_reached(subject, missed)? {
            reached = missed;
            missed *= STEP;
        }
        if reached == 0.0 {
            // Then at rates that people use.
            reached = 100.0;
        }
        while missed / reached > RESOLUTION {
            let between = (reached * missed).sqrt();
            if self.is_reached(subject, between)? {
                reached = between;
            } else {
                missed = between;
            }
        }
        Ok(reached)
    }

    /// Tried twice, because others use this machine too.
    fn is_reached(&self, subject: Subject, rate_pps: f64) -> Result<bool> {
        for _ in 0..2 {
            // Without the tap, which costs too.
            let (run, count) =
                counter::count(self.net, || self.programs.run(self.net, subject, rate_pps, self.count(rate_pps)))?;
            if run.lost == 0 && count.packets >= run.sent && count.rate_pps >= rate_pps * REACHED {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn watched(&self, subject: Subject, rate_pps: f64, count: u64) -> Result<(Run, Vec<u64>)> {
        let tap = Tap::open(self.net, subject.port())?;
        let run = self.programs.run(self.net, subject, rate_pps, count)?;
        Ok((run, tap.departures()))
    }

    /// Returns the distances of packets from an even schedule of this rate that none of them was ahead of.
    fn pacing(&self, subject: Subject, rate_pps: f64) -> Result<Pacing> {
        let (_, departures) = self.watched(subject, rate_pps, self.count(rate_pps))?;
        if departures.len() < 2 {
            bail!("it sent {} packets at {rate_pps} packets/s", departures.len());
        }
        Ok(Pacing::new(rate_pps, rate(&departures), &departures))
    }

    /// Returns the limit for any program.
    fn floor(&self) -> Result<Floor> {
        let time = Duration::from_secs_f64(self.seconds);
        Ok(Floor {
            pps: floor::replies_pps(self.net, false, time)?,
            trains_pps: floor::replies_pps(self.net, true, time)?,
            pacing: PACED
                .iter()
                .map(|rate| floor::pacing(self.net, *rate, self.count(*rate)))
                .collect::<Result<_>>()?,
        })
    }

    /// Returns its memory after a tenth of the packets and after all of them.
    fn memory(&self, samples: u64) -> Result<Memory> {
        let rate_pps = 100_000.0;
        let running = self.programs.start_for_memory(self.net, rate_pps, samples)?;
        let start = Instant::now();
        let (mut early, mut late) = (0, 0);
        while let Some(resident) = running.resident_kib() {
            let sent = running.sent(self.net)?;
            if sent >= samples / 10 && early == 0 {
                early = resident;
            }
            late = resident;
            if start.elapsed() > Duration::from_secs(600) {
                bail!("{samples} packets take longer than ten minutes");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if early == 0 {
            bail!("the sender ended before a tenth of {samples} packets");
        }
        Ok(Memory { samples, early_kib: early, late_kib: late })
    }

    /// Processors that a thousand targets at ten packets a second each take.
    fn thousand_targets(&self) -> Result<f64> {
        let file = std::env::temp_dir().join(format!("teaparty-bench-targets-{}", std::process::id()));
        std::fs::write(&file, format!("{NEAR_V4}\n").repeat(1_000))?;
        let seconds = 5.0;
        let run = self.programs.run_targets(self.net, &file, 10.0, seconds);
        let _ = std::fs::remove_file(&file);
        let run = run?;
        if run.lost > 0 || run.sent < (seconds * 9_900.0) as u64 {
            bail!("of a thousand targets' {} packets {} were lost", run.sent, run.lost);
        }
        Ok(run.processor.as_secs_f64() / seconds)
    }
}

/// Packets per second between the first and the last.
fn rate(departures: &[u64]) -> f64 {
    match departures {
        [first, .., last] if last > first => (departures.len() - 1) as f64 * 1e9 / (last - first) as f64,
        _ => 0.0,
    }
}
