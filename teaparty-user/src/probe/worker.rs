//! Targets that are measured alike: a thread with the sender's engine, which is begun again whenever it can't go on.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::target::MeasurementProfile;
use super::target_state::Watched;
use crate::sender::engine::event::{SenderEvent, Subscription};
use crate::sender::engine::run::run_for_ever;
use crate::sender::engine::sender_engine::TargetChange;
use crate::sender::engine::stop::Stop;
use crate::sender::target::Target;
use crate::sys::clock::{ClockSource, SystemClock};

/// Counts are taken over, and the interface is looked at, so often.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before sockets are opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// Time after which the sockets are opened again if every packet was refused: the network may be another one.
const STUCK_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that it grows to.
const MAX_STUCK_TIMEOUT: Duration = Duration::from_secs(160);

enum WorkerCommand {
    Add(Arc<Watched>, SocketAddr),
    Remove(u64),
}

/// A thread that measures targets of one profile and one address family.
pub(crate) struct ProbeWorker {
    /// The measurement.
    pub profile: Arc<MeasurementProfile>,
    /// True if its targets have IPv6 addresses.
    pub is_v6: bool,
    /// Targets that it has.
    pub count: usize,
    commands: Sender<WorkerCommand>,
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl ProbeWorker {
    /// Starts the thread.
    pub(crate) fn start(profile: Arc<MeasurementProfile>, is_v6: bool) -> anyhow::Result<Self> {
        let (commands, receiver) = channel();
        let stop = Arc::new(Stop::new().context("cannot make a bell to stop by")?);
        let member = ProbeWorkerThread {
            profile: profile.clone(),
            is_v6,
            commands: receiver,
            stop: stop.clone(),
            roster: RefCell::default(),
            patience: STUCK_TIMEOUT,
        };
        let thread = std::thread::Builder::new().name("probe".into()).spawn(move || member.run());
        Ok(Self { profile, is_v6, count: 0, commands, stop, thread: thread.context("cannot start a thread")? })
    }

    /// Measures one more target.
    pub(crate) fn add(&mut self, watched: Arc<Watched>, address: SocketAddr) {
        self.count += 1;
        // The thread ends only on request, so it is there to hear.
        let _ = self.commands.send(WorkerCommand::Add(watched, address));
    }

    /// Measures one less.
    pub(crate) fn remove(&mut self, id: u64) {
        self.count -= 1;
        let _ = self.commands.send(WorkerCommand::Remove(id));
    }

    /// Ends, without waiting for replies.
    pub(crate) fn end(self) {
        self.stop.request();
        self.stop.request();
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("a thread of the probe has failed; this is a bug in teaparty");
        }
    }
}

/// The targets, and their places in the engine.
#[derive(Default)]
struct WorkerTargets {
    members: BTreeMap<u64, (Arc<Watched>, SocketAddr)>,
    /// By place; the last one that was there.
    places: Vec<Arc<Watched>>,
    place_of: HashMap<u64, usize>,
    free: Vec<usize>,
    waiting: Vec<u64>,
}

impl WorkerTargets {
    /// Before the engine begins: it knows none of them yet.
    fn restart(&mut self) {
        self.places.clear();
        self.place_of.clear();
        self.free.clear();
        self.waiting = self.members.keys().copied().collect();
    }

    /// The next that waits to be measured.
    fn next(&mut self) -> Option<TargetChange> {
        loop {
            let id = self.waiting.pop()?;
            // It may have been removed in the meantime, or have come back before its turn.
            let Some((watched, address)) = self.members.get(&id) else { continue };
            if self.place_of.contains_key(&id) {
                continue;
            }
            watched.begin();
            let place = match self.free.pop() {
                Some(place) => {
                    self.places[place] = watched.clone();
                    place
                }
                None => {
                    self.places.push(watched.clone());
                    self.places.len() - 1
                }
            };
            self.place_of.insert(id, place);
            return Some(TargetChange::Add { place, address: *address, ssid: watched.ssid });
        }
    }

    fn add(&mut self, watched: Arc<Watched>, address: SocketAddr) {
        self.waiting.push(watched.id);
        self.members.insert(watched.id, (watched, address));
    }

    fn remove(&mut self, id: u64) -> Option<TargetChange> {
        let (watched, _) = self.members.remove(&id)?;
        watched.pause(None);
        let place = self.place_of.remove(&id)?;
        self.free.push(place);
        Some(TargetChange::Remove { place })
    }

    fn apply(&mut self, command: WorkerCommand) -> Option<TargetChange> {
        match command {
            WorkerCommand::Add(watched, address) => {
                self.add(watched, address);
                None
            }
            WorkerCommand::Remove(id) => self.remove(id),
        }
    }
}

