//! The service level of a target: periods of a quarter of an hour, each graded; and availability. Pure: time is an argument.
//!
//! Availability is in the manner of MEF 10.3 §8.8.4. Time is cut into small intervals. One is *bad* if more than
//! `bad-loss` of the packets whose fate was settled in it are lost. The target becomes unavailable with the first of
//! `unavailable-after` bad intervals in a row, and available with the first of as many that are not bad. Intervals in
//! which nothing was settled are no evidence: they count neither way and end no row. Neither are *unmeasured* ones, in which
//! the system refused packets, nothing was sent, or this process stood still; they are counted, and a period with one has
//! neither an availability nor a good grade. Intervals of a row that is not
//! decided when a period ends count as what the target was before.

use std::collections::VecDeque;

use serde::Serialize;

use crate::sender::session::delays::Sample;
use crate::sender::session::histogram::Distribution;
use crate::sender::session::variation::Variation;
use crate::sla::{Grade, ServiceState, SlaConfig, nanos};
use crate::units::DurationSetting;

/// Finished periods that are remembered.
const REMEMBERED: usize = 32;

/// A period in figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = Report)]
pub struct PeriodReport {
    /// Its begin, in nanoseconds since 1970.
    pub start_ns: u64,
    /// Its end, or where it has come to.
    pub end_ns: u64,
    /// True if it was measured from start to end.
    pub is_whole: bool,
    /// Packets that were answered in time.
    pub received: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// Lost of those that were settled; `None` where none was.
    pub loss: Option<f64>,
    /// The percentile of the round trip that is graded, in nanoseconds.
    pub round_trip_ns: Option<i64>,
    /// Mean difference of the round trips of consecutive packets, in nanoseconds.
    pub jitter_ns: Option<u64>,
    /// Small intervals in which the target was available.
    pub available_intervals: u64,
    /// Small intervals in which it was not.
    pub unavailable_intervals: u64,
    /// Small intervals of which nobody knows, since they were not measured.
    pub unmeasured_intervals: u64,
    /// Available intervals of the available and unavailable ones; `None` where there was neither, or an unmeasured one.
    pub availability: Option<f64>,
    /// Grade of the loss.
    pub loss_grade: Grade,
    /// Grade of the round trip.
    pub round_trip_grade: Grade,
    /// Grade of the jitter.
    pub jitter_grade: Grade,
    /// The worst of the three; unknown, unless it is bad, where a small interval was not measured.
    pub grade: Grade,
    /// The grade, or that the target was unavailable in a part of the period at least, or not measured all the time.
    pub state: ServiceState,
}

/// The data of a period.
#[derive(Clone, Debug, Default)]
struct Period {
    start_ns: u64,
    is_partial: bool,
    received: u64,
    lost: u64,
    round_trip: Distribution,
    variation: Variation,
    available: u64,
    unavailable: u64,
    unmeasured: u64,
    /// Of the row that is not decided, how many are counted in this period.
    undecided: u64,
}

/// The service level of one target.
#[derive(Clone, Debug)]
pub struct Sla {
    period: Period,
    is_available: bool,
    /// Intervals in a row that speak against what the target is.
    row: u32,
    interval_start_ns: u64,
    settled: u64,
    lost: u64,
    /// True if the present interval is known to be unmeasured.
    is_unmeasured: bool,
    /// True if there is evidence for [`Self::is_available`] now.
    has_evidence: bool,
    finished: VecDeque<PeriodReport>,
    /// Periods that were finished so far.
    pub count: u64,
}

impl Sla {
    /// Begins in the middle of a period. A target is available until shown otherwise.
    pub fn new(agreement: &SlaConfig, now_ns: u64) -> Self {
        let start_ns = floor(now_ns, agreement.period);
        Self {
            period: Period { start_ns, is_partial: start_ns != now_ns, ..Period::default() },
            is_available: true,
            row: 0,
            interval_start_ns: floor(now_ns, agreement.small_interval),
            settled: 0,
            lost: 0,
            is_unmeasured: false,
            has_evidence: false,
            finished: VecDeque::new(),
            count: 0,
        }
    }

    /// Returns whether the target is available; `None` before any packet was settled, and while it is not measured.
    pub fn is_available(&self) -> Option<bool> {
        (self.has_evidence && !self.is_unmeasured).then_some(self.is_available)
    }

    /// Notes that the small interval that goes on is not measured: packets were refused, or none were sent.
    pub fn unmeasured(&mut self) {
        self.is_unmeasured = true;
    }

    /// A packet was answered in time; its number, and delays if they are known.
    pub fn received(&mut self, index: u64, sample: Option<Sample>) {
        self.settled += 1;
        self.has_evidence = true;
        self.period.received += 1;
        if let Some(sample) = sample {
            self.period.round_trip.record(sample.round_trip_ns);
            self.period.variation.record(index, sample.round_trip_ns);
        }
    }

