//! `teaparty capture`: what the kernel and the controller answer and drop, read by tshark; and that nothing else changes by it.
//! Takes root.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_testing::reflector::{Net, Running, V4, V6, start};
use teaparty_testing::skip::or_skip;
use tempfile::TempDir;

use super::restart::{End, Traffic};
use super::slow_path::signed::{SharedKey, witness};

/// Most time for what takes a moment. The machine may be slow; nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);
/// The line that tshark prints on stderr as root, whatever it is asked.
const ROOT_WARNING: &str = "Running as user \"root\" and group \"root\". This could be dangerous.";
/// The columns of [`Row`].
const FIELDS: [&str; 8] = [
    "frame.interface_name",
    "frame.packet_flags_direction",
    "frame.comment",
    "frame.verdict.ebpf_xdp",
    "frame.len",
    "frame.cap_len",
    "frame.protocols",
    "frame.time_epoch",
];

/// A frame, as tshark shows it.
#[derive(Debug)]
struct Row(Vec<String>);

impl Row {
    fn is_reply(&self) -> bool {
        self.0[1].ends_with('2')
    }

    /// A word of the comment, by its name.
    fn word(&self, name: &str) -> Option<&str> {
        self.0[2].split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Direction, verdict, reason, path, and why it was punted.
    fn summary(&self) -> String {
        let direction = if self.is_reply() { "out" } else { "in" };
        let [verdict, reason, path] = ["verdict", "reason", "path"].map(|name| self.word(name).unwrap_or("?"));
        format!("{direction} {verdict} {reason} {path} {}", self.word("punted").unwrap_or("-"))
    }
}

/// Has tshark read a capture; it must have nothing to complain of.
fn read(file: &Path) -> Vec<Row> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-E", "separator=/t"]);
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).replace(ROOT_WARNING, "");
    assert!(output.status.success() && error.trim().is_empty(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| Row(line.split('\t').map(str::to_owned).collect())).collect()
}

fn summaries(rows: &[Row]) -> Vec<String> {
    let mut all: Vec<String> = rows.iter().map(Row::summary).collect();
    all.sort();
    all
}

/// Returns an error if tshark is not there.
fn tshark() -> Result<(), String> {
    Command::new("tshark").arg("--version").output().map(drop).map_err(|error| format!("tshark: {error}"))
}

/// A reflector with an API.
fn reflector(net: &Net, arguments: &[&str]) -> Running {
    start(&mut net.teaparty(&[&["reflector", "--iface", "veth0", "--api", "127.0.0.1:8000"], arguments].concat()))
}

