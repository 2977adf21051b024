//! What is known of one target: its counts, delays and service level, which outlive its sessions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};

use super::sla::Sla;
use super::target::TargetSpec;
use crate::sender::session::delays::Sample;
use crate::sender::session::histogram::Distribution;
use crate::sender::session::matcher::{ReplyKind, Split};
use crate::sender::session::record::{PacketOutcome, Record, SessionCounters};
use crate::sender::session::variation::Variation;
use crate::sla::SlaConfig;

/// Sockets take less to be opened, a name to be found, and the first packet to leave; what takes longer is not measured.
const IDLE_NS: u64 = 3_000_000_000;
/// Native buckets of a histogram at most; beyond that its resolution is halved.
const NATIVE_BUCKETS: usize = 160;

/// A delay that has a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// There and back, net of residence.
    RoundTrip,
    /// To the reflector.
    Forward,
    /// Back.
    Backward,
}

impl Direction {
    /// All of them with their labels.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::RoundTrip, "round_trip"), (Self::Forward, "forward"), (Self::Backward, "backward")];

    fn of(self, sample: Sample) -> i64 {
        match self {
            Self::RoundTrip => sample.round_trip_ns,
            Self::Forward => sample.forward_ns,
            Self::Backward => sample.backward_ns,
        }
    }
}

/// A counter of a session.
type Of = fn(&SessionCounters) -> u64;

/// Why replies are ignored: the word for it, and how many there are of a session.
pub const IGNORED: [(&str, Of); 5] = [
    ("foreign", |tally| tally.ignored.foreign),
    ("unauthenticated", |tally| tally.ignored.unauthenticated),
    ("malformed", |tally| tally.ignored.malformed),
    ("other-link", |tally| tally.ignored.other_link),
    ("unmatched", |tally| tally.counts.unmatched),
];

/// A target that is measured, or is to be.
pub struct Watched {
    /// Its number in this process.
    pub id: u64,
    /// The input.
    pub wanted: TargetSpec,
    /// The SSID of all its sessions, 0 for none.
    pub ssid: u16,
    measured: Arc<Measured>,
}

/// The results for a target. They outlive a change of the measurement.
struct Measured {
    histograms: [Histogram; 3],
    recent: Mutex<Recent>,
    state: Mutex<TargetState>,
}

/// Delays of the last one to two minutes, by [`Direction`].
#[derive(Debug, Default)]
struct Recent {
    minute: u64,
    current: [Distribution; 3],
    previous: [Distribution; 3],
    /// Of the round trip.
    variation: [Variation; 2],
}

impl Recent {
    /// Turns to the minute of `now_ns`, if that is a later one.
    fn rotate(&mut self, now_ns: u64) {
        const MINUTE_NS: u64 = 60_000_000_000;
        let minute = now_ns / MINUTE_NS;
        if minute != self.minute {
            let current = std::mem::take(&mut self.current);
            let [variation, _] = std::mem::take(&mut self.variation);
            if minute == self.minute + 1 {
                (self.previous, self.variation[1]) = (current, variation);
            } else {
                self.previous = Default::default();
            }
            self.minute = minute;
        }
    }
}

/// The state of a target.
#[derive(Clone, Debug)]
pub struct TargetState {
    /// The destination of its packets; `None` until its name was resolved.
    pub address: Option<SocketAddr>,
    /// True if packets are sent.
    pub is_measured: bool,
    /// The problem that impairs its measurement.
    pub problem: Option<String>,
    /// Over all sessions.
    pub totals: Totals,
    /// Of the round trip.
    pub variation: Variation,
    /// Synchronisation of both clocks by the last reply, and the sum of both error bounds in nanoseconds,
    /// where both claim one.
    pub clocks: Option<(bool, Option<u64>)>,
    /// Time of the last reply, in nanoseconds since 1970.
    pub last_reply_ns: Option<u64>,
    /// Lateness of packets against the schedule, in nanoseconds: p50 and p99.
    pub pacing_error_ns: Option<[i64; 2]>,
    /// The agreement.
    pub agreement: Arc<SlaConfig>,
    /// The service level.
    pub sla: Sla,
    /// Since when no packets leave.
    idle_since_ns: u64,
    /// The [`Watched::id`] whose session is counted: of one that was replaced something may still come.
    counted: u64,
    /// The counters of the present session at the last update.
    seen: SessionCounters,
    /// Most that was attributed to each direction in this session.
    attributed: [u64; 2],
    /// Packets of former sessions, so that numbers go on rising and never look consecutive across sessions.
    number_base: u64,
}

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
}

