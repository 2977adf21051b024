//! Metrics for Prometheus: everything the reflector counts, read at the moment of the scrape.
//!
//! Reasons and their help lines come from `teaparty_common::reflect::Reason`; nothing is named twice.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::heartbeat::Status;
use crate::reflector::handle::{Count, InterfaceStatus, Path, ReflectorHandle};

/// The text format that every Prometheus reads.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as text.
pub fn text(reflector: &ReflectorHandle, heartbeats: Vec<Status>) -> Result<String, fmt::Error> {
    let sessions = reflector.sessions();
    let seen = |is_kernel_owned| {
        sessions.iter().filter(|s| s.interface.is_some() && s.is_kernel_owned == is_kernel_owned).count()
    };
    let snapshot = Snapshot {
        interfaces: reflector.interfaces(),
        counts: reflector.counters(),
        sessions: [
            ("kernel", seen(true)),
            ("controller", seen(false)),
            ("none", sessions.iter().filter(|session| session.interface.is_none()).count()),
        ],
        heartbeats,
    };
    snapshot.text()
}

/// What is known at one moment.
#[derive(Debug)]
struct Snapshot {
    interfaces: Vec<InterfaceStatus>,
    counts: Vec<Count>,
    sessions: [(&'static str, usize); 3],
    heartbeats: Vec<Status>,
}

impl Snapshot {
    fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("teaparty");
        registry.register_collector(Box::new(self));
        let mut open_metrics = String::new();
        text::encode(&mut open_metrics, &registry)?;
        Ok(to_prometheus(&open_metrics))
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut counter = |name, help, values: Vec<(Labels, u64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            values
                .iter()
                .try_for_each(|(labels, value)| ConstCounter::new(*value).encode(family.encode_family(labels)?))
        };
        let counts = self.counts.iter().map(|count| (labels(count), count.packets)).collect();
        counter("packets", "Packets by the way they ended.", counts)?;
        let target = |status: &Status| vec![("target", status.target.to_string())];
        let sent = self.heartbeats.iter().map(|status| (target(status), status.sent)).collect();
        counter("heartbeats_sent", "Heartbeats that went out.", sent)?;
        let failed = self.heartbeats.iter().map(|status| (target(status), status.failed)).collect();
        counter("heartbeats_failed", "Heartbeats that could not go out.", failed)?;

        let mut gauge = |name, help, values: Vec<(Labels, f64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            values.iter().try_for_each(|(labels, value)| ConstGauge::new(*value).encode(family.encode_family(labels)?))
        };
        let last =
            self.heartbeats.iter().filter_map(|status| Some((target(status), status.last_success_ns? as f64 / 1e9)));
        gauge("heartbeat_last_success_timestamp_seconds", "When the last heartbeat went out.", last.collect())?;
        let sessions = self.sessions.iter().map(|(owner, count)| (vec![("owner", (*owner).into())], *count as f64));
        gauge(
            "sessions",
            "Sessions by who keeps their state; none for configured ones not seen yet.",
            sessions.collect(),
        )?;
        let interfaces = self.interfaces.iter().map(|interface| {
            let labels = vec![("interface", interface.name.clone()), ("xdp_mode", interface.xdp_mode.into())];
            (labels, f64::from(u8::from(interface.is_present)))
        });
        gauge("interface_present", "Whether packets are answered on the interface.", interfaces.collect())?;
        let version = vec![("version", env!("CARGO_PKG_VERSION").into())];
        gauge("build_info", "The running teaparty, always 1.", vec![(version, 1.0)])
    }
}

type Labels = Vec<(&'static str, String)>;

fn labels(count: &Count) -> Labels {
    let path = match count.path {
        Path::Xdp => "xdp",
        Path::Ring => "ring",
        Path::Socket => "socket",
    };
    vec![
        ("interface", count.interface.clone()),
        ("path", path.into()),
        ("verdict", count.verdict.into()),
        ("reason", count.reason.into()),
    ]
}

/// OpenMetrics text as Prometheus text: there a counter's description bears the name that its samples have.
fn to_prometheus(open_metrics: &str) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let count = Count {
            interface: "eth0".into(),
            path: Path::Xdp,
            verdict: "reflect",
            reason: "reflected",
            help: "",
            packets: 7,
        };
        let snapshot = Snapshot {
            interfaces: Vec::new(),
            counts: vec![count],
            sessions: [("kernel", 2), ("controller", 0), ("none", 1)],
            heartbeats: Vec::new(),
        };
        let text = snapshot.text().unwrap();
        assert!(
            text.contains(
                "# HELP teaparty_packets_total Packets by the way they ended.\n# TYPE teaparty_packets_total counter\n\
             teaparty_packets_total{interface=\"eth0\",path=\"xdp\",verdict=\"reflect\",reason=\"reflected\"} 7\n"
            ),
            "{text}"
        );
        assert!(text.contains("teaparty_sessions{owner=\"kernel\"} 2"), "{text}");
        assert!(text.contains("teaparty_build_info{version="), "{text}");
        assert!(!text.contains("EOF"), "{text}");
    }
}
