//! What was not measured is shown as unknown, and what was goes on: refused packets, changed settings, units.

use serde_json::Value;
use teaparty_testing::reflector::Net;
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::get;

use crate::support::{API, Probe, number, replace, target};

fn level(net: &Net) -> Value {
    let body = get(net, API, "/api/v1/sla").unwrap();
    serde_json::from_str::<Value>(&body).unwrap()["targets"][0].take()
}

#[test]
fn a_link_that_is_down_is_not_measured_and_not_good() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = "interval = \"50ms\"\ntimeout = \"300ms\"\n[sla]\nsmall-interval = \"1s\"\n\
                  [[target]]\naddress = \"192.0.2.2\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "192.0.2.2", 40);
    probe.until("available", || level(&net)["available"] == true);
    net.near_ip(&["link", "set", "veth0", "down"]);
    probe.until("unmeasured", || target(&net, "192.0.2.2").is_some_and(|target| target["measured"] == false));
    let said = target(&net, "192.0.2.2").unwrap();
    assert!(said["available"].is_null() && said["problem"].is_string(), "{said}");
    probe.until("unmeasured intervals", || {
        level(&net)["current"]["unmeasured_intervals"].as_u64().is_some_and(|count| count >= 3)
    });
    let said = level(&net);
    assert!(said["available"].is_null() && said["current"]["availability"].is_null(), "{said}");
    assert_ne!(said["current"]["grade"], "good", "{said}");
    let metrics = get(&net, API, "/metrics").unwrap();
    let has = |start: &str| metrics.lines().any(|line| line.starts_with(start));
    assert!(!has("teaparty_probe_available{") && !has("teaparty_probe_sla_availability_ratio{"), "{metrics}");
    assert!(
        has("teaparty_probe_measured{target=\"192.0.2.2\"") && metrics.contains("state=\"unmeasured\"} "),
        "{metrics}"
    );
    let measured = metrics.lines().find(|line| line.starts_with("teaparty_probe_measured{")).unwrap();
    assert!(measured.ends_with(" 0.0"), "{measured}");
    net.near_ip(&["link", "set", "veth0", "up"]);
    probe.until("measured again", || {
        target(&net, "192.0.2.2").is_some_and(|target| target["measured"] == true && target["available"] == true)
    });
    probe.end();
}

#[test]
fn counters_go_on_when_the_interval_of_a_target_is_changed() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = |interval: &str| format!("[[target]]\naddress = \"192.0.2.2\"\ninterval = \"{interval}\"\n");
    let mut probe = Probe::start(&net, &config("20ms"), None);
    probe.until_answered(&net, "192.0.2.2", 100);
    let before = target(&net, "192.0.2.2").unwrap();
    replace(&probe.path("probe.toml"), &config("21ms"));
    probe.until("the file read again", || {
        get(&net, API, "/metrics").is_some_and(|text| text.contains("teaparty_probe_reloads_total{result=\"ok\"} 1"))
    });
    for _ in 0..20 {
        let sent = number(&net, "192.0.2.2", "sent").unwrap();
        assert!(sent >= before["sent"].as_u64().unwrap(), "{sent} after {before}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    probe.until_answered(&net, "192.0.2.2", 100);
    let after = target(&net, "192.0.2.2").unwrap();
    let received = |of: &Value| of["received"].as_u64().unwrap();
    assert!(received(&after) >= received(&before) + 100 && after["session"] == before["session"], "{before} {after}");
    probe.end();
}

#[test]
fn the_api_has_one_unit_for_each_thing_and_a_document_of_its_own() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config =
        "interval = \"20ms\"\n[sla]\ngood-round-trip = \"50ms\"\nbad-loss = 25\n[[target]]\naddress = \"192.0.2.2\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "192.0.2.2", 20);
    let level = level(&net);
    let agreement = &level["agreement"];
    assert_eq!((&agreement["good_round_trip_ns"], &agreement["bad_loss"]), (&50_000_000.into(), &0.25.into()));
    assert!(agreement.as_object().unwrap().values().all(Value::is_number), "{agreement}");
    for key in ["jitter_ns", "round_trip_ns", "start_ns", "unmeasured_intervals"] {
        assert!(level["current"][key].is_i64() || level["current"][key].is_u64(), "{key}: {level}");
    }
    let document: Value = serde_json::from_str(&get(&net, API, "/api/v1/openapi.json").unwrap()).unwrap();
    for path in ["/api/v1/targets", "/api/v1/sla", "/api/v1/openapi.json", "/metrics", "/livez", "/readyz"] {
        assert!(document["paths"][path]["get"]["responses"]["200"].is_object(), "{path}");
    }
    let known = document["components"]["schemas"]["Report"]["properties"].as_object().unwrap();
    let shown = level["current"].as_object().unwrap();
    assert_eq!(known.keys().collect::<Vec<_>>(), shown.keys().collect::<Vec<_>>());
    probe.end();
}

#[test]
fn a_probe_with_realtime_sends_and_receives_before_other_programs() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = "interval = \"20ms\"\n[[target]]\naddress = \"192.0.2.2\"\n";
    // By the file, and by the option.
    for (config, option) in [(format!("realtime = true\n{config}"), &[][..]), (config.to_owned(), &["--realtime"])] {
        let mut probe = Probe::start_with(&net, &config, None, option);
        probe.until_answered(&net, "192.0.2.2", 40);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", probe.child.0.id())).unwrap();
        let before_others = tasks.flatten().filter(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // Field 41 of proc_pid_stat(5), counted after the name: 1 is SCHED_FIFO.
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(38)) == Some("1")
        });
        // At this rate one thread sends and takes replies in.
        assert!(before_others.count() >= 1, "{option:?}");
        let metrics = get(&net, API, "/metrics").unwrap();
        for name in ["teaparty_probe_pacing_error_p50_seconds{", "teaparty_probe_pacing_error_p99_seconds{"] {
            assert!(metrics.lines().any(|line| line.starts_with(name)), "{metrics}");
        }
        probe.end();
    }
}
