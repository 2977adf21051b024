//! Thresholds that make a measurement a check, and the exit status that it ends with.

use std::str::FromStr;
use std::time::Duration;

use super::config::SenderConfig;
use super::session::histogram::DistributionFigures;
use super::session::measurement::FinishedMeasurement;
use super::session::sender_session::SenderSession;
use super::session::silence;
use crate::exit_code::Exit;
use crate::layout::nanos;
use crate::sla::{Grade, SlaConfig};
use crate::units::{DurationSetting, ValueError, parse_duration, parse_percent};

/// The limits of a measurement, for each target separately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thresholds {
    /// Lost packets, as a fraction of those sent (0 to 1).
    pub max_loss: Option<f64>,
    /// Round trips net of residence, at quantiles.
    pub max_rtt: Vec<RttLimit>,
    /// Jitter of the round trip: mean difference of consecutive packets (RFC 3393).
    pub max_jitter: Option<Duration>,
}

/// `p99=5ms`: a quantile of the round trip and what it must not exceed; without a quantile, the largest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RttLimit {
    label: String,
    fraction: Option<f64>,
    limit: Duration,
}

/// A text that is no [`RttLimit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRttLimit {
    /// It has not the form of one.
    #[error("`{0}` is no limit; write METRIC=DURATION, as in p99=5ms, mean=1ms or max=20ms")]
    Form(String),
    /// The limited figure is no quantile.
    #[error("`{0}` is no quantile; write max, mean, or p and a percentage, as in p99=5ms")]
    Quantile(String),
    /// The limit is no duration.
    #[error("{0}; the form is METRIC=DURATION")]
    Limit(ValueError),
}

impl FromStr for RttLimit {
    type Err = InvalidRttLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRttLimit> {
        let (label, limit) = match text.split_once('=') {
            Some(parts) => parts,
            // A duration alone limits the largest.
            None if parse_duration(text).is_ok() => ("max", text),
            None => return Err(InvalidRttLimit::Form(text.into())),
        };
        let fraction = match label {
            "max" => Some(1.0),
            "mean" => None,
            _ => {
                let percent = label.strip_prefix('p').map(|digits| digits.replace('_', "."));
                let percent = percent.as_deref().and_then(|digits| parse_percent(digits).ok());
                Some(percent.ok_or_else(|| InvalidRttLimit::Quantile(label.into()))?)
            }
        };
        let limit = parse_duration(limit).map_err(InvalidRttLimit::Limit)?;
        Ok(Self { label: label.into(), fraction, limit })
    }
}

/// Part of a limit above which a value is no longer good, only acceptable.
const NEAR: f64 = 0.8;

/// Returns how good a value is against its limit.
fn against(value: f64, limit: f64) -> Grade {
    match value {
        _ if value > limit => Grade::Bad,
        _ if value > limit * NEAR && value > 0.0 => Grade::Acceptable,
        _ => Grade::Good,
    }
}

impl Thresholds {
    /// Returns true if nothing is to be checked.
    pub(crate) fn is_empty(&self) -> bool {
        self.max_loss.is_none() && self.max_rtt.is_empty() && self.max_jitter.is_none()
    }

    /// Returns how good a loss (0 to 1) is: by `--max-loss`, or else by the default service level of a probe.
    pub(crate) fn grade_loss(&self, loss: f64) -> Grade {
        let agreement = SlaConfig::default();
        match self.max_loss {
            Some(limit) => against(loss, limit),
            None => Grade::of(Some(loss), agreement.good_loss.0, agreement.acceptable_loss.0),
        }
    }

    /// Returns how good round trips are: by the strictest `--max-rtt`, or else by the default service level of a probe.
    pub(crate) fn grade_round_trip(&self, figures: &DistributionFigures) -> Grade {
        let agreement = SlaConfig::default();
        let value = |label: &str| match label {
            "mean" => figures.mean,
            "p50" => figures.p50 as f64,
            "p90" => figures.p90 as f64,
            "max" => figures.max as f64,
            "p99_9" | "p99.9" => figures.p99_9 as f64,
            _ => figures.p99 as f64,
        };
        let grades = self.max_rtt.iter().map(|limit| against(value(&limit.label), limit.limit.as_nanos() as f64));
        let ns = |span: DurationSetting| span.0.as_nanos() as f64;
        grades.max().unwrap_or_else(|| {
            Grade::of(Some(value("p99")), ns(agreement.good_round_trip), ns(agreement.acceptable_round_trip))
        })
    }

