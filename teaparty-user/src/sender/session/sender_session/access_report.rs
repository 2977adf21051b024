//! The timer of an Access Report: it is repeated until a reply confirms it, but not forever (RFC 8972 §4.6).

use std::time::Duration;

/// Selects the packets that carry the report: the first one, and another one when the timer expires.
#[derive(Debug)]
pub(super) struct AccessTimer {
    interval_ns: u64,
    /// Retransmissions left.
    left: u32,
    due_ns: Option<u64>,
    is_sent: bool,
    is_over: bool,
}

impl AccessTimer {
    pub(super) fn new(timer: Duration, retransmissions: u32) -> Self {
        let interval_ns = u64::try_from(timer.as_nanos()).unwrap_or(u64::MAX);
        Self { interval_ns, left: retransmissions, due_ns: None, is_sent: false, is_over: false }
    }

    /// Returns the time of the next report.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Returns true if the packet due at `deadline_ns` carries the report; arms the timer if so.
    pub(super) fn take(&mut self, deadline_ns: u64) -> bool {
        let is_expired = self.due_ns.is_some_and(|due| due <= deadline_ns);
        if self.is_over || (self.is_sent && !is_expired) {
            return false;
        }
        if self.is_sent {
            self.left -= 1;
        }
        self.is_sent = true;
        self.due_ns = (self.left > 0).then(|| deadline_ns.saturating_add(self.interval_ns));
        true
    }

    /// A reply held the report.
    pub(super) fn acknowledge(&mut self) {
        self.stop();
    }

    /// It is not sent again.
    pub(super) fn stop(&mut self) {
        self.is_over = true;
        self.due_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_gets_it_five_times_and_no_more_c135_c137_c138() {
        let mut timer = AccessTimer::new(Duration::from_nanos(3_000), 4);
        let mut sent = Vec::new();
        for now in (0..20_000).step_by(500) {
            if timer.take(now) {
                sent.push(now);
            }
        }
        assert_eq!(sent, [0, 3_000, 6_000, 9_000, 12_000]);
        assert_eq!(timer.due_ns(), None);
    }

    #[test]
    fn a_reply_disarms_it_c136() {
        let mut timer = AccessTimer::new(Duration::from_nanos(3_000), 4);
        assert!(timer.take(0));
        assert_eq!(timer.due_ns(), Some(3_000));
        timer.acknowledge();
        assert_eq!(timer.due_ns(), None);
        assert!(!timer.take(3_000));
    }

    #[test]
    fn no_retransmissions_means_once() {
        let mut timer = AccessTimer::new(Duration::from_nanos(3_000), 0);
        assert!(timer.take(0));
        assert_eq!(timer.due_ns(), None);
        assert!(!timer.take(5_000));
    }
}
