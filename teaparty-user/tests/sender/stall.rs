//! Sender and probe that are stopped for a while (SIGSTOP), hurried (a second Ctrl-C), or asked for what no host can do: what they
//! report is what happened on the path.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use teaparty_testing::sender::{Act, Behaviour, Reflector, summary, teaparty};

/// A path whose way back takes so long.
fn delayed(milliseconds: u64) -> Behaviour {
    let delay = Duration::from_millis(milliseconds);
    Behaviour { script: Box::new(move |_| Act { delay, ..Act::default() }), ..Behaviour::default() }
}

fn start(arguments: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(arguments.split_whitespace()).env_remove("TEAPARTY_LOG").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Stops the process after `after` for `pause`.
fn stop(child: &Child, after: Duration, pause: Duration) {
    std::thread::sleep(after);
    signal(child, Signal::SIGSTOP);
    std::thread::sleep(pause);
    signal(child, Signal::SIGCONT);
}

/// Returns the output of a run with `--format jsonl`: its lines, its summary, and standard error.
fn finish(child: Child) -> (Vec<Value>, Value, String) {
    let output = child.wait_with_output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("{error}"))["summary"].take();
    (lines, summary, error)
}

fn fates(lines: &[Value]) -> BTreeMap<String, u64> {
    let mut fates = BTreeMap::new();
    lines.iter().for_each(|line| *fates.entry(line["fate"].as_str().unwrap().to_owned()).or_default() += 1);
    fates
}

#[test]
fn a_sender_that_is_stopped_loses_nothing_and_sends_no_burst() {
    let reflector = Reflector::start("127.0.0.1", delayed(100));
    let child = start(&format!("sender {} -i 20ms -c 150 -W 500ms --format jsonl", reflector.address));
    stop(&child, Duration::from_millis(1_000), Duration::from_secs(4));
    let (lines, summary, error) = finish(child);
    for (key, value) in [("sent", 150), ("received", 150), ("lost", 0), ("late", 0), ("unmatched", 0)] {
        assert_eq!(summary[key], json!(value), "{key}: {summary:#}");
    }
    // Four seconds have 200 packets, and a busy host may add to them.
    let skipped = summary["schedule_skipped"].as_u64().unwrap();
    assert!((190..400).contains(&skipped), "{skipped}");
    assert_eq!(summary["targets"][0]["schedule_skipped"], json!(skipped));
    assert_eq!(error.matches("skipped").count(), 1, "{error}");
    assert_eq!(fates(&lines), BTreeMap::from([("reply".to_owned(), 150)]));
    let mut sent: Vec<u64> = lines.iter().map(|line| line["t1_ns"].as_u64().unwrap()).collect();
    sent.sort_unstable();
    // What a busy host makes up for is 50 ms.
    assert!(sent.windows(6).all(|six| six[5] - six[0] > 20_000_000), "a burst: {sent:?}");
}

#[test]
fn replies_are_in_time_or_late_by_t4_minus_t1_and_not_by_when_a_stopped_sender_reads_them() {
    for (delay, is_in_time) in [(200, true), (600, false)] {
        let reflector = Reflector::start("127.0.0.1", delayed(delay));
        let child = start(&format!("sender {} -i 10ms -c 120 -W 400ms --format jsonl", reflector.address));
        stop(&child, Duration::from_millis(500), Duration::from_millis(1_500));
        let (lines, summary, _) = finish(child);
        let (received, lost) = if is_in_time { (120, 0) } else { (0, 120) };
        assert_eq!(
            (&summary["received"], &summary["lost"]),
            (&json!(received), &json!(lost)),
            "{delay} ms: {summary:#}"
        );
        let fates = fates(&lines);
        let of = |fate: &str| fates.get(fate).copied().unwrap_or(0);
        assert_eq!((of("reply"), of("lost")), (received, lost));
        assert_eq!(summary["late"], json!(of("late")));
    }
}

#[test]
fn nothing_answers_within_a_microsecond() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (_, summary) = summary(&format!("sender {} -i 2ms -c 50 -W 1us --format json", reflector.address));
    assert_eq!((&summary["received"], &summary["lost"], &summary["unsettled"]), (&json!(0), &json!(50), &json!(0)));
}

#[test]
fn a_duration_is_one_by_the_clock_at_any_rate() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let began = Instant::now();
    let words = "--rate 5000000 --duration 1s -W 1ms --format json";
    let (_, text, error) = teaparty(&format!("sender 127.0.0.1 {port} {words}"));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let summary: Value = serde_json::from_str(&text).unwrap();
    let (sent, skipped) = (summary["sent"].as_u64().unwrap(), summary["schedule_skipped"].as_u64().unwrap());
    assert_eq!(sent + skipped, 5_000_000);
    assert!(error.contains(&format!("sent {sent} packets/s of 5000000")), "{error}");
}

