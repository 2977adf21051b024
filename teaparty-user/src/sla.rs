//! A service level: what is promised, and the grades by which it is kept. [`crate::probe::sla`] measures it.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::units::{DurationSetting, Percent};

/// The agreement.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SlaConfig {
    /// Length of a period; periods begin at multiples of it since 1970
    #[arg(long, value_name = "DURATION")]
    pub period: DurationSetting,
    /// Length of the small intervals that availability is made of
    #[arg(long, value_name = "DURATION")]
    pub small_interval: DurationSetting,
    /// A small interval is bad if it loses more than this percentage
    #[arg(long, value_name = "PERCENT")]
    pub bad_loss: Percent,
    /// So many bad small intervals in a row make a target unavailable, as many others available again
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub unavailable_after: u32,
    /// Percentile of the round trip that is graded
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
    pub good_round_trip: DurationSetting,
    /// A round trip's percentile up to this is acceptable
    #[arg(long, value_name = "DURATION")]
    pub acceptable_round_trip: DurationSetting,
    /// Jitter (mean difference of the round trips of consecutive packets, RFC 3393) up to this is good
    #[arg(long, value_name = "DURATION")]
    pub good_jitter: DurationSetting,
    /// Jitter up to this is acceptable
    #[arg(long, value_name = "DURATION")]
    pub acceptable_jitter: DurationSetting,
}

impl Default for SlaConfig {
    fn default() -> Self {
        let ms = |ms| DurationSetting(std::time::Duration::from_millis(ms));
        Self {
            period: DurationSetting::seconds(900),
            small_interval: DurationSetting::seconds(10),
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

impl SlaConfig {
    /// Checks the values. The error has the key and the remedy.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.small_interval < DurationSetting::seconds(1) {
            return Err(("small-interval", "is 1s or more".into()));
        }
        if self.period < self.small_interval || self.period > DurationSetting::seconds(86_400) {
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

/// The promised service level, as the API shows it: times in nanoseconds, parts as ratios (0 to 1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = AgreementView)]
pub(crate) struct SlaConfigView {
    /// Length of a period.
    pub period_ns: u64,
    /// Length of a small interval.
    pub small_interval_ns: u64,
    /// A small interval is bad if it loses more than this.
    pub bad_loss: f64,
    /// Bad small intervals in a row that make a target unavailable.
    pub unavailable_after: u32,
    /// The quantile of the round trip that is graded.
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

impl From<&SlaConfig> for SlaConfigView {
    fn from(agreement: &SlaConfig) -> Self {
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

/// The grade of a period.
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

    /// Grades a value that is better the smaller it is; unknown without one.
    pub fn of<T: PartialOrd>(value: Option<T>, good: T, acceptable: T) -> Self {
        match value {
            None => Self::Unknown,
            Some(value) if value <= good => Self::Good,
            Some(value) if value <= acceptable => Self::Acceptable,
            Some(_) => Self::Bad,
        }
    }
}

/// A service level in one word, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Unavailable; of a period, in a part of it at least.
    Unavailable,
    /// Worse than acceptable.
    Bad,
    /// Nobody knows: nothing was measured, or not all the time.
    Unmeasured,
    /// Not as promised, and acceptable.
    Acceptable,
    /// As promised.
    Good,
}

impl From<Grade> for ServiceState {
    fn from(grade: Grade) -> Self {
        match grade {
            Grade::Unknown => Self::Unmeasured,
            Grade::Good => Self::Good,
            Grade::Acceptable => Self::Acceptable,
            Grade::Bad => Self::Bad,
        }
    }
}

/// The nanoseconds of a time of the configuration.
pub(crate) fn nanos(DurationSetting(duration): DurationSetting) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
