//! Metrics for Prometheus: everything the reflector counts, read at the moment of the scrape.
//!
//! Reasons and their help lines come from `teaparty_common::reflect::Reason`; nothing is named twice.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use self::process::Process;
use crate::heartbeat::HeartbeatStatus;
use crate::reflector::engine::residence_histogram::{BOUNDS_NS, ResidenceSnapshot};
use crate::reflector::handle::{Count, CounterPath, InterfaceStatus, ReflectorHandle, SessionStatus};
use crate::sys::clock::{ClockSource as _, ClockState, SystemClock, claimed_bound_ns};

pub(crate) mod process;
pub mod sample;

/// The text format that every Prometheus reads.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as text, with series of their own for at most `session_series` sessions of each reflector.
///
/// Several reflectors are distinguished by the label `reflector`; not `instance`, which is Prometheus's own.
pub fn text(
    reflectors: &[ReflectorHandle],
    heartbeats: Vec<HeartbeatStatus>,
    session_series: usize,
) -> Result<String, fmt::Error> {
    let is_one = reflectors.len() == 1;
    let part = |reflector: &ReflectorHandle| {
        ReflectorMetrics::of(reflector, (!is_one).then(|| reflector.name()), session_series)
    };
    let parts = reflectors.iter().map(part);
    MetricsSnapshot { parts: parts.collect(), heartbeats, clock: SystemClock.state(), process: Process::read() }.text()
}

/// Returns the sessions that get series of their own: configured ones first, then the busiest.
fn shown(sessions: Vec<SessionStatus>, most: usize) -> Vec<SessionStatus> {
    let mut seen: Vec<SessionStatus> = sessions.into_iter().filter(|session| session.interface.is_some()).collect();
    let rank = |session: &SessionStatus| (!session.is_provisioned, std::cmp::Reverse(session.received));
    if seen.len() > most {
        seen.select_nth_unstable_by_key(most, rank);
        seen.truncate(most);
    }
    seen.sort_by_key(rank);
    seen
}

