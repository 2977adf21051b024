//! What a probe outlives: its reflector, its interface, its name server, and many targets.

use serde_json::Value;
use teaparty_testing::reflector::Net;
use teaparty_testing::skip::or_skip;

use crate::support::{Probe, number, replace, target, targets};

#[test]
fn a_probe_outlives_its_reflector_and_its_interface() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    let reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config =
        "interval = \"20ms\"\ntimeout = \"300ms\"\n[[target]]\naddress = \"192.0.2.2\"\ninterface = \"veth0\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "192.0.2.2", 20);
    drop(reflector);
    probe.until("loss", || number(&net, "192.0.2.2", "lost").is_some_and(|lost| lost > 20));
    let reflector = net.far_reflector(&["--xdp-mode", "off"]);
    probe.until_answered(&net, "192.0.2.2", 20);
    net.near_ip(&["link", "set", "veth0", "down"]);
    let lost = number(&net, "192.0.2.2", "lost").unwrap();
    probe.until("loss, or nothing sent", || {
        target(&net, "192.0.2.2").is_some_and(|target| {
            target["measured"] == false || target["lost"].as_u64() > Some(lost) || target["problem"].is_string()
        })
    });
    net.near_ip(&["link", "set", "veth0", "up"]);
    probe.until_answered(&net, "192.0.2.2", 20);
    net.disconnect();
    probe.until("no interface", || target(&net, "192.0.2.2").is_some_and(|target| target["measured"] == false));
    drop(reflector);
    net.connect().unwrap();
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    probe.until_answered(&net, "192.0.2.2", 20);
    probe.end();
}

#[test]
fn a_name_that_nobody_knows_is_measured_once_somebody_does_and_followed_when_it_moves() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = "interval = \"20ms\"\nresolve-interval = \"1s\"\n[[target]]\naddress = \"reflector.test\"\n";
    let mut probe = Probe::start(&net, config, Some("127.0.0.1 localhost\n"));
    probe.until("a problem", || {
        target(&net, "reflector.test")
            .is_some_and(|target| target["problem"].is_string() && target["address"].is_null())
    });
    // In place, for the file is bound over another.
    std::fs::write(probe.path("hosts"), "192.0.2.2 reflector.test\n").unwrap();
    probe.until_answered(&net, "reflector.test", 20);
    std::fs::write(probe.path("hosts"), "2001:db8::2 reflector.test\n").unwrap();
    probe.until("the new address", || {
        target(&net, "reflector.test").is_some_and(|target| target["address"] == "[2001:db8::2]:862")
    });
    probe.until_answered(&net, "reflector.test", 20);
    // What is no longer known stays where it was.
    std::fs::write(probe.path("hosts"), "").unwrap();
    probe.until("a problem again", || {
        target(&net, "reflector.test").is_some_and(|target| target["problem"].is_string())
    });
    probe.until_answered(&net, "reflector.test", 20);
    probe.end();
}

#[test]
fn five_hundred_targets_are_measured_and_each_period_has_a_line() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off", "--rate-limit", "0"]);
    let config = "interval = \"200ms\"\n[[file-sd]]\nfile = \"FOLDER/sd.json\"\n\
        [sla]\nperiod = \"5s\"\nsmall-interval = \"1s\"\n";
    let mut probe = Probe::start(&net, config, None);
    let group = |number: u32| format!("{{\"targets\": [\"192.0.2.2\"], \"labels\": {{\"number\": \"{number}\"}}}}");
    let groups: Vec<String> = (0..500).map(group).collect();
    replace(&probe.path("sd.json"), &format!("[{}]", groups.join(",")));
    probe.until("all answered", || {
        let targets = targets(&net);
        targets.len() == 500 && targets.iter().all(|target| target["received"].as_u64() >= Some(10))
    });
    let periods = probe.path("periods");
    probe.until("a whole period of each", || {
        let lines = std::fs::read_to_string(&periods).unwrap();
        lines.lines().filter(|line| line.contains("\"is_whole\":true")).count() >= 500
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", probe.child.0.id())).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    println!("500 targets: {memory}");
    let octets: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(octets < 300_000, "{memory}");
    let lines = probe.end();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value["grade"].is_string() && value["start_ns"].as_u64() < value["end_ns"].as_u64(), "{line}");
    }
}
