//! What the engine keeps an eye on: its clocks, and whether it keeps its schedule.

use std::net::SocketAddr;

use super::{CLOCK_CHECK_NS, SenderEngine};
use crate::net::ptp_clock::HardwareClock;
use crate::sender::config::MANY_PPS;
use crate::sender::config::SenderConfig;
use crate::sender::engine::event::SenderEvent;
use crate::sender::engine::stop::Stop;
use crate::sender::engine::udp_port;
use crate::sys::clock::{ClockSource, StepDetector};

/// A rate that is missed by more than this is worth a word.
const RATE_SLACK: f64 = 0.02;

impl<C: ClockSource> SenderEngine<'_, C> {
    /// Notices that somebody set the clock, and reads its state again now and then.
    pub(super) fn check_clock(&mut self, now: u64, sink: &mut dyn FnMut(SenderEvent)) {
        let offset = self.clock.realtime_ns().wrapping_sub(self.clock.monotonic_ns()) as i64;
        let has_moved = offset.wrapping_sub(self.timeline.offset_ns()).abs() >= StepDetector::THRESHOLD_NS;
        match has_moved.then(|| self.step_detector.observe(self.clock)) {
            Some(Some(step)) => {
                self.timeline.set(self.timeline.offset_ns().wrapping_add(step), now);
                self.steps.push(step);
                let text = format!(
                    "the clock was set by {:+.3} s: delays of packets that were under way are left out, one-way delays \
                     before and after do not compare",
                    step as f64 / 1e9
                );
                sink(SenderEvent::Notice { target: None, text });
            }
            // This thread lost the processor between the two readings.
            Some(None) => {}
            None => self.timeline.adjust(offset),
        }
        if has_moved && let Some(hardware) = &mut self.hardware {
            hardware.restart();
            self.clock_checked = 0;
        }
        if now.saturating_sub(self.clock_checked) >= CLOCK_CHECK_NS {
            self.clock_checked = now;
            self.clock_state = self.clock.state();
            if let Some(hardware) = &mut self.hardware
                && let Err(error) = hardware.compare()
            {
                let text = format!("cannot read the network card's clock any more, the kernel stamps packets: {error}");
                sink(SenderEvent::Notice { target: None, text });
                self.hardware = None;
            }
        }
    }

    /// Says once that packets of the schedule were skipped; how many in all is counted.
    pub(super) fn report_skipping(&mut self, sink: &mut dyn FnMut(SenderEvent)) {
        if self.is_skipping_reported || self.skipped == 0 {
            return;
        }
        self.is_skipping_reported = true;
        let text = format!(
            "packets of the schedule were missed and are skipped, so far {}: this process was stopped, this host is busy, or \
             it does not send {:.0} packets/s{}",
            self.skipped,
            self.config.plan.packets_per_second(self.sessions.len()),
            self.advice()
        );
        sink(SenderEvent::Notice { target: None, text });
    }

    /// Returns advice for a higher rate.
    fn advice(&self) -> &'static str {
        let rate = self.config.plan.packets_per_second(self.sessions.len());
        if rate >= MANY_PPS && !self.config.has_trains {
            "; --segmentation-offload takes half of the processor"
        } else {
            ""
        }
    }

    /// Says which rate was reached, where that is another one than was asked for.
    pub(super) fn report_rate(&self, stop: &Stop, sink: &mut dyn FnMut(SenderEvent)) {
        let Some(duration_ns) = self.config.plan.duration_ns else { return };
        if self.skipped == 0 || stop.is_requested() {
            return;
        }
        let sent: u64 = self.sessions.iter().map(|session| session.matcher.counts().sent).sum();
        let requested = self.config.plan.packets_per_second(self.sessions.len());
        let reached = sent as f64 / (duration_ns as f64 / 1e9);
        if reached < requested * (1.0 - RATE_SLACK) {
            let text = format!("sent {reached:.0} packets/s of {requested:.0} that were asked for{}", self.advice());
            sink(SenderEvent::Notice { target: None, text });
        }
    }

    /// Warns of packets that leave from the port that they go to: a reflector may take them for another one's replies.
    pub(in crate::sender::engine) fn warn_of_loop(
        &self,
        address: SocketAddr,
        target: Option<usize>,
        sink: &mut dyn FnMut(SenderEvent),
    ) -> bool {
        let is_same = udp_port::source_port(&self.ports, address) == Some(address.port());
        if is_same {
            let text = format!(
                "packets to {address} leave from port {}, which they go to: a reflector that guards against loops drops them in \
                 silence; choose another source port",
                address.port()
            );
            sink(SenderEvent::Notice { target, text });
        }
        is_same
    }
}

/// The clock of the configured interface's card; without it, having said so, the kernel's timestamps have to do.
pub(super) fn hardware_clock(config: &SenderConfig) -> Option<HardwareClock> {
    let device = config.interface.as_deref().filter(|_| config.hardware_stamps)?;
    HardwareClock::open(device)
        .map_err(
            |error| tracing::warn!(interface = device, %error, "the kernel stamps packets instead of the network card"),
        )
        .ok()
}