/// The number of the program on the interface.
fn program(net: &Net) -> u64 {
    net.api("GET", "/api/v1/reflector", "").1["interfaces"][0]["program_id"].as_u64().unwrap()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running `teaparty capture` and its file.
struct Capture {
    child: Option<Child>,
    _folder: TempDir,
    file: PathBuf,
}

impl Capture {
    /// Starts one and waits until packets are captured.
    fn start(net: &Net, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("capture.pcapng");
        let child = net.teaparty(&[&["capture", "-w", file.to_str().unwrap()], arguments].concat()).spawn().unwrap();
        let mut capture = Self { child: Some(child), _folder: folder, file };
        // The head is written when the program is in place.
        let mut is_over = false;
        wait_for("the capture begins", || {
            is_over = capture.child.as_mut().unwrap().try_wait().unwrap().is_some();
            is_over || std::fs::metadata(&capture.file).is_ok_and(|file| file.len() > 0)
        });
        assert!(!is_over, "{}", capture.wait().0);
        capture
    }

    /// Waits for its end: what it says, and the frames.
    fn wait(&mut self) -> (String, Vec<Row>) {
        let Output { status, stderr, .. } = self.child.take().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{said}");
        (said, read(&self.file))
    }

    /// [`Capture::wait`] after Ctrl-C.
    fn stop(&mut self) -> (String, Vec<Row>) {
        self.signal(Signal::SIGINT);
        self.wait()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.as_ref().unwrap().id() as i32), signal).unwrap();
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn kernel_ring_and_sockets_are_captured_with_verdict_reason_and_both_times() {
    let Some(net) = or_skip(tshark().and_then(|()| Net::new())) else { return };
    // Half a request makes the kernel hand it to the controller, and IPv6 is not allowed.
    for (mode, answering, punting, punted) in [
        ("native", "xdp", "ring", "short-packet"),
        ("skb", "xdp", "ring", "short-packet"),
        ("off", "socket", "socket", "-"),
    ] {
        let running = reflector(&net, &["--xdp-mode", mode, "--allow", "192.0.2.0/24"]);
        let mut capture = Capture::start(&net, &[]);
        let mut client = net.client(V4, 862);
        assert!(client.ask(&[0; 4]).is_some() && client.exchange(&[7; 20]).is_some(), "{mode}");
        net.client(V6, 862).send(&[0; 44]);
        // Seen by the controller's counters, or the kernel's: then it was captured.
        wait_for("the packet is refused", || {
            let counters = net.api("GET", "/api/v1/reflector", "").1["counters"].to_string();
            counters.contains("not-allowed")
        });
        let (said, rows) = capture.stop();
        assert!(said.contains("5 frames captured; no packet was missed"), "{mode}: {said}");
        let mut expected = vec![
            format!("in reflect reflected {answering} -"),
            format!("out reflect reflected {answering} -"),
            format!("in reflect reflected {punting} {punted}"),
            format!("out reflect reflected {punting} {punted}"),
            format!("in drop not-allowed {answering} -"),
        ];
        expected.sort();
        assert_eq!(summaries(&rows), expected, "{mode}");
        for row in &rows {
            let layers = if mode == "off" { "raw:ip" } else { "eth:ethertype:ip" };
            assert!(row.0[6].starts_with(layers) && row.0[6].contains(":udp"), "{mode}: {row:?}");
            assert_eq!(row.0[0], "veth0");
            let action = match (row.word("path"), row.word("verdict")) {
                (Some("xdp"), Some("reflect")) => "3",
                (Some("xdp"), Some("drop")) => "1",
                _ => "",
            };
            assert_eq!(row.0[3], action, "{row:?}");
            // The frame's own time is T2 or T3, to the nanosecond.
            let time = row.word(if row.is_reply() { "t3" } else { "t2" }).unwrap();
            assert_eq!(row.0[7], time, "{row:?}");
            assert_eq!(row.word("t3").is_some(), row.word("verdict") == Some("reflect"), "{row:?}");
        }
        // The custom option has the same words.
        let octets = std::fs::read(&capture.file).unwrap();
        let option = [&32_473u32.to_le_bytes()[..], b"verdict=drop reason=not-allowed"].concat();
        assert!(octets.windows(option.len()).any(|window| window == option), "{mode}");
        assert!(running.stop().status.success());
    }
}

#[test]
fn no_packet_is_lost_or_answered_twice_while_captures_begin_end_and_are_killed() {
    let Some(net) = or_skip(tshark().and_then(|()| Net::new())) else { return };
    let running = reflector(&net, &["--xdp-mode", "native"]);
    assert!(net.client(V4, 862).ask_within(PATIENCE), "the neighbours know each other");
    let before = program(&net);
    let traffic = Traffic::new(&net);
    let (tally, said, rows) = std::thread::scope(|scope| {
        let end = End(&traffic);
        let sending = scope.spawn(|| traffic.run());
        traffic.go_on("at the start");
        let mut first = Capture::start(&net, &["--rate", "1000"]);
        assert_ne!(program(&net), before, "the program was replaced");
        traffic.go_on("while it is captured");
        let (said, rows) = first.stop();
        wait_for("the program without capture is back", || program(&net) == before);
        traffic.go_on("after it");
        let killed = Capture::start(&net, &[]);
        traffic.go_on("while it is captured again");
        killed.signal(Signal::SIGKILL);
        wait_for("the program without capture is back after SIGKILL", || program(&net) == before);
        traffic.go_on("after SIGKILL");
        drop(end);
        (sending.join().unwrap(), said, rows)
    });
    let rate = tally.sent as f64 / tally.elapsed.as_secs_f64();
    println!("{} packets at {rate:.0} a second, through two captures", tally.sent);
    assert_eq!(tally.wrong(&tally.answers), [0; 0], "each of {} packets is answered, once", tally.sent);
    assert_eq!(tally.wrong(&tally.numbers), [0; 0], "the session counts on");
    // The sample was counted: frames that are there, and those that are not.
    assert!(said.contains("packets above the rate, 0 because"), "{said}");
    let above: u64 = said.split_whitespace().rev().nth(11).and_then(|word| word.parse().ok()).unwrap_or(0);
    assert!(above > 0 && !rows.is_empty() && rows.len() % 2 == 0, "{said}");
    assert!(running.stop().status.success());
    assert!(!net.pins().exists(), "nothing is left behind");
}

#[test]
fn each_capture_has_its_own_filter_and_there_are_four_at_most() {
    let Some(net) = or_skip(tshark().and_then(|()| Net::new())) else { return };
    let running = reflector(&net, &["--xdp-mode", "native"]);
    let client = net.client_from(V4, 862, 5000);
    let session = "192.0.2.2,5000,0.0.0.0,862,0";
    let mut captures = [
        &["--host", "192.0.2.2", "--direction", "in", "--snaplen", "60"][..],
        &["--session", session, "--direction", "out", "--count", "1"],
        &["--verdict", "drop", "--reason", "too-short", "--iface", "veth0"],
        &["--host", "2001:db8::2"],
    ]
    .map(|arguments| Capture::start(&net, arguments));
    let fifth = net.teaparty(&["capture"]).output().unwrap();
    let error = String::from_utf8_lossy(&fifth.stderr).into_owned();
    assert!(!fifth.status.success() && error.contains("4 captures run"), "{error}");
    let mut other = net.client_from(V4, 862, 5001);
    let mut six = net.client(V6, 862);
    assert!(client.exchange(&[0; 100]).is_some() && other.ask(&[]).is_some() && six.ask(&[]).is_some());
    let (_, only) = captures[1].wait();
    assert_eq!(summaries(&only), ["out reflect reflected xdp -"]);
    let (_, rows) = captures[0].stop();
    assert_eq!(summaries(&rows), ["in reflect reflected xdp -"; 2]);
    let lengths: Vec<[&str; 2]> = rows.iter().map(|row| [&*row.0[4], &*row.0[5]]).collect();
    assert_eq!(lengths, [["142", "60"], ["86", "60"]], "cut, and the length is kept");
    let (said, rows) = captures[2].stop();
    assert!(rows.is_empty() && said.starts_with("0 frames captured; no packet was missed"), "{said}");
    let (_, rows) = captures[3].stop();
    assert_eq!(summaries(&rows), ["in reflect reflected xdp -", "out reflect reflected xdp -"]);
    let unknown = net.teaparty(&["capture", "--iface", "nosuch0"]).output().unwrap();
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(!unknown.status.success() && error.contains("does not answer on nosuch0"), "{error}");
    assert!(running.stop().status.success());
}

#[test]
fn authenticated_packets_are_captured_without_their_keys() {
    let Some(net) = or_skip(tshark().and_then(|()| witness()).and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(9);
    for (mode, path, punted) in [("native", "ring", "authenticated"), ("off", "socket", "-")] {
        let running = reflector(&net, &["--xdp-mode", mode, "--auth-key-file", key.path()]);
        let mut capture = Capture::start(&net, &["--authenticated"]);
        let good = key.packet(7, &[], &key);
        let mut forged = good.clone();
        forged[20] ^= 1;
        let client = net.client(V4, 862);
        client.send(&forged);
        assert!(client.exchange(&good).is_some());
        let (_, rows) = capture.stop();
        let mut expected = [
            format!("in drop authentication-failed {path} {punted}"),
            format!("in reflect reflected {path} {punted}"),
            format!("out reflect reflected {path} {punted}"),
        ];
        expected.sort();
        assert_eq!(summaries(&rows), expected, "{mode}");
        for row in rows.iter().filter(|row| row.is_reply()) {
            assert_eq!(Some(&*row.0[7]), row.word("t3"));
        }
        let octets = std::fs::read(&capture.file).unwrap();
        let hex: String = key.octets.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(!octets.windows(16).any(|part| part == &key.octets[..16] || part == &hex.as_bytes()[..16]), "{mode}");
        assert!(running.stop().status.success());
    }
}

#[test]
fn a_reflector_that_is_killed_while_captured_goes_on_answering_and_the_next_start_cleans_up() {
    let Some(net) = or_skip(Net::new()) else { return };
    let running = reflector(&net, &["--xdp-mode", "native"]);
    let mut capture = Capture::start(&net, &[]);
    running.kill();
    let Output { status, stderr, .. } = capture.child.take().unwrap().wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && error.contains("the capture breaks off"), "{error}");
    // IPv4 by the first program, IPv6 by one that it jumps to.
    for address in [V4, V6] {
        assert!(net.client(address, 862).ask_within(PATIENCE), "{address}");
    }
    let next = reflector(&net, &["--xdp-mode", "native"]);
    let left = |name: &str| name.starts_with("tail_calls-");
    let names = std::fs::read_dir(net.pins()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.map(|name| name.to_string_lossy().into_owned()).any(|name| left(&name)));
    for address in [V4, V6] {
        assert!(net.client(address, 862).ask(&[]).is_some(), "{address}");
    }
    assert!(next.stop().status.success());
}

#[test]
fn what_cannot_be_captured_or_written_is_said_at_once() {
    let Some(net) = or_skip(Net::new()) else { return };
    let said = |arguments: &[&str]| {
        let output = net.teaparty(&[&["capture"], arguments].concat()).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&[]).contains("cannot ask the reflector"), "no reflector runs");
    let running = reflector(&net, &["--xdp-mode", "off", "--api-writes", "none"]);
    let error = said(&[]);
    assert!(error.contains("cannot capture: this API takes no changes"), "{error}");
    assert!(said(&["-w", "/nosuch/file"]).contains("cannot write /nosuch/file"));
    assert!(said(&["--session", "x", "--api", "unix:/nosuch"]).contains("cannot ask the reflector at unix:/nosuch"));
    assert!(said(&["--duration", "500ms"]).contains("give whole seconds"));
    drop(running);
    let running = reflector(&net, &["--xdp-mode", "off"]);
    let error = said(&["--session", "x"]);
    assert!(error.contains("session: is no session"), "{error}");
    // Whoever reads no more has seen enough.
    let mut child = net.teaparty(&["capture"]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 4]).unwrap();
    drop(out);
    // No packet comes that it could write.
    let mut is_over = None;
    wait_for("the capture ends with its reader", || {
        is_over = child.try_wait().unwrap();
        is_over.is_some()
    });
    assert!(is_over.unwrap().success());
    // All the disk that there is.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = net.teaparty(&["capture", "--count", "1"]).stdout(full).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("cannot write to standard output"), "{error}");
    assert!(running.stop().status.success());
}