impl Watched {
    /// A target of which nothing is known yet, with histograms of these buckets (upper ends in seconds, rising).
    pub fn new(
        id: u64,
        wanted: TargetSpec,
        ssid: u16,
        buckets: &[f64],
        agreement: Arc<SlaConfig>,
        now_ns: u64,
    ) -> Self {
        let native = NativeHistogramConfig::default().max_buckets(NATIVE_BUCKETS);
        let measured = Measured {
            histograms: std::array::from_fn(|_| Histogram::new_classic_and_native(buckets.iter().copied(), native)),
            recent: Mutex::default(),
            state: Mutex::new(TargetState {
                address: None,
                is_measured: false,
                problem: None,
                totals: Totals::default(),
                variation: Variation::default(),
                clocks: None,
                last_reply_ns: None,
                pacing_error_ns: None,
                sla: Sla::new(&agreement, now_ns),
                agreement,
                idle_since_ns: now_ns,
                counted: id,
                seen: SessionCounters::default(),
                attributed: [0; 2],
                number_base: 0,
            }),
        };
        Self { id, wanted, ssid, measured: Arc::new(measured) }
    }

    /// Returns the same target with another measurement: its counters and delays continue.
    pub fn replaced(&self, id: u64, wanted: TargetSpec, ssid: u16) -> Self {
        let replaced = Self { id, wanted, ssid, measured: self.measured.clone() };
        {
            let mut state = replaced.state();
            state.counted = id;
            state.address = None;
        }
        replaced
    }

    /// Returns its state, locked: hold it briefly, packets wait.
    pub fn state(&self) -> MutexGuard<'_, TargetState> {
        self.measured.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its delays.
    pub fn histogram(&self, direction: Direction) -> &Histogram {
        &self.measured.histograms[direction as usize]
    }

    /// Returns a quantile (0 to 1) of the delays of the last one to two minutes, in nanoseconds; `None` without any.
    pub fn recent_quantile(&self, direction: Direction, fraction: f64, now_ns: u64) -> Option<i64> {
        let mut recent = self.measured.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.rotate(now_ns);
        let mut both = recent.previous[direction as usize].clone();
        both.merge(&recent.current[direction as usize]);
        both.quantile(fraction)
    }

    /// Returns the jitter of the round trips of the last one to two minutes, in nanoseconds; `None` without a pair.
    pub fn recent_jitter(&self, now_ns: u64) -> Option<f64> {
        let mut recent = self.measured.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.rotate(now_ns);
        let mut both = recent.variation[0].clone();
        both.merge(&recent.variation[1]);
        both.jitter()
    }

    /// A session begins.
    pub fn begin(&self) {
        let mut state = self.state();
        if state.counted != self.id {
            return;
        }
        // A gap, so that no two packets of different sessions are consecutive.
        state.number_base += (1 << 32) + 2;
        state.seen = SessionCounters::default();
        state.attributed = [0; 2];
        state.totals.sessions += 1;
    }

    /// No packets are sent for the time being, or any more.
    pub fn pause(&self, problem: Option<&str>) {
        let mut state = self.state();
        if state.counted != self.id {
            return;
        }
        state.is_measured = false;
        if let Some(problem) = problem {
            state.problem = Some(problem.to_owned());
        }
    }

    /// Ends periods that have ended though no packet came.
    pub fn advance(&self, now_ns: u64) {
        let mut state = self.state();
        let agreement = state.agreement.clone();
        state.sla.advance(&agreement, now_ns);
        if state.is_measured {
            state.idle_since_ns = now_ns;
        } else if now_ns.saturating_sub(state.idle_since_ns) >= IDLE_NS {
            state.sla.unmeasured();
        }
    }

