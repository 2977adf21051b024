//! Sessions that are provisioned, reset and taken back by way of the handle: the kernel's maps and our table follow.

use std::collections::HashSet;
use std::net::IpAddr;

use teaparty_testing::reflector::{Net, V4, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_user::reflector::config::{ReflectorSettings, XdpMode};
use teaparty_user::reflector::handle::{SessionError, SessionId, SessionSpec};
use teaparty_user::reflector::kernel::maps::Maps;

use super::inside::Inside;

/// An empty History for one entry: only the controller can finish it.
const HISTORY: [u8; 36] = {
    let mut tlv = [0; 36];
    tlv[0] = 0x80;
    tlv[1] = 244;
    tlv[3] = 32;
    tlv
};

fn id(source_port: u16, ssid: u16) -> SessionId {
    let [source, destination]: [IpAddr; 2] = ["192.0.2.2", V4].map(|ip| ip.parse().unwrap());
    SessionId { source, source_port, destination, destination_port: 862, ssid }
}

fn packet(ssid: u16, tail: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 44];
    packet[13] = 1;
    packet[14..16].copy_from_slice(&ssid.to_be_bytes());
    packet.extend(tail);
    packet
}

#[test]
fn a_provisioned_session_remembers_and_begins_anew_when_it_is_reset() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in [XdpMode::Native, XdpMode::Off] {
        let inside = Inside::start(&net, ReflectorSettings { xdp_mode: mode, ..ReflectorSettings::default() });
        let handle = &inside.handle;
        let client = net.client_from(V4, 862, 5001);
        handle.create(&SessionSpec::new(id(5001, 7))).unwrap();
        let ask = |tail: &[u8]| client.exchange(&packet(7, tail)).expect("a reply");
        for n in 0..3 {
            assert_eq!(sequence(&ask(&[])), n);
        }
        let status = || handle.session(id(5001, 7)).unwrap().remove(0);
        assert_eq!((status().received, status().replies, status().is_provisioned), (3, 3, true), "{mode:?}");
        assert_eq!(status().is_kernel_owned, mode == XdpMode::Native);
        // The newest exchange is the one before.
        assert_eq!(ask(&HISTORY)[48..52], 2u32.to_be_bytes(), "{mode:?}");

        handle.reset(id(5001, 7), |_| Ok(())).unwrap();
        assert_eq!((status().received, status().last_received_ns), (0, 0), "{mode:?}");
        let reply = ask(&HISTORY);
        assert_eq!((sequence(&reply), &reply[48..80]), (0, &[0; 32][..]), "{mode:?}: nothing is remembered");
        assert_eq!(sequence(&ask(&[])), 1);
        assert!(matches!(handle.reset(id(5001, 8), |_| Ok(())), Err(SessionError::Unknown)));
        handle.create(&SessionSpec::new(id(0, 9))).unwrap();
        assert!(matches!(handle.reset(id(0, 9), |_| Ok(())), Err(SessionError::Wildcard)));
        handle.delete(id(5001, 7)).unwrap();
        assert!(handle.session(id(5001, 7)).unwrap().is_empty());
    }
}

/// Changes that each thread makes; each is five operations on maps at least.
const CHANGES: u32 = 50_000;
const THREADS: u32 = 4;

#[test]
fn a_million_operations_leave_set_and_maps_equal() {
    let Some(net) = or_skip(Net::new()) else { return };
    let inside = Inside::start(&net, ReflectorSettings { xdp_mode: XdpMode::Native, ..ReflectorSettings::default() });
    let handle = &inside.handle;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                // Threads meet at the same sessions; a generator of its own leads each through them.
                let mut state = thread + 1;
                for _ in 0..CHANGES {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let id = id(1000 + (state >> 16) as u16 % 1000, (state >> 28) as u16);
                    let done = match state >> 13 & 1 {
                        0 => handle.create(&SessionSpec::new(id)),
                        _ => handle.delete(id),
                    };
                    assert!(matches!(done, Ok(()) | Err(SessionError::Exists | SessionError::Unknown)), "{done:?}");
                }
            });
        }
    });
    let listed: HashSet<(u16, u16)> = handle.sessions().iter().map(|s| (s.id.source_port, s.id.ssid)).collect();
    let reader = Maps::open(&net.pins()).unwrap().reader();
    let mapped: HashSet<(u16, u16)> = reader.sessions().map(|(key, _)| (key.source_port, key.ssid)).collect();
    assert!(listed.len() > 1000, "{}", listed.len());
    assert_eq!(listed, mapped);
}
