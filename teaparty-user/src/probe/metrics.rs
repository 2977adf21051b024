//! The probe's metrics for Prometheus: as text with classic histograms, and as protobuf with native ones too.

pub mod sample;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_protobuf, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::recent_delays::Direction;
use super::registry::{SourceStatus, TargetRegistry};
use super::sla::PeriodReport;
use super::target::label;
use super::target_state::{TargetState, Watched};
use super::totals::{IGNORED, Totals};
use crate::metrics::process::Process;
use crate::metrics::{self, to_prometheus};
use crate::sla::Grade;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// A form that metrics can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// For every Prometheus and for people.
    Text,
    /// The only one that holds native histograms.
    Protobuf,
}

impl MetricsFormat {
    /// Returns the format that a client prefers; text where it states none.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Text, 0.0);
        for offer in accept.split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parts: Vec<&str> = parts.collect();
            let has = |name: &str, value: &str| {
                let split = parts.iter().filter_map(|part| part.split_once('='));
                let mut of_name = split.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                of_name.next().is_some_and(|(_, found)| found.trim_matches('"') == value)
            };
            let quality = parts.iter().find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0);
            let form = match kind {
                "application/vnd.google.protobuf"
                    if has("proto", "io.prometheus.client.MetricFamily") && has("encoding", "delimited") =>
                {
                    Self::Protobuf
                }
                "text/plain" | "text/*" | "*/*" => Self::Text,
                _ => continue,
            };
            if quality > best.1 {
                best = (form, quality);
            }
        }
        best.0
    }

    /// For the header of that name.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => metrics::CONTENT_TYPE,
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// Metrics that the library does not encode.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Not as text.
    #[error(transparent)]
    Text(#[from] fmt::Error),
    /// Not as protobuf.
    #[error(transparent)]
    Protobuf(#[from] prometheus_protobuf::EncodeError),
}

/// All metrics at this moment.
pub fn encode(registry: &Arc<TargetRegistry>, form: MetricsFormat) -> Result<Vec<u8>, MetricsError> {
    let mut prometheus = Registry::with_prefix("teaparty");
    prometheus.register_collector(Box::new(TargetCollector(registry.clone())));
    match form {
        MetricsFormat::Text => {
            let mut open_metrics = String::new();
            text::encode(&mut open_metrics, &prometheus)?;
            Ok(to_prometheus(&open_metrics).into_bytes())
        }
        MetricsFormat::Protobuf => Ok(prometheus_protobuf::encode_to_vec(&prometheus)?),
    }
}

struct TargetCollector(Arc<TargetRegistry>);

impl fmt::Debug for TargetCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

type TargetLabels = Vec<(String, String)>;

fn labels(watched: &Watched) -> TargetLabels {
    let own = [(label::TARGET, watched.target.name.clone()), (label::SESSION, watched.ssid.to_string())];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(watched.target.labels.clone()).collect()
}

fn with(labels: &TargetLabels, name: &str, value: &str) -> TargetLabels {
    let mut labels = labels.clone();
    labels.push((name.to_owned(), value.to_owned()));
    labels
}

/// One target at one moment.
struct TargetSample {
    labels: TargetLabels,
    state: TargetState,
    report: PeriodReport,
}

impl Collector for TargetCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Self(registry) = self;
        let watched = registry.watched();
        let now = SystemClock.realtime_ns();
        let ones = watched.iter().map(|watched| {
            let state = watched.state().clone();
            let last = state.sla.finished().last().copied();
            let report = last.unwrap_or_else(|| state.sla.current(&state.agreement, now));
            TargetSample { labels: labels(watched), state, report }
        });
        let ones: Vec<TargetSample> = ones.collect();
        counters(&mut encoder, &ones)?;
        histograms(&mut encoder, &watched)?;
        percentiles(&mut encoder, &watched, now)?;
        jitter(&mut encoder, &watched, now)?;
        gauges(&mut encoder, &ones)?;
        service_level(&mut encoder, &ones)?;
        sources(&mut encoder, registry)?;
        metrics::host(&mut encoder, &Process::read(), &SystemClock.state())
    }
}

