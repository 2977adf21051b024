//! The start of a reflector: sockets answer on all interfaces before the programs are attached.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use teaparty_common::reflect::Address;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::unbounded_channel;

use super::capture::Captures;
use super::config::ReflectorConfig;
use super::config::session_spec::provisioned;
use super::engine::context::Outlets;
use super::error::ReflectorError;
use super::follow::read_clock;
use super::handle::{ReflectorHandle, ReflectorState, SessionSpec};
use super::interface_reflector::InterfaceReflector;
use super::kernel::pins::claim::sweep;
use super::{Reflector, ReflectorCommand, stop_all};
use crate::net::clock_watch::ClockWatch;
use crate::net::host::Host;
use crate::net::interface::{Interface, Watcher};
use crate::sys::clock::{ClockSource as _, SystemClock, TaiOffset};
use crate::sys::hardening;

/// Changes that wait for a slow listener, before it misses some.
const EVENTS: usize = 1024;

/// Interfaces by name, with what answers on them.
type Slots = Vec<(String, Option<InterfaceReflector>)>;

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
        let provisioned = provisioned(sessions);
        let (sender, notices) = unbounded_channel();
        let captures: Arc<Captures> = Arc::default();
        let outlets = Outlets { notices: sender, captures: captures.clone() };
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
        sweep();
        let host = Arc::new(Host::read().map_err(ReflectorError::System)?);
        tell_missing(&config, &host);
        // Many interfaces take a while, and nobody waits for that who wants us to end.
        let mut is_ended = || {
            let is_ended = interrupt.recv().now_or_never().or_else(|| terminate.recv().now_or_never()).is_some();
            if is_ended {
                let _ = commands_in.send(ReflectorCommand::Stop);
            }
            is_ended
        };
        let slots = begin_all(&config, &host, &mut is_ended, |interface| {
            let (outlets, counters, clock) = (outlets.clone(), Arc::default(), read_clock(&tai_offset));
            let interface = (interface, &host);
            InterfaceReflector::begin(interface, &config, provisioned.clone(), clock, outlets, counters, &mut None)
        })?;
        let slots = attach_all(slots, config.is_chosen)?;
        // Not as in an earlier run of this process: a client may remember that one's.
        let revision = SystemClock.realtime_ns();
        let (events, _) = tokio::sync::broadcast::channel(EVENTS);
        let state = ReflectorState { config, slots, away: HashMap::new(), provisioned, revision, events, captures };
        let state = Arc::new(Mutex::new(state));
        let handle = ReflectorHandle { state: state.clone(), commands: commands_in };
        let held = HashMap::new();
        let reflector = Self {
            state,
            outlets,
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
}

/// Has sockets answer on all interfaces, until `is_ended` returns true. An unavailable one is left out where nobody has asked
/// for it, as long as there is another one.
fn begin_all(
    config: &ReflectorConfig,
    host: &Host,
    is_ended: &mut dyn FnMut() -> bool,
    begin: impl Fn(Interface) -> Result<InterfaceReflector, ReflectorError>,
) -> Result<Slots, ReflectorError> {
    let mut slots = Slots::new();
    for name in &config.interfaces {
        if is_ended() {
            break;
        }
        match Interface::find_in(host, name).map_err(ReflectorError::from).and_then(&begin) {
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
    Ok(slots)
}

/// Has the programs of all interfaces attached, while their sockets answer. An unavailable one is left out where
/// nobody has asked for it, as long as there is another one.
fn attach_all(mut slots: Slots, is_chosen: bool) -> Result<Slots, ReflectorError> {
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

/// Warns of addresses to answer for that the host does not have.
fn tell_missing(config: &ReflectorConfig, host: &Host) {
    let own: HashSet<Address> = host.addresses.iter().map(|own| crate::net::address::address(own.ip)).collect();
    for missing in config.addresses.iter().filter(|address| !own.contains(*address)) {
        let address = crate::net::address::ip(missing);
        tracing::warn!(%address, "{address}: this host does not have the address; answers begin when it does");
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Weak;

    use super::*;
    use crate::reflector::config::{ReflectorSettings, XdpMode};
    use crate::reflector::engine::context::InterfaceContext;

    #[tokio::test]
    async fn a_reflector_that_is_dropped_leaves_no_engine() {
        let (reflector, handle) = (0..20)
            .find_map(|_| {
                let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                let settings = ReflectorSettings {
                    iface: vec!["lo".into()],
                    port: vec![port],
                    xdp_mode: XdpMode::Off,
                    ..ReflectorSettings::default()
                };
                Reflector::start(settings.try_into().unwrap()).ok()
            })
            .expect("a reflector starts on some port");
        // Each engine's thread holds the context.
        let contexts: Vec<Weak<InterfaceContext>> = {
            let state = reflector.state.lock().unwrap();
            state.slots.iter().flat_map(|(_, slot)| slot).map(|running| Arc::downgrade(&running.context)).collect()
        };
        assert!(contexts.iter().all(|context| context.strong_count() > 1), "no engine runs");
        drop((reflector, handle));
        assert_eq!(contexts.iter().map(Weak::strong_count).sum::<usize>(), 0);
    }
}
