//! The loop that moves packets: sends what is due, takes in what came, gives up what did not, sleeps until the next.
//!
//! One thread without locks; for fast schedules, one more that only receives replies (`rx_thread.rs`). All decisions are in
//! [`crate::sender::session`]. The loop sleeps with a timer that expires on time. Where that is worth it, it polls just before
//! a deadline, because waking up takes longer than a good schedule allows.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;

use super::deadline_queue::DeadlineQueue;
use super::event::{SenderEvent, Subscription};
use super::rx_thread::BATCH;
use super::stop::Stop;
use super::udp_port::{self, Port};
use crate::net::batch::ReceiveBatch;
use crate::net::poll::{Timer, wait};
use crate::net::ptp_clock::HardwareClock;
use crate::sender::config::SenderConfig;
use crate::sender::session::matcher::ResolvedPacket;
use crate::sender::session::measurement::FinishedMeasurement;
use crate::sender::session::random::Random;
use crate::sender::session::record::Ignored;
use crate::sender::session::sender_session::SenderSession;
use crate::sender::session::timeline::Timeline;
use crate::sys::clock::{ClockSource, ClockState, StepDetector};

mod clock_watch;
mod rx;
mod targets;

pub(crate) use targets::TargetChange;

/// Octets of what the error queue quotes of a packet, which nobody reads.
const QUOTED: usize = 256;
/// Packets handed to the kernel together: T1 of the last is as old as it takes to send the others. In GSO batches they leave
/// together.
const SEND_BATCH: usize = 8;
const SEND_BATCH_IN_TRAINS: usize = 64;
/// Before a deadline, so much is spent polling instead of sleeping: waking up takes some 30 µs. Twice as much takes twice the
/// processor. Neither helps where others want the processor too, which takes `set_realtime`.
const SPIN_NS: u64 = 40_000;
/// For up to this many packets a second polling takes no more than a twelfth of a processor, for any number of
/// sessions.
const SPIN_PPS: f64 = 2_000.0;
/// Packets are given up so long after their time was over: the kernel may have stamped a reply and not yet handed it over.
const HANDOVER_NS: u64 = 10_000_000;
/// Packets are looked through for those to be given up no more often than this, and so much longer for each session.
const EXPIRY_CHECK_NS: u64 = 500_000;
const EXPIRY_CHECK_FOR_EACH_NS: u64 = 5_000;
/// Schedules with intervals of this and less are fast: they poll at any number of sessions.
const FAST_PS: u64 = 1_000_000_000;
/// The first packet is due so long after the start, and so much longer for each target: until then sessions are made and
/// the kernel has switched timestamps on. Otherwise the first packets of a fast schedule would be late.
const LEAD_NS: u64 = 5_000_000;
const LEAD_FOR_EACH_NS: u64 = 20_000;
/// The clock's state is read again at this interval.
const CLOCK_CHECK_NS: u64 = 1_000_000_000;

/// Returns true if deadlines are worth polling for.
pub(super) fn spins(config: &SenderConfig, sessions: usize) -> bool {
    config.plan.interval_ps <= FAST_PS || config.plan.packets_per_second(sessions) <= SPIN_PPS
}

/// A measurement that is running.
pub(super) struct SenderEngine<'a, C> {
    config: &'a SenderConfig,
    clock: &'a C,
    subscription: Subscription,
    sessions: Vec<SenderSession>,
    /// Sessions by SSID.
    by_ssid: Vec<u32>,
    ports: Vec<Port>,
    queue: DeadlineQueue,
    reports: ReceiveBatch,
    random: Random,
    timer: Timer,
    /// The network card's clock, where it was asked for and is available.
    hardware: Option<HardwareClock>,
    clock_state: ClockState,
    step_detector: StepDetector,
    timeline: Timeline,
    clock_checked: u64,
    steps: Vec<i64>,
    foreign: Ignored,
    published: u64,
    /// Packets that were skipped, and whether that was told.
    skipped: u64,
    is_skipping_reported: bool,
    /// True if it goes on without anything to do.
    is_endless: bool,
    /// Time of the last report of counters.
    counters_published: u64,
    /// No packet is given up before this.
    next_expiry: u64,
}

const NO_SESSION: u32 = u32::MAX;

