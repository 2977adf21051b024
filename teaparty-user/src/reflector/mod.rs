//! The Session-Reflector: XDP program, engines, and the task that keeps them up to date.
//!
//! Reading order: [`config`], [`provisioned`] and [`snapshot`] are the configuration, from its text to one version in
//! force. [`session`] holds the controller's sessions, and [`kernel`] the program's side: loading, pins, maps.
//! [`pipeline`] is one packet's way through the controller, and [`engine`] where packets arrive and replies leave.
//! [`interface_reflector`] is all of it on one interface; [`handle`] and [`reload`] look at it and change it.
//!
//! Threads answer, one per engine and interface; the task here answers nothing. It is a loop over `ReflectorEvent`.

pub mod config;
pub mod engine;
pub mod handle;
pub mod interface_reflector;
pub mod kernel;
pub mod keys;
pub mod pipeline;
pub mod provisioned;
pub mod reload;
pub mod session;
pub mod snapshot;
pub mod summary;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use teaparty_common::maps::{Clock, SessionKey};
use teaparty_common::reflect::Address;
use teaparty_common::tlv::access_report::AccessReport;
use teaparty_common::tlv::measurement::{METHOD_SOFTWARE, SYNC_SOURCE_FREE_RUNNING, SYNC_SOURCE_NTP};
use teaparty_common::wire::TimestampFormat;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::config::ReflectorConfig;
use self::engine::context::Notice;
use self::handle::{Away, ReflectorHandle, ReflectorState, SessionSpec};
use self::interface_reflector::InterfaceReflector;
use self::kernel::clock_step::ClockStep;
use self::kernel::load_error::LoadError;
use self::kernel::maps::Maps;
use self::kernel::pins::folder::Folder;
use self::summary::Summary;
use crate::logging;
use crate::net::clock_watch::ClockWatch;
use crate::net::host::Host;
use crate::net::interface::{Interface, InterfaceError, Watcher};
use crate::net::socket::SocketError;
use crate::sync::locked;
use crate::sys::clock::{ClockSource as _, SystemClock, TaiOffset};
use crate::sys::{hardening, systemd};

/// Interval for checking clock and interfaces even if nobody announces a change.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval for checking that the XDP programs are still attached: the kernel announces nothing.
const PROGRAM_INTERVAL: Duration = Duration::from_millis(500);
/// Interval of the search for expired sessions, at most and at least.
const EXPIRY_INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Changes that wait for a slow listener, before it misses some.
const EVENTS: usize = 1024;