/// The thread.
struct ProbeWorkerThread {
    profile: Arc<MeasurementProfile>,
    is_v6: bool,
    commands: Receiver<WorkerCommand>,
    stop: Arc<Stop>,
    roster: RefCell<WorkerTargets>,
    patience: Duration,
}

impl ProbeWorkerThread {
    fn run(mut self) {
        let mut reported = String::new();
        while !self.stop.is_requested() {
            let began = Instant::now();
            let Err(error) = self.measure() else { continue };
            let problem = crate::exit_code::causes(error.as_ref());
            if reported != problem {
                tracing::warn!(error = problem, "measuring goes on as soon as it can");
                reported = problem.clone();
            }
            for (watched, _) in self.roster.borrow().members.values() {
                watched.pause(Some(&problem));
            }
            if began.elapsed() < PAUSE && !self.pause() {
                return;
            }
            if began.elapsed() > MAX_STUCK_TIMEOUT * 2 {
                self.patience = STUCK_TIMEOUT;
                reported.clear();
            }
        }
    }

    /// Waits, hearing who comes and goes; `false` when there is nobody left to say so.
    fn pause(&self) -> bool {
        let until = Instant::now() + PAUSE;
        loop {
            match self.commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(command) => drop(self.roster.borrow_mut().apply(command)),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Measures until told to stop, or until something keeps it from that.
    fn measure(&mut self) -> anyhow::Result<()> {
        let unspecified =
            if self.is_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let family = Target { name: String::new(), address: SocketAddr::new(unspecified, 0) };
        let config = self.profile.config(vec![family])?;
        let interface = config.interface.as_deref().map(|name| Ok::<_, anyhow::Error>((name, index_of(name)?)));
        let interface = interface.transpose()?;
        self.roster.borrow_mut().restart();
        let subscription = Subscription { records: true, counters: Some(LOOK), ..Subscription::default() };
        let health = RefCell::new(Health::new(self.patience));
        let mut looked = Instant::now();
        let mut changes = || {
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                health.borrow_mut().check()?;
                if let Some((name, index)) = interface
                    && index_of(name)? != index
                {
                    anyhow::bail!("interface {name} was made again");
                }
            }
            let mut roster = self.roster.borrow_mut();
            loop {
                match self.commands.try_recv() {
                    Ok(command) => match roster.apply(command) {
                        Some(change) => return Ok(Some(change)),
                        None => continue,
                    },
                    // Told to stop as well.
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(roster.next()),
                }
            }
        };
        let mut sink = |event| match event {
            SenderEvent::Record(record) => {
                let roster = self.roster.borrow();
                if let Some(watched) = roster.places.get(record.target) {
                    watched.record(&record, SystemClock.realtime_ns());
                }
            }
            SenderEvent::Counters { target, counters } => {
                let roster = self.roster.borrow();
                if let Some(watched) = roster.places.get(target) {
                    watched.count(*counters, SystemClock.realtime_ns());
                    health.borrow_mut().add(counters.send_errors, counters.counts.received);
                }
            }
            SenderEvent::Notice { target, text } => {
                let roster = self.roster.borrow();
                match target.and_then(|target| roster.places.get(target)) {
                    Some(watched) => tracing::info!(target = watched.target.name, "{text}"),
                    None => tracing::warn!("{text}"),
                }
            }
            SenderEvent::Snapshot(_) => {}
        };
        let result = run_for_ever(&config, &SystemClock, &self.stop, subscription, &mut changes, &mut sink);
        let is_stuck = health.borrow().is_stuck;
        if is_stuck {
            self.patience = (self.patience * 2).min(MAX_STUCK_TIMEOUT);
        }
        result
    }
}

fn index_of(interface: &str) -> anyhow::Result<u32> {
    nix::net::if_::if_nametoindex(interface).with_context(|| format!("there is no interface {interface}"))
}

/// The success of sending.
struct Health {
    patience: Duration,
    errors: u64,
    received: u64,
    sum: (u64, u64),
    stuck_since: Option<Instant>,
    is_stuck: bool,
}

impl Health {
    fn new(patience: Duration) -> Self {
        Self { patience, errors: 0, received: 0, sum: (0, 0), stuck_since: None, is_stuck: false }
    }

    /// Takes in the counts of one session.
    fn add(&mut self, errors: u64, received: u64) {
        self.sum.0 += errors;
        self.sum.1 += received;
    }

    /// Judges the counts of all sessions since the last look.
    fn check(&mut self) -> anyhow::Result<()> {
        let (errors, received) = std::mem::take(&mut self.sum);
        if received > self.received {
            self.stuck_since = None;
        } else if errors > self.errors {
            self.stuck_since.get_or_insert_with(Instant::now);
        }
        (self.errors, self.received) = (errors, received);
        if self.stuck_since.is_some_and(|since| since.elapsed() >= self.patience) {
            self.is_stuck = true;
            anyhow::bail!("the system sends no packet; sockets are opened again");
        }
        Ok(())
    }
}
