//! What is known of one target: its counts, delays and service level, which outlive its sessions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};

use super::recent_delays::{DelayPercentiles, Direction, MinuteDelays, RecentDelays};
use super::sla::Sla;
use super::target::TargetSpec;
use super::totals::Totals;
use crate::sender::session::matcher::ReplyKind;
use crate::sender::session::record::{PacketOutcome, Record, SessionCounters};
use crate::sender::session::variation::Variation;
use crate::sla::{ServiceState, SlaConfig};
use crate::sync::locked;

/// Sockets take less to be opened, a name to be found, and the first packet to leave; what takes longer is not measured.
const IDLE_NS: u64 = 3_000_000_000;
/// Native buckets of a histogram at most; beyond that its resolution is halved.
const NATIVE_BUCKETS: usize = 160;

/// A target that is measured, or is to be.
pub struct Watched {
    /// Its number in this process.
    pub id: u64,
    /// The input.
    pub target: TargetSpec,
    /// The SSID of all its sessions, 0 for none.
    pub ssid: u16,
    measured: Arc<Measured>,
}

/// The results for a target. They outlive a change of the measurement.
struct Measured {
    histograms: [Histogram; 3],
    recent: Mutex<RecentDelays>,
    state: Mutex<TargetState>,
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

impl Watched {
    /// A target of which nothing is known yet, with histograms of these buckets (upper ends in seconds, rising).
    pub fn new(
        id: u64,
        target: TargetSpec,
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
        Self { id, target, ssid, measured: Arc::new(measured) }
    }

    /// Returns the same target with another measurement: its counters and delays continue.
    pub fn replaced(&self, id: u64, target: TargetSpec, ssid: u16) -> Self {
        let replaced = Self { id, target, ssid, measured: self.measured.clone() };
        {
            let mut state = replaced.state();
            state.counted = id;
            state.address = None;
        }
        replaced
    }

    /// Returns its state, locked: hold it briefly, packets wait.
    pub fn state(&self) -> MutexGuard<'_, TargetState> {
        locked(&self.measured.state)
    }

    /// Its delays.
    pub fn histogram(&self, direction: Direction) -> &Histogram {
        &self.measured.histograms[direction as usize]
    }

    /// Returns a quantile (0 to 1) of the delays of the last one to two minutes, in nanoseconds; `None` without any.
    pub fn recent_quantile(&self, direction: Direction, fraction: f64, now_ns: u64) -> Option<i64> {
        locked(&self.measured.recent).quantile(direction, fraction, now_ns)
    }

    /// Returns the jitter of the round trips of the last one to two minutes, in nanoseconds; `None` without a pair.
    pub fn recent_jitter(&self, now_ns: u64) -> Option<f64> {
        locked(&self.measured.recent).jitter(now_ns)
    }

    /// Returns the state of the target now. An interval of this period that was not measured does not make it unmeasured.
    pub(crate) fn service_state(&self, now_ns: u64) -> ServiceState {
        let state = self.state();
        let report = state.sla.current(&state.agreement, now_ns);
        match state.sla.is_available() {
            None => ServiceState::Unmeasured,
            Some(false) => ServiceState::Unavailable,
            Some(true) => report.loss_grade.max(report.round_trip_grade).max(report.jitter_grade).into(),
        }
    }

    /// Returns the loss of this period; `None` where no packet was settled.
    pub(crate) fn current_loss(&self, now_ns: u64) -> Option<f64> {
        let state = self.state();
        state.sla.current(&state.agreement, now_ns).loss
    }

    /// Returns percentiles of the round trips of the last one to two minutes; `None` without any.
    pub(crate) fn recent_percentiles(&self, now_ns: u64) -> Option<DelayPercentiles> {
        let mut recent = locked(&self.measured.recent);
        DelayPercentiles::of(|fraction| recent.quantile(Direction::RoundTrip, fraction, now_ns))
    }

