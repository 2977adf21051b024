//! The units in a Debian that boots: they start by themselves, answer, reload, are upgraded, watched, and stop. Takes root.

use std::time::Duration;

use teaparty_testing::booted::{Booted, Seed};
use teaparty_testing::reflector::{Net, V4, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::get;

/// The metrics of the probe, in the reflector's namespace.
const PROBE: &str = "127.0.0.1:9862";
/// Most time until something is so. Machines are slow under load; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);
/// A key of both ends.
const KEY: &str = "0123456789abcdef0123456789abcdef\n";
/// One session is authenticated with the unit's credential.
const REFLECTOR: &str = "[[session]]\nsource = \"192.0.2.2\"\nssid = 7\nkey-file = \"credential:auth-key\"\n";
/// What the probe measures takes its unit's credential.
const TARGET: &str =
    "interval = \"100ms\"\n[[target]]\naddress = \"192.0.2.2\"\nauth-key-file = \"credential:auth-key\"\n";

fn seed() -> Seed {
    let mut seed = Seed::default();
    for (name, config, text) in [("teaparty", "teaparty.toml", REFLECTOR), ("teaparty-probe", "probe.toml", TARGET)] {
        let unit = format!("{name}.service");
        seed.dist(&unit, &format!("usr/lib/systemd/system/{unit}"));
        seed.link(
            &format!("/usr/lib/systemd/system/{unit}"),
            &format!("etc/systemd/system/multi-user.target.wants/{unit}"),
        );
        seed.file(&format!("etc/teaparty/{config}"), text);
        seed.secret(&format!("etc/credstore/{name}.auth-key"), KEY);
    }
    seed.dist("teaparty.sysusers", "usr/lib/sysusers.d/teaparty.conf");
    seed.file("etc/teaparty/conf.d/50-interface.toml", "iface = \"veth0\"\nxdp-mode = \"native\"\n");
    seed.file("etc/default/teaparty", "TEAPARTY_OPTIONS=--keep\n");
    seed.file("etc/systemd/system/teaparty.service.d/watchdog.conf", "[Service]\nWatchdogSec=10\n");
    seed
}

/// The packets that the probe got back.
fn measured(net: &Net) -> u64 {
    let metrics = get(net, PROBE, "/metrics").unwrap_or_default();
    let line = metrics.lines().find_map(|line| line.strip_prefix("teaparty_probe_received_packets_total{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn the_units_start_at_a_boot_answer_reload_are_upgraded_and_watched_and_stop() {
    let Some(net) = or_skip(Net::new()) else { return };
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), KEY).unwrap();
    let key = key.path().to_str().unwrap();
    let _target = net.far_reflector(&["--xdp-mode", "off", "--auth-key-file", key]);
    let Some(host) = or_skip(Booted::new(&net.near_path(), &seed())) else { return };
    let property = |unit: &str, name: &str| host.run(&["systemctl", "show", "--value", "--property", name, unit]);
    for unit in ["teaparty", "teaparty-probe"] {
        host.until(PATIENCE, &format!("{unit} is active"), || property(unit, "ActiveState") == "active");
    }
    assert_eq!(property("teaparty", "StatusText"), "answering on veth0");
    let mut client = net.client(V4, 862);
    assert!(client.ask_within(PATIENCE), "{}", host.journal());
    let sender = ["sender", V4, "--ssid", "7", "--auth-key-file", key, "--count", "3", "--interval", "100ms"];
    let output = net.far_teaparty(&sender).output().unwrap();
    assert!(output.status.success(), "{output:?}\n{}", host.journal());
    host.until(PATIENCE, "authenticated replies reach the probe", || measured(&net) > 0);

    host.write("/etc/teaparty/teaparty.toml", &format!("rate-limit = 54321\n{REFLECTOR}"));
    host.write("/etc/teaparty/probe.toml", &format!("timeout = \"3s\"\n{TARGET}"));
    host.write("/etc/teaparty/conf.d/60-more.toml", "min-payload = 20\n");
    host.run(&["systemctl", "reload", "teaparty", "teaparty-probe"]);
    host.until(PATIENCE, "the new limit is in force", || host.journal().contains("in force: min-payload, rate-limit"));

    // A new program is installed and started while packets are answered.
    let first = client.ask(&[]).map(|reply| sequence(&reply)).expect("a reply before the upgrade");
    let (before, mut next) = (property("teaparty", "MainPID"), first + 1);
    host.run(&["cp", "/usr/bin/teaparty", "/usr/bin/teaparty.new"]);
    host.run(&["mv", "/usr/bin/teaparty.new", "/usr/bin/teaparty"]);
    host.run(&["systemctl", "restart", "--no-block", "teaparty", "teaparty-probe"]);
    host.until(PATIENCE, "the new program is active", || {
        assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(next), "no packet is lost");
        next += 1;
        property("teaparty", "MainPID") != before && property("teaparty", "ActiveState") == "active"
    });
    host.until(PATIENCE, "the probe measures again", || measured(&net) > 0);

    // One that hangs is started again; the kernel answers for it.
    let before = property("teaparty", "MainPID");
    host.run(&["sh", "-c", &format!("kill -STOP {before}")]);
    host.until(PATIENCE, "the watchdog has it started again", || {
        assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(next), "no packet is lost");
        next += 1;
        property("teaparty", "NRestarts") != "0" && property("teaparty", "ActiveState") == "active"
    });
    assert!(host.journal().contains("Watchdog timeout"), "{}", host.journal());

    host.run(&["systemctl", "stop", "teaparty", "teaparty-probe"]);
    for unit in ["teaparty", "teaparty-probe"] {
        assert_eq!((property(unit, "ActiveState"), property(unit, "Result")), ("inactive".into(), "success".into()));
    }
    assert!(client.ask(&[]).is_some(), "--keep");
    assert_eq!(host.run(&["teaparty", "detach", "--iface", "veth0"]), "veth0: detached");
    assert!(client.ask(&[]).is_none());
}
