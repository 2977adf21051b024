//! The kernel's maps and the controller's table under load: whose a session is, is never in doubt, whatever is configured,
//! evicted or forgotten in the meantime; and at rest both say what the packets say.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use teaparty_common::maps::Session;
use teaparty_testing::reflector::{Client, Net, V4, V6};
use teaparty_testing::skip::or_skip;
use teaparty_user::crypto::HmacKey;
use teaparty_user::reflector::config::{RateLimit, ReflectorSettings, XdpMode};
use teaparty_user::reflector::handle::{ReflectorHandle, SessionId, SessionSpec, SessionStatus};
use teaparty_user::reflector::kernel::maps::Maps;
use teaparty_user::reflector::keys::{KeyChange, SessionKeys};

use super::inside::Inside;
use super::signed::BASE;

/// Sessions that packets may make. Fewer than there are senders, so that some are evicted all the time.
const MAX_SESSIONS: u32 = 64;
const OPEN_SENDERS: usize = 100;
/// SSIDs of sessions that come and go.
const SSIDS: std::ops::RangeInclusive<u16> = 1..=8;
const TIMEOUT_S: u64 = 1;

fn settings(mode: XdpMode) -> ReflectorSettings {
    ReflectorSettings {
        xdp_mode: mode,
        max_sessions: MAX_SESSIONS,
        session_timeout: TIMEOUT_S,
        rate_limit: RateLimit { rate_pps: 0, burst: 1 },
        ..ReflectorSettings::default()
    }
}

/// A session of the sender at 192.0.2.2, of any port; those with the higher SSIDs are of its IPv6 address.
fn id(ssid: u16) -> SessionId {
    let of_family = if ssid <= 4 { ["192.0.2.2", "0.0.0.0"] } else { ["2001:db8::2", "::"] };
    let [source, destination]: [IpAddr; 2] = of_family.map(|ip| ip.parse().unwrap());
    SessionId { source, source_port: 0, destination, destination_port: 862, ssid }
}

fn key(ssid: u16, version: u8) -> HmacKey {
    HmacKey::new(&[ssid as u8, version, 0x5a]).unwrap()
}

fn authenticated(ssid: u16, number: u32, version: u8) -> Vec<u8> {
    let mut packet = vec![0; BASE];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    packet[16..26].copy_from_slice(&[0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 0x05]);
    packet[26..28].copy_from_slice(&ssid.to_be_bytes());
    assert!(key(ssid, version).sign_base(&mut packet));
    packet
}

fn open(number: u32, ssid: u16, tail: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 44];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    packet[13] = 1;
    packet[14..16].copy_from_slice(&ssid.to_be_bytes());
    packet.extend(tail);
    packet
}

