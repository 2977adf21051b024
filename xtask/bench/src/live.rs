//! `cargo xtask bench live`: how many base packets a second are answered over a veth pair, and how true the timestamps stay.
//!
//! The generator, the veth pair, the XDP programs and the program that counts replies share one processor, so that they
//! take turns and nothing depends on who is faster; processes answer on another one. Where a program on the interface
//! answers, replies are counted per second that the generator's thread ran, because all is done in it. Every subject
//! is restarted in each round; the medians count.

mod report;
mod subjects;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xtask::build_ebpf::{self, Warnings};
use xtask::program::{self, Profile};
use xtask::tools;

use self::report::{Report, Round, Truth};
use self::subjects::{Programs, Subject};
use super::net::{Net, Priority};
use super::options::{Machine, Options};
use super::slow_path::load::{Load, Note, Sample, processor_time};
use crate::objects;

const ROUNDS: u32 = 5;
/// Time for a flood to fill all queues.
const WARM_UP: Duration = Duration::from_millis(200);
/// Packets a second at which timestamps are looked at: few, and many.
const CALM_PPS: f64 = 1_000.0;
const MANY_PPS: f64 = 1_000_000.0;
/// Parts of the saturated rate that are tried, until one is without loss.
const PARTS: [f64; 10] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3];
/// Attempts for each of them.
const TRIES: u32 = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let build = || {
        build_ebpf::build(Warnings::Shown)?;
        let (load, floors) = (objects::traffic_gen()?, objects::baseline()?);
        Ok([program::teaparty(Profile::Release)?, tools::provide_stamp_suite()?, load, floors])
    };
    let Some([teaparty, stamp_suite, load, floors]) = args.options.built(build)? else { return Ok(()) };
    let [load_on, reflect_on] = super::processors()?;
    let machine = Machine::this()?;
    let _priority = Priority::raise();
    let net = Net::new()?;
    let mut load_on = Load::new(&net, &load, load_on)?;
    let programs = Programs { teaparty, stamp_suite, load, floors, processor: reflect_on };
    let rounds = measure(&net, &mut load_on, &programs, args)?;
    args.options.finish("live", &Report::new(machine, &rounds))
}

/// All subjects in each round, so that a disturbance hits all of them.
fn measure(
    net: &Net,
    load: &mut Load<'_>,
    programs: &Programs,
    args: &Args,
) -> Result<Vec<(&'static Subject, Vec<Round>)>> {
    let wanted = |subject: &&Subject| args.options.wants(subject.name);
    let all = args.options.rounds_or(ROUNDS);
    let mut rounds: Vec<_> = subjects::ALL.iter().filter(wanted).map(|subject| (subject, Vec::new())).collect();
    for round in 1..=all {
        for (subject, rounds) in &mut rounds {
            eprint!("\rround {round} of {all}: {:<32}", subject.name);
            let time = Duration::from_secs_f64(args.seconds);
            rounds.push(one_round(net, load, programs, subject, time).with_context(|| subject.name)?);
        }
    }
    eprintln!();
    Ok(rounds)
}

fn one_round(net: &Net, load: &mut Load<'_>, programs: &Programs, subject: &Subject, time: Duration) -> Result<Round> {
    let running = subject.start(programs, net)?;
    load.prepare(subject.kind)?;
    load.wait_until_answered()?;
    let before = running.pid().map(processor_time).transpose()?;
    let flood = load.flood(f64::INFINITY, WARM_UP, time)?;
    let saturated_pps = if subject.is_in_kernel() { flood.replies_per_busy_second } else { flood.replies_pps };
    ensure!(saturated_pps > 0.0, "not one reply");
    // A process answers during the warm-up too, so that its time is for all its replies.
    let answered = (flood.sent - flood.lost) as f64;
    let used = running.pid().map(processor_time).transpose()?.zip(before).map(|(after, before)| after - before);
    let mut round = Round { saturated_pps, loss: flood.lost as f64 / flood.sent as f64, ..Round::default() };
    round.seconds_per_million = used.map(|used| used.as_secs_f64() / (answered / 1e6));
    round.loss_free_pps = loss_free(load, subject, saturated_pps, flood.lost == 0, time)?;
    if subject.has_timestamps {
        round.calm = Some(truth(load, CALM_PPS, time)?);
        round.busy = Some(truth(load, saturated_pps * 0.8, time)?);
        if subject.is_in_kernel() {
            round.many = Some(truth(load, MANY_PPS, time)?);
        }
    }
    if let Some(pid) = running.pid() {
        std::thread::sleep(WARM_UP);
        let (before, start) = (processor_time(pid)?, Instant::now());
        std::thread::sleep(time);
        round.idle = Some((processor_time(pid)? - before).as_secs_f64() / start.elapsed().as_secs_f64());
    }
    Ok(round)
}

/// The most that is answered without the loss of a packet; 0 where even the smallest part of the saturated rate is too much.
/// Every part is tried some times, because others use this machine too.
fn loss_free(load: &mut Load<'_>, subject: &Subject, saturated_pps: f64, is_free: bool, time: Duration) -> Result<f64> {
    if is_free {
        return Ok(saturated_pps);
    }
    for part in PARTS {
        // The whole is a flood, which need not look at the clock.
        let rate = if part == 1.0 { f64::INFINITY } else { saturated_pps * part };
        for _ in 0..TRIES {
            let flood = load.flood(rate, Duration::ZERO, time)?;
            if flood.lost == 0 {
                return Ok(if subject.is_in_kernel() { flood.replies_per_busy_second } else { flood.replies_pps });
            }
        }
    }
    Ok(0.0)
}

/// (T4 − T1) − (T3 − T2): on a path without delay, all of it is what the timestamps miss.
fn net_error(sample: &Sample) -> Option<i64> {
    Some(sample.round_trip - sample.residence?)
}

fn truth(load: &mut Load<'_>, rate_pps: f64, time: Duration) -> Result<Truth> {
    let (samples, sent, sent_pps) = load.observe(rate_pps, time, Note::Times)?;
    ensure!(!samples.is_empty(), "none of {sent} packets was answered");
    let percentiles = |mut values: Vec<i64>| {
        values.sort_unstable();
        [0.5, 0.99, 0.999].map(|part| values[((values.len() - 1) as f64 * part) as usize] as f64 / 1_000.0)
    };
    Ok(Truth {
        sent_pps,
        residence_us: percentiles(samples.iter().filter_map(|sample| sample.residence).collect()),
        net_error_us: percentiles(samples.iter().filter_map(net_error).collect()),
        loss: 1.0 - samples.len() as f64 / sent as f64,
    })
}