impl<'a, C: ClockSource> SenderEngine<'a, C> {
    pub(super) fn open(config: &'a SenderConfig, clock: &'a C, subscription: Subscription) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            clock,
            subscription,
            sessions: Vec::new(),
            by_ssid: vec![NO_SESSION; 1 << 16],
            ports: udp_port::open_all(config).context("cannot open the sender's socket")?,
            queue: DeadlineQueue::default(),
            reports: ReceiveBatch::new(BATCH, QUOTED),
            random: config.seed.map_or_else(Random::from_entropy, Random::new),
            timer: Timer::new().context("cannot make a timer")?,
            hardware: clock_watch::hardware_clock(config),
            clock_state: clock.state(),
            step_detector: StepDetector::new(clock),
            timeline: Timeline::new(clock.realtime_ns().wrapping_sub(clock.monotonic_ns()) as i64),
            clock_checked: clock.monotonic_ns(),
            steps: Vec::new(),
            foreign: Ignored::default(),
            published: 0,
            skipped: 0,
            is_skipping_reported: false,
            is_endless: false,
            counters_published: 0,
            next_expiry: 0,
        })
    }

    /// Does once what there is to do, and sleeps until there is more.
    pub(super) fn step(&mut self, stop: &Stop, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<()> {
        if stop.is_requested() {
            self.sessions.iter_mut().for_each(SenderSession::stop_sending);
        }
        let now = self.clock.monotonic_ns();
        self.check_clock(now, sink);
        self.send_due(now)?;
        self.report_skipping(sink);
        self.read_replies(now, sink)?;
        self.expire(sink)?;
        self.publish(now, sink);
        self.publish_counters(now, sink);
        self.sleep(stop)
    }

    /// Makes the sessions. Their starts are spread over one interval, so that a thousand targets make no burst.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        let count = self.config.targets.len() as u64;
        let interval_ns = (self.config.plan.interval_ps / 1_000).min(1_000_000_000);
        for place in 0..self.config.targets.len() {
            let ssid = self.free_ssid(place);
            let session = SenderSession::new(self.config, place, ssid, 0, self.random.bits())?;
            if ssid != 0 {
                self.by_ssid[usize::from(ssid)] = place as u32;
            }
            self.sessions.push(session);
        }
        // Not before: the memory of fast sessions takes longer to allocate than their schedules wait.
        let start = self.clock.monotonic_ns() + LEAD_NS + LEAD_FOR_EACH_NS * count;
        for (place, session) in self.sessions.iter_mut().enumerate() {
            session.start_at(start + interval_ns * place as u64 / count);
            self.queue.push(session.due_ns(), place);
        }
        Ok(())
    }

    /// RFC 8972 §3: not zero, and no two sessions share one.
    fn free_ssid(&mut self, place: usize) -> u16 {
        if self.config.ssid == Some(0) {
            return 0;
        }
        let mut ssid = match self.config.ssid {
            Some(first) => first.wrapping_add(place as u16),
            None => self.random.bits() as u16,
        };
        // The configuration has made sure that there are fewer targets than numbers.
        while ssid == 0 || self.by_ssid[usize::from(ssid)] != NO_SESSION {
            ssid = ssid.wrapping_add(1);
        }
        ssid
    }

    fn send_due(&mut self, now: u64) -> anyhow::Result<()> {
        let mut budget = if self.config.has_trains { SEND_BATCH_IN_TRAINS } else { SEND_BATCH };
        while budget > 0
            && let Some(place) = self.queue.pop_due(now)
        {
            let session = &mut self.sessions[place];
            self.skipped += session.skip_missed(now);
            // The entry may be stale: the session's pace changed, or it was stopped.
            while budget > 0 && session.due_ns().is_some_and(|due| due <= now) {
                let port = udp_port::for_address(&mut self.ports, session.address);
                port.enqueue(session, place, self.config, &mut self.random, now);
                budget -= 1;
            }
            self.queue.push(session.due_ns(), place);
        }
        for port in self.ports.iter_mut().filter(|port| !port.is_idle()) {
            port.send(&mut self.sessions, self.clock, &self.clock_state, self.config, self.timeline.epoch())?;
        }
        Ok(())
    }

    /// Returns true if there is nothing left to do. Of many sessions, only looked at when none has anything to send.
    pub(super) fn is_over(&self, stop: &Stop) -> bool {
        let is_cheap = self.sessions.len() <= 64 || self.queue.next_due().is_none() || stop.is_requested();
        stop.is_urgent() || is_cheap && self.sessions.iter().all(SenderSession::is_over)
    }

    /// Gives up packets whose time is over, once all that came before then has been taken in.
    fn expire(&mut self, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<()> {
        let now = self.clock.monotonic_ns();
        if now < self.next_expiry {
            return Ok(());
        }
        let until_ns = self.read_all(now, sink)?.saturating_sub(HANDOVER_NS);
        for (place, session) in self.sessions.iter_mut().enumerate() {
            while let Some(resolved) = session.matcher.expire(until_ns) {
                emit_record(session, place, resolved, self.subscription, sink);
            }
        }
        // Packets sent from now on are given up later than this, so it need not be looked for earlier.
        let timeout_ns = u64::try_from(self.config.timeout.as_nanos()).unwrap_or(u64::MAX);
        let expiries = self.sessions.iter().filter_map(|session| session.matcher.next_expiry());
        let next = expiries.min().unwrap_or_else(|| now.saturating_add(timeout_ns)).saturating_add(HANDOVER_NS + 1);
        // Nor more often: with a thousand targets there is always one.
        let pause_ns = EXPIRY_CHECK_NS + EXPIRY_CHECK_FOR_EACH_NS * self.sessions.len() as u64;
        self.next_expiry = next.max(now.saturating_add(pause_ns));
        Ok(())
    }

    fn publish(&mut self, now: u64, sink: &mut dyn FnMut(SenderEvent)) {
        let Some(interval) = self.subscription.snapshots else { return };
        if now.saturating_sub(self.published) >= interval.as_nanos() as u64 {
            self.published = now;
            sink(SenderEvent::Snapshot(self.sessions.iter().map(SenderSession::snapshot).collect()));
        }
    }

    /// Settles all packets: what nobody has waited for long enough is not lost.
    pub(super) fn finish(&mut self, stop: &Stop, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<()> {
        self.next_expiry = 0;
        self.expire(sink)?;
        for (place, session) in self.sessions.iter_mut().enumerate() {
            while let Some(resolved) = session.matcher.close() {
                emit_record(session, place, resolved, self.subscription, sink);
            }
        }
        self.report_rate(stop, sink);
        if self.subscription.snapshots.is_some() {
            sink(SenderEvent::Snapshot(self.sessions.iter().map(SenderSession::snapshot).collect()));
        }
        Ok(())
    }

    /// Makes it go on without anything to do: targets may come later.
    pub(super) fn endless(self) -> Self {
        Self { is_endless: true, ..self }
    }

    /// Returns the result of a measurement that is over, given its start (realtime) and how long it took.
    pub(super) fn into_finished(self, started_ns: u64, duration_ns: u64) -> FinishedMeasurement {
        FinishedMeasurement {
            sessions: self.sessions,
            foreign: self.foreign,
            started_ns,
            ended_ns: self.clock.realtime_ns(),
            duration_ns,
            clock: self.clock_state,
            clock_steps_ns: self.steps,
            queue_drops: self.ports.iter().map(|port| port.queue_drops).sum(),
        }
    }

    /// Waits for a datagram, a report, a request to stop, or the next thing to do.
    fn sleep(&mut self, stop: &Stop) -> anyhow::Result<()> {
        if !self.is_endless && self.is_over(stop) {
            return Ok(());
        }
        let mut next = self.queue.next_due();
        let now = self.clock.monotonic_ns();
        if next.is_some() && !self.is_endless && spins(self.config, self.sessions.len()) {
            next = next.map(|due| due.saturating_sub(SPIN_NS));
            if next.is_some_and(|due| due <= now) {
                return Ok(());
            }
        }
        // The clock is looked at even where packets are rare.
        let mut wake = next.unwrap_or(u64::MAX).min(self.next_expiry).min(now + CLOCK_CHECK_NS);
        if let Some(interval) = self.subscription.snapshots {
            wake = wake.min(self.published + interval.as_nanos() as u64);
        }
        if wake <= now {
            return Ok(());
        }
        self.timer.set(wake).context("cannot set the timer")?;
        // A socket that another thread reads is for that one to watch.
        let arrivals = self.ports.iter().map(|port| port.reader.wake_event().unwrap_or(&*port.socket));
        let mut fds: Vec<&dyn AsFd> = arrivals.collect();
        fds.push(&self.timer);
        fds.push(stop);
        if wait(&fds, Some(Duration::from_secs(2))).context("cannot wait for replies")? {
            stop.acknowledge();
            self.ports.iter().for_each(|port| port.reader.clear_wake());
        }
        Ok(())
    }
}

/// Tells what became of a packet.
fn emit_record(
    session: &SenderSession,
    place: usize,
    resolved: ResolvedPacket,
    subscription: Subscription,
    sink: &mut dyn FnMut(SenderEvent),
) {
    let outcome = session.outcome_of(resolved, subscription.records);
    if let Some(record) = outcome.loss {
        sink(SenderEvent::Record(record));
    }
    if let Some(text) = outcome.notice {
        sink(SenderEvent::Notice { target: Some(place), text });
    }
}
