//! A reflector is killed, started anew, ended with --keep and started once more while packets come: every one of them is
//! answered. And what a controller makes of pins that are not its own version's. Takes root; root is needed for namespaces
//! and programs.

mod reflector_support;

use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use reflector_support::probe::or_skip;
use reflector_support::{Net, V4, sender_sequence, sequence};
use teaparty_common::maps::{ABI_VERSION, Control, name};

/// Packets per second, where the machine can.
const RATE_PPS: u64 = 50_000;
/// Packets under way at most: a veth drops what comes while 256 wait, and that would not be the reflector's loss.
const WINDOW: u64 = 200;
/// Packets between one event and the next.
const STRETCH: u64 = 25_000;
/// How long a reply may take before it is lost. The machine may be slow; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session that sends at [`RATE_PPS`] and remembers what came back.
struct Traffic {
    socket: UdpSocket,
    sent: AtomicU64,
    received: AtomicU64,
    is_over: AtomicBool,
    is_sent: AtomicBool,
}

/// What came back.
struct Tally {
    /// How often the request with this number was answered.
    answers: Vec<u8>,
    /// How often this Sequence Number was on a reply.
    numbers: Vec<u8>,
}

impl Traffic {
    fn new(net: &Net) -> Self {
        let socket = net.in_far(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.connect((V4, 862)).unwrap();
        // Room for all that may be under way: a frame from XDP counts as several pages, and what the queue drops would look
        // like the reflector's loss.
        setsockopt(&socket, RcvBufForce, &(64 << 20)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let [is_over, is_sent] = [false, false].map(AtomicBool::new);
        Self { socket, sent: AtomicU64::new(0), received: AtomicU64::new(0), is_over, is_sent }
    }

    fn under_way(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) - self.received.load(Ordering::Acquire)
    }

    /// Sends until told to end, or until nothing comes back any more.
    fn send(&self) {
        let mut packet = [0u8; 44];
        packet[4..14].copy_from_slice(&[0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 0x05]);
        let start = Instant::now();
        let mut last_free = start;
        while !self.is_over.load(Ordering::Acquire) && last_free.elapsed() < PATIENCE {
            let sent = self.sent.load(Ordering::Relaxed);
            let is_due = sent < (start.elapsed().as_nanos() * u128::from(RATE_PPS) / 1_000_000_000) as u64;
            let is_free = self.under_way() < WINDOW;
            if is_free {
                last_free = Instant::now();
            }
            if !is_free || !is_due {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            packet[..4].copy_from_slice(&(sent as u32).to_be_bytes());
            self.socket.send(&packet).unwrap();
            self.sent.store(sent + 1, Ordering::Relaxed);
        }
        self.is_sent.store(true, Ordering::Release);
    }

    /// Takes replies until all that was sent is answered and nothing more is sent, or for too long none comes.
    fn receive(&self) -> Tally {
        let mut tally = Tally { answers: Vec::new(), numbers: Vec::new() };
        let mut reply = [0u8; 256];
        let mut last = Instant::now();
        while last.elapsed() < PATIENCE && !(self.is_sent.load(Ordering::Acquire) && self.under_way() == 0) {
            let Ok(len) = self.socket.recv(&mut reply) else { continue };
            assert_eq!(len, 44);
            for (counts, number) in
                [(&mut tally.answers, sender_sequence(&reply)), (&mut tally.numbers, sequence(&reply))]
            {
                let number = number as usize;
                counts.resize(counts.len().max(number + 1), 0);
                counts[number] += 1;
            }
            self.received.fetch_add(1, Ordering::Release);
            last = Instant::now();
        }
        tally
    }

    /// Waits for another stretch of packets to be answered.
    fn go_on(&self, what: &str) {
        let start = Instant::now();
        let before = self.received.load(Ordering::Acquire);
        while self.received.load(Ordering::Acquire) < before + STRETCH {
            assert!(start.elapsed() < 6 * PATIENCE, "{what}: no more replies after {before}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Tells both threads to end even where a test fails.
struct End<'a>(&'a Traffic);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

#[test]
fn no_packet_is_lost_while_the_controller_is_killed_and_started_again() {
    let name = "no_packet_is_lost_while_the_controller_is_killed_and_started_again";
    let Some(net) = or_skip(name, Net::new()) else { return };
    let first = net.reflector(&["--xdp-mode", "native"]);
    assert!(net.client(V4, 862).ask_within(PATIENCE), "the neighbours know each other");
    let traffic = Traffic::new(&net);
    let start = Instant::now();
    let (tally, elapsed) = std::thread::scope(|scope| {
        let end = End(&traffic);
        scope.spawn(|| traffic.send());
        let receiver = scope.spawn(|| traffic.receive());
        traffic.go_on("at the start");
        first.kill();
        traffic.go_on("after SIGKILL");
        let second = net.reflector(&["--keep"]);
        assert!(second.ready.contains("sessions of the earlier run kept"), "{}", second.ready);
        traffic.go_on("after the next start");
        let ended = second.stop();
        assert!(ended.status.success() && ended.error.contains("teaparty detach"), "{}", ended.error);
        traffic.go_on("after an end with --keep");
        let third = net.reflector(&[]);
        assert!(third.ready.contains("sessions of the earlier run kept"), "{}", third.ready);
        traffic.go_on("after the third start");
        let elapsed = start.elapsed();
        drop(end);
        let tally = receiver.join().unwrap();
        assert!(third.stop().status.success());
        (tally, elapsed)
    });
    let sent = traffic.sent.load(Ordering::Relaxed) as usize;
    println!("{sent} packets at {:.0} a second through two restarts", sent as f64 / elapsed.as_secs_f64());
    let unanswered: Vec<usize> = (0..sent).filter(|number| tally.answers.get(*number) != Some(&1)).collect();
    assert_eq!((&unanswered[..], tally.answers.len()), (&[][..], sent), "each packet is answered, once");
    // One session from the first packet to the last: no number is missing, none is given twice.
    let gaps = (0..sent).filter(|number| tally.numbers.get(*number) != Some(&1)).count();
    assert_eq!((gaps, tally.numbers.len()), (0, sent), "the session counts on");
    assert!(!net.pins().exists(), "an end without --keep leaves nothing behind");
}

/// Has the pinned maps claim another version of their layout.
fn forge_abi(pins: &Path, version: u32) {
    let map = MapData::from_pin(pins.join(name::CONTROL)).and_then(Map::from_map_data).unwrap();
    let mut control = Array::<_, Control>::try_from(map).unwrap();
    let entry = control.get(&0, 0).unwrap();
    control.set(0, Control { abi_version: version, ..entry }, 0).unwrap();
}

#[test]
fn pins_of_another_version_are_refused_and_go_on_answering() {
    let name = "pins_of_another_version_are_refused_and_go_on_answering";
    let Some(net) = or_skip(name, Net::new()) else { return };
    net.reflector(&["--xdp-mode", "native"]).kill();
    let mut client = net.client(V4, 862);
    assert!(client.ask_within(PATIENCE));
    for version in [ABI_VERSION + 1, ABI_VERSION - 1] {
        forge_abi(&net.pins(), version);
        for mode in ["auto", "native", "skb", "off"] {
            let start = net.teaparty(&["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", mode]);
            let output = { start }.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{mode}: {error}");
            assert!(error.contains("teaparty detach --iface veth0"), "{mode}: {error}");
            assert!(mode == "off" || error.contains(&format!("map layout {version}")), "{mode}: {error}");
            assert!(client.ask_within(PATIENCE), "{mode}: the other version goes on answering");
        }
    }
    forge_abi(&net.pins(), ABI_VERSION);
    let ours = net.reflector(&[]);
    assert!(ours.ready.contains("sessions of the earlier run kept"), "{}", ours.ready);
}

#[test]
fn a_start_that_fails_leaves_the_earlier_reflector_answering() {
    let name = "a_start_that_fails_leaves_the_earlier_reflector_answering";
    let Some(net) = or_skip(name, Net::new()) else { return };
    net.reflector(&["--xdp-mode", "native"]).kill();
    let mut client = net.client(V4, 862);
    let Some(before) = client.ask(&[]).map(|reply| sequence(&reply)) else { panic!("the kernel answers by itself") };
    // The first interface is adopted, then the second one is not there.
    let start = net.teaparty(&["reflector", "--api", "none", "--iface", "veth0", "--iface", "nosuch0"]);
    let output = { start }.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("nosuch0"), "{error}");
    assert_eq!(client.ask(&[]).map(|reply| sequence(&reply)), Some(before + 1));
}

#[test]
fn the_size_of_an_adopted_table_is_not_changed_in_silence() {
    let name = "the_size_of_an_adopted_table_is_not_changed_in_silence";
    let Some(net) = or_skip(name, Net::new()) else { return };
    net.reflector(&["--xdp-mode", "native", "--max-sessions", "1000"]).kill();
    let ended = net.reflector(&["--max-sessions", "2000"]).stop();
    assert!(ended.error.contains("1000") && ended.error.contains("--max-sessions"), "{}", ended.error);
}
