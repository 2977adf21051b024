//! Targets that come and go while the engine runs, and what their sessions count, told now and then.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{LEAD_NS, NO_SESSION, SenderEngine};
use crate::sender::engine::event::SenderEvent;
use crate::sender::session::sender_session::{SenderSession, Start};
use crate::sender::session::stats::Statistics;
use crate::sys::clock::ClockSource;

/// Samples after which a session's statistics start over where nobody reads them: so that their size has a bound.
const SAMPLES: u64 = 256;
/// First packets are spread over this at most.
const SPREAD_NS: u64 = 10_000_000_000;

/// Somebody to measure, or not to any more.
#[derive(Clone, Copy, Debug)]
pub enum TargetChange {
    /// A session begins at a place that has none: the next one, or that of one that was removed.
    Add {
        /// The place, by which events name it.
        place: usize,
        /// Destination of the packets; of a family that there is a socket for.
        address: SocketAddr,
        /// Session-Sender Identifier, which no other session has; 0 for none.
        ssid: u16,
    },
    /// A session ends at once. What it awaits is no loss.
    Remove {
        /// Its place.
        place: usize,
    },
}

impl<C: ClockSource> SenderEngine<'_, C> {
    /// Begins or ends a session.
    pub(in crate::sender::engine) fn change(
        &mut self,
        change: TargetChange,
        sink: &mut dyn FnMut(SenderEvent),
    ) -> anyhow::Result<()> {
        match change {
            TargetChange::Add { place, address, ssid } => {
                self.warn_of_loop(address, Some(place), sink);
                self.add(place, address, ssid)
            }
            TargetChange::Remove { place } => {
                self.remove(place, sink);
                Ok(())
            }
        }
    }

    fn add(&mut self, place: usize, address: SocketAddr, ssid: u16) -> anyhow::Result<()> {
        anyhow::ensure!(place <= self.sessions.len(), "place {place} is not the next one");
        // Many that begin together shall not send together.
        let interval_ns = (self.config.plan.interval_ps / 1_000).clamp(1, SPREAD_NS);
        let start_ns = self.clock.monotonic_ns() + LEAD_NS + self.random.bits() % interval_ns;
        let start = Start { ssid, start_ns, seed: self.random.bits() };
        let session = SenderSession::with(self.config, place, address, start)?;
        if ssid != 0 {
            self.by_ssid[usize::from(ssid)] = place as u32;
        }
        self.queue.push(session.due_ns(), place);
        match self.sessions.get_mut(place) {
            Some(former) => {
                *former = session;
                self.ports.iter_mut().for_each(|port| port.forget(place));
            }
            None => self.sessions.push(session),
        }
        Ok(())
    }

    fn remove(&mut self, place: usize, sink: &mut dyn FnMut(SenderEvent)) {
        let Some(session) = self.sessions.get_mut(place) else { return };
        sink(SenderEvent::Counters { target: place, counters: Box::new(session.counters()) });
        session.stop_sending();
        while session.matcher.close().is_some() {}
        // Replies that still come are nobody's.
        session.address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        if self.by_ssid[usize::from(session.ssid)] == place as u32 {
            self.by_ssid[usize::from(session.ssid)] = NO_SESSION;
        }
        self.queue.push(None, place);
    }

    pub(super) fn publish_counters(&mut self, now: u64, sink: &mut dyn FnMut(SenderEvent)) {
        let Some(interval) = self.subscription.counters else { return };
        if now.saturating_sub(self.counters_published) >= interval.as_nanos() as u64 {
            self.counters_published = now;
            self.emit_counters(sink);
        }
    }

    /// Tells what sessions count that send or await something.
    pub(in crate::sender::engine) fn emit_counters(&mut self, sink: &mut dyn FnMut(SenderEvent)) {
        for (target, session) in self.sessions.iter_mut().enumerate().filter(|(_, session)| !session.is_over()) {
            sink(SenderEvent::Counters { target, counters: Box::new(session.counters()) });
            if session.statistics.round_trip.count() >= SAMPLES {
                session.statistics = Statistics::default();
            }
        }
    }
}
