//! The counts of a target over all its sessions.

use crate::sender::session::record::SessionCounters;

/// A counter of a session.
type Of = fn(&SessionCounters) -> u64;

/// Why replies are ignored: the word for it, and how many there are of a session.
pub(crate) const IGNORED: [(&str, Of); 5] = [
    ("foreign", |counters| counters.ignored.foreign),
    ("unauthenticated", |counters| counters.ignored.unauthenticated),
    ("malformed", |counters| counters.ignored.malformed),
    ("other-link", |counters| counters.ignored.other_link),
    ("unmatched", |counters| counters.counts.unmatched),
];

/// Counts that never go back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Packets sent.
    pub sent: u64,
    /// Packets answered in time.
    pub received: u64,
    /// Packets given up.
    pub lost: u64,
    /// Of those, lost forward, towards the reflector; `None` as long as no reflector has revealed it.
    pub lost_forward: Option<u64>,
    /// Lost backward, on the way from the reflector.
    pub lost_backward: Option<u64>,
    /// Replies to packets that had one.
    pub duplicates: u64,
    /// Replies after one to a later packet.
    pub reordered: u64,
    /// Replies to packets that had been given up.
    pub late: u64,
    /// Replies that were ignored, by reason, as in [`IGNORED`].
    pub ignored: [u64; IGNORED.len()],
    /// Packets that the system refused to send.
    pub send_errors: u64,
    /// Refusals that the network reported.
    pub refusals: u64,
    /// Packets of the schedule that were never sent.
    pub schedule_skipped: u64,
    /// Restarts of the reflector.
    pub reflector_restarts: u64,
    /// Sessions begun.
    pub sessions: u64,
}

impl Totals {
    /// Lost packets of which no direction is known. It may fall: a later reply may tell.
    pub fn lost_unattributed(&self) -> u64 {
        let attributed = self.lost_forward.unwrap_or(0) + self.lost_backward.unwrap_or(0);
        self.lost.saturating_sub(attributed)
    }

    /// Adds what a session has counted since `before`.
    ///
    /// * `attributed`: the most that was attributed to each direction in this session. It may change; a total only rises.
    pub fn add(&mut self, now: &SessionCounters, before: &SessionCounters, attributed: &mut [u64; 2]) {
        for (total, (_, of)) in self.ignored.iter_mut().zip(IGNORED) {
            *total += of(now).saturating_sub(of(before));
        }
        for (total, now, before) in [
            (&mut self.sent, now.counts.sent, before.counts.sent),
            (&mut self.received, now.counts.received, before.counts.received),
            (&mut self.lost, now.counts.lost, before.counts.lost),
            (&mut self.duplicates, now.counts.duplicates, before.counts.duplicates),
            (&mut self.reordered, now.counts.reordered, before.counts.reordered),
            (&mut self.late, now.counts.late, before.counts.late),
            (&mut self.reflector_restarts, now.counts.reflector_restarts, before.counts.reflector_restarts),
            (&mut self.send_errors, now.send_errors, before.send_errors),
            (&mut self.refusals, now.refusals, before.refusals),
            (&mut self.schedule_skipped, now.schedule_skipped, before.schedule_skipped),
        ] {
            *total += now.saturating_sub(before);
        }
        let split = now.split.as_ref();
        let directions = [split.and_then(|split| split.far_end), split.and_then(|split| split.near_end)];
        let totals = [&mut self.lost_forward, &mut self.lost_backward];
        for ((total, highest), now) in totals.into_iter().zip(attributed).zip(directions) {
            let Some(now) = now else { continue };
            *total.get_or_insert(0) += now.saturating_sub(*highest);
            *highest = now.max(*highest);
        }
    }
}