/// The reflector can't start or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ReflectorError {
    /// An interface.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// A port.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The XDP program.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The socket for frames out of an interface.
    #[error("cannot open a packet socket on {interface}: {source}; it takes root or CAP_NET_RAW, or --xdp-mode off")]
    Frames {
        /// The interface.
        interface: String,
        /// Why.
        source: io::Error,
    },
    /// The packet socket of the link engine.
    #[error(
        "cannot take frames from {interface}: {source}; --link-layer takes Ethernet frames and CAP_NET_RAW (or root)"
    )]
    LinkLayer {
        /// The interface.
        interface: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The system.
    #[error("the system refuses what the reflector needs: {0}")]
    System(#[from] io::Error),
    /// An engine has ended by itself.
    #[error("{0}")]
    Engine(String),
}

/// Everything that can happen to a running reflector.
enum ReflectorEvent {
    /// A second has passed.
    Clock,
    /// Somebody has set the clock.
    ClockSet,
    /// Links or addresses have changed.
    Interfaces,
    /// Time to look whether the programs are still attached.
    Programs,
    /// Time to look for sessions that are over.
    Expiry,
    /// An engine has something to tell.
    Notice(Notice),
    /// Somebody has asked for something.
    Command(ReflectorCommand),
}

/// A command for the reflector's task.
#[derive(Debug)]
pub(crate) enum ReflectorCommand {
    /// To end.
    Stop,
    /// To end and leave the programs answering, because another reflector of the process has failed.
    Leave,
}

/// A reflector that answers already; [`Reflector::run`] keeps it up to date until it is to end.
pub struct Reflector {
    state: Arc<Mutex<ReflectorState>>,
    sender: UnboundedSender<Notice>,
    notices: UnboundedReceiver<Notice>,
    commands: UnboundedReceiver<ReflectorCommand>,
    /// The folders held for interfaces that are away, by the names that they are awaited by.
    held: HashMap<String, Folder>,
    watcher: AsyncFd<Watcher>,
    clock_watch: AsyncFd<ClockWatch>,
    tai_offset: TaiOffset,
    interrupt: Signal,
    terminate: Signal,
    /// True if the programs go on answering at the end, whatever is configured.
    is_left: bool,
}

impl Reflector {
    /// Starts to answer on all interfaces, or on none. To be called within a tokio runtime.
    pub fn start(config: ReflectorConfig) -> Result<(Self, ReflectorHandle), ReflectorError> {
        Self::start_with(config, &[])
    }

    /// Starts with sessions that are provisioned from the first packet on; invalid ones are left out.
    pub fn start_with(
        config: ReflectorConfig,
        sessions: &[SessionSpec],
    ) -> Result<(Self, ReflectorHandle), ReflectorError> {
        let config = Arc::new(config);
        let provisioned = config::session_spec::provisioned(sessions);
        let (sender, notices) = unbounded_channel();
        let (commands_in, commands) = unbounded_channel();
        // SAFETY: a `Watcher` owns its descriptor and never replaces or closes it while it lives.
        let watcher = unsafe { AsyncFd::register_with_interest(Watcher::new()?, Interest::READABLE) };
        let watcher = watcher.map_err(io::Error::from)?;
        // SAFETY: a `ClockWatch` owns its descriptor and never replaces or closes it while it lives.
        let clock_watch = unsafe { AsyncFd::register_with_interest(ClockWatch::new()?, Interest::READABLE) };
        let clock_watch = clock_watch.map_err(io::Error::from)?;
        let tai_offset = TaiOffset::new(&SystemClock);
        // Before anything is attached: whoever ends us from now on has it taken away again.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        kernel::pins::claim::sweep();
        let mut slots: Vec<(String, Option<InterfaceReflector>)> = Vec::new();
        let host = Arc::new(Host::read().map_err(ReflectorError::System)?);
        tell_missing(&config, &host);
        for name in &config.interfaces {
            // Many interfaces take a while, and nobody waits for that who wants us to end.
            if interrupt.recv().now_or_never().or_else(|| terminate.recv().now_or_never()).is_some() {
                let _ = commands_in.send(ReflectorCommand::Stop);
                break;
            }
            let started = Interface::find_in(&host, name).map_err(ReflectorError::from).and_then(|interface| {
                let (sender, counters, clock) = (sender.clone(), Arc::default(), read_clock(&tai_offset));
                let interface = (interface, &host);
                InterfaceReflector::begin(interface, &config, provisioned.clone(), clock, sender, counters, &mut None)
            });
            match started {
                Ok(instance) => slots.push((name.clone(), Some(instance))),
                // Nobody has asked for this one.
                Err(error) if config.is_chosen && (!slots.is_empty() || config.interfaces.last() != Some(name)) => {
                    let error = hardening::explain_descriptor_limit(error);
                    tracing::warn!(interface = %name, error, "left out");
                }
                Err(error) => {
                    // What an earlier controller left answering goes on answering.
                    stop_all(slots, |instance| instance.attachment().is_some_and(|found| found.is_adopted));
                    return Err(error);
                }
            }
        }
        let slots = attach_all(slots, config.is_chosen)?;
        // Not as in an earlier run of this process: a client may remember that one's.
        let revision = SystemClock.realtime_ns();
        let (events, _) = tokio::sync::broadcast::channel(EVENTS);
        let state = ReflectorState { config, slots, away: HashMap::new(), provisioned, revision, events };
        let state = Arc::new(Mutex::new(state));
        let handle = ReflectorHandle { state: state.clone(), commands: commands_in };
        let held = HashMap::new();
        let reflector = Self {
            state,
            sender,
            notices,
            commands,
            held,
            watcher,
            clock_watch,
            tai_offset,
            interrupt,
            terminate,
            is_left: false,
        };
        Ok((reflector, handle))
    }

    /// Follows clock, interfaces and requests until SIGINT, SIGTERM or [`ReflectorHandle::stop`]; then takes everything
    /// back and says what was done. On an error the programs go on answering: the next start takes them over.
    pub async fn run(mut self, handle: &ReflectorHandle) -> Result<Summary, ReflectorError> {
        let result = self.follow().await;
        self.is_left |= result.is_err();
        systemd::stopping();
        let summary = self.end(handle);
        result.map(|()| summary)
    }

    /// Takes everything back at once and says what was done.
    pub fn end(mut self, handle: &ReflectorHandle) -> Summary {
        for (_, instance) in &mut locked(&self.state).slots {
            instance.iter_mut().for_each(InterfaceReflector::halt);
        }
        let mut summary = Summary::new(handle);
        let (slots, is_kept) = {
            let mut state = locked(&self.state);
            (std::mem::take(&mut state.slots), state.config.is_kept || self.is_left)
        };
        summary.is_left = !stop_all(slots, |_| is_kept);
        // The engines have ended: what they had to tell and nobody has heard yet is all there is.
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::AccessReport { key, report } => log_access_report(&key, &report),
                Notice::Failed { what } => tracing::error!(error = %what, "an engine has failed"),
            }
        }
        // The kept objects of an absent interface answer nothing.
        for (name, folder) in self.held {
            if let Err(error) = folder.remove() {
                tracing::error!(interface = %name, %error, "what was pinned for it is still there");
                summary.is_left = true;
            }
        }
        kernel::pins::claim::sweep();
        summary
    }

    async fn follow(&mut self) -> Result<(), ReflectorError> {
        let ticker = |period: Duration| {
            let mut ticker = interval_at(Instant::now() + period, period);
            ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticker
        };
        let (mut clock, mut programs) = (ticker(CLOCK_INTERVAL), ticker(PROGRAM_INTERVAL));
        let mut expired = Instant::now();
        loop {
            let next_expiry = expired + self.expiry_interval();
            let event = tokio::select! {
                _ = self.interrupt.recv() => return Ok(()),
                _ = self.terminate.recv() => return Ok(()),
                _ = clock.tick() => ReflectorEvent::Clock,
                _ = programs.tick() => ReflectorEvent::Programs,
                _ = tokio::time::sleep_until(next_expiry) => {
                    expired = Instant::now();
                    ReflectorEvent::Expiry
                }
                guard = self.watcher.readable() => {
                    let mut guard = guard?;
                    guard.get_inner().drain();
                    guard.clear_ready();
                    ReflectorEvent::Interfaces
                }
                guard = self.clock_watch.readable() => {
                    let mut guard = guard?;
                    guard.get_inner().drain();
                    guard.clear_ready();
                    ReflectorEvent::ClockSet
                }
                Some(notice) = self.notices.recv() => ReflectorEvent::Notice(notice),
                Some(command) = self.commands.recv() => ReflectorEvent::Command(command),
            };
            if !self.handle(event)? {
                return Ok(());
            }
        }
    }

    /// Returns the interval to the next search for expired sessions.
    fn expiry_interval(&self) -> Duration {
        let timeout = locked(&self.state).config.session_timeout.unwrap_or(EXPIRY_INTERVAL.1);
        (timeout / 2).clamp(EXPIRY_INTERVAL.0, EXPIRY_INTERVAL.1)
    }

    /// Deals with one event; whether the reflector goes on.
    fn handle(&mut self, event: ReflectorEvent) -> Result<bool, ReflectorError> {
        match event {
            ReflectorEvent::Clock => {
                systemd::alive();
                logging::tell_suppressed();
                self.publish_clock();
                for (_, instance) in &locked(&self.state).slots {
                    instance.iter().for_each(InterfaceReflector::watch_transmit_errors);
                }
                self.follow_names();
            }
            ReflectorEvent::ClockSet => self.publish_clock(),
            ReflectorEvent::Interfaces => self.follow_interfaces(),
            ReflectorEvent::Programs => {
                for (_, instance) in &mut locked(&self.state).slots {
                    instance.iter_mut().for_each(InterfaceReflector::follow_program);
                }
            }
            ReflectorEvent::Expiry => self.expire(),
            ReflectorEvent::Notice(Notice::AccessReport { key, report }) => log_access_report(&key, &report),
            ReflectorEvent::Notice(Notice::Failed { what }) => return Err(ReflectorError::Engine(what)),
            ReflectorEvent::Command(ReflectorCommand::Stop) => return Ok(false),
            ReflectorEvent::Command(ReflectorCommand::Leave) => {
                self.is_left = true;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Publishes the clock's state. Where somebody has set the clock, corrects times written since.
    fn publish_clock(&mut self) {
        let step = self.tai_offset.observe(&SystemClock);
        let clock = read_clock(&self.tai_offset);
        let state = locked(&self.state);
        for (name, instance) in &state.slots {
            if let Some(Err(error)) = instance.as_ref().map(|instance| instance.set_clock(clock)) {
                tracing::warn!(interface = %name, %error, "the kernel does not take the clock's state");
            }
        }
        let Some(by_ns) = step else { return };
        tracing::info!(
            by_ns,
            "the clock was set by {:+.3} s; rate limits and the age of sessions go on",
            by_ns as f64 / 1e9
        );
        let step = ClockStep::noticed(by_ns, SystemClock.monotonic_ns());
        for instance in state.slots.iter().filter_map(|(_, instance)| instance.as_ref()) {
            instance.maps(|maps| maps.follow_step(&step));
        }
    }

    /// Has the folders of pins follow the names of their interfaces. One may still be another reflector's; so this is done
    /// again and again.
    fn follow_names(&self) {
        let state = locked(&self.state);
        let attached = state.slots.iter().filter_map(|(name, instance)| {
            let attachment = instance.as_ref()?.attachment()?;
            Some((attachment.folder(), &**name))
        });
        kernel::pins::claim::follow(attached);
    }

    fn expire(&self) {
        let mut state = locked(&self.state);
        let Some(timeout) = state.config.session_timeout else { return };
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let oldest = SystemClock.monotonic_ns().saturating_sub(timeout);
        for (_, instance) in &mut state.slots {
            let Some(instance) = instance else { continue };
            let own = {
                let mut table = locked(&instance.context.table);
                table.sweep(&instance.context.snapshot());
                table.expire(oldest)
            };
            let expire = |maps: &mut Maps| {
                maps.drop_authenticated(&instance.context.snapshot());
                maps.expire(oldest)
            };
            let kernel = instance.maps(expire).unwrap_or(0);
            if own + kernel > 0 {
                tracing::debug!(count = own + kernel, "sessions are over");
            }
        }
    }

    /// Brings every interface's state up to date. An interface is followed by its number, whatever it is called; one that has
    /// come back, by the name of its start, is started again with its sessions.
    fn follow_interfaces(&mut self) {
        let host = match Host::read() {
            Ok(host) => Arc::new(host),
            Err(error) => {
                tracing::warn!(%error, "cannot list links and addresses, which is tried again at the next change");
                return;
            }
        };
        let mut parted = Vec::new();
        {
            let mut state = locked(&self.state);
            let (settings, provisioned) = (state.config.clone(), state.provisioned.clone());
            let ReflectorState { slots, away, .. } = &mut *state;
            for (name, slot) in &mut *slots {
                let Some(instance) = slot else { continue };
                match Interface::numbered(&host, instance.context.snapshot().interface.index) {
                    Ok(found) => follow_one(name, instance, found, &host),
                    Err(_) => {
                        tracing::warn!(
                            interface = %name,
                            "the interface is gone; answers begin again when one called {} comes",
                            instance.configured
                        );
                        name.clone_from(&instance.configured);
                        away.insert(name.clone(), Away::new(instance));
                        // The sessions stay pinned for then.
                        let folder = slot.take().and_then(InterfaceReflector::part);
                        self.held.extend(folder.map(|folder| (name.clone(), folder)));
                        parted.push(name.clone());
                    }
                }
            }
            let taken = slots.iter().filter_map(|(_, slot)| Some(slot.as_ref()?.context.snapshot().interface.index));
            let mut taken: Vec<u32> = taken.collect();
            for (name, slot) in slots.iter_mut().filter(|(_, slot)| slot.is_none()) {
                // One that is answered on may be called so by now.
                let found = Interface::find_in(&host, name).ok().filter(|found| !taken.contains(&found.index));
                let Some(found) = found else { continue };
                let index = found.index;
                let mut held = self.held.remove(name);
                let (provisioned, sender) = (provisioned.clone(), self.sender.clone());
                let counters = away.get(name).map(|away| away.counters.clone()).unwrap_or_default();
                let clock = read_clock(&self.tai_offset);
                match InterfaceReflector::start(
                    (found, &host),
                    &settings,
                    provisioned,
                    clock,
                    sender,
                    counters,
                    &mut held,
                ) {
                    Ok(instance) => {
                        tracing::info!(interface = %name, mode = instance.mode().name(), "the interface is back, XDP mode {}", instance.mode().name());
                        away.remove(name).inspect(|away| away.end(&instance));
                        *slot = Some(instance);
                        taken.push(index);
                    }
                    // It is tried again at the next change of it; a new interface is announced more than once.
                    Err(error) if parted.contains(name) => tracing::warn!(interface = %name, %error),
                    Err(error) => tracing::debug!(interface = %name, %error),
                }
                self.held.extend(held.map(|folder| (name.clone(), folder)));
            }
        }
        self.follow_names();
    }
}

/// Has the programs of all interfaces attached, while their sockets answer. An unavailable one is left out where
/// nobody has asked for it, as long as there is another one.
fn attach_all(
    mut slots: Vec<(String, Option<InterfaceReflector>)>,
    is_chosen: bool,
) -> Result<Vec<(String, Option<InterfaceReflector>)>, ReflectorError> {
    let mut at = 0;
    while let Some((_, instance)) = slots.get_mut(at) {
        match instance.as_mut().map_or(Ok(()), |instance| instance.attach(&mut None)) {
            Ok(()) => at += 1,
            Err(error) if is_chosen && slots.len() > 1 => {
                let (name, _) = slots.remove(at);
                tracing::warn!(interface = name, %error, "left out");
            }
            Err(error) => {
                stop_all(slots, |instance| instance.attachment().is_some_and(|found| found.is_adopted));
                return Err(error);
            }
        }
    }
    Ok(slots)
}

/// Brings the state of an interface that is there up to date, its name among it.
fn follow_one(name: &mut String, instance: &InterfaceReflector, found: Interface, host: &Arc<Host>) {
    let snapshot = instance.context.snapshot();
    if found.name != *name {
        tracing::info!(interface = %name, "the interface is called {} now", found.name);
        name.clone_from(&found.name);
    } else if found != *snapshot.interface {
        tracing::info!(interface = %name, "addresses or link have changed");
    }
    let is_same = found == *snapshot.interface;
    let next = snapshot.with_interface(found, host);
    if is_same && next.book == snapshot.book {
        return;
    }
    if let Err(error) = instance.set_snapshot(next) {
        tracing::error!(interface = %name, %error, "the kernel does not take the new addresses");
    }
}

/// Warns of addresses to answer for that the host does not have.
fn tell_missing(config: &ReflectorConfig, host: &Host) {
    let own: HashSet<Address> = host.addresses.iter().map(|own| crate::net::address::address(own.ip)).collect();
    for missing in config.addresses.iter().filter(|address| !own.contains(*address)) {
        let address = crate::net::address::ip(missing);
        tracing::warn!(%address, "{address}: this host does not have the address; answers begin when it does");
    }
}

/// Ends all instances, and leaves the programs of those that are to be kept answering; failures are reported and do not
/// hinder the others. Whether all went well.
fn stop_all(slots: Vec<(String, Option<InterfaceReflector>)>, is_kept: impl Fn(&InterfaceReflector) -> bool) -> bool {
    let mut is_well = true;
    for (name, instance) in slots {
        let Some(instance) = instance else { continue };
        let keeps = is_kept(&instance) && instance.attachment().is_some_and(|found| found.lost.is_none());
        match instance.stop(keeps) {
            Ok(()) if keeps => {
                tracing::info!(
                    interface = %name,
                    "the XDP program goes on answering; `teaparty detach --iface {name}` removes it"
                );
            }
            Ok(()) => {}
            Err(error) => {
                tracing::error!(interface = %name, %error);
                is_well = false;
            }
        }
    }
    is_well
}

/// Logs what a sender reports of its access (RFC 8972 §4.6).
fn log_access_report(key: &SessionKey, report: &AccessReport) {
    let id = handle::SessionId::from(key);
    tracing::info!(
        peer = %std::net::SocketAddr::new(id.source, id.source_port),
        session = id.ssid,
        access = report.id(),
        return_code = report.return_code,
        "access report"
    );
}

/// The state of the system clock as the packets state it, and what turns its readings into intervals.
fn read_clock(tai_offset: &TaiOffset) -> Clock {
    let state = SystemClock.state();
    let source = if state.is_synchronized { SYNC_SOURCE_NTP } else { SYNC_SOURCE_FREE_RUNNING };
    Clock {
        tai_offset_ns: u64::try_from(state.tai_offset_ns()).unwrap_or(0),
        error_estimate: state.error_estimate(TimestampFormat::Ntp).bits(),
        timestamp_information: [source, METHOD_SOFTWARE, source, METHOD_SOFTWARE],
        reserved: [0; 2],
        monotonic_offset_ns: tai_offset.ns(),
    }
}
