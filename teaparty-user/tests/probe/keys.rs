//! Targets in authenticated mode: the right key, a wrong one, and replies that another key has made.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use teaparty_testing::reflector::Net;
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::get;

use crate::support::{API, Probe, number, target};

/// The reflector's key, and another one.
const KEYS: [&str; 2] = ["the secret of both", "quite another one"];

fn secret(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Answers each packet in the far namespace with one whose HMAC does not fit.
fn forger(net: &Net, port: u16) {
    let socket = net.in_far(|| UdpSocket::bind(("192.0.2.2", port))).unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut packet) {
            packet[len - 1] ^= 1;
            if socket.send_to(&packet[..len], from).is_err() {
                return;
            }
        }
    });
}

#[test]
fn a_wrong_key_or_a_forger_spoils_one_target_alone_and_a_mended_key_is_taken_over() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, key) in [("theirs", KEYS[0]), ("right", KEYS[0]), ("wrong", KEYS[1])] {
        secret(&path(name), key);
    }
    let _reflector = net.far_reflector(&["--xdp-mode", "off", "--auth-key-file", path("theirs").to_str().unwrap()]);
    forger(&net, 8620);
    let table = |name: &str, address: &str, key: &str| {
        let key = path(key);
        format!("[[target]]\nname = \"{name}\"\naddress = \"{address}\"\nauth-key-file = \"{}\"\n", key.display())
    };
    let config = ["interval = \"20ms\"\ntimeout = \"300ms\"\n".into(), table("good", "192.0.2.2", "right")];
    let config = config.concat() + &table("bad", "192.0.2.2", "wrong") + &table("forged", "192.0.2.2:8620", "right");
    let mut probe = Probe::start(&net, &config, None);
    probe.until_answered(&net, "good", 20);
    let ignored = |name: &str| target(&net, name).and_then(|target| target["ignored"]["unauthenticated"].as_u64());
    probe.until("forged replies are counted", || ignored("forged").is_some_and(|count| count >= 20));
    probe.until("a reflector with another key does not answer", || {
        number(&net, "bad", "lost").is_some_and(|lost| lost >= 20)
    });
    // Both are still asked, and neither has taken anything for an answer.
    for name in ["bad", "forged"] {
        let before = number(&net, name, "sent").unwrap();
        probe.until("it is asked again", || number(&net, name, "sent").is_some_and(|sent| sent >= before + 20));
        assert_eq!(number(&net, name, "received"), Some(0), "{name}");
    }
    assert_eq!(ignored("good"), Some(0));
    let metrics = get(&net, API, "/metrics").unwrap();
    let of = |line: &&str| line.starts_with("teaparty_probe_ignored_replies_total{target=\"forged\"");
    let line = metrics.lines().filter(of).find(|line| line.contains("reason=\"unauthenticated\"")).unwrap();
    assert!(line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() >= 20, "{line}");
    // The fixed file is read on request; targets with the right key continue undisturbed.
    let (session, received) = (target(&net, "good").unwrap()["session"].clone(), number(&net, "good", "received"));
    secret(&path("wrong"), KEYS[0]);
    probe.signal(Signal::SIGHUP);
    probe.until_answered(&net, "bad", 20);
    assert_eq!(target(&net, "good").unwrap()["session"], session);
    assert!(number(&net, "good", "received") >= received, "it began anew");
    // A key that others may read is refused as a whole.
    std::fs::set_permissions(path("right"), std::fs::Permissions::from_mode(0o644)).unwrap();
    probe.signal(Signal::SIGHUP);
    let log = probe.path("log");
    probe.until("a refusal", || std::fs::read_to_string(&log).unwrap().contains("all stays as it was"));
    probe.until_answered(&net, "good", 20);
    let log = probe.log();
    assert!(log.contains("auth-key-file"), "{log}");
    let said = log + &probe.end() + &metrics;
    assert!(KEYS.iter().all(|key| !said.contains(key)), "{said}");
}
