//! More sessions than a map has room for: larger maps where they are configured, and a word where a running one is full.

use std::fmt::Write as _;
use std::net::IpAddr;

use teaparty_user::reflector::config::{Config, Settings, XdpMode};
use teaparty_user::reflector::handle::{SessionId, SessionSpec};

use crate::inside::Inside;
use crate::reflector_support::probe::or_skip;
use crate::reflector_support::{Net, V4, sequence};

/// More than the map has room for where fewer are configured.
const MANY: u32 = 70_000;

/// The address of the client.
const CLIENT: &str = "192.0.2.2";

#[test]
fn more_sessions_than_usual_get_a_larger_map_and_those_of_an_earlier_start_count_on() {
    let name = "more_sessions_than_usual_get_a_larger_map_and_those_of_an_earlier_start_count_on";
    let Some(net) = or_skip(name, Net::new()) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("teaparty.toml");
    let write = |count: u32| {
        let mut text = String::from("iface = 'veth0'\nxdp-mode = 'native'\nprovisioned-only = true\nkeep = true\n");
        writeln!(text, "[[session]]\nsource = '{CLIENT}'\nsource-port = 40007\ndestination = '192.0.2.1'\nssid = 7")
            .expect("a string takes it");
        for n in 0..count {
            let [_, a, b, c] = n.to_be_bytes();
            writeln!(text, "[[session]]\nsource = '10.{a}.{b}.{c}'\nssid = 1").expect("a string takes it");
        }
        std::fs::write(&file, text).expect("the file is written");
    };
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
    let Some(net) = or_skip("a_running_reflector_says_that_its_map_is_full_and_goes_on", Net::new()) else { return };
    let settings = Settings { xdp_mode: XdpMode::Native, iface: vec!["veth0".into()], ..Settings::default() };
    let inside = Inside::start(&net, settings.clone());
    let destination: IpAddr = "192.0.2.1".parse().expect("an address");
    let spec = |n: u32| {
        let source = std::net::Ipv4Addr::from(0x0a00_0000 + n).into();
        SessionSpec::new(SessionId { source, source_port: 1000, destination, destination_port: 862, ssid: 1 })
    };
    let config = Config::try_from(settings).expect("a configuration");
    let many: Vec<SessionSpec> = (0..MANY).map(spec).collect();
    let refused = inside.handle.reload(&config, &[], &many).err().expect("it is refused").to_string();
    assert!(refused.contains("65536") && refused.contains("70000"), "{refused}");
    assert_eq!(inside.handle.sessions().len(), 0, "nothing of it holds");
    let fitting = inside.handle.reload(&config, &[], &many[..65_536]).map(|_| ());
    assert!(fitting.is_ok(), "{fitting:?}");
    let full = inside.handle.create(&spec(MANY)).expect_err("there is no place left").to_string();
    assert!(full.contains("65536"), "{full}");
    inside.handle.delete(spec(0).id).expect("one goes");
    inside.handle.create(&spec(MANY)).expect("so there is one");
    assert!(net.client(V4, 862).exchange(&[0; 44]).is_some(), "packets are answered");
}
