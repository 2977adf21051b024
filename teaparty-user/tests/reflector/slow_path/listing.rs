//! What the API says of sessions is what the maps say, and saying it of very many keeps no packet waiting.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;
use teaparty_common::maps::session_table::LIVE;
use teaparty_common::maps::{Session, SessionKey};
use teaparty_common::reflect::Address;
use teaparty_testing::reflector::{Client, Net, V4, V6};
use teaparty_testing::skip::or_skip;
use teaparty_user::api::{AppState, router};
use teaparty_user::heartbeat::Heartbeats;
use teaparty_user::reflector::config::{RateLimit, ReflectorSettings, XdpMode};
use teaparty_user::reflector::kernel::maps::Maps;
use tower::ServiceExt;

use super::inside::Inside;

/// An empty History for one entry: only the controller can finish it.
const HISTORY: [u8; 36] = {
    let mut tlv = [0; 36];
    tlv[0] = 0x80;
    tlv[1] = 244;
    tlv[3] = 32;
    tlv
};

/// Sessions in the map.
const MANY: u32 = 100_000;

struct Api {
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    fn new(inside: &Inside) -> Self {
        let state = AppState::new(inside.handle.clone(), Heartbeats::new([inside.handle.clone()]), None);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { router: router(state), runtime }
    }

    fn get(&self, path: &str) -> Value {
        serde_json::from_slice(&self.body(path, "application/json")).unwrap()
    }

    fn body(&self, path: &str, kind: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let request = Request::get(path).header("accept", kind).body(Body::empty()).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            axum::body::to_bytes(response.into_body(), 1 << 27).await.unwrap().to_vec()
        })
    }
}

/// The sessions in the API: id, received, replies, last Sequence Number.
fn listed(api: &Api) -> HashSet<(String, u64, u64, u64)> {
    let page = api.get("/api/v1/sessions?limit=1000");
    let row = |session: &Value| {
        let (id, seen) = (session["id"].as_str().unwrap(), &session["seen"][0]);
        let number = |name: &str| seen[name].as_u64().unwrap();
        assert_eq!(api.get(&format!("/api/v1/sessions/{id}"))["seen"][0], *seen);
        (id.to_owned(), number("received"), number("replies"), number("last_sender_sequence"))
    };
    page["sessions"].as_array().unwrap().iter().map(row).collect()
}

/// Returns the same from bpftool's dump of the map.
fn dumped(net: &Net) -> HashSet<(String, u64, u64, u64)> {
    let output =
        Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(net.pins().join("sessions")).output();
    let entries: Vec<Value> = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let row = |entry: &Value| {
        let place = &entry["formatted"]["value"];
        let (key, value) = (&place["key"], &place["session"]);
        let address = |name: &str| {
            let octets = key[name]["__0"].as_array().unwrap().iter().map(|octet| octet.as_u64().unwrap() as u8);
            let octets: [u8; 16] = octets.collect::<Vec<u8>>().try_into().unwrap();
            std::net::Ipv6Addr::from(octets).to_canonical()
        };
        let number = |of: &Value, name: &str| of[name].as_u64().unwrap();
        let id = format!(
            "{},{},{},{},{}",
            address("source"),
            number(key, "source_port"),
            address("destination"),
            number(key, "destination_port"),
            number(key, "ssid")
        );
        let replies = number(value, "replies");
        (id, replies + number(value, "unanswered"), replies, number(value, "sender_sequence"))
    };
    let is_live = |entry: &&Value| entry["formatted"]["value"]["state"].as_u64().unwrap() & 3 == LIVE;
    entries.iter().filter(is_live).map(row).collect()
}

#[test]
fn counters_are_those_that_bpftool_dumps() {
    let Some(net) = or_skip(Net::new()) else { return };
    let bpftool = Command::new("bpftool").arg("version").output().map_err(|error| format!("bpftool: {error}"));
    if or_skip(bpftool).is_none() {
        return;
    }
    let inside = Inside::start(&net, ReflectorSettings { xdp_mode: XdpMode::Native, ..ReflectorSettings::default() });
    let api = Api::new(&inside);
    for (n, address) in [V4, V6, V4].into_iter().enumerate() {
        let mut client = net.client(address, 862);
        for packet in 0..5 + n {
            assert!(client.ask(if packet == 2 { &HISTORY } else { &[] }).is_some());
        }
        // Asks for no reply (RFC 9503 §4.1.1): received, not answered.
        let packet = client.packet(&[0x80, 10, 0, 8, 0, 1, 0, 4, 0, 0, 0, 0]);
        client.send(&packet);
    }
    let end = Instant::now() + Duration::from_secs(20);
    let is_settled = || listed(&api).iter().map(|row| row.1).sum::<u64>() == 5 + 6 + 7 + 3;
    while !is_settled() && Instant::now() < end {
        std::thread::yield_now();
    }
    let expected = dumped(&net);
    assert_eq!(listed(&api), expected);
    let mut received: Vec<(u64, u64)> = expected.iter().map(|row| (row.1, row.2)).collect();
    received.sort_unstable();
    assert_eq!(received, [(6, 5), (7, 6), (8, 7)]);
}

