//! Replies of the XDP program that the driver could not send: counted, and warned of while we answer.
//!
//! The program's own counter says `reflected` before the driver has tried.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::net::transmit_errors::TransmitErrors;
use crate::reflector::engine::context::InterfaceCounters;
use crate::sync::locked;

/// The time between two warnings about one interface.
const SILENCE: Duration = Duration::from_secs(60);

/// Follows the driver's counter of one interface.
pub(crate) struct TransmitWatch {
    counters: Arc<InterfaceCounters>,
    look: Mutex<Look>,
}

struct Look {
    errors: TransmitErrors,
    /// The driver's counter at the last look; `None` where it has none.
    last: Option<u64>,
    /// Replies that were counted here and not warned of yet.
    untold: u64,
    warned: Option<Instant>,
    /// The program's counter of replies at the last look.
    answered: u64,
}

impl TransmitWatch {
    /// Begins to follow: what the driver has counted before is not ours.
    pub(crate) fn new(interface: &str, counters: Arc<InterfaceCounters>) -> Self {
        let mut errors = TransmitErrors::default();
        let last = errors.read(interface).ok().flatten();
        Self { counters, look: Mutex::new(Look { errors, last, untold: 0, warned: None, answered: 0 }) }
    }

    /// Adds what the driver has counted since the last look.
    pub(crate) fn count(&self, interface: &str) {
        let mut look = locked(&self.look);
        // A gone interface is reported elsewhere.
        let Ok(Some(now)) = look.errors.read(interface) else { return };
        // A driver may start over at 0, as when its queues change.
        let grown = look.last.map_or(0, |last| if now < last { now } else { now - last });
        look.last = Some(now);
        look.untold += grown;
        self.counters.transmit_errors.fetch_add(grown, Ordering::Relaxed);
    }

    /// Looks, and warns if there are more and the program, whose counter of replies is `answered`, has sent some too.
    pub(crate) fn watch(&self, interface: &str, answered: u64) {
        self.count(interface);
        if let Some(lost) = locked(&self.look).due(answered, Instant::now()) {
            tracing::warn!(
                %interface,
                count = lost,
                "the driver could not send {lost} frames of the XDP program, whose replies are lost; a veth's \
                 far end must run an XDP program, or take --xdp-mode skb here (`ethtool -S {interface}` shows the counters)"
            );
        }
    }
}

impl Look {
    /// Returns how many to warn of, if it is time to.
    fn due(&mut self, answered: u64, now: Instant) -> Option<u64> {
        let is_answering = answered != std::mem::replace(&mut self.answered, answered);
        let is_silent = self.warned.is_some_and(|warned| now.duration_since(warned) < SILENCE);
        if !is_answering || is_silent || self.untold == 0 {
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_while_we_answer_and_not_each_second() {
        let mut look = Look { errors: TransmitErrors::default(), last: None, untold: 3, warned: None, answered: 7 };
        let start = Instant::now();
        assert_eq!(look.due(7, start), None, "nothing was answered: these frames are not ours");
        assert_eq!(look.due(9, start), Some(3));
        look.untold = 5;
        assert_eq!(look.due(10, start + SILENCE / 2), None);
        look.untold += 1;
        assert_eq!(look.due(11, start + SILENCE), Some(6));
        assert_eq!(look.due(12, start + 3 * SILENCE), None, "nothing more was lost");
    }
}
