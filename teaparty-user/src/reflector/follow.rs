//! How a running reflector follows the clock, its interfaces, and the time of its sessions.

use std::sync::Arc;

use teaparty_common::maps::Clock;
use teaparty_common::tlv::measurement::{METHOD_SOFTWARE, SYNC_SOURCE_FREE_RUNNING, SYNC_SOURCE_NTP};
use teaparty_common::wire::TimestampFormat;

use super::Reflector;
use super::handle::{Away, ReflectorState};
use super::interface_reflector::InterfaceReflector;
use super::kernel;
use super::kernel::clock_step::ClockStep;
use super::kernel::maps::Maps;
use crate::net::host::Host;
use crate::net::interface::Interface;
use crate::sync::locked;
use crate::sys::clock::{ClockSource as _, SystemClock, TaiOffset};

impl Reflector {
    /// Publishes the clock's state. Where somebody has set the clock, corrects times written since.
    pub(super) fn publish_clock(&mut self) {
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
    pub(super) fn follow_names(&self) {
        let state = locked(&self.state);
        let attached = state.slots.iter().filter_map(|(name, instance)| {
            let attachment = instance.as_ref()?.attachment()?;
            Some((attachment.folder(), &**name))
        });
        kernel::pins::claim::follow(attached);
    }

    /// Forgets sessions that are over.
    pub(super) fn expire(&self) {
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
    pub(super) fn follow_interfaces(&mut self) {
        let host = match Host::read() {
            Ok(host) => Arc::new(host),
            Err(error) => {
                tracing::warn!(%error, "cannot list links and addresses, which is tried again at the next change");
                return;
            }
        };
        {
            let state = self.state.clone();
            let mut state = locked(&state);
            let parted = self.follow_present(&mut state, &host);
            self.start_returned(&mut state, &host, &parted);
        }
        self.follow_names();
    }

    /// Brings the interfaces that are answered on up to date, and parts from those that are gone. Returns the names of these.
    fn follow_present(&mut self, state: &mut ReflectorState, host: &Arc<Host>) -> Vec<String> {
        let ReflectorState { slots, away, .. } = state;
        let mut parted = Vec::new();
        for (name, slot) in slots {
            let Some(instance) = slot else { continue };
            match Interface::numbered(host, instance.context.snapshot().interface.index) {
                Ok(found) => follow_one(name, instance, found, host),
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
        parted
    }

    /// Starts again on interfaces that have come back.
    fn start_returned(&mut self, state: &mut ReflectorState, host: &Arc<Host>, parted: &[String]) {
        let (settings, provisioned) = (state.config.clone(), state.provisioned.clone());
        let ReflectorState { slots, away, .. } = state;
        let taken = slots.iter().filter_map(|(_, slot)| Some(slot.as_ref()?.context.snapshot().interface.index));
        let mut taken: Vec<u32> = taken.collect();
        for (name, slot) in slots.iter_mut().filter(|(_, slot)| slot.is_none()) {
            // One that is answered on may be called so by now.
            let found = Interface::find_in(host, name).ok().filter(|found| !taken.contains(&found.index));
            let Some(found) = found else { continue };
            let index = found.index;
            let mut held = self.held.remove(name);
            let (provisioned, outlets) = (provisioned.clone(), self.outlets.clone());
            let counters = away.get(name).map(|away| away.counters.clone()).unwrap_or_default();
            let clock = read_clock(&self.tai_offset);
            let interface = (found, host);
            match InterfaceReflector::start(interface, &settings, provisioned, clock, outlets, counters, &mut held) {
                Ok(instance) => {
                    let mode = instance.mode().name();
                    tracing::info!(interface = %name, mode, "the interface is back, XDP mode {mode}");
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

/// Returns the state of the system clock as the packets state it, and what turns its readings into intervals.
pub(super) fn read_clock(tai_offset: &TaiOffset) -> Clock {
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