#[test]
fn the_second_interrupt_leaves_packets_unsettled_and_loses_none() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let child = start(&format!("sender 127.0.0.1 {port} -i 20ms -c 0 -W 60s --format jsonl"));
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    silent.recv(&mut [0; 64]).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::SIGINT);
    let (lines, summary, _) = finish(child);
    let sent = summary["sent"].as_u64().unwrap();
    assert!(sent > 0);
    assert_eq!((&summary["lost"], &summary["unsettled"], &summary["loss"]), (&json!(0), &json!(sent), &json!(null)));
    assert_eq!(fates(&lines), BTreeMap::from([("unsettled".to_owned(), sent)]));
}

#[test]
fn the_same_address_twice_is_two_sessions_even_without_ssids() {
    let without = |octets: &mut Vec<u8>| octets[14..16].fill(0);
    for (edit, ssid) in [(without as fn(&mut Vec<u8>), ""), (|_| {}, "--ssid 0")] {
        let reflector = Reflector::start("127.0.0.1", Behaviour { edit, ..delayed(30) });
        let port = reflector.address.port();
        let targets = format!("127.0.0.1 {port} localhost {port} 127.0.0.1 {port}");
        let child = start(&format!("sender -4 {targets} -i 5ms -c 60 {ssid} --format jsonl"));
        let (lines, summary, error) = finish(child);
        assert_eq!((&summary["received"], &summary["lost"]), (&json!(180), &json!(0)), "{error}{summary:#}");
        assert_eq!((&summary["corrupted"], &summary["unmatched"]), (&json!(0), &json!(0)));
        for target in summary["targets"].as_array().unwrap() {
            assert_eq!(target["received"], json!(60));
            let of_it = lines.iter().filter(|line| line["ssid"] == target["ssid"]).count();
            assert_eq!(of_it, if ssid.is_empty() { 60 } else { 180 });
        }
    }
}

#[test]
fn packets_that_leave_from_the_reflectors_port_are_warned_of() {
    let silent = UdpSocket::bind("127.0.0.2:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let words = format!("sender 127.0.0.2 {port} -c 1 -W 10ms --src 127.0.0.1");
    let (_, _, error) = teaparty(&format!("{words} --src-port {port}"));
    assert_eq!(error.matches("guards against loops").count(), 1, "{error}");
    let (_, _, error) = teaparty(&words);
    assert!(!error.contains("loops"), "{error}");
}

#[test]
fn a_realtime_run_takes_replies_in_by_a_realtime_thread() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let words =
        format!("sender 127.0.0.1 {port} --rate 100000 --segmentation-offload -d 3s -W 1ms --realtime --format json");
    let child = start(&words);
    let folder = format!("/proc/{}/task", child.id());
    let until = Instant::now() + Duration::from_secs(2);
    let policy_of = |name: &str| {
        let mut threads = std::fs::read_dir(&folder).ok()?.flatten();
        let thread = threads
            .find(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name))?;
        // The fields after the name, which may have spaces: the 41st of all is the policy.
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(38)?.parse::<i32>().ok()
    };
    let mut found = (None, None);
    while found != (Some(libc::SCHED_FIFO), Some(libc::SCHED_FIFO)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        found = (policy_of("sender"), policy_of("replies"));
    }
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    if error.contains("cannot go before") {
        println!("skipped: no right to SCHED_FIFO: {error}");
        return;
    }
    if std::thread::available_parallelism().unwrap().get() > 1 {
        assert_eq!(found, (Some(libc::SCHED_FIFO), Some(libc::SCHED_FIFO)), "{error}");
    }
}

/// The value of a probe's metric that has these words in its name and labels.
fn metric(text: &str, words: &[&str]) -> Option<f64> {
    let line = text.lines().find(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn metrics(api: &str) -> Option<String> {
    let mut stream = TcpStream::connect(api).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Asks until something is so.
fn until(api: &str, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(text) = metrics(api).filter(|text| is_so(text)) {
            return text;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_probe_that_is_stopped_loses_nothing_and_tells_what_it_skipped_and_how_late_it_is() {
    let reflector = Reflector::start("127.0.0.1", delayed(80));
    let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = format!("api = \"{api}\"\ninterval = \"50ms\"\n[[target]]\naddress = \"{}\"\n", reflector.address);
    std::fs::write(file.path(), config).unwrap();
    let mut probe = start(&format!("probe --config {}", file.path().display()));
    let received = |text: &str| metric(text, &["teaparty_probe_received_packets_total"]).unwrap_or(0.0);
    until(&api, "replies", |text| received(text) >= 20.0);
    stop(&probe, Duration::ZERO, Duration::from_secs(4));
    let before = received(&until(&api, "metrics", |_| true));
    let text = until(&api, "more replies", |text| received(text) >= before + 40.0);
    signal(&probe, Signal::SIGTERM);
    probe.wait().unwrap();
    assert_eq!(metric(&text, &["teaparty_probe_lost_packets_total"]), Some(0.0));
    assert_eq!(metric(&text, &["teaparty_probe_late_replies_total"]), Some(0.0));
    let skipped = metric(&text, &["teaparty_probe_schedule_skipped_packets_total"]).unwrap();
    assert!((70.0..200.0).contains(&skipped), "{skipped}");
    for name in ["p50", "p99"] {
        let late = metric(&text, &[&format!("teaparty_probe_pacing_error_{name}_seconds")]).unwrap();
        assert!((0.0..2.0).contains(&late), "{late}");
    }
}
