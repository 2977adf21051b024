//! The Session-Reflector: XDP program, engines, and the task that keeps them up to date.
//!
//! Reading order: [`config`], [`provisioned`] and [`snapshot`] are the configuration, from its text to one version in
//! force. [`session`] holds the controller's sessions, and [`kernel`] the program's side: loading, pins, maps.
//! [`pipeline`] is one packet's way through the controller, and [`engine`] where packets arrive and replies leave.
//! [`interface_reflector`] is all of it on one interface; [`handle`] and [`reload`] look at it and change it.
//!
//! Threads answer, one per engine and interface; the task here answers nothing. It is a loop over `ReflectorEvent`.

pub mod capture;
pub mod config;
pub(crate) mod engine;
pub(crate) mod error;
pub mod handle;
pub(crate) mod interface_reflector;
pub mod kernel;
pub mod keys;
pub mod path;
pub mod pipeline;
pub mod provisioned;
pub(crate) mod reload;
pub mod session;
pub mod snapshot;
pub(crate) mod summary;

mod follow;
mod start;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use teaparty_common::maps::SessionKey;
use teaparty_common::tlv::access_report::AccessReport;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::engine::context::{Notice, Outlets};
use self::error::ReflectorError;
use self::handle::{ReflectorHandle, ReflectorState};
use self::interface_reflector::InterfaceReflector;
use self::kernel::pins::folder::Folder;
use self::summary::Summary;
use crate::logging;
use crate::net::clock_watch::ClockWatch;
use crate::net::interface::Watcher;
use crate::sync::locked;
use crate::sys::clock::TaiOffset;
use crate::sys::systemd;

/// Interval for checking clock and interfaces even if nobody announces a change.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval for checking that the XDP programs are still attached: the kernel announces nothing.
const PROGRAM_INTERVAL: Duration = Duration::from_millis(500);
/// Interval of the search for expired sessions, at most and at least.
const EXPIRY_INTERVAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

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
    outlets: Outlets,
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
                tracing::error!(interface = %name, %error, "cannot remove its pins");
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

    /// Has interfaces that have come back mirror what captures need. Loading is not for this task, which others wait for.
    fn follow_captures(&self) {
        if self.outlets.captures.is_on() {
            let state = self.state.clone();
            tokio::task::spawn_blocking(move || handle::follow_or_warn(&state));
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
                self.follow_captures();
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
