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

use clap::Args;
use serde::{Deserialize, Serialize};

use super::settings::{Percent, Span};
use crate::sender::histogram::Distribution;
use crate::sender::sample::Sample;
use crate::sender::variation::Variation;

/// Finished periods that are remembered.
const REMEMBERED: usize = 32;

/// What is promised.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Agreement {
    /// Length of a period; periods begin at multiples of it since 1970
    #[arg(long, value_name = "DURATION")]
    pub period: Span,
    /// Length of the small intervals that availability is made of
    #[arg(long, value_name = "DURATION")]
    pub small_interval: Span,
    /// A small interval is bad if it loses more than this percentage
    #[arg(long, value_name = "PERCENT")]
    pub bad_loss: Percent,
    /// So many bad small intervals in a row make a target unavailable, so many others available again
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub unavailable_after: u32,
    /// Which percentile of the round trip is graded
    #[arg(long, value_name = "PERCENT")]
    pub percentile: Percent,
    /// Loss up to this percentage is good
    #[arg(long, value_name = "PERCENT")]
    pub good_loss: Percent,
    /// Loss up to this percentage is acceptable
    #[arg(long, value_name = "PERCENT")]
    pub acceptable_loss: Percent,
    /// A round trip's percentile up to this is good
    #[arg(long, value_name = "DURATION")]
    pub good_round_trip: Span,
    /// A round trip's percentile up to this is acceptable
    #[arg(long, value_name = "DURATION")]
    pub acceptable_round_trip: Span,
    /// Jitter (mean difference of the round trips of consecutive packets, RFC 3393) up to this is good
    #[arg(long, value_name = "DURATION")]
    pub good_jitter: Span,
    /// Jitter up to this is acceptable
    #[arg(long, value_name = "DURATION")]
    pub acceptable_jitter: Span,
}

impl Default for Agreement {
    fn default() -> Self {
        let ms = |ms| Span(std::time::Duration::from_millis(ms));
        Self {
            period: Span::seconds(900),
            small_interval: Span::seconds(10),
            bad_loss: Percent(0.5),
            unavailable_after: 10,
            percentile: Percent(0.95),
            good_loss: Percent(0.001),
            acceptable_loss: Percent(0.01),
            good_round_trip: ms(100),
            acceptable_round_trip: ms(250),
            good_jitter: ms(10),
            acceptable_jitter: ms(30),
        }
    }
}

impl Agreement {
    /// What can't be: the key and what to do.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.small_interval < Span::seconds(1) {
            return Err(("small-interval", "is 1s or more".into()));
        }
        if self.period < self.small_interval || self.period > Span::seconds(86_400) {
            return Err(("period", "is at least one small-interval and at most 1d".into()));
        }
        if self.unavailable_after == 0 {
            return Err(("unavailable-after", "is 1 or more".into()));
        }
        let order = |key, is_order: bool| match is_order {
            true => Ok(()),
            false => Err((key, "is less than what is good; exchange the two".to_owned())),
        };
        order("acceptable-loss", self.good_loss <= self.acceptable_loss)?;
        order("acceptable-round-trip", self.good_round_trip <= self.acceptable_round_trip)?;
        order("acceptable-jitter", self.good_jitter <= self.acceptable_jitter)
    }
}

/// An [`Agreement`] as the API shows it: times in nanoseconds, parts as ratios (0 to 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AgreementView {
    /// Length of a period.
    pub period_ns: u64,
    /// Length of a small interval.
    pub small_interval_ns: u64,
    /// A small interval is bad if it loses more than this.
    pub bad_loss: f64,
    /// Bad small intervals in a row that make a target unavailable.
    pub unavailable_after: u32,
    /// Which quantile of the round trip is graded.
    pub quantile: f64,
    /// Loss up to this is good.
    pub good_loss: f64,
    /// Loss up to this is acceptable.
    pub acceptable_loss: f64,
    /// A round trip's quantile up to this is good.
    pub good_round_trip_ns: u64,
    /// A round trip's quantile up to this is acceptable.
    pub acceptable_round_trip_ns: u64,
    /// Jitter up to this is good.
    pub good_jitter_ns: u64,
    /// Jitter up to this is acceptable.
    pub acceptable_jitter_ns: u64,
}

impl From<&Agreement> for AgreementView {
    fn from(agreement: &Agreement) -> Self {
        Self {
            period_ns: nanos(agreement.period),
            small_interval_ns: nanos(agreement.small_interval),
            bad_loss: agreement.bad_loss.0,
            unavailable_after: agreement.unavailable_after,
            quantile: agreement.percentile.0,
            good_loss: agreement.good_loss.0,
            acceptable_loss: agreement.acceptable_loss.0,
            good_round_trip_ns: nanos(agreement.good_round_trip),
            acceptable_round_trip_ns: nanos(agreement.acceptable_round_trip),
            good_jitter_ns: nanos(agreement.good_jitter),
            acceptable_jitter_ns: nanos(agreement.acceptable_jitter),
        }
    }
}

/// How a period was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Nothing to grade.
    Unknown,
    /// As promised.
    Good,
    /// Just so.
    Acceptable,
    /// Neither.
    Bad,
}

impl Grade {
    /// All of them with their labels.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Unknown, "unknown"), (Self::Good, "good"), (Self::Acceptable, "acceptable"), (Self::Bad, "bad")];

    fn of<T: PartialOrd>(value: Option<T>, good: T, acceptable: T) -> Self {
        match value {
            None => Self::Unknown,
            Some(value) if value <= good => Self::Good,
            Some(value) if value <= acceptable => Self::Acceptable,
            Some(_) => Self::Bad,
        }
    }
}

/// A period in figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Report {
    /// Its begin, in nanoseconds since 1970.
    pub start_ns: u64,
    /// Its end, or where it has come to.
    pub end_ns: u64,
    /// Whether it was measured from its begin to its end.
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
}

/// What is gathered in a period.
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
    /// Whether the interval that goes on is known not to be measured.
    is_unmeasured: bool,
    /// Whether anything speaks for [`Self::is_available`] now.
    has_evidence: bool,
    finished: VecDeque<Report>,
    /// Periods that were finished so far.
    pub count: u64,
}

impl Sla {
    /// Begins in the middle of a period. A target is available until shown otherwise.
    pub fn new(agreement: &Agreement, now_ns: u64) -> Self {
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

    /// Ends what has ended by now; small intervals that were skipped are unmeasured. To be called before what happens now is told, and once a second.
    pub fn advance(&mut self, agreement: &Agreement, now_ns: u64) {
        let interval = floor(now_ns, agreement.small_interval);
        let start_ns = floor(now_ns, agreement.period);
        let mut missed = 0;
        if interval > self.interval_start_ns {
            self.close_interval(agreement);
            // Nobody called meanwhile: this process stood still.
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

    fn close_interval(&mut self, agreement: &Agreement) {
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
    pub fn current(&self, agreement: &Agreement, now_ns: u64) -> Report {
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
        Report {
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
            grade: match loss_grade.max(round_trip_grade).max(jitter_grade) {
                Grade::Bad => Grade::Bad,
                _ if unmeasured > 0 => Grade::Unknown,
                grade => grade,
            },
        }
    }

    /// Finished periods, the oldest first.
    pub fn finished(&self) -> impl DoubleEndedIterator<Item = &Report> + ExactSizeIterator {
        self.finished.iter()
    }
}

/// The nanoseconds of a time of the configuration.
pub(super) fn nanos(Span(duration): Span) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn floor(now_ns: u64, span: Span) -> u64 {
    now_ns - now_ns % nanos(span).max(1)
}

#[cfg(test)]
mod tests;
