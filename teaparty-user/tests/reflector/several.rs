//! Several reflectors and interfaces in one process while packets come: one interface shared by two, one that goes and comes
//! back, files read again under packets, and changes that one of the kernel's maps refuses. Needs root.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use teaparty_common::maps::name as map;
use teaparty_testing::reflector::{Net, Running, V4, sequence, start};
use teaparty_testing::skip::or_skip;

/// Most time until an interface is answered on again. The machine may be slow; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(20);

/// A reflector of the near namespace with a file of its own.
struct Configured {
    file: PathBuf,
    _folder: tempfile::TempDir,
    running: Running,
}

impl Configured {
    fn start(net: &Net, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("teaparty.toml");
        std::fs::write(&file, text).unwrap();
        let arguments = ["reflector", "--api", "127.0.0.1:8000", "--config", file.to_str().unwrap()];
        let running = start(&mut net.teaparty(&arguments));
        Self { file, _folder: folder, running }
    }

    /// Has this file read: the status, and what was said of it.
    fn reload(&self, net: &Net, text: &str) -> (u16, serde_json::Value) {
        std::fs::write(&self.file, text).unwrap();
        net.api("POST", "/api/v1/reload", "")
    }
}

/// Packets that a reflector has answered on veth0 by this path.
fn reflected(net: &Net, reflector: &str, path: &str) -> u64 {
    let (_, counters) = net.api("GET", &format!("/api/v1/reflectors/{reflector}/reflector"), "");
    let counters = counters["counters"].as_array().unwrap_or_else(|| panic!("{counters}"));
    let is_it = |count: &&serde_json::Value| {
        count["interface"] == "veth0" && count["path"] == path && count["reason"] == "reflected"
    };
    counters.iter().find(is_it).map_or(0, |count| count["packets"].as_u64().unwrap())
}

const SHARED: &str = "[[reflector]]\nname = 'kernel'\niface = ['veth0', 'lo']\nxdp-mode = 'auto'\n\
    [[reflector]]\nname = 'sockets'\niface = 'veth0'\nport = 863\nxdp-mode = 'off'\n";

#[test]
fn two_reflectors_share_an_interface_that_goes_and_comes_back() {
    let Some(mut net) = or_skip(Net::new()) else { return };
    let reflector = Configured::start(&net, SHARED);
    let mut before = [0, 0];
    for round in 0..2 {
        // Until the kernel program is on the interface, the sockets of its reflector answer.
        let (start, mut first) = (Instant::now(), net.client(V4, 862));
        while reflected(&net, "kernel", "xdp") <= before[0] {
            assert!(first.ask_within(PATIENCE) && start.elapsed() < PATIENCE, "round {round}");
        }
        let by_sockets = reflected(&net, "kernel", "socket");
        let mut clients = [net.client(V4, 862), net.client(V4, 863)];
        for client in &mut clients {
            assert!(client.ask_within(PATIENCE), "round {round}");
        }
        for n in 0..20 {
            // Each counts its own session, and what only a controller answers is answered as well.
            let tail = if n % 2 == 0 { &[][..] } else { &[0x80, 244, 0, 0] };
            let numbers: Vec<u32> = clients.iter_mut().map(|client| sequence(&client.ask(tail).unwrap())).collect();
            assert!(numbers.iter().all(|number| *number > n), "{numbers:?} at {n}");
        }
        let now = [reflected(&net, "kernel", "xdp"), reflected(&net, "sockets", "socket")];
        // What is punted counts by the ring; an interface that comes back continues or restarts its count.
        assert!(now.iter().zip(before).all(|(now, before)| *now >= 10 || *now > before), "{now:?} after {before:?}");
        assert_eq!(reflected(&net, "kernel", "socket"), by_sockets);
        before = now;
        if round == 0 {
            net.disconnect();
            let mut local = net.near_client(862);
            assert!(local.ask_within(PATIENCE), "the other interface is answered on");
            before[0] = reflected(&net, "kernel", "xdp");
            net.connect().unwrap();
        }
    }
    let ended = reflector.running.stop();
    assert!(ended.status.success() && !net.pins().exists(), "{}", ended.error);
}

/// Reads two files by turns while packets come; how many were sent and answered.
fn exchange(net: &Net, reflector: &Configured, versions: [&str; 2], packet: &[u8; 44]) -> (usize, usize) {
    assert_eq!(reflector.reload(net, versions[0]).0, 200);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=60 {
                let (status, report) = reflector.reload(net, versions[n % 2]);
                assert_eq!(status, 200, "{report}");
                assert_eq!((report["applied"].as_array().unwrap().len(), &report["restart"]), (2, &json!([])));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let (client, mut sent, mut answered) = (net.client(V4, 862), 0, 0);
        while !is_over.load(Ordering::Relaxed) {
            client.send(packet);
            sent += 1;
            answered += usize::from(client.receive_now().is_some());
            // What is under way fits the queues, however late somebody's turn comes.
            while sent - answered > 100 && answered > 0 && client.receive().is_some() {
                answered += 1;
            }
        }
        while answered < sent && client.receive().is_some() {
            answered += 1;
        }
        (sent, answered)
    })
}