/// Fills the map with sessions of other senders.
fn fill(net: &Net) {
    let maps = Maps::open(&net.pins()).unwrap();
    for n in 0..MANY {
        let [_, a, b, c] = n.to_be_bytes();
        let key = SessionKey {
            source: Address::v4([198, a, b, c]),
            destination: Address::v4([192, 0, 2, 1]),
            source_port: 1000,
            destination_port: 862,
            ssid: 1,
            reserved: 0,
        };
        let session = Session { replies: 1, last_received_ns: u64::MAX - 1, ..Session::default() };
        assert!(maps.sessions().insert(&key, &session));
    }
}

/// Nanoseconds that each packet stays in the controller, until `is_over`; by T2 and T3 in the replies.
fn residences(client: &mut Client, is_over: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut all = Vec::new();
    while !is_over(all.len()) {
        let reply = client.ask(&HISTORY).expect("a reply");
        let time = |at: usize| {
            let [seconds, fraction] =
                [at, at + 4].map(|at| u64::from(u32::from_be_bytes(reply[at..at + 4].try_into().unwrap())));
            seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32)
        };
        all.push(time(4).saturating_sub(time(16)));
    }
    all.sort_unstable();
    all
}

#[test]
fn a_hundred_thousand_sessions_are_listed_while_packets_are_answered() {
    let Some(net) = or_skip(Net::new()) else { return };
    let settings = ReflectorSettings {
        xdp_mode: XdpMode::Native,
        max_sessions: 2 * MANY,
        rate_limit: RateLimit { rate_pps: 0, burst: 1 },
        ..ReflectorSettings::default()
    };
    let inside = Inside::start(&net, settings);
    fill(&net);
    let api = Api::new(&inside);
    let mut client = net.client(V4, 862);
    let quiet = residences(&mut client, |count| count == 300);
    let is_over = AtomicBool::new(false);
    let (busy, ids, took) = std::thread::scope(|scope| {
        let listing = scope.spawn(|| {
            let (started, mut ids, mut after) = (Instant::now(), HashSet::new(), String::new());
            loop {
                let page = api.get(&format!("/api/v1/sessions?source_port=1000&limit=10000{after}"));
                assert_eq!(page["total"], MANY);
                ids.extend(page["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap().to_owned()));
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            is_over.store(true, Ordering::Relaxed);
            (ids, started.elapsed())
        });
        let busy = residences(&mut client, |count| is_over.load(Ordering::Relaxed) && count >= 10);
        let (ids, took) = listing.join().unwrap();
        (busy, ids, took)
    });
    assert_eq!(ids.len(), MANY as usize);
    let at = |sorted: &[u64], part: usize| Duration::from_nanos(sorted[(sorted.len() - 1) * part / 100]);
    println!("{MANY} sessions listed in {took:.1?} by pages of 10000");
    let started = Instant::now();
    let lines = api.body("/api/v1/sessions?source_port=1000", "application/x-ndjson");
    let told = lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    let told: HashSet<String> =
        told.map(|line| serde_json::from_slice::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned()).collect();
    println!("{MANY} sessions as lines in {:.1?}", started.elapsed());
    assert!(told == ids, "{} of {}", told.len(), ids.len());
    for (what, sorted) in [("quiet", &quiet), ("meanwhile", &busy)] {
        let (median, most, worst) = (at(sorted, 50), at(sorted, 99), at(sorted, 100));
        println!("residence {what}: median {median:?}, p99 {most:?}, worst {worst:?}, {} packets", sorted.len());
    }
    // A list that kept the slow path waiting would do so for as long as a page takes, for almost all packets.
    assert!(at(&busy, 50) < took / 40, "{:?} of {took:?}", at(&busy, 50));
}