/// Configures sessions, turns their keys over, makes them open and takes them back, in an order of its own.
fn churn(handle: &ReflectorHandle, is_over: &AtomicBool) -> u32 {
    let mut steps = 0u32;
    while !is_over.load(Ordering::Relaxed) {
        let ssid = SSIDS.start() + (steps % 8) as u16;
        let version = (steps / 8 % 3) as u8;
        let change = |base| handle.change_keys(id(ssid), base, KeyChange::Keep);
        let done = match steps / 8 % 7 {
            0 | 3 => {
                let keys = SessionKeys { base: vec![key(ssid, 0)], tlv: Vec::new() };
                handle.create(&SessionSpec { keys, ..SessionSpec::new(id(ssid)) })
            }
            1 => change(KeyChange::Rotate(key(ssid, version))),
            2 => change(KeyChange::Remove),
            4 => change(KeyChange::Replace(key(ssid, version))),
            5 => change(KeyChange::Retire),
            _ => handle.delete(id(ssid)),
        };
        // That there is one already, or none, is what the next step is for.
        drop(done);
        steps += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    steps
}

/// Sends packets of all sorts until told to stop.
fn load(clients: &mut [Client], is_over: &AtomicBool) -> u32 {
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        let senders = clients.len();
        let client = &clients[number as usize % senders];
        let ssid = SSIDS.start() + (number % 8) as u16;
        client.send(&open(number, 0, &[]));
        client.send(&open(number, ssid, &[0x80, 244, 0, 32].iter().copied().chain([0; 32]).collect::<Vec<u8>>()));
        client.send(&authenticated(ssid, number, (number / 100 % 3) as u8));
        number += 1;
        if number.is_multiple_of(16) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    number
}

/// Asserts the invariant: each session has one owner, and that is the one that its mode says.
fn walk(net: &Net, handle: &ReflectorHandle, mode: XdpMode) -> usize {
    let listed = handle.sessions();
    let mut owners: HashMap<SessionId, bool> = HashMap::new();
    for session in listed.iter().filter(|session| session.interface.is_some()) {
        let before = owners.insert(session.id, session.is_kernel_owned);
        assert_eq!(before, None, "listed twice: {session:?}");
        let is_kernels = mode != XdpMode::Off && !session.is_authenticated;
        assert_eq!(session.is_kernel_owned, is_kernels, "{session:?}");
    }
    let own = owners.values().filter(|is_kernels| !**is_kernels).count();
    assert!(own <= MAX_SESSIONS as usize, "the table is bounded: {own}");
    if mode != XdpMode::Off {
        let maps = Maps::open(&net.pins()).unwrap();
        for (key, session) in maps.reader().sessions().filter(|(_, session)| session.has(Session::AUTHENTICATED)) {
            let state = (session.replies, session.unanswered, session.previous_timestamp);
            assert_eq!(state, (0, 0, 0), "the kernel keeps no state of an authenticated session: {key:?}");
        }
    }
    owners.len()
}

fn settled(mut what: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn maps_and_table_never_disagree_under_load() {
    for mode in [XdpMode::Native, XdpMode::Off] {
        let Some(net) = or_skip(Net::new()) else { return };
        let inside = Inside::start(&net, settings(mode));
        let handle = &inside.handle;
        let mut clients: Vec<Client> =
            (0..OPEN_SENDERS).map(|n| net.client(if n % 2 == 0 { V4 } else { V6 }, 862)).collect();
        let is_over = AtomicBool::new(false);
        let (sent, steps, walks, most) = std::thread::scope(|scope| {
            let sent = scope.spawn(|| load(&mut clients, &is_over));
            let steps = scope.spawn(|| churn(handle, &is_over));
            let (mut walks, mut most) = (0, 0);
            let end = Instant::now() + Duration::from_secs(4);
            // A walk that panics must not leave the others running.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                while Instant::now() < end {
                    most = most.max(walk(&net, handle, mode));
                    walks += 1;
                }
            }));
            is_over.store(true, Ordering::Relaxed);
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (sent.join().unwrap(), steps.join().unwrap(), walks, most)
        });
        assert!(
            sent > 1000 && steps > 100 && walks > 5 && most > 10,
            "{sent} {steps} {walks} {most}: that was no load"
        );
        let counters = handle.counters();
        let answered = |reason: &str| counters.iter().filter(|c| c.reason == reason).map(|c| c.packets).sum::<u64>();
        assert!(answered("reflected") > 1000, "{counters:?}");
        assert!(answered("authentication-failed") > 0, "{counters:?}");
        // Whatever packets made is forgotten, by both.
        let seen = |handle: &ReflectorHandle| handle.sessions().iter().filter(|s| s.interface.is_some()).count();
        assert!(settled(|| seen(handle) == 0), "{:?}", handle.sessions());
        if mode != XdpMode::Off {
            let made =
                || Maps::open(&net.pins()).unwrap().reader().sessions().map(|(key, _)| key).collect::<HashSet<_>>();
            assert!(settled(|| made().is_empty()), "{:?}", made());
        }
        at_rest(&net, handle, mode);
    }
}

/// With nothing else going on, the numbers of both are those of the packets.
fn at_rest(net: &Net, handle: &ReflectorHandle, mode: XdpMode) {
    for ssid in SSIDS {
        let _ = handle.delete(id(ssid));
    }
    let keys = SessionKeys { base: vec![key(1, 0)], tlv: Vec::new() };
    let spec = SessionSpec { keys, ..SessionSpec::new(id(1)) };
    handle.create(&spec).unwrap();
    let client = net.client(V4, 862);
    for n in 0..20 {
        assert!(client.exchange(&authenticated(1, n, 0)).is_some());
        assert!(n % 2 == 1 || client.exchange(&open(n, 2, &[])).is_some());
    }
    // A packet of the load that waited in the ring may have made a session in the meantime, though not of this port.
    let port = client.socket.local_addr().unwrap().port();
    let listed = handle.sessions();
    let of = |ssid: u16| listed.iter().find(|s| (s.id.ssid, s.id.source_port) == (ssid, port)).expect("it was seen");
    let numbers = |session: &SessionStatus| (session.received, session.replies, session.last_sender_sequence);
    assert_eq!((numbers(of(1)), of(1).is_authenticated), ((20, 20, 19), true));
    assert_eq!((numbers(of(2)), of(2).is_authenticated), ((10, 10, 18), false));
    if mode != XdpMode::Off {
        let reader = Maps::open(&net.pins()).unwrap().reader();
        let ours = reader.sessions().filter(|(key, _)| key.source_port == port);
        let maps: Vec<Session> = ours.map(|(_, session)| session).collect();
        assert_eq!(maps.iter().map(|session| session.replies).collect::<Vec<_>>(), [10], "{maps:?}");
    }
}
