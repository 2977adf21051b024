//! What is known of one target: its counts, delays and service level, which outlive its sessions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};

use super::sla::{Agreement, Sla};
use super::target::Wanted;
use crate::sender::event::{Fate, Record, Tally};
use crate::sender::exchange::Kind;
use crate::sender::sample::Sample;
use crate::sender::variation::Variation;

/// Upper ends of classic buckets, in seconds: from a rack to a satellite.
const BUCKETS: [f64; 16] =
    [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
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

/// How many of something a session has counted.
type Of = fn(&Tally) -> u64;

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
    /// Which one, in this process.
    pub id: u64,
    /// What was asked for.
    pub wanted: Wanted,
    /// The SSID of all its sessions, 0 for none.
    pub ssid: u16,
    histograms: [Histogram; 3],
    state: Mutex<State>,
}

/// How a target stands.
#[derive(Clone, Debug)]
pub struct State {
    /// Where its packets go; `None` before its name was found.
    pub address: Option<SocketAddr>,
    /// Whether packets are sent.
    pub is_measured: bool,
    /// What keeps it from being measured well, if anything does.
    pub problem: Option<String>,
    /// Over all sessions.
    pub totals: Totals,
    /// Of the round trip.
    pub variation: Variation,
    /// Whether both clocks claimed synchronisation in the last reply, and the sum of both error bounds in nanoseconds.
    pub clocks: Option<(bool, u64)>,
    /// When the last reply came, in nanoseconds since 1970.
    pub last_reply_ns: Option<u64>,
    /// How late packets leave against the schedule, in nanoseconds: p50 and p99.
    pub pacing_error_ns: Option<[i64; 2]>,
    /// What is promised.
    pub agreement: Arc<Agreement>,
    /// The service level.
    pub sla: Sla,
    /// What the present session had counted at the last look.
    seen: Tally,
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
    /// Of those, on the way there, so far as that is known.
    pub lost_forward: u64,
    /// On the way back.
    pub lost_backward: u64,
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

impl Watched {
    /// Nothing is known yet.
    pub fn new(id: u64, wanted: Wanted, ssid: u16, agreement: Arc<Agreement>, now_ns: u64) -> Self {
        let native = NativeHistogramConfig::default().max_buckets(NATIVE_BUCKETS);
        Self {
            id,
            wanted,
            ssid,
            histograms: std::array::from_fn(|_| Histogram::new_classic_and_native(BUCKETS, native)),
            state: Mutex::new(State {
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
                seen: Tally::default(),
                attributed: [0; 2],
                number_base: 0,
            }),
        }
    }

    /// How it stands; to be looked at shortly, for the packets wait.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its delays.
    pub fn histogram(&self, direction: Direction) -> &Histogram {
        &self.histograms[direction as usize]
    }

    /// A session begins.
    pub fn begin(&self) {
        let mut state = self.state();
        // A gap, so that no two packets of different sessions are consecutive.
        state.number_base += (1 << 32) + 2;
        state.seen = Tally::default();
        state.attributed = [0; 2];
        state.totals.sessions += 1;
        state.is_measured = true;
    }

    /// No packets are sent for the time being, or any more.
    pub fn pause(&self, problem: Option<&str>) {
        let mut state = self.state();
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
    }

    /// Takes in what became of a packet.
    pub fn record(&self, record: &Record, now_ns: u64) {
        let sample = record.reply.as_ref().and_then(|reply| reply.sample.ok());
        if let (Fate::Answered(Kind::Reply), Some(sample)) = (record.fate, sample) {
            for ((direction, _), histogram) in Direction::ALL.iter().zip(&self.histograms) {
                histogram.observe(direction.of(sample) as f64 / 1e9);
            }
        }
        let mut state = self.state();
        let agreement = state.agreement.clone();
        state.sla.advance(&agreement, now_ns);
        match record.fate {
            Fate::Lost => state.sla.lost(),
            Fate::Answered(Kind::Reply) => {
                let number = state.number_base + u64::from(record.sequence);
                state.sla.received(number, sample);
                if let Some(sample) = sample {
                    state.variation.record(number, sample.round_trip_ns);
                }
                if let Some(reply) = &record.reply {
                    state.clocks = Some((reply.is_synchronized, reply.error_ns));
                    state.last_reply_ns = Some(reply.t4.0);
                }
                state.problem = None;
            }
            Fate::Answered(_) | Fate::Unsettled => {}
        }
    }

    /// Takes in what its session has counted.
    pub fn tally(&self, tally: Tally) {
        let mut state = self.state();
        state.pacing_error_ns = tally.pacing_error_ns.or(state.pacing_error_ns);
        let before = std::mem::replace(&mut state.seen, tally);
        let State { totals, attributed, .. } = &mut *state;
        // What is attributed to a direction may be attributed anew; a counter only rises.
        let split = |tally: &Tally| {
            let of = |end: fn(&crate::sender::exchange::Split) -> Option<u64>| tally.split.as_ref().and_then(end);
            [of(|split| split.far_end), of(|split| split.near_end)].map(|lost| lost.unwrap_or(0))
        };
        let [far, near] = split(&tally);
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
        for ((total, highest), now) in totals.into_iter().zip(attributed).zip([far, near]) {
            *total += now.saturating_sub(*highest);
            *highest = now.max(*highest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::config::Config;
    use crate::reflector::keys::KeyLoader;
    use crate::sender::exchange::{Counts, Split};

    fn watched() -> Watched {
        let config = Config::of("[[target]]\naddress = \"192.0.2.1\"\n", &KeyLoader::default()).ok().unwrap();
        Watched::new(1, config.targets[0].clone(), 7, Arc::default(), 0)
    }

    fn tally(sent: u64, lost: u64, far_end: Option<u64>) -> Tally {
        let split = Split { is_stateful: far_end.is_some(), far_end, near_end: Some(0), unattributed: 0 };
        Tally { counts: Counts { sent, lost, ..Counts::default() }, split: Some(split), ..Tally::default() }
    }

    #[test]
    fn totals_go_on_over_sessions_and_never_fall() {
        let watched = watched();
        watched.begin();
        watched.tally(tally(10, 2, Some(2)));
        watched.tally(tally(12, 2, Some(1)));
        watched.tally(tally(12, 2, Some(2)));
        watched.begin();
        watched.tally(tally(5, 1, Some(1)));
        let state = watched.state();
        let totals = state.totals;
        assert_eq!((totals.sent, totals.lost, totals.lost_forward, totals.sessions), (17, 3, 3, 2));
    }
}