    /// Returns the breaches of a session, one sentence for each.
    fn breaches(&self, session: &SenderSession) -> Vec<String> {
        let mut breaches = Vec::new();
        let counts = session.matcher.counts();
        if let Some(limit) = self.max_loss
            && counts.sent > 0
        {
            let loss = counts.loss().unwrap_or(0.0);
            if loss > limit {
                breaches.push(format!("loss {:.3} % exceeds {:.3} %", loss * 100.0, limit * 100.0));
            }
        }
        let round_trip = &session.statistics.round_trip;
        let has_limit = !self.max_rtt.is_empty() || self.max_jitter.is_some();
        let refused = session.send_errors.0;
        if counts.sent == 0 && (has_limit || self.max_loss.is_some()) {
            breaches.push("nothing was sent that could be checked".into());
        } else if refused > 0 && (has_limit || self.max_loss.is_some()) {
            // What could not be sent was not measured, and is neither loss nor good.
            let all = counts.sent + refused;
            breaches
                .push(format!("not checked over the whole run: this host refused to send {refused} of {all} packets"));
        }
        if counts.sent > 0 && has_limit && round_trip.count() == 0 {
            breaches.push("no round trip could be measured".into());
        }
        for RttLimit { label, fraction, limit } in &self.max_rtt {
            let value = match fraction {
                Some(fraction) => round_trip.quantile(*fraction),
                None => round_trip.figures().map(|figures| figures.mean.round() as i64),
            };
            if let Some(value) = value
                && value > limit.as_nanos() as i64
            {
                breaches.push(format!(
                    "round trip {label} {} exceeds {}",
                    nanos(value),
                    nanos(limit.as_nanos() as i64)
                ));
            }
        }
        match (self.max_jitter, session.statistics.round_trip_variation.jitter()) {
            (Some(limit), Some(jitter)) if jitter > limit.as_nanos() as f64 => {
                let limit = nanos(limit.as_nanos() as i64);
                breaches.push(format!("jitter {} exceeds {limit}", nanos(jitter as i64)));
            }
            (Some(_), None) if round_trip.count() > 0 => {
                breaches.push("no jitter could be measured, which takes two round trips".into());
            }
            _ => {}
        }
        breaches
    }
}

/// The exit status of a measurement, and one line for standard error unless it is a success.
pub(crate) fn verdict(
    config: &SenderConfig,
    thresholds: &Thresholds,
    outcome: &FinishedMeasurement,
) -> (Exit, Option<String>) {
    let counts = || outcome.sessions.iter().map(|session| session.matcher.counts());
    let (sent, received) = (counts().map(|c| c.sent).sum::<u64>(), counts().map(|c| c.received).sum::<u64>());
    let refused: u64 = outcome.sessions.iter().map(|session| session.send_errors.0).sum();
    if sent == 0 && refused > 0 {
        let reason = outcome.sessions.iter().find_map(|session| session.send_errors.1.clone()).unwrap_or_default();
        return (Exit::Failure, Some(format!("no packet could be sent: {reason}")));
    }
    // Where none was asked for, none is what a reflector that is there gives.
    let is_unreachable = outcome.sessions.iter().any(|session| session.refusals > 0);
    if sent > 0 && received == 0 && (config.replies_per_packet > 0 || is_unreachable) {
        return (Exit::NoReply, Some(silence::reason(config, outcome, sent)));
    }
    let breaches: Vec<String> = outcome
        .sessions
        .iter()
        .zip(&config.targets)
        .flat_map(|(session, target)| {
            thresholds.breaches(session).into_iter().map(|breach| format!("{}: {breach}", target.name))
        })
        .collect();
    if breaches.is_empty() { (Exit::Success, None) } else { (Exit::Breach, Some(breaches.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_documented() {
        let limit: RttLimit = "p99_9=5ms".parse().unwrap();
        assert!((limit.fraction.unwrap() - 0.999).abs() < 1e-12);
        assert_eq!(limit.limit, Duration::from_millis(5));
        assert_eq!("10us".parse::<RttLimit>().unwrap().fraction, Some(1.0));
        assert_eq!("mean=1s".parse::<RttLimit>().unwrap().fraction, None);
        for wrong in ["q99=5ms", "p101=5ms", "p99=", "p=1ms", ""] {
            assert!(wrong.parse::<RttLimit>().is_err(), "{wrong}");
        }
        for wrong in ["foo", "p99", "p99=foo", "5"] {
            let problem = wrong.parse::<RttLimit>().map_err(|problem| problem.to_string().contains("METRIC=DURATION"));
            assert!(matches!(problem, Err(true)) || wrong == "5", "{wrong}");
        }
    }
}
