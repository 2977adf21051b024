//! What the engine keeps an eye on: its clocks, and whether it keeps its schedule.

use super::super::config::Config;
use super::super::event::Event;
use super::super::report::nanos;
use super::super::schedule::MANY_PPS;
use super::{CLOCK_CHECK_NS, Engine};
use crate::clock::{Clock, StepDetector};
use crate::net::hardware::HardwareClock;

/// Packets that are so much too late, and so many intervals, are worth a word.
const BEHIND_NS: u64 = 200_000_000;
const BEHIND_INTERVALS: u64 = 10;

impl<C: Clock> Engine<'_, C> {
    /// Notices that somebody set the clock, and reads its state again now and then.
    pub(super) fn check_clock(&mut self, now: u64, sink: &mut dyn FnMut(Event)) {
        let offset = self.clock.realtime_ns().wrapping_sub(self.clock.monotonic_ns()) as i64;
        let has_moved = offset.wrapping_sub(self.clock_offset).abs() >= StepDetector::THRESHOLD_NS;
        if has_moved && let Some(step) = self.step_detector.observe(self.clock) {
            self.epoch += 1;
            self.steps.push(step);
            let text = format!(
                "the clock was set by {:+.3} s: delays of packets that were under way are left out, one-way delays \
                 before and after do not compare",
                step as f64 / 1e9
            );
            sink(Event::Notice { target: None, text });
        }
        self.clock_offset = offset;
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
                sink(Event::Notice { target: None, text });
                self.hardware = None;
            }
        }
    }

    /// Says once that packets leave much later than they are due, which no count shows.
    pub(super) fn tell_when_behind(&mut self, sink: &mut dyn FnMut(Event)) {
        let late_ns = self.ports.iter().map(|port| port.late_ns).max().unwrap_or(0);
        if self.is_behind || late_ns < BEHIND_NS.max(self.config.plan.interval_ps / 1_000 * BEHIND_INTERVALS) {
            return;
        }
        self.is_behind = true;
        let rate = self.config.plan.packets_per_second(self.sessions.len());
        let advice = match rate >= MANY_PPS && !self.config.has_trains {
            true => "; --segmentation-offload takes half of the processor",
            false => "",
        };
        let late = nanos(late_ns as i64);
        let text = format!(
            "packets leave {late} later than they are due: this host is busy, or does not send {rate:.0} packets/s{advice}"
        );
        sink(Event::Notice { target: None, text });
    }
}

/// The clock of the configured interface's card; without it, having said so, the kernel's timestamps have to do.
pub(super) fn hardware_clock(config: &Config) -> Option<HardwareClock> {
    let device = config.interface.as_deref().filter(|_| config.hardware_stamps)?;
    HardwareClock::open(device).map_err(|error| tracing::warn!("{error}; the kernel stamps packets instead")).ok()
}