/// The state of one reflector at one moment.
#[derive(Debug, Default)]
struct ReflectorMetrics {
    /// Its name, where there are several.
    reflector: Option<String>,
    interfaces: Vec<InterfaceStatus>,
    counts: Vec<Count>,
    residences: Vec<(String, CounterPath, ResidenceSnapshot)>,
    sessions: [(&'static str, usize); 3],
    shown: Vec<SessionStatus>,
}

impl ReflectorMetrics {
    fn of(handle: &ReflectorHandle, reflector: Option<String>, session_series: usize) -> Self {
        let sessions = handle.sessions();
        let seen = |is_kernel_owned| {
            sessions.iter().filter(|s| s.interface.is_some() && s.is_kernel_owned == is_kernel_owned).count()
        };
        Self {
            reflector,
            interfaces: handle.interfaces(),
            counts: handle.counters(),
            residences: handle.residences(),
            sessions: [
                ("kernel", seen(true)),
                ("controller", seen(false)),
                ("none", sessions.iter().filter(|session| session.interface.is_none()).count()),
            ],
            shown: shown(sessions, session_series),
        }
    }

    /// These labels and, where it takes that to tell the reflectors apart, this one's name.
    fn labels(&self, mut labels: CounterLabels) -> CounterLabels {
        labels.extend(self.reflector.iter().map(|name| ("reflector", name.clone())));
        labels
    }
}

/// The state at one moment.
#[derive(Debug)]
struct MetricsSnapshot {
    parts: Vec<ReflectorMetrics>,
    heartbeats: Vec<HeartbeatStatus>,
    clock: ClockState,
    process: Process,
}

impl MetricsSnapshot {
    fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("teaparty");
        registry.register_collector(Box::new(self));
        let mut open_metrics = String::new();
        text::encode(&mut open_metrics, &registry)?;
        Ok(to_prometheus(&open_metrics))
    }

    /// Something of all reflectors, each with the one that it is of.
    fn all<'a, T: 'a>(
        &'a self,
        of: impl Fn(&'a ReflectorMetrics) -> &'a [T],
    ) -> impl Iterator<Item = (&'a ReflectorMetrics, &'a T)> {
        self.parts.iter().flat_map(move |part| of(part).iter().map(move |one| (part, one)))
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut counter = |name, help, values: Vec<(CounterLabels, u64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            values
                .iter()
                .try_for_each(|(labels, value)| ConstCounter::new(*value).encode(family.encode_family(labels)?))
        };
        let counts = self.all(|part| &part.counts).map(|(part, count)| (part.labels(labels(count)), count.packets));
        counter("packets", "Packets by the way they ended.", counts.collect())?;
        let of_sessions = |value: fn(&SessionStatus) -> u64| {
            let shown = self.all(|part| &part.shown);
            shown.map(|(part, session)| (part.labels(session_labels(session)), value(session))).collect()
        };
        counter(
            "session_received_packets",
            "Packets of a session; of those that --session-metrics has shown.",
            of_sessions(|session| session.received),
        )?;
        counter("session_replies", "Replies to a session.", of_sessions(|session| session.replies))?;
        let interfaces = self.all(|part| &part.interfaces).map(|(part, interface)| {
            (part.labels(vec![("interface", interface.name.clone())]), interface.transmit_errors)
        });
        counter(
            "transmit_errors",
            "Replies of the XDP program that the driver could not send; they count as reflected.",
            interfaces.collect(),
        )?;
        let sent = self.heartbeats.iter().map(|status| (target(status), status.sent)).collect();
        counter("heartbeats_sent", "Heartbeats that went out.", sent)?;
        let failed = self.heartbeats.iter().map(|status| (target(status), status.failed)).collect();
        counter("heartbeats_failed", "Heartbeats that could not go out.", failed)
    }

    fn residence(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time from T2 to T3 of replies by the controller. Those by the XDP program are not in it: counting would slow them down.";
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor("residence", help, Some(&Unit::Seconds), kind)?;
        self.all(|part| &part.residences).try_for_each(|(part, (interface, path, residences))| {
            let labels = part.labels(vec![("interface", interface.clone()), ("path", path.label().into())]);
            let bounds = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(residences.buckets).collect();
            let (sum, count) = (residences.sum_ns as f64 / 1e9, residences.buckets.iter().sum());
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, values: Vec<(CounterLabels, f64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            values.iter().try_for_each(|(labels, value)| ConstGauge::new(*value).encode(family.encode_family(labels)?))
        };
        let last =
            self.heartbeats.iter().filter_map(|status| Some((target(status), status.last_success_ns? as f64 / 1e9)));
        gauge("heartbeat_last_success_timestamp_seconds", "When the last heartbeat went out.", last.collect())?;
        let sessions = self.all(|part| &part.sessions);
        let sessions =
            sessions.map(|(part, (owner, count))| (part.labels(vec![("owner", (*owner).into())]), *count as f64));
        gauge(
            "sessions",
            "Sessions by who keeps their state; none for configured ones not seen yet.",
            sessions.collect(),
        )?;
        let last = self.all(|part| &part.shown).filter(|(_, session)| session.last_received_ns != 0);
        let last =
            last.map(|(part, session)| (part.labels(session_labels(session)), session.last_received_ns as f64 / 1e9));
        gauge("session_last_packet_timestamp_seconds", "When a session's last packet came.", last.collect())?;
        let interfaces = self.all(|part| &part.interfaces).map(|(part, interface)| {
            let labels = vec![("interface", interface.name.clone()), ("xdp_mode", interface.xdp_mode.into())];
            (part.labels(labels), f64::from(u8::from(interface.is_present)))
        });
        gauge("interface_present", "Whether packets are answered on the interface.", interfaces.collect())?;
        let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
        gauge("build_info", "The running teaparty, always 1.", vec![(version, 1.0)])
    }
}

/// Encodes the metrics of the process and of its clock.
pub(crate) fn host(encoder: &mut DescriptorEncoder<'_>, process: &Process, clock: &ClockState) -> fmt::Result {
    if let Some(seconds) = process.cpu_seconds {
        let help = "Processor time used, user and system.";
        let encoder = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(seconds).encode(encoder)?;
    }
    let is_synchronized = f64::from(u8::from(clock.is_synchronized));
    let seconds = |ns: f64| Some(ns / 1e9);
    // Prometheus's unknown, so that the series stays and no rule takes the kernel's limit for a bound.
    let bound = claimed_bound_ns(clock.maximum_error_ns).map_or(f64::NAN, |bound| bound as f64);
    for (name, help, value) in [
        ("clock_synchronized", "Whether the system clock says that it is synchronised.", Some(is_synchronized)),
        ("clock_error_bound_seconds", "How far the system clock may be off; NaN if unknown.", seconds(bound)),
        ("clock_tai_offset_seconds", "TAI minus UTC as the kernel has it.", seconds(clock.tai_offset_ns() as f64)),
        ("process_resident_memory_bytes", "Memory in use.", process.resident_bytes),
        ("process_open_fds", "Open descriptors.", process.open_fds),
        ("process_max_fds", "Descriptors that may be open.", process.max_fds),
        ("process_threads", "Threads.", process.threads),
        ("process_start_time_seconds", "When the process began.", process.start_seconds),
    ] {
        if let Some(value) = value {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(encoder)?;
        }
    }
    Ok(())
}

impl Collector for MetricsSnapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        self.counters(&mut encoder)?;
        self.residence(&mut encoder)?;
        self.gauges(&mut encoder)?;
        host(&mut encoder, &self.process, &self.clock)
    }
}

type CounterLabels = Vec<(&'static str, String)>;

fn labels(count: &Count) -> CounterLabels {
    vec![
        ("interface", count.interface.clone()),
        ("path", count.path.label().into()),
        ("verdict", count.verdict.into()),
        ("reason", count.reason.into()),
    ]
}

fn target(status: &HeartbeatStatus) -> CounterLabels {
    vec![("target", status.target.to_string())]
}

fn session_labels(session: &SessionStatus) -> CounterLabels {
    let id = &session.id;
    vec![
        ("interface", session.interface.clone().unwrap_or_default()),
        ("source", id.source.to_string()),
        ("source_port", id.source_port.to_string()),
        ("destination", id.destination.to_string()),
        ("destination_port", id.destination_port.to_string()),
        ("ssid", id.ssid.to_string()),
    ]
}

/// OpenMetrics text as Prometheus text: there a counter's description bears the name that its samples have.
pub(crate) fn to_prometheus(open_metrics: &str) -> String {
    let counters: Vec<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|head| Some((*head, line.strip_prefix(head)?)));
        match described.and_then(|(head, rest)| Some((head, rest.split_once(' ')?))) {
            Some((head, (name, rest))) if counters.contains(&name) => {
                text.extend([head, name, "_total ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests;