    /// A packet was lost.
    pub fn lost(&mut self) {
        self.settled += 1;
        self.has_evidence = true;
        self.lost += 1;
        self.period.lost += 1;
    }

    /// Ends what has ended by now; small intervals that were skipped are unmeasured. Must be called before events of
    /// now are recorded, and once a second.
    pub fn advance(&mut self, agreement: &SlaConfig, now_ns: u64) {
        let interval = floor(now_ns, agreement.small_interval);
        let start_ns = floor(now_ns, agreement.period);
        let mut missed = 0;
        if interval > self.interval_start_ns {
            self.close_interval(agreement);
            // No call for that long: this process was stopped.
            let small = nanos(agreement.small_interval).max(1);
            let next = self.interval_start_ns + small;
            let end = self.period.start_ns.saturating_add(nanos(agreement.period)).max(next);
            self.period.unmeasured += (interval.min(end) - next.min(interval)) / small;
            missed = (interval.saturating_sub(start_ns.max(next))) / small;
            self.has_evidence &= interval == next;
            self.interval_start_ns = interval;
        }
        if start_ns > self.period.start_ns {
            let mut report = self.current(agreement, now_ns);
            report.end_ns = self.period.start_ns + nanos(agreement.period);
            report.is_whole = !self.period.is_partial && start_ns == report.end_ns;
            self.finished.push_back(report);
            if self.finished.len() > REMEMBERED {
                self.finished.pop_front();
            }
            self.count += 1;
            self.period = Period { start_ns, unmeasured: missed, ..Period::default() };
        }
    }

    fn close_interval(&mut self, agreement: &SlaConfig) {
        let (settled, lost) = (std::mem::take(&mut self.settled), std::mem::take(&mut self.lost));
        let is_unmeasured = std::mem::take(&mut self.is_unmeasured);
        let period = &mut self.period;
        if is_unmeasured {
            period.unmeasured += 1;
            self.has_evidence = false;
            return;
        }
        if settled == 0 {
            return;
        }
        let is_bad = lost as f64 / settled as f64 > agreement.bad_loss.0;
        *(if self.is_available { &mut period.available } else { &mut period.unavailable }) += 1;
        if is_bad != self.is_available {
            (self.row, period.undecided) = (0, 0);
            return;
        }
        self.row += 1;
        period.undecided += 1;
        if self.row >= agreement.unavailable_after {
            let moved = std::mem::take(&mut period.undecided);
            let (from, to) = match self.is_available {
                true => (&mut period.available, &mut period.unavailable),
                false => (&mut period.unavailable, &mut period.available),
            };
            *from -= moved;
            *to += moved;
            self.is_available = !self.is_available;
            self.row = 0;
        }
    }

    /// The period that is going on.
    pub fn current(&self, agreement: &SlaConfig, now_ns: u64) -> PeriodReport {
        let Period { start_ns, received, lost, available, unavailable, .. } = self.period;
        let unmeasured = self.period.unmeasured + u64::from(self.is_unmeasured);
        let ratio = |part: u64, rest: u64| (part + rest > 0).then(|| part as f64 / (part + rest) as f64);
        let loss = ratio(lost, received);
        let round_trip_ns = self.period.round_trip.quantile(agreement.percentile.0);
        let jitter_ns = self.period.variation.jitter().map(|mean| mean.round() as u64);
        let loss_grade = Grade::of(loss, agreement.good_loss.0, agreement.acceptable_loss.0);
        let [good, acceptable] =
            [agreement.good_round_trip, agreement.acceptable_round_trip].map(|span| nanos(span) as i64);
        let round_trip_grade = Grade::of(round_trip_ns, good, acceptable);
        let [good, acceptable] = [agreement.good_jitter, agreement.acceptable_jitter].map(nanos);
        let jitter_grade = Grade::of(jitter_ns, good, acceptable);
        let grade = match loss_grade.max(round_trip_grade).max(jitter_grade) {
            Grade::Bad => Grade::Bad,
            _ if unmeasured > 0 => Grade::Unknown,
            grade => grade,
        };
        PeriodReport {
            start_ns,
            end_ns: now_ns,
            is_whole: false,
            received,
            lost,
            loss,
            round_trip_ns,
            jitter_ns,
            available_intervals: available,
            unavailable_intervals: unavailable,
            unmeasured_intervals: unmeasured,
            availability: ratio(available, unavailable).filter(|_| unmeasured == 0),
            loss_grade,
            round_trip_grade,
            jitter_grade,
            grade,
            state: if unavailable > 0 { ServiceState::Unavailable } else { grade.into() },
        }
    }

    /// Finished periods, the oldest first.
    pub fn finished(&self) -> impl DoubleEndedIterator<Item = &PeriodReport> + ExactSizeIterator {
        self.finished.iter()
    }
}

fn floor(now_ns: u64, span: DurationSetting) -> u64 {
    now_ns - now_ns % nanos(span).max(1)
}

#[cfg(test)]
mod tests;
