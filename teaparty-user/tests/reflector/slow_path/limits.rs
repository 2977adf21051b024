//! More sessions than a map has room for: larger maps where they are configured, and a word where a running one is full.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Net, V4, sequence, start};
use teaparty_testing::skip::or_skip;
use teaparty_user::reflector::config::{ReflectorConfig, ReflectorSettings, XdpMode};
use teaparty_user::reflector::handle::{SessionError, SessionId, SessionSpec};

use super::inside::Inside;

/// More than the map has room for where fewer are configured.
const MANY: u32 = 70_000;

/// Places in such a map.
const PLACES: u32 = 65_536;
/// Most time of a build without optimisation for parsing as many sessions.
const PATIENCE: Duration = Duration::from_secs(120);

/// The address of the client.
const CLIENT: &str = "192.0.2.2";

/// A file with the client's session, whose SSID is 7, and this many others.
fn sessions(count: u32) -> String {
    let mut text = String::from("iface = 'veth0'\nxdp-mode = 'native'\nprovisioned-only = true\n");
    writeln!(text, "[[session]]\nsource = '{CLIENT}'\nsource-port = 40007\ndestination = '192.0.2.1'\nssid = 7")
        .expect("a string takes it");
    for n in 0..count {
        let [_, a, b, c] = n.to_be_bytes();
        writeln!(text, "[[session]]\nsource = '10.{a}.{b}.{c}'\nssid = 1").expect("a string takes it");
    }
    text
}

/// The settings of a reflector that XDP alone answers for.
fn native() -> ReflectorSettings {
    ReflectorSettings { xdp_mode: XdpMode::Native, iface: vec!["veth0".into()], ..ReflectorSettings::default() }
}

/// The session of another source for each number.
fn numbered(n: u32) -> SessionSpec {
    let source = std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
    let destination = "192.0.2.1".parse().expect("an address");
    SessionSpec::new(SessionId { source, source_port: 1000, destination, destination_port: 862, ssid: 1 })
}

/// Provisions sessions as a reload does that changes nothing else; gives the refusal.
fn provision(inside: &Inside, specs: &[SessionSpec]) -> Result<(), String> {
    let config = ReflectorConfig::try_from(native()).expect("a configuration");
    inside.handle.reload(&config, &[], specs).map(drop).map_err(|error| error.to_string())
}

#[test]
fn more_sessions_than_usual_get_a_larger_map_and_those_of_an_earlier_start_count_on() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("teaparty.toml");
    let write = |count: u32| std::fs::write(&file, format!("keep = true\n{}", sessions(count))).expect("it is written");
    let config = ["--config", file.to_str().expect("UTF-8")];
    let mut packet = [0; 44];
    (packet[13], packet[15]) = (1, 7);
    let client = net.client_from(V4, 862, 40_007);
    write(0);
    let first = net.reflector(&config);
    assert_eq!(client.exchange(&packet).map(|reply| sequence(&reply)), Some(0));
    first.kill();
    write(MANY);
    let second = net.reflector(&config);
    assert_eq!(client.exchange(&packet).map(|reply| sequence(&reply)), Some(1), "it counts on, answered by XDP");
    let ended = second.stop();
    assert!(ended.status.success(), "{}", ended.error);
    assert!(!ended.error.contains("no XDP"), "{}", ended.error);
}

#[test]
fn a_running_reflector_says_that_its_map_is_full_and_goes_on() {
    let Some(net) = or_skip(Net::new()) else { return };
    let inside = Inside::start(&net, native());
    let many: Vec<SessionSpec> = (0..MANY).map(numbered).collect();
    let refused = provision(&inside, &many).expect_err("it is refused");
    assert!(refused.contains("65536") && refused.contains("70000"), "{refused}");
    assert_eq!(inside.handle.sessions().len(), 0, "nothing of it holds");
    assert_eq!(provision(&inside, &many[..PLACES as usize]), Ok(()));
    let full = inside.handle.create(&numbered(MANY)).expect_err("there is no place left").to_string();
    assert!(full.contains("65536"), "{full}");
    inside.handle.delete(numbered(0).id).expect("one goes");
    inside.handle.create(&numbered(MANY)).expect("so there is one");
    assert!(net.client(V4, 862).exchange(&[0; 44]).is_some(), "packets are answered");
}

#[test]
fn a_session_beyond_a_full_map_is_refused_with_409_and_nothing_is_lost() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("teaparty.toml");
    let write = |count: u32| std::fs::write(&file, sessions(count)).expect("it is written");
    write(0);
    let config = ["reflector", "--config", file.to_str().expect("UTF-8"), "--api", "127.0.0.1:8000"];
    let reflector = start(&mut net.teaparty(&config));
    let mut packet = [0; 44];
    (packet[13], packet[15]) = (1, 7);
    let client = net.client_from(V4, 862, 40_007);
    let number = || client.exchange(&packet).map(|reply| sequence(&reply));
    assert_eq!(number(), Some(0));
    // A map keeps its size while it is in use, so that a reload can fill it.
    write(PLACES - 1);
    let pid = nix::unistd::Pid::from_raw(reflector.pid() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).expect("it runs");
    let total = || net.api("GET", "/api/v1/sessions?provisioned=true&limit=1", "").1["total"].clone();
    let end = Instant::now() + PATIENCE;
    while total() != PLACES && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(total(), PLACES);
    let post = |ssid: u16| {
        let session = serde_json::json!({"source": "10.255.0.1", "ssid": ssid, "destination_port": 862});
        net.api("POST", "/api/v1/sessions", &session.to_string())
    };
    let (status, problem) = post(1);
    assert!(status == 409 && problem["detail"].to_string().contains("65536"), "{status} {problem}");
    assert_eq!((total(), number()), (PLACES.into(), Some(1)), "all are there, and count on");
    // One that is there takes a second place as soon as it is found whatever the SSID is.
    let path = "/api/v1/sessions/10.0.0.1,0,0.0.0.0,862,1";
    let change = serde_json::json!({"no_tlv": true}).to_string();
    let (status, problem) = net.api("PUT", path, &change);
    assert!(status == 409, "{status} {problem}");
    assert_eq!(net.api("DELETE", path, "").0, 204);
    assert_eq!((post(1).0, post(2).0), (201, 409), "there was one place");
    assert_eq!((total(), number()), (PLACES.into(), Some(2)));
    let ended = reflector.stop();
    assert!(ended.status.success() && !ended.error.contains("no XDP"), "{}", ended.error);
}

#[test]
fn a_session_that_is_found_by_any_ssid_takes_two_places() {
    let Some(net) = or_skip(Net::new()) else { return };
    let inside = Inside::start(&net, native());
    let spec = |n: u32| SessionSpec { no_tlv: true, ..numbered(n) };
    let many: Vec<SessionSpec> = (0..=PLACES / 2).map(spec).collect();
    let refused = provision(&inside, &many).expect_err("it is refused");
    assert!(refused.contains("65536 places") && refused.contains("32769"), "{refused}");
    assert_eq!(inside.handle.sessions().len(), 0, "nothing of it holds");
    assert_eq!(provision(&inside, &many[..PLACES as usize / 2]), Ok(()));
    assert!(matches!(inside.handle.create(&spec(PLACES)), Err(SessionError::Full(_))));
    assert_eq!(inside.handle.sessions().len(), PLACES as usize / 2);
}