#[test]
fn a_packet_sees_one_file_or_the_other() {
    let Some(net) = or_skip(Net::new()) else { return };
    let head = "iface = 'veth0'\nxdp-mode = 'native'\nrate-limit = 0\n";
    let reflector = Configured::start(&net, head);
    let mut packet = [0; 44];
    (packet[13], packet[15]) = (1, 7);
    // Its session is provisioned, or none need be: half of each would drop it.
    let session = format!("{head}provisioned-only = true\n[[session]]\nsource = '192.0.2.2'\nssid = 7\n");
    let (sent, answered) = exchange(&net, &reflector, [&session, head], &packet);
    assert!(sent > 100, "{sent}");
    assert_eq!(answered, sent);
    // It is too short, or from elsewhere: half of each would answer it.
    let short = format!("{head}min-payload = 1000\nallow = '0.0.0.0/0'\n");
    let elsewhere = format!("{head}min-payload = 14\nallow = '198.51.100.0/24'\n");
    let (sent, answered) = exchange(&net, &reflector, [&short, &elsewhere], &packet);
    assert!(sent > 100, "{sent}");
    assert_eq!(answered, 0, "of {sent}");
    let ended = reflector.running.stop();
    assert!(ended.status.success(), "{}", ended.error);
}

/// Returns for both interfaces if a packet with a Multiplier of 0, which `strict` drops, is answered.
fn is_lax(net: &Net) -> [bool; 2] {
    [net.client(V4, 862).exchange(&[0; 44]), net.near_client(862).exchange(&[0; 44])].map(|reply| reply.is_some())
}

#[test]
fn what_one_map_refuses_is_taken_back_everywhere() {
    let Some(net) = or_skip(Net::new()) else { return };
    // The map that refuses is the last reflector's: the others have changed by then.
    let text = |more: &str| {
        format!(
            "{more}[[reflector]]\nname = 'first'\niface = 'lo'\n[[reflector]]\nname = 'second'\niface = 'veth0'\n\
             xdp-mode = 'native'\n"
        )
    };
    let reflector = Configured::start(&net, &text(""));
    let session = |ssid: u16| json!({"source": "192.0.2.2", "ssid": ssid, "destination_port": 862}).to_string();
    let create = |ssid| net.api("POST", "/api/v1/reflectors/second/sessions", &session(ssid)).0;
    assert_eq!((create(1), is_lax(&net)), (201, [true; 2]));

    net.freeze(map::PROVISIONED);
    assert_eq!(create(2), 503);
    let listed = |reflector: &str| {
        net.api("GET", &format!("/api/v1/reflectors/{reflector}/sessions?provisioned=true"), "").1["total"].clone()
    };
    assert_eq!((listed("first"), listed("second")), (json!(0), json!(1)));
    let (status, problem) =
        reflector.reload(&net, &text("strict = true\n[[session]]\nsource = '127.0.0.1'\nssid = 3\n"));
    assert_eq!(status, 503, "{problem}");
    assert_eq!((listed("first"), listed("second")), (json!(0), json!(1)));
    assert_eq!(is_lax(&net), [true; 2], "sessions are refused, and with them all that came with them");

    net.freeze(map::CONFIG);
    let (status, problem) = reflector.reload(&net, &text("strict = true\n"));
    assert_eq!(status, 503, "{problem}");
    assert_eq!(net.api("PATCH", "/api/v1/reflectors/second/policy", r#"{"strict": true}"#).0, 503);
    let strict =
        |reflector: &str| net.api("GET", &format!("/api/v1/reflectors/{reflector}/policy"), "").1["strict"].clone();
    assert_eq!((strict("first"), strict("second"), is_lax(&net)), (json!(false), json!(false), [true; 2]));

    // What does not touch them can change still.
    assert_eq!(net.api("PATCH", "/api/v1/reflectors/first/policy", r#"{"strict": true}"#).0, 200);
    assert_eq!(is_lax(&net), [true, false]);
    let ended = reflector.running.stop();
    assert!(ended.status.success(), "{}", ended.error);
    assert!(
        ended.error.contains("configuration not changed") || ended.error.contains("does not take"),
        "{}",
        ended.error
    );
}
