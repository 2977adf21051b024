//! The metrics of a running reflector, judged by promtool and scraped by Prometheus; alerts and dashboard, which may only
//! name what exists. Takes root; root is needed for namespaces and programs.

use teaparty_testing::reflector::{Net, V4, start};
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::{Prometheus, assert_known, dist, get, programs, promtool};

/// The address of the reflector's API, in its namespace.
const API: &str = "127.0.0.1:8000";

/// Has the busiest sessions shown.
const WITH_SESSIONS: &[&str] = &["--session-metrics", "50"];

/// A namespace and Prometheus's programs, if there are both.
fn net_and_prometheus() -> Result<Net, String> {
    programs(&["promtool", "prometheus"]).and_then(|()| Net::new())
}

/// Starts a reflector whose engines have all answered something.
fn busy_reflector(net: &Net, more: &[&str]) -> teaparty_testing::reflector::Running {
    let arguments =
        ["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API, "--heartbeat", "192.0.2.2:8620@1"];
    let running = start(&mut net.teaparty(&[&arguments, more].concat()));
    let mut client = net.client(V4, 862);
    // Answered by the XDP program, by the ring engine (History), and by the socket engine (a fragmented packet).
    for tail in [&[][..], &[0x80, 244, 0, 0], &[0; 4000]] {
        assert!(client.ask(tail).is_some());
    }
    assert!(net.client_from(V4, 862, 862).ask(&[]).is_none(), "the loop guard");
    running
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let Some(net) = or_skip(net_and_prometheus()) else { return };
    let _reflector = busy_reflector(&net, WITH_SESSIONS);
    let text = get(&net, API, "/metrics").unwrap();
    let output = promtool(&["check", "metrics"], &text);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((output.stdout, output.stderr), (vec![], vec![]), "{text}");
    for expected in [
        "teaparty_packets_total{interface=\"veth0\",path=\"xdp\",verdict=\"reflect\",reason=\"reflected\"} 1\n",
        "teaparty_packets_total{interface=\"veth0\",path=\"xdp\",verdict=\"drop\",reason=\"loop-guard\"} 1\n",
        "teaparty_packets_total{interface=\"veth0\",path=\"ring\",verdict=\"reflect\",reason=\"reflected\"} 1\n",
        "teaparty_packets_total{interface=\"veth0\",path=\"socket\",verdict=\"reflect\",reason=\"reflected\"} 1\n",
        "teaparty_residence_seconds_count{interface=\"veth0\",path=\"ring\"} 1\n",
        "teaparty_residence_seconds_count{interface=\"veth0\",path=\"socket\"} 1\n",
        "teaparty_session_received_packets_total{interface=\"veth0\",source=\"192.0.2.2\",",
        "teaparty_heartbeats_sent_total{target=\"192.0.2.2:8620\"} ",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("teaparty_"), "{line}");
    }
    // What is shipped beside the program names nothing else.
    for file in ["prometheus/teaparty.rules.yml", "grafana/teaparty.json"] {
        assert_known(file, &text);
    }
}

#[test]
fn sessions_have_series_only_where_that_is_asked_for() {
    let Some(net) = or_skip(Net::new()) else { return };
    for (more, series) in [(&[][..], 0), (&["--session-metrics", "0"], 0), (&["--session-metrics", "1"], 3)] {
        let _reflector = busy_reflector(&net, more);
        let mut other = net.client(V4, 862);
        assert!(other.ask(&[]).is_some());
        let text = get(&net, API, "/metrics").unwrap();
        let shown = text.lines().filter(|line| line.starts_with("teaparty_session_")).count();
        assert_eq!(shown, series, "{more:?}: {text}");
    }
}

#[test]
fn alerts_and_their_tests_agree() {
    let Some(_) = or_skip(net_and_prometheus()) else { return };
    for name in ["teaparty", "teaparty-probe"] {
        let [rules, tests] = ["rules", "test"].map(|kind| dist(&format!("prometheus/{name}.{kind}.yml")));
        for (verb, file) in [("check", &rules), ("test", &tests)] {
            let output = promtool(&[verb, "rules", file.to_str().unwrap()], "");
            assert!(output.status.success(), "{output:?}");
        }
        let alerts = std::fs::read_to_string(rules).unwrap();
        let tests = std::fs::read_to_string(tests).unwrap();
        for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            let fires = format!("alertname: {alert}\n        exp_alerts:");
            assert!(tests.contains(&fires), "no test in which {alert} fires");
            assert!(tests.contains(&format!("alertname: {alert}}}")), "no test in which {alert} stays silent");
        }
    }
}

#[test]
fn prometheus_scrapes_what_the_reflector_counts() {
    let Some(net) = or_skip(net_and_prometheus()) else { return };
    let _reflector = busy_reflector(&net, WITH_SESSIONS);
    let prometheus = Prometheus::start(&net, &[], &[&dist("prometheus/teaparty.rules.yml")], API);
    let expected = [
        ("up{job=\"teaparty\"}", "1"),
        ("teaparty_packets_total{path=\"xdp\",reason=\"reflected\"}", "1"),
        ("teaparty_residence_seconds_bucket{path=\"ring\",le=\"+Inf\"}", "1"),
        ("count(teaparty_session_replies_total)", "1"),
        ("teaparty_interface_present{xdp_mode=\"native\"}", "1"),
    ];
    for (query, value) in expected {
        prometheus.until(&net, query, value);
    }
}
