//! A measurement from its first packet to its last reply, and one without an end for a probe.

use anyhow::Context;

use super::event::{SenderEvent, Subscription};
use super::sender_engine::{SenderEngine, TargetChange, spins};
use super::stop::Stop;
use crate::net::poll::{set_realtime, set_short_time_slice};
use crate::sender::config::SenderConfig;
use crate::sender::session::measurement::FinishedMeasurement;
use crate::sys::clock::ClockSource;

/// Runs a measurement to its end.
///
/// `sink` gets the events that `subscription` asks for, in order, on this thread: what it takes its time for, delays packets.
pub fn run(
    config: &SenderConfig,
    clock: &impl ClockSource,
    stop: &Stop,
    subscription: Subscription,
    sink: &mut dyn FnMut(SenderEvent),
) -> anyhow::Result<FinishedMeasurement> {
    place_thread(config, config.targets.len())?;
    let mut engine = SenderEngine::open(config, clock, subscription)?;
    // Once, as it is one option that helps.
    let _ = config.targets.iter().any(|target| engine.warn_of_loop(target.address, None, sink));
    let started_ns = clock.realtime_ns();
    let start = clock.monotonic_ns();
    engine.begin()?;
    while !engine.is_over(stop) {
        engine.step(stop, sink)?;
    }
    engine.finish(stop, sink)?;
    Ok(engine.into_finished(started_ns, clock.monotonic_ns() - start))
}

/// The error where the scheduler refuses.
const NOT_REALTIME: &str =
    "cannot go before other programs; --realtime takes root, CAP_SYS_NICE or a limit from `ulimit -r`";

/// Asks the scheduler for what a schedule needs of it.
fn place_thread(config: &SenderConfig, sessions: usize) -> anyhow::Result<()> {
    if config.is_realtime {
        return set_realtime().context(NOT_REALTIME);
    }
    if spins(config, sessions)
        && let Err(error) = set_short_time_slice()
    {
        tracing::debug!(%error, "no short turns of the processor");
    }
    Ok(())
}

/// Measures forever, until `stop` is requested: `changes` updates the targets while it runs. The configuration's
/// targets only say of which address families sockets are needed.
///
/// `changes` is asked at each turn, at least once a second, until it has none; its error is the
/// result. What is awaited at the end is no loss.
pub fn run_for_ever(
    config: &SenderConfig,
    clock: &impl ClockSource,
    stop: &Stop,
    subscription: Subscription,
    changes: &mut dyn FnMut() -> anyhow::Result<Option<TargetChange>>,
    sink: &mut dyn FnMut(SenderEvent),
) -> anyhow::Result<()> {
    if config.is_realtime {
        place_thread(config, 0)?;
    }
    let mut engine = SenderEngine::open(config, clock, subscription)?.endless();
    let mut turn = |engine: &mut SenderEngine<'_, _>| {
        while let Some(change) = changes()? {
            engine.change(change, sink)?;
        }
        engine.step(stop, sink)
    };
    let mut result = Ok(());
    while result.is_ok() && !stop.is_requested() {
        result = turn(&mut engine);
    }
    engine.emit_counters(sink);
    result
}
