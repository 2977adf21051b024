//! The text of the metrics, from figures made up here; `tests/reflector/metrics.rs` lets Prometheus judge it.

use super::sample::{session, snapshot};
use super::*;

#[test]
fn counters_are_described_by_the_name_of_their_samples() {
    let text = snapshot().text().unwrap();
    for expected in [
        "# HELP teaparty_packets_total Packets by the way they ended.\n# TYPE teaparty_packets_total counter\n\
         teaparty_packets_total{interface=\"eth\\\"0\\\\\",path=\"xdp\",verdict=\"reflect\",reason=\"reflected\"} 7\n",
        "teaparty_sessions{owner=\"kernel\"} 2.0\n",
        "teaparty_build_info{version=",
        "\nteaparty_clock_tai_offset_seconds 37.0\n",
        "# TYPE teaparty_process_cpu_seconds_total counter\nteaparty_process_cpu_seconds_total 1.5\n",
        "teaparty_heartbeat_last_success_timestamp_seconds{target=\"192.0.2.9:862\"} 1.5\n",
        "source=\"192.0.2.9\",source_port=\"5001\",destination=\"192.0.2.1\",destination_port=\"862\",ssid=\"7\"} 5\n",
        "teaparty_session_last_packet_timestamp_seconds{interface=\"eth0\",",
        "} 1700000000.5\n",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    assert!(!text.contains("EOF"), "{text}");
}

#[test]
fn several_reflectors_are_told_apart_by_a_label() {
    let mut snapshot = snapshot();
    let second = ReflectorMetrics {
        reflector: Some("edge".into()),
        sessions: [("kernel", 3); 3],
        ..ReflectorMetrics::default()
    };
    snapshot.parts[0].reflector = Some("core".into());
    snapshot.parts.push(second);
    let text = snapshot.text().unwrap();
    for expected in [
        "teaparty_sessions{owner=\"kernel\",reflector=\"core\"} 2.0\n",
        "teaparty_sessions{owner=\"kernel\",reflector=\"edge\"} 3.0\n",
        "reason=\"reflected\",reflector=\"core\"} 7\n",
        "path=\"ring\",reflector=\"core\"",
        "ssid=\"7\",reflector=\"core\"} 5\n",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    assert_eq!(text.matches("# TYPE teaparty_sessions gauge").count(), 1);
}

#[test]
fn the_histogram_counts_up_to_all_of_its_samples() {
    let text = snapshot().text().unwrap();
    let of = |rest: &str| format!("teaparty_residence_seconds_{rest}");
    for (sample, value) in [
        ("bucket{le=\"0.000001\",interface=\"eth0\",path=\"ring\"}", "3"),
        ("bucket{le=\"0.1\",interface=\"eth0\",path=\"ring\"}", "3"),
        ("bucket{le=\"+Inf\",interface=\"eth0\",path=\"ring\"}", "4"),
        ("count{interface=\"eth0\",path=\"ring\"}", "4"),
        ("sum{interface=\"eth0\",path=\"ring\"}", "5.0"),
    ] {
        let line = format!("{} {value}\n", of(sample));
        assert!(text.contains(&line), "no {line} in {text}");
    }
    assert!(text.contains("# TYPE teaparty_residence_seconds histogram\n"), "{text}");
}

#[test]
fn sessions_shown_are_bounded_configured_ones_first() {
    let many = (0..200).map(|n| session(n, u64::from(n), n < 3)).collect();
    let shown = shown(many, 50);
    assert_eq!(shown.len(), 50);
    let received: Vec<u64> = shown.iter().map(|session| session.received).collect();
    assert_eq!(received[..5], [2, 1, 0, 199, 198]);
    // Configured ones that have not been seen have no series, and few sessions are all shown.
    let unseen = SessionStatus { interface: None, ..session(1, 0, true) };
    assert_eq!(super::shown(vec![unseen, session(2, 1, false)], 50).len(), 1);
    assert!(super::shown(vec![session(2, 1, true)], 0).is_empty());
}