fn counters(encoder: &mut DescriptorEncoder<'_>, ones: &[TargetSample]) -> fmt::Result {
    type Of = fn(&Totals) -> u64;
    let all: [(&str, &str, Of); 11] = [
        ("probe_sent_packets", "Packets sent.", |totals| totals.sent),
        ("probe_received_packets", "Packets answered in time.", |totals| totals.received),
        ("probe_lost_packets", "Packets given up.", |totals| totals.lost),
        ("probe_duplicates", "Replies to packets that had one.", |totals| totals.duplicates),
        ("probe_reordered_packets", "Replies after one to a later packet.", |totals| totals.reordered),
        ("probe_late_replies", "Replies to packets that had been given up.", |totals| totals.late),
        ("probe_send_errors", "Packets that the system refused to send.", |totals| totals.send_errors),
        ("probe_schedule_skipped_packets", "Packets of the schedule that were missed and never sent.", |totals| {
            totals.schedule_skipped
        }),
        ("probe_refusals", "Refusals that the network reported.", |totals| totals.refusals),
        ("probe_reflector_restarts", "Times that the reflector restarted.", |totals| totals.reflector_restarts),
        ("probe_sessions", "Sessions begun; a new one begins where sockets or address had to change.", |totals| {
            totals.sessions
        }),
    ];
    for (name, help, of) in all {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for one in ones {
            ConstCounter::new(of(&one.state.totals)).encode(family.encode_family(&one.labels)?)?;
        }
    }
    let help = "Replies that were ignored, by why: unauthenticated ones have an HMAC that another key made.";
    let mut family = encoder.encode_descriptor("probe_ignored_replies", help, None, MetricType::Counter)?;
    for one in ones {
        for ((reason, _), count) in IGNORED.iter().zip(one.state.totals.ignored) {
            let labels = with(&one.labels, label::REASON, reason);
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Packets given up by where they were lost, so far as a reflector that counts its replies reveals that.";
    let mut family = encoder.encode_descriptor("probe_lost_direction_packets", help, None, MetricType::Counter)?;
    for one in ones {
        let totals = &one.state.totals;
        for (direction, lost) in [("forward", totals.lost_forward), ("backward", totals.lost_backward)] {
            // Unknown is no zero.
            let Some(lost) = lost else { continue };
            let labels = with(&one.labels, label::DIRECTION, direction);
            ConstCounter::new(lost).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Percentiles of recent delays: name and help of the gauge, and the part of the delays.
const PERCENTILES: [(&str, &str, f64); 2] = [
    ("probe_delay_p50", "Median of the delays of the last one to two minutes, exact to three digits.", 0.5),
    ("probe_delay_p99", "99th percentile of those delays.", 0.99),
];

fn jitter(encoder: &mut DescriptorEncoder<'_>, watched: &[Arc<Watched>], now_ns: u64) -> fmt::Result {
    let help = "Mean difference of the round trips of consecutive packets (RFC 3393), of the last one to two minutes.";
    let mut family = encoder.encode_descriptor("probe_jitter", help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for watched in watched {
        if let Some(ns) = watched.recent_jitter(now_ns) {
            ConstGauge::new(ns / 1e9).encode(family.encode_family(&labels(watched))?)?;
        }
    }
    Ok(())
}

fn percentiles(encoder: &mut DescriptorEncoder<'_>, watched: &[Arc<Watched>], now_ns: u64) -> fmt::Result {
    for (name, help, fraction) in PERCENTILES {
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for watched in watched {
            let own = labels(watched);
            for (direction, way) in Direction::ALL {
                let Some(ns) = watched.recent_quantile(direction, fraction, now_ns) else { continue };
                let labels = with(&own, label::DIRECTION, way);
                ConstGauge::new(ns as f64 / 1e9).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn histograms(encoder: &mut DescriptorEncoder<'_>, watched: &[Arc<Watched>]) -> fmt::Result {
    let help = "Delays: round trips net of residence; forward and backward ones rest on both clocks.";
    let mut family = encoder.encode_descriptor("probe_delay", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for watched in watched {
        let own = labels(watched);
        for (direction, way) in Direction::ALL {
            let labels = with(&own, label::DIRECTION, way);
            watched.histogram(direction).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn gauges(encoder: &mut DescriptorEncoder<'_>, ones: &[TargetSample]) -> fmt::Result {
    type Of = fn(&TargetState) -> Option<f64>;
    let all: [(&str, &str, Of); 8] = [
        (
            "probe_available",
            "Whether the target is available, as the service level has it; none while that is unknown.",
            |state| state.sla.is_available().map(|is| f64::from(u8::from(is))),
        ),
        (
            "probe_lost_unattributed_packets",
            "Packets given up of which no direction is known; a later reply may tell.",
            |state| Some(state.totals.lost_unattributed() as f64),
        ),
        ("probe_measured", "Whether packets leave for the target.", |state| {
            Some(f64::from(u8::from(state.is_measured)))
        }),
        ("probe_resolved", "Whether the target's name has been found.", |state| {
            Some(f64::from(u8::from(state.address.is_some())))
        }),
        (
            "probe_jitter_rfc3550_seconds",
            "Jitter of the round trip as RFC 3550 filters it: of the last few replies.",
            |state| state.variation.jitter_rfc3550().map(|ns| ns / 1e9),
        ),
        ("probe_last_reply_timestamp_seconds", "When the last reply came.", |state| {
            state.last_reply_ns.map(|ns| ns as f64 / 1e9)
        }),
        ("probe_clocks_synchronized", "Whether both clocks claim to be: one-way delays rest on it.", |state| {
            state.clocks.map(|(is_synchronized, _)| f64::from(u8::from(is_synchronized)))
        }),
        ("probe_one_way_error_seconds", "How far one-way delays may be off, by what both clocks claim.", |state| {
            state.clocks.and_then(|(_, error_ns)| error_ns).map(|ns| ns as f64 / 1e9)
        }),
    ];
    for (name, help, of) in all {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in ones {
            if let Some(value) = of(&one.state) {
                ConstGauge::new(value).encode(family.encode_family(&one.labels)?)?;
            }
        }
    }
    for (at, name, help) in [
        (0, "probe_pacing_error_p50", "Median of how late packets leave: this host's part in what is measured."),
        (1, "probe_pacing_error_p99", "99th percentile of how late packets leave."),
    ] {
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for one in ones {
            let Some(ns) = one.state.pacing_error_ns.and_then(|quantiles| quantiles.into_iter().nth(at)) else {
                continue;
            };
            ConstGauge::new(ns as f64 / 1e9).encode(family.encode_family(&one.labels)?)?;
        }
    }
    Ok(())
}

fn service_level(encoder: &mut DescriptorEncoder<'_>, ones: &[TargetSample]) -> fmt::Result {
    type Of = fn(&PeriodReport) -> Option<f64>;
    let all: [(&str, &str, Of); 5] = [
        ("probe_sla_loss_ratio", "Loss of the last period that ended, of the first one until then.", |report| {
            report.loss
        }),
        ("probe_sla_round_trip_seconds", "The graded percentile of its round trips.", |report| {
            report.round_trip_ns.map(|ns| ns as f64 / 1e9)
        }),
        ("probe_sla_jitter_seconds", "Its mean difference of the round trips of consecutive packets.", |report| {
            report.jitter_ns.map(|ns| ns as f64 / 1e9)
        }),
        (
            "probe_sla_availability_ratio",
            "The part of its small intervals that the target was available; none where one was not measured.",
            |report| report.availability,
        ),
        ("probe_sla_period_end_timestamp_seconds", "When it ended.", |report| Some(report.end_ns as f64 / 1e9)),
    ];
    for (name, help, of) in all {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in ones {
            if let Some(value) = of(&one.report) {
                ConstGauge::new(value).encode(family.encode_family(&one.labels)?)?;
            }
        }
    }
    let mut family =
        encoder.encode_descriptor("probe_sla_grade", "1 for the grade of that period.", None, MetricType::Gauge)?;
    for one in ones {
        for (grade, word) in Grade::ALL {
            let value = f64::from(u8::from(grade == one.report.grade));
            ConstGauge::new(value).encode(family.encode_family(&with(&one.labels, label::GRADE, word))?)?;
        }
    }
    let help = "Small intervals of that period by what the target was in them.";
    let mut family = encoder.encode_descriptor("probe_sla_intervals", help, None, MetricType::Gauge)?;
    for one in ones {
        let PeriodReport { available_intervals, unavailable_intervals, unmeasured_intervals, .. } = one.report;
        for (state, count) in [
            ("available", available_intervals),
            ("unavailable", unavailable_intervals),
            ("unmeasured", unmeasured_intervals),
        ] {
            ConstGauge::new(count).encode(family.encode_family(&with(&one.labels, label::STATE, state))?)?;
        }
    }
    let count = |sla: &TargetState| sla.sla.count;
    let mut family =
        encoder.encode_descriptor("probe_sla_periods", "Periods that ended.", None, MetricType::Counter)?;
    ones.iter().try_for_each(|one| ConstCounter::new(count(&one.state)).encode(family.encode_family(&one.labels)?))
}

fn sources(encoder: &mut DescriptorEncoder<'_>, registry: &TargetRegistry) -> fmt::Result {
    let sources = registry.sources();
    let labels = |source: &SourceStatus| vec![("source".to_owned(), source.origin.clone())];
    let mut family =
        encoder.encode_descriptor("probe_source_targets", "Targets of a source.", None, MetricType::Gauge)?;
    for source in &sources {
        ConstGauge::new(source.targets as u64).encode(family.encode_family(&labels(source))?)?;
    }
    let help = "Times that a source could not be used; its targets stay.";
    let mut family = encoder.encode_descriptor("probe_source_failures", help, None, MetricType::Counter)?;
    for source in &sources {
        ConstCounter::new(source.failures).encode(family.encode_family(&labels(source))?)?;
    }
    let help = "Reloads of the probe's file by their result.";
    let mut family = encoder.encode_descriptor("probe_reloads", help, None, MetricType::Counter)?;
    for (result, count) in ["ok", "refused"].into_iter().zip(&registry.reloads) {
        let labels = vec![("result".to_owned(), result.to_owned())];
        ConstCounter::new(count.load(Ordering::Relaxed)).encode(family.encode_family(&labels)?)?;
    }
    let help = "Targets that are left out: there twice, or too many.";
    let left_out = encoder.encode_descriptor("probe_left_out_targets", help, None, MetricType::Gauge)?;
    ConstGauge::new(registry.left_out.load(Ordering::Relaxed)).encode(left_out)
}

#[cfg(test)]
mod tests;
