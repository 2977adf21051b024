//! The metrics of a made-up reflector, of which everything is known: for the reference, and for tests.

use std::fmt;
use std::time::Duration;

use super::*;
use crate::reflector::handle::SessionId;

/// Returns metrics in which every family has a series, so that its labels can be seen.
pub fn text() -> Result<String, fmt::Error> {
    snapshot().text()
}

/// Returns a session of which everything is known.
pub(super) fn session(source: u8, received: u64, is_provisioned: bool) -> SessionStatus {
    SessionStatus {
        interface: Some("eth0".into()),
        id: SessionId {
            source: [192, 0, 2, source].into(),
            source_port: 5001,
            destination: [192, 0, 2, 1].into(),
            destination_port: 862,
            ssid: 7,
        },
        is_provisioned,
        is_authenticated: false,
        is_kernel_owned: true,
        received,
        replies: received,
        last_sender_sequence: 3,
        last_received_ns: 1_700_000_000_500_000_000,
    }
}

/// Returns a state in which every family of metrics has a series.
pub(super) fn snapshot() -> MetricsSnapshot {
    let mut residences = ResidenceSnapshot { sum_ns: 5_000_000_000, ..ResidenceSnapshot::default() };
    (residences.buckets[0], residences.buckets[14]) = (3, 1);
    let part = ReflectorMetrics {
        interfaces: vec![InterfaceStatus {
            name: "eth0".into(),
            is_present: true,
            xdp_mode: "native",
            xdp_reason: None,
            transmit_errors: 0,
            program_id: Some(1),
            is_adopted: false,
            ports: vec![862],
            addresses: Vec::new(),
        }],
        counts: vec![Count {
            interface: "eth\"0\\".into(),
            path: CounterPath::Xdp,
            verdict: "reflect",
            reason: "reflected",
            help: "",
            remedy: None,
            packets: 7,
            last_source: None,
        }],
        residences: vec![("eth0".into(), CounterPath::Ring, residences)],
        sessions: [("kernel", 2), ("controller", 0), ("none", 1)],
        shown: vec![session(9, 5, false)],
        ..ReflectorMetrics::default()
    };
    MetricsSnapshot {
        parts: vec![part],
        heartbeats: vec![HeartbeatStatus {
            target: "192.0.2.9:862".parse().unwrap(),
            interval: Duration::from_secs(5),
            sent: 2,
            failed: 1,
            last_success_ns: Some(1_500_000_000),
            last_error: None,
        }],
        clock: ClockState { tai_offset_s: 37, ..ClockState::UNKNOWN },
        process: Process { cpu_seconds: Some(1.5), ..Process::read() },
    }
}
