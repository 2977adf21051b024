//! What Prometheus makes of the probe's metrics.

use std::time::Duration;

use crate::support::{API, Probe};
use teaparty_testing::reflector::Net;
use teaparty_testing::sender::{Act, Behaviour, Reflector};
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::{self, Prometheus, assert_known, dist, get, promtool};

#[test]
fn percentiles_in_prometheus_are_the_senders_within_ten_per_cent() {
    let Some(net) = or_skip(web::programs(&["prometheus"]).and_then(|()| Net::new())) else { return };
    // One packet of 20 takes five times as long as the others, so that p50 and p99 are far from each other.
    let script = |n: u64| {
        let milliseconds = if n.is_multiple_of(20) { 200 } else { 40 };
        Act { delay: Duration::from_millis(milliseconds), ..Act::default() }
    };
    let behaviour = Behaviour { script: Box::new(script), ..Behaviour::default() };
    let reflector = net.in_far(|| Reflector::start("192.0.2.2", behaviour));
    // Classic buckets, each 8 % above the one before it.
    let buckets: Vec<String> = (0..48).map(|step| format!("{:.6}", 0.01 * 1.08_f64.powi(step))).collect();
    let (buckets, address) = (buckets.join(", "), reflector.address);
    let config = format!("interval = \"20ms\"\nbuckets = [{buckets}]\n[[target]]\naddress = \"{address}\"\nssid = 7\n");
    let mut probe = Probe::start(&net, &config, None);
    let port = address.port().to_string();
    let words = ["sender", "192.0.2.2", &port, "-c", "400", "-i", "20ms", "--format", "json"];
    let output = net.teaparty(&words).output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["received"], 400, "{summary:#}");
    probe.until_answered(&net, &address.to_string(), 400);
    let of = "session=\"7\",direction=\"round_trip\"";
    let close = |prometheus: &Prometheus, query: &str, quantile: &str| {
        let seconds = summary["round_trip_ns"][quantile].as_f64().unwrap() / 1e9;
        prometheus.until(&net, &format!("abs(({query})/{seconds}-1)<bool 0.1"), "1");
    };
    let native = Prometheus::start(&net, &["--enable-feature=native-histograms"], &[], API);
    for (quantile, fraction) in [("p50", 0.5), ("p99", 0.99)] {
        close(&native, &format!("teaparty_probe_delay_{quantile}_seconds{{{of}}}"), quantile);
        close(&native, &format!("histogram_quantile({fraction},teaparty_probe_delay_seconds{{{of}}})"), quantile);
    }
    drop(native);
    let classic = Prometheus::start(&net, &[], &[], API);
    for (quantile, fraction) in [("p50", 0.5), ("p99", 0.99)] {
        let buckets = format!("sum by (le)(teaparty_probe_delay_seconds_bucket{{{of}}})");
        close(&classic, &format!("histogram_quantile({fraction},{buckets})"), quantile);
    }
    probe.end();
}

#[test]
fn prometheus_takes_native_and_classic_histograms() {
    let net = web::programs(&["promtool", "prometheus"]).and_then(|()| Net::new());
    let Some(net) = or_skip(net) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = "interval = \"20ms\"\n[sla]\npercentile = 50\n[[target]]\naddress = \"192.0.2.2\"\nlabels = { site = \"north\" }\nssid = 7\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "192.0.2.2", 100);
    let metrics = get(&net, API, "/metrics").unwrap();
    assert!(
        metrics.contains("teaparty_probe_delay_seconds_bucket{le=\"0.000001\",target=\"192.0.2.2\",session=\"7\""),
        "{metrics}"
    );
    let said = promtool(&["check", "metrics"], &metrics);
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
    for file in ["prometheus/teaparty-probe.rules.yml", "grafana/teaparty-probe.json"] {
        assert_known(file, &metrics);
    }
    let prometheus = Prometheus::start(
        &net,
        &["--enable-feature=native-histograms"],
        &[&dist("prometheus/teaparty-probe.rules.yml")],
        API,
    );
    let of = "target=\"192.0.2.2\",session=\"7\",site=\"north\",direction=\"round_trip\"";
    // The probe's own percentile of the same samples, the sender's: 50 is graded.
    let level = get(&net, API, "/api/v1/sla").unwrap();
    let level: serde_json::Value = serde_json::from_str(&level).unwrap();
    let median = level["targets"][0]["current"]["round_trip_ns"].as_u64().unwrap() as f64 / 1e9;
    for query in [
        format!("abs(teaparty_probe_delay_p50_seconds{{{of}}}/{median}-1)<bool 0.1"),
        format!("histogram_count(teaparty_probe_delay_seconds{{{of}}})>bool 10"),
        format!("histogram_quantile(0.5,teaparty_probe_delay_seconds{{{of}}})>bool 0"),
        "teaparty_probe_sent_packets_total>bool 10".into(),
        "teaparty_probe_sla_grade{grade=\"good\"}<=bool 1".into(),
    ] {
        prometheus.until(&net, &query, "1");
    }
    drop(prometheus);
    // Without native histograms there are the classic buckets, whose steps of 1, 2 and 5 are the error of a quantile.
    let prometheus = Prometheus::start(&net, &[], &[], API);
    let classic = format!("histogram_quantile(0.5,sum by (le)(teaparty_probe_delay_seconds_bucket{{{of}}}))/{median}");
    for query in [format!("{classic}<bool 2.6"), format!("{classic}>bool 0.38")] {
        prometheus.until(&net, &query, "1");
    }
    probe.end();
}