    /// Takes in what became of a packet.
    pub fn record(&self, record: &Record, now_ns: u64) {
        let sample = record.reply.as_ref().and_then(|reply| reply.sample.ok());
        if let (PacketOutcome::Answered(ReplyKind::Reply), Some(sample)) = (record.fate, sample) {
            let mut recent = self.measured.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.rotate(now_ns);
            for ((direction, _), histogram) in Direction::ALL.iter().zip(&self.measured.histograms) {
                histogram.observe(direction.of(sample) as f64 / 1e9);
                recent.current[*direction as usize].record(direction.of(sample));
            }
        }
        let mut state = self.state();
        if state.counted != self.id {
            return;
        }
        let agreement = state.agreement.clone();
        state.sla.advance(&agreement, now_ns);
        match record.fate {
            PacketOutcome::Lost => state.sla.lost(),
            PacketOutcome::Answered(ReplyKind::Reply) => {
                let number = state.number_base + u64::from(record.sequence);
                state.sla.received(number, sample);
                if let Some(sample) = sample {
                    state.variation.record(number, sample.round_trip_ns);
                    let mut recent = self.measured.recent.lock().unwrap_or_else(PoisonError::into_inner);
                    recent.variation[0].record(number, sample.round_trip_ns);
                }
                if let Some(reply) = &record.reply {
                    state.clocks = Some((reply.is_synchronized, reply.error_ns));
                    state.last_reply_ns = Some(reply.t4.0);
                }
                state.problem = None;
            }
            PacketOutcome::Answered(_) | PacketOutcome::Unsettled => {}
        }
    }

