//! Safety on an open network: who is refused costs no state, is counted, and what was configured stays whatever else comes.
//! Takes root; root is needed for namespaces and programs.

use std::net::UdpSocket;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData};
use teaparty_common::maps::{Session, SessionKey, name};
use teaparty_testing::reflector::{Net, V4, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_user::reflector::kernel::maps::Maps;

/// Sessions made by packets.
fn seen(pins: &Path) -> usize {
    Maps::open(pins).unwrap().sessions().iter().count()
}

/// Sessions that were configured.
fn provisioned(pins: &Path) -> usize {
    let map = MapData::from_pin(pins.join(name::PROVISIONED)).and_then(Map::from_map_data).unwrap();
    HashMap::<_, SessionKey, Session>::try_from(map).unwrap().keys().filter_map(Result::ok).count()
}

#[test]
fn whoever_is_refused_costs_no_state_and_is_counted() {
    let Some(net) = or_skip(Net::new()) else { return };
    // What is set, the client's port, and the reason that is counted.
    let cases: [(&[&str], u16, &str); 5] = [
        (&["--allow", "198.51.100.0/24"], 0, "not-allowed"),
        (&["--provisioned-only"], 0, "not-provisioned"),
        (&["--min-payload", "100"], 0, "too-short"),
        (&[], 862, "loop-guard"),
        (&["--rate-limit", "1:1"], 0, "rate-limited"),
    ];
    for mode in ["native", "off"] {
        for (settings, port, reason) in cases {
            let reflector = net.reflector(&[&["--xdp-mode", mode], settings].concat());
            let is_limit = reason == "rate-limited";
            // The one packet that the limit lets through is another session's.
            assert!(!is_limit || net.client(V4, 862).ask(&[]).is_some(), "{mode}: {reason}");
            assert!(net.client_from(V4, 862, port).ask(&[]).is_none(), "{mode}: {reason}");
            if mode == "native" {
                assert_eq!(seen(&net.pins()), usize::from(is_limit), "{reason}");
            }
            let ended = reflector.stop();
            assert!(ended.status.success(), "{}", ended.error);
            let engine = if mode == "native" { "xdp" } else { "socket" };
            let is_counted = |line: &str| line.contains(engine) && line.contains("drop") && line.contains(reason);
            assert!(ended.out.lines().any(is_counted), "{mode}: {reason}: {}", ended.out);
            let answered = if is_limit { "1 packet answered in 1 session" } else { "0 packets answered in 0 sessions" };
            assert!(ended.out.starts_with(answered), "{mode}: {reason}: {}", ended.out);
        }
    }
}

#[test]
fn a_session_can_be_exempt_from_the_loop_guard() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in ["native", "off"] {
        let session = "source=192.0.2.2,source-port=862,loop-exempt=true";
        let reflector = net.reflector(&["--xdp-mode", mode, "--session", session]);
        assert!(net.client_from(V4, 862, 862).ask(&[]).is_some(), "{mode}: this session is exempt");
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn a_flood_of_sessions_is_bounded_and_evicts_no_configured_one() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in ["native", "off"] {
        let session = "source=192.0.2.2,source-port=5001,destination=192.0.2.1";
        let arguments = ["--xdp-mode", mode, "--max-sessions", "256", "--session", session, "--rate-limit", "0"];
        let reflector = net.reflector(&arguments);
        let mut configured = net.client_from(V4, 862, 5001);
        assert_eq!(configured.ask(&[]).map(|reply| sequence(&reply)), Some(0), "{mode}");
        // One socket, and an SSID of its own in each packet.
        let flood = net.in_far(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        flood.connect((V4, 862)).unwrap();
        flood.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        for ssid in 1..=4000u16 {
            let mut packet = configured.packet(&[]);
            packet[14..16].copy_from_slice(&ssid.to_be_bytes());
            flood.send(&packet).unwrap();
            let len = flood.recv(&mut [0; 256]).expect("a new session is answered, whatever else there was");
            assert_eq!(len, 44);
        }
        if mode == "native" {
            let known = seen(&net.pins());
            assert!((1..=256).contains(&known), "{known} sessions in a map for 256");
            assert_eq!(provisioned(&net.pins()), 1);
        }
        assert_eq!(configured.ask(&[]).map(|reply| sequence(&reply)), Some(1), "{mode}: it counts on");
        assert!(reflector.stop().status.success());
    }
}
