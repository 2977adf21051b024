//! A reflector is killed, restarted from another file, ended with --keep and started once more while packets come:
//! every one of them is answered. And what a controller makes of pins that are not its own version's. Takes root;
//! root is needed for namespaces and programs.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, PerCpuArray};
use teaparty_common::maps::{ABI_VERSION, Counters, KernelConfig, name};
use teaparty_common::reflect::{REASON_SLOTS, Reason};
use teaparty_testing::reflector::{Net, V4, V6, sender_sequence, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_user::net::batch::{Outgoing, ReceiveBatch, SendBatch};
use teaparty_user::net::socket::{Options, Socket};

/// Packets per second.
const RATE_PPS: u64 = 50_000;
/// Packets under way at most: a veth drops what comes while 256 wait, and that would not be the reflector's loss.
const WINDOW: u64 = 200;
/// Packets handed to the kernel together, as it is then cut up by it.
const TRAIN: u64 = 50;
/// Packets that are made up for at most where the machine gave no turn: more at once than the reflector's rate limit lets one
/// source have would be dropped rightly.
const BEHIND: u64 = 5_000;
/// Packets between one event and the next.
const STRETCH: u64 = 50_000;
/// Most time for a reply. The machine may be slow; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session that sends at [`RATE_PPS`]: each packet has its own moment, and late packets are made up for,
/// as far as [`BEHIND`] says.
pub(crate) struct Traffic {
    socket: Socket,
    received: AtomicU64,
    is_over: AtomicBool,
}

/// The requests that were sent, and their replies.
#[derive(Default)]
pub(crate) struct SessionRecord {
    /// Packets sent.
    pub(crate) sent: u64,
    /// The duration.
    pub(crate) elapsed: Duration,
    /// Counts of the answers to each request, by number.
    pub(crate) answers: Vec<u8>,
    /// Counts of each Sequence Number on replies.
    pub(crate) numbers: Vec<u8>,
}

impl SessionRecord {
    fn count(&mut self, reply: &[u8]) {
        assert_eq!(reply.len(), 44);
        for (counts, number) in [(&mut self.answers, sender_sequence(reply)), (&mut self.numbers, sequence(reply))] {
            let number = number as usize;
            counts.resize(counts.len().max(number + 1), 0);
            counts[number] = counts[number].saturating_add(1);
        }
    }

    /// Those below the number of packets sent that are not there exactly once.
    pub(crate) fn wrong(&self, counts: &[u8]) -> Vec<usize> {
        (0..counts.len().max(self.sent as usize)).filter(|number| counts.get(*number) != Some(&1)).collect()
    }
}

impl Traffic {
    pub(crate) fn new(net: &Net) -> Self {
        // Room for all that may be under way: a frame from XDP counts as several pages, and what the queue drops would look
        // like the reflector's loss.
        let options = Options { queue_octets: Some(64 << 20), ..Options::new("0.0.0.0:0".parse().unwrap()) };
        let socket = net.in_far(|| Socket::open(&options)).unwrap();
        Self { socket, received: AtomicU64::new(0), is_over: AtomicBool::new(false) }
    }

    /// Sends and takes replies by turns until told to end, and then takes what is still to come. One thread does both, so
    /// that the packets under way are known at each turn.
    pub(crate) fn run(&self) -> SessionRecord {
        let to: SocketAddr = format!("{V4}:862").parse().unwrap();
        let mut packet = [0u8; 44];
        packet[4..14].copy_from_slice(&[0xeb, 0xbd, 0x17, 0x88, 0x45, 0x75, 0xe9, 0x3f, 0x8a, 0x05]);
        let (mut outgoing, mut incoming) = (SendBatch::with_gso(), ReceiveBatch::new(64, 64));
        let (mut tally, mut received, mut given_up) = (SessionRecord::default(), 0, 0);
        let start = Instant::now();
        let mut last = start;
        loop {
            let is_over = self.is_over.load(Ordering::Acquire);
            while self.socket.receive(&mut incoming).unwrap() > 0 {
                incoming.iter().for_each(|reply| tally.count(reply.payload));
                received += incoming.len() as u64;
                last = Instant::now();
            }
            self.received.store(received, Ordering::Release);
            let under_way = tally.sent.saturating_sub(received);
            if last.elapsed() > PATIENCE || is_over && under_way == 0 {
                return tally;
            }
            let elapsed = start.elapsed();
            let due = (elapsed.as_nanos() * u128::from(RATE_PPS) / 1_000_000_000) as u64 - tally.sent - given_up;
            given_up += due.saturating_sub(BEHIND);
            let count = if is_over { 0 } else { due.min(WINDOW - under_way.min(WINDOW)).min(TRAIN) };
            if count == 0 {
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            outgoing.clear();
            for number in tally.sent..tally.sent + count {
                packet[..4].copy_from_slice(&(number as u32).to_be_bytes());
                outgoing.push(&Outgoing::to(to), &packet);
            }
            while let Err(error) = self.socket.send(&mut outgoing) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            }
            assert!(outgoing.failed().is_empty(), "{:?}", outgoing.failed());
            tally.sent += count;
            tally.elapsed = elapsed;
        }
    }

    /// Waits for another stretch of packets to be answered.
    pub(crate) fn go_on(&self, what: &str) {
        let start = Instant::now();
        let before = self.received.load(Ordering::Acquire);
        while self.received.load(Ordering::Acquire) < before + STRETCH {
            assert!(start.elapsed() < 6 * PATIENCE, "{what}: no more replies after {before}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Tells the thread to end even where a test fails.
pub(crate) struct End<'a>(pub(crate) &'a Traffic);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

#[test]
fn no_packet_is_lost_while_the_controller_is_killed_upgraded_and_started_again() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let upgrade = folder.path().join("teaparty");
    std::fs::copy(env!("CARGO_BIN_EXE_teaparty"), &upgrade).unwrap();
    let first = net.reflector(&["--xdp-mode", "native"]);
    assert!(net.client(V4, 862).ask_within(PATIENCE), "the neighbours know each other");
    let traffic = Traffic::new(&net);
    let tally = std::thread::scope(|scope| {
        let end = End(&traffic);
        let running = scope.spawn(|| traffic.run());
        traffic.go_on("at the start");
        first.kill();
        traffic.go_on("after SIGKILL");
        let second = net.reflector_by(&upgrade, &["--keep"]);
        assert!(second.ready.contains("sessions of the earlier run kept"), "{}", second.ready);
        traffic.go_on("after the next start, of another file");
        let ended = second.stop();
        assert!(ended.status.success() && ended.error.contains("teaparty detach"), "{}", ended.error);
        traffic.go_on("after an end with --keep");
        let third = net.reflector(&[]);
        assert!(third.ready.contains("sessions of the earlier run kept"), "{}", third.ready);
        traffic.go_on("after the third start");
        drop(end);
        let tally = running.join().unwrap();
        assert!(third.stop().status.success());
        tally
    });
    // How much the machine gives is the machine's; a reader of the log can tell by this what was tested.
    let rate = tally.sent as f64 / tally.elapsed.as_secs_f64();
    println!("{} packets at {rate:.0} a second, of {RATE_PPS} asked for, through a kill and two restarts", tally.sent);
    assert_eq!(tally.wrong(&tally.answers), [0; 0], "each of {} packets is answered, once", tally.sent);
    // One session from the first packet to the last: no number is missing, none is given twice.
    assert_eq!(tally.wrong(&tally.numbers), [0; 0], "the session counts on");
    assert!(!net.pins().exists(), "an end without --keep leaves nothing behind");
}

/// Has the pinned maps claim another version of their layout.
fn forge_abi(pins: &Path, version: u32) {
    let map = MapData::from_pin(pins.join(name::CONFIG)).and_then(Map::from_map_data).unwrap();
    let mut map = Array::<_, KernelConfig>::try_from(map).unwrap();
    let mut kernel_config = map.get(&0, 0).unwrap();
    kernel_config.control.abi_version = version;
    map.set(0, kernel_config, 0).unwrap();
}

/// Packets by reason, as the pinned counters tell.
fn counted(pins: &Path) -> [u64; REASON_SLOTS] {
    let map = MapData::from_pin(pins.join(name::COUNTERS)).and_then(Map::from_map_data).unwrap();
    Counters::total(PerCpuArray::<_, Counters>::try_from(map).unwrap().get(&0, 0).unwrap().iter())
}

/// Names in the folder of the pins of maps of steps that have no name of their own yet.
fn besides(pins: &Path) -> Vec<String> {
    let names = std::fs::read_dir(pins).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|found| found.starts_with(name::TAIL_CALLS) && found != name::TAIL_CALLS).collect()
}

#[test]
fn programs_go_on_to_those_of_their_own_start() {
    let Some(net) = or_skip(Net::new()) else { return };
    let steps = || MapData::from_pin(net.pins().join(name::TAIL_CALLS)).unwrap().info().unwrap().id();
    // Both families, each by a session that is new: what the first program does not answer is with another one.
    let both = || [V4, V6].map(|to| net.client(to, 862).ask_within(PATIENCE));
    net.reflector(&["--xdp-mode", "native", "--rate-limit", "0"]).kill();
    let (first, before) = (steps(), counted(&net.pins()));
    assert_eq!(both(), [true; 2]);
    // The next start replaces them, and what one has left that was killed before it had given its own their name.
    MapData::from_pin(net.pins().join(name::TAIL_CALLS)).unwrap().pin(net.pins().join("tail_calls-0")).unwrap();
    net.reflector(&["--xdp-mode", "native", "--rate-limit", "0"]).kill();
    assert_ne!(steps(), first);
    assert_eq!((both(), besides(&net.pins())), ([true; 2], vec![]));
    // A start that fails when it has loaded everything: the program before goes on, with its own.
    let second = steps();
    net.freeze(name::CONFIG);
    let failed =
        net.teaparty(&["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "native"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", String::from_utf8_lossy(&failed.stderr));
    assert_eq!((steps(), both(), besides(&net.pins())), (second, [true; 2], vec![]));
    let after = counted(&net.pins());
    for reason in [Reason::StepMissing, Reason::NotOurAddress, Reason::Internal] {
        assert_eq!(after[reason as usize], before[reason as usize], "{}", reason.label());
    }
}

#[test]
fn pins_of_another_version_are_refused_and_go_on_answering() {
    let Some(net) = or_skip(Net::new()) else { return };
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
    // As versions up to 4 have it, under another name.
    let [config, former] = ["config", "control"].map(|name| net.pins().join(name));
    std::fs::rename(&config, &former).unwrap();
    let start = net.teaparty(&["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "native"]);
    let output = { start }.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("map layout {}", ABI_VERSION - 1)), "{error}");
    std::fs::rename(&former, &config).unwrap();
    forge_abi(&net.pins(), ABI_VERSION);
    let ours = net.reflector(&[]);
    assert!(ours.ready.contains("sessions of the earlier run kept"), "{}", ours.ready);
}

#[test]
fn a_start_that_fails_leaves_the_earlier_reflector_answering() {
    let Some(net) = or_skip(Net::new()) else { return };
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
    let Some(net) = or_skip(Net::new()) else { return };
    net.reflector(&["--xdp-mode", "native", "--max-sessions", "1000"]).kill();
    let ended = net.reflector(&["--max-sessions", "2000"]).stop();
    assert!(ended.error.contains("1000") && ended.error.contains("--max-sessions"), "{}", ended.error);
}