    /// Returns the minutes of the last hour that have ended, the oldest first.
    pub(crate) fn recent_minutes(&self, now_ns: u64) -> Vec<MinuteDelays> {
        locked(&self.measured.recent).minutes(now_ns)
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
            for ((direction, _), histogram) in Direction::ALL.iter().zip(&self.measured.histograms) {
                histogram.observe(direction.of(sample) as f64 / 1e9);
            }
            locked(&self.measured.recent).record(sample, now_ns);
        }
        let mut state = self.state();
        if state.counted != self.id {
            return;
        }
        match record.fate {
            PacketOutcome::Lost => locked(&self.measured.recent).settle(true, now_ns),
            PacketOutcome::Answered(ReplyKind::Reply) => locked(&self.measured.recent).settle(false, now_ns),
            PacketOutcome::Answered(_) | PacketOutcome::Unsettled => {}
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
                    locked(&self.measured.recent).record_variation(number, sample.round_trip_ns);
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
    pub fn count(&self, counters: SessionCounters, now_ns: u64) {
        let mut state = self.state();
        if state.counted != self.id {
            return;
        }
        state.pacing_error_ns = counters.pacing_error_ns.or(state.pacing_error_ns);
        let agreement = state.agreement.clone();
        state.sla.advance(&agreement, now_ns);
        let before = std::mem::replace(&mut state.seen, counters);
        let has_sent = counters.counts.sent > before.counts.sent;
        if counters.send_errors > before.send_errors {
            state.sla.unmeasured();
            state.is_measured = has_sent;
            state.problem = Some("the system refuses to send packets".into());
        } else if has_sent {
            state.is_measured = true;
        }
        let TargetState { totals, attributed, .. } = &mut *state;
        totals.add(&counters, &before, attributed);
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
            ProbeConfig::of(&"[[target]]\naddress = \"192.0.2.1\"\n".into(), &KeyLoader::default(), Default::default())
                .ok()
                .unwrap();
        Watched::new(1, config.targets[0].clone(), 7, &[0.1], Arc::default(), 0)
    }

    fn counters(sent: u64, lost: u64, far_end: Option<u64>) -> SessionCounters {
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
        watched.count(counters(10, 2, Some(2)), 0);
        watched.count(counters(12, 2, Some(1)), 0);
        watched.count(counters(12, 2, Some(2)), 0);
        watched.begin();
        watched.count(counters(5, 1, Some(1)), 0);
        let state = watched.state();
        let totals = state.totals;
        assert_eq!((totals.sent, totals.lost, totals.lost_forward, totals.sessions), (17, 3, Some(3), 2));
        assert_eq!(totals.lost_unattributed(), 0);
    }

    #[test]
    fn a_direction_that_nobody_knows_is_no_zero() {
        let watched = watched();
        watched.begin();
        let unknown = SessionCounters { split: None, ..counters(10, 4, None) };
        watched.count(unknown, 0);
        let totals = watched.state().totals;
        assert_eq!((totals.lost_forward, totals.lost_backward, totals.lost_unattributed()), (None, None, 4));
    }

    #[test]
    fn counters_go_on_when_a_target_is_measured_in_another_way() {
        let first = watched();
        first.begin();
        first.count(counters(10, 2, Some(2)), 0);
        let second = first.replaced(2, first.target.clone(), 7);
        // What the former session still has to say is not counted twice.
        first.count(counters(11, 2, Some(2)), 0);
        second.begin();
        second.count(counters(3, 1, Some(1)), 0);
        first.pause(None);
        let state = second.state();
        assert_eq!((state.totals.sent, state.totals.lost, state.totals.sessions, state.is_measured), (13, 3, 2, true));
    }

    #[test]
    fn refused_packets_are_not_a_good_target() {
        const SECOND: u64 = 1_000_000_000;
        let watched = watched();
        watched.begin();
        watched.count(counters(10, 0, None), SECOND);
        assert!(watched.state().is_measured);
        let refused = |count| SessionCounters { send_errors: count, ..counters(10, 0, None) };
        for second in 2..40 {
            watched.count(refused(second), second * SECOND);
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
        watched.count(counters(1, 0, None), 41 * SECOND);
        assert!(watched.state().is_measured);
    }
}