    /// Takes in what its session has counted.
    ///
    /// Packets that the system refused make the small interval unmeasured. A target is measured while packets leave.
    pub fn tally(&self, tally: SessionCounters, now_ns: u64) {
        let mut state = self.state();
        if state.counted != self.id {
            return;
        }
        state.pacing_error_ns = tally.pacing_error_ns.or(state.pacing_error_ns);
        let agreement = state.agreement.clone();
        state.sla.advance(&agreement, now_ns);
        let before = std::mem::replace(&mut state.seen, tally);
        let has_sent = tally.counts.sent > before.counts.sent;
        if tally.send_errors > before.send_errors {
            state.sla.unmeasured();
            state.is_measured = has_sent;
            state.problem = Some("the system refuses to send packets".into());
        } else if has_sent {
            state.is_measured = true;
        }
        let TargetState { totals, attributed, .. } = &mut *state;
        // Attribution to a direction may change; a counter only rises.
        let split = |tally: &SessionCounters| {
            let of = |end: fn(&Split) -> Option<u64>| tally.split.as_ref().and_then(end);
            [of(|split| split.far_end), of(|split| split.near_end)]
        };
        let directions = split(&tally);
        let (now, then) = (&tally.counts, &before.counts);
        for (total, (_, of)) in totals.ignored.iter_mut().zip(IGNORED) {
            *total += of(&tally).saturating_sub(of(&before));
        }
        for (total, now, then) in [
            (&mut totals.sent, now.sent, then.sent),
            (&mut totals.received, now.received, then.received),
            (&mut totals.lost, now.lost, then.lost),
            (&mut totals.duplicates, now.duplicates, then.duplicates),
            (&mut totals.reordered, now.reordered, then.reordered),
            (&mut totals.late, now.late, then.late),
            (&mut totals.reflector_restarts, now.reflector_restarts, then.reflector_restarts),
            (&mut totals.send_errors, tally.send_errors, before.send_errors),
            (&mut totals.refusals, tally.refusals, before.refusals),
            (&mut totals.schedule_skipped, tally.schedule_skipped, before.schedule_skipped),
        ] {
            *total += now.saturating_sub(then);
        }
        let totals = [&mut totals.lost_forward, &mut totals.lost_backward];
        for ((total, highest), now) in totals.into_iter().zip(attributed).zip(directions) {
            let Some(now) = now else { continue };
            *total.get_or_insert(0) += now.saturating_sub(*highest);
            *highest = now.max(*highest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::config::ProbeConfig;
    use crate::reflector::keys::KeyLoader;
    use crate::sender::session::matcher::{Counts, Split};
    use crate::sla::Grade;

    fn watched() -> Watched {
        let config =
            ProbeConfig::of("[[target]]\naddress = \"192.0.2.1\"\n", &KeyLoader::default(), Default::default())
                .ok()
                .unwrap();
        Watched::new(1, config.targets[0].clone(), 7, &[0.1], Arc::default(), 0)
    }

    fn tally(sent: u64, lost: u64, far_end: Option<u64>) -> SessionCounters {
        let split = Split { is_stateful: far_end.is_some(), far_end, near_end: Some(0), unattributed: 0 };
        SessionCounters {
            counts: Counts { sent, lost, ..Counts::default() },
            split: Some(split),
            ..SessionCounters::default()
        }
    }

    #[test]
    fn totals_go_on_over_sessions_and_never_fall() {
        let watched = watched();
        watched.begin();
        watched.tally(tally(10, 2, Some(2)), 0);
        watched.tally(tally(12, 2, Some(1)), 0);
        watched.tally(tally(12, 2, Some(2)), 0);
        watched.begin();
        watched.tally(tally(5, 1, Some(1)), 0);
        let state = watched.state();
        let totals = state.totals;
        assert_eq!((totals.sent, totals.lost, totals.lost_forward, totals.sessions), (17, 3, Some(3), 2));
        assert_eq!(totals.lost_unattributed(), 0);
    }

    #[test]
    fn a_direction_that_nobody_knows_is_no_zero() {
        let watched = watched();
        watched.begin();
        let unknown = SessionCounters { split: None, ..tally(10, 4, None) };
        watched.tally(unknown, 0);
        let totals = watched.state().totals;
        assert_eq!((totals.lost_forward, totals.lost_backward, totals.lost_unattributed()), (None, None, 4));
    }

    #[test]
    fn counters_go_on_when_a_target_is_measured_in_another_way() {
        let first = watched();
        first.begin();
        first.tally(tally(10, 2, Some(2)), 0);
        let second = first.replaced(2, first.wanted.clone(), 7);
        // What the former session still has to say is not counted twice.
        first.tally(tally(11, 2, Some(2)), 0);
        second.begin();
        second.tally(tally(3, 1, Some(1)), 0);
        first.pause(None);
        let state = second.state();
        assert_eq!((state.totals.sent, state.totals.lost, state.totals.sessions, state.is_measured), (13, 3, 2, true));
    }

    #[test]
    fn refused_packets_are_not_a_good_target() {
        const SECOND: u64 = 1_000_000_000;
        let watched = watched();
        watched.begin();
        watched.tally(tally(10, 0, None), SECOND);
        assert!(watched.state().is_measured);
        let refused = |count| SessionCounters { send_errors: count, ..tally(10, 0, None) };
        for second in 2..40 {
            watched.tally(refused(second), second * SECOND);
            watched.advance(second * SECOND);
            let state = watched.state();
            assert!(!state.is_measured && state.sla.is_available().is_none(), "{second}");
        }
        let state = watched.state();
        let report = state.sla.current(&state.agreement, 40 * SECOND);
        assert_eq!((report.unmeasured_intervals, report.availability, report.grade), (4, None, Grade::Unknown));
        drop(state);
        // The session starts over, and nothing says yet that its packets leave.
        watched.begin();
        assert!(!watched.state().is_measured);
        watched.tally(tally(1, 0, None), 41 * SECOND);
        assert!(watched.state().is_measured);
    }

    #[test]
    fn quantiles_are_of_the_last_minutes() {
        const MINUTE: u64 = 60_000_000_000;
        let mut recent = Recent::default();
        recent.rotate(5 * MINUTE);
        recent.current[0].record(1_000);
        recent.rotate(6 * MINUTE);
        assert_eq!((recent.previous[0].count(), recent.current[0].count()), (1, 0));
        recent.rotate(8 * MINUTE);
        assert_eq!(recent.previous[0].count(), 0);
    }
}
