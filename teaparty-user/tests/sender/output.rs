//! What the program's sender writes and how it ends: forms, files, full disks, thresholds, signals.

use serde_json::{Value, json};
use teaparty_testing::json_keys::JsonKeys;
use teaparty_testing::sender::{Act, Behaviour, Reflector, summary, teaparty};

fn quick(reflector: &Reflector, rest: &str) -> String {
    format!("sender {} -i 2ms -W 300ms --format json {rest}", reflector.address)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn exit_statuses_say_how_it_went() {
    let lossy =
        || Behaviour { script: Box::new(|n| Act { lost_there: n == 3, ..Act::default() }), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", lossy());
    let (code, _, stderr) = teaparty(&quick(&reflector, "--max-loss 5"));
    assert!(code == 3 && stderr.contains("loss 10.000 % exceeds 5.000 %"), "{code} {stderr}");
    let reflector = Reflector::start("127.0.0.1", lossy());
    assert_eq!(teaparty(&quick(&reflector, "--max-loss 10")).0, 0);
    let (code, _, stderr) = teaparty(&quick(&reflector, "--max-rtt p50=1ns"));
    assert!(code == 3 && stderr.contains("round trip p50"), "{code} {stderr}");
    assert_eq!(teaparty(&quick(&reflector, "--max-rtt p50=10s --max-jitter 10s")).0, 0);
    let address = reflector.address;
    drop(reflector);
    let (code, _, stderr) = teaparty(&format!("sender {address} -c 2 -i 1ms -W 50ms"));
    assert!(code == 4 && stderr.contains("no reply to any of 2 packets"), "{code} {stderr}");
    assert_eq!(teaparty("sender --count x 127.0.0.1").0, 2);
    assert_eq!(teaparty("sender").0, 2);
    assert_eq!(teaparty("sender no.such.name.invalid").0, 1);
    assert_eq!(teaparty(&format!("sender {address} --output /nonexistent/file")).0, 1);
}

#[test]
fn streams_have_one_line_a_packet_and_nothing_else_on_standard_output() {
    let behaviour =
        Behaviour { script: Box::new(|n| Act { lost_there: n == 1, ..Act::default() }), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", behaviour);
    let (_, jsonl, _) = teaparty(&format!("sender {} -c 4 -i 1ms -W 100ms --format jsonl", reflector.address));
    let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut fates: Vec<(i64, &str)> =
        lines[..4].iter().map(|line| (number(&line["sequence"]), line["fate"].as_str().unwrap())).collect();
    fates.sort_unstable();
    assert_eq!(fates, [(0, "reply"), (1, "lost"), (2, "reply"), (3, "reply")]);
    assert_eq!((lines.len(), &lines[4]["summary"]["lost_far_end"]), (5, &json!(1)));
    let (_, csv, _) = teaparty(&format!("sender {} -c 4 -i 1ms --format csv", reflector.address));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("target,epoch_ns,sequence,fate,t1_ns"));
    assert!(lines.iter().all(|line| line.split(',').count() == lines[0].split(',').count()));
}

#[test]
fn saved_measurements_are_shown_compared_and_plotted() {
    let mut has_lost = false;
    let script = move |n| {
        let is_lost = n == 1 && !has_lost;
        has_lost |= is_lost;
        Act { lost_there: is_lost, ..Act::default() }
    };
    let behaviour = Behaviour { script: Box::new(script), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", behaviour);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    for (name, format) in [("a.jsonl", "jsonl"), ("b.json", "json")] {
        let words = format!("sender {} -i 2ms -W 200ms --format {format} -o {}", reflector.address, path(name));
        let (code, stdout, _) = teaparty(&words);
        assert_eq!((code, stdout.as_str()), (0, ""), "all output is in the file");
    }
    let (code, text, _) = teaparty(&format!("report {}", path("a.jsonl")));
    assert!(code == 0 && text.contains("round trip p50"), "{text}");
    let (code, text, _) = teaparty(&format!("report --compare {} {}", path("a.jsonl"), path("b.json")));
    assert!(code == 0 && text.contains("×0.00"), "one packet was lost, then none: {text}");
    assert_eq!(teaparty(&format!("report --html {} {}", path("page.html"), path("a.jsonl"))).0, 0);
    let page = std::fs::read_to_string(path("page.html")).unwrap();
    assert_eq!((page.matches("class=\"lost\"").count(), page.matches("r=\"2\"").count()), (1, 9));
    assert_eq!(teaparty(&format!("report --compare {}", path("a.jsonl"))).0, 2);
    assert_eq!(teaparty("report /nonexistent").0, 1);
}

#[test]
fn a_run_that_was_killed_is_reported_from_its_lines_with_the_figures_it_would_have_had() {
    let script = |n| Act { lost_there: n % 7 == 1, doubled: n % 5 == 0, ..Act::default() };
    let reflector = Reflector::start("127.0.0.1", Behaviour { script: Box::new(script), ..Behaviour::default() });
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    let words = format!("sender {} -c 50 -i 1ms -W 200ms --format jsonl -o {path}", reflector.address);
    assert_eq!(teaparty(&words).0, 0);
    let figures = |text: &str| {
        // Who lost a packet is in the summary alone, and so are the name of the host and the schedule.
        let is_kept = |line: &&str| !line.starts_with("---") && !line.contains("lost, ") && !line.contains("pacing");
        text.lines().filter(is_kept).map(str::to_owned).collect::<Vec<_>>()
    };
    let (code, whole, _) = teaparty(&format!("report {path}"));
    assert!(code == 0 && whole.lines().any(|line| line.trim().starts_with("lost ") && line.ends_with(" 7")), "{whole}");
    let content = std::fs::read_to_string(file.path()).unwrap();
    let at = content.find("{\"summary\"").unwrap();
    std::fs::write(file.path(), &content[..at + 100]).unwrap();
    let (code, cut, _) = teaparty(&format!("report {path}"));
    assert_eq!(code, 0);
    let lines = content[..at].lines().count();
    let caveat =
        format!("without a summary: recomputed from {lines} lines, the run was cut off; its last line is torn");
    assert!(cut.split_whitespace().collect::<Vec<_>>().join(" ").contains(&caveat), "folded or not: {cut}");
    let mut cut = figures(&cut);
    cut.retain(|line| !line.starts_with("without") && !line.contains("left out"));
    assert_eq!(cut, figures(&whole));
}

#[test]
fn interrupts_end_a_measurement_with_its_summary() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_teaparty"))
            .args(["sender", &reflector.address.to_string(), "-c", "0", "-i", "5ms", "--format", "json"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
        let asked = std::time::Instant::now();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(asked.elapsed() < std::time::Duration::from_secs(2), "nothing is awaited any more");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{signal}");
        assert!(number(&summary["sent"]) > 10 && summary["sent"] == summary["received"], "{summary}");
    }
    // To a host that does not answer: the first signal ends sending, the second one waiting.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_teaparty"))
        .args(["sender", &silent.local_addr().unwrap().to_string(), "-c", "0", "-i", "5ms", "-W", "60s"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // On a busy host it takes its time to start.
    silent.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    silent.recv(&mut [0; 64]).unwrap();
    let asked = std::time::Instant::now();
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(300));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(asked.elapsed() < std::time::Duration::from_secs(10));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(" 0 lost ") && text.contains("unsettled when it was stopped"), "{text}");
}

#[test]
fn a_second_interrupt_ends_a_measurement_at_once() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::time::{Duration, Instant};
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let took = |_| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_teaparty"))
            .args(["sender", &target, "-c", "2", "-i", "1h", "-W", "60s"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        silent.recv(&mut [0; 1500]).expect("its first packet");
        let process = Pid::from_raw(child.id() as i32);
        kill(process, Signal::SIGINT).unwrap();
        // So that it is asleep again; were it not, it would have ended at once anyway.
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none(), "it waits for the reply");
        let asked = Instant::now();
        kill(process, Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(4));
        asked.elapsed()
    };
    // It looks at its clock once a second, and would notice by then. Of several tries, since hosts may be busy.
    let shortest = (0..4).map(took).min().unwrap();
    assert!(shortest < Duration::from_millis(400), "{shortest:?}");
}

#[test]
fn completions_and_man_pages_come_from_the_same_source() {
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let (code, script, _) = teaparty(&format!("completions {shell}"));
        assert!(code == 0 && script.contains("class-of-service-v2"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(teaparty(&format!("man --output {}", directory.path().display())).0, 0);
    let page = std::fs::read_to_string(directory.path().join("teaparty-sender.1")).unwrap();
    assert!(page.contains("max\\-loss"));
    assert!(teaparty("man").1.contains(".TH"));
    assert_eq!(teaparty("--version").1.trim(), concat!("teaparty ", env!("CARGO_PKG_VERSION")));
    assert_eq!(teaparty("help").0, 0);
}

#[test]
fn a_check_of_a_target_that_does_not_answer_fails_beside_one_that_does() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let both = format!("sender {} {} -c 2 -i 1ms -W 50ms", reflector.address, silent.local_addr().unwrap());
    assert_eq!(teaparty(&both).0, 0, "somebody answered, and nothing was to be checked");
    for limit in ["--max-rtt p99=10s", "--max-jitter 10s"] {
        let (code, _, stderr) = teaparty(&format!("{both} {limit}"));
        assert!(code == 3 && stderr.contains("no round trip could be measured"), "{limit}: {code} {stderr}");
    }
}

#[test]
fn a_line_for_each_packet_is_for_files_and_pipes_too() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (_, text, _) = teaparty(&format!("sender {} -c 3 -i 10ms", reflector.address));
    assert_eq!(text.lines().filter(|line| line.contains("seq=")).count(), 3, "{text}");
    // Nobody reads a thousand lines a second.
    let (_, text, _) = teaparty(&format!("sender {} -c 3 -i 1ms", reflector.address));
    assert!(!text.contains("seq=") && text.contains("3 sent, 3 received"), "{text}");
}

#[test]
fn a_full_disk_is_an_error_that_loses_nothing() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    // A stream stops when it notices: after the first packet at the earliest, after a head or before a summary.
    for (format, lines) in [("jsonl", 2), ("csv", 2), ("human", 0), ("json", 0)] {
        let (code, stdout, stderr) =
            teaparty(&format!("sender {} -c 4 -i 1ms --format {format} -o /dev/full", reflector.address));
        assert!(code == 1 && stderr.contains("/dev/full: No space left on device"), "{format}: {code} {stderr}");
        assert!(stdout.lines().count() >= lines, "{format}: {stdout}");
        match format {
            "json" => {
                assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["received"], json!(4))
            }
            "jsonl" => {
                let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
                assert!(number(&last["summary"]["received"]) >= 1 && last["summary"]["lost"] == json!(0), "{stdout}");
            }
            "csv" => assert!(stdout.starts_with("target,epoch_ns"), "{stdout}"),
            _ => assert!(stdout.contains("4 sent, 4 received"), "{stdout}"),
        }
    }
}

#[test]
fn a_file_that_takes_no_more_ends_with_a_whole_line_and_the_rest_goes_to_standard_output() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    // Files of this process and its children take 4096 octets, which stands for a disk that is full then.
    let words = format!(
        "ulimit -f 8; trap '' XFSZ; exec {} sender {} -c 200 -i 1ms --format jsonl -o {}",
        env!("CARGO_BIN_EXE_teaparty"),
        reflector.address,
        file.path().display()
    );
    let output = std::process::Command::new("sh").args(["-c", &words]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("File too large"), "{:?} {stderr}", output.status);
    let [kept, rest] = [std::fs::read_to_string(file.path()).unwrap(), String::from_utf8(output.stdout).unwrap()];
    assert!(kept.len() > 2_000 && kept.ends_with("}\n"), "{kept}");
    let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut lines: Vec<Value> = kept.lines().chain(rest.lines()).map(parse).collect();
    let summary = lines.pop().unwrap()["summary"].take();
    let sequences: Vec<i64> = lines.iter().map(|line| number(&line["sequence"])).collect();
    assert_eq!(sequences, (0..number(&summary["sent"])).collect::<Vec<_>>(), "each packet is on one of the two, once");
}

#[test]
fn hdr_logs_are_read_by_hdr_histograms_own_reader() {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, summary) = summary(&quick(&reflector, &format!("-c 100 --hdr-log {}", file.path().display())));
    assert_eq!(code, 0);
    let log = std::fs::read(file.path()).unwrap();
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let octets = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, interval.encoded_histogram()).unwrap();
        // The cookie of compressed histograms: tools in other languages read nothing else.
        assert_eq!(octets[..4], 0x1c84_9314u32.to_be_bytes());
        let histogram: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut octets.as_slice()).unwrap();
        let (target, quantity) = interval.tag().unwrap().as_str().rsplit_once('/').unwrap();
        assert_eq!(target, reflector.address.to_string());
        let figures = &summary[format!("{quantity}_ns")];
        assert_eq!(histogram.len(), 100);
        for (key, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let (theirs, ours) = (histogram.value_at_quantile(quantile) as i64, number(&figures[key]).max(0));
            assert!((theirs - ours).abs() <= theirs / 500 + 1, "{quantity} {key}: {theirs} {ours}");
        }
        found.push(quantity.to_owned());
    }
    assert_eq!(found, ["round_trip", "residence", "forward", "backward"]);
}

#[test]
fn every_key_of_a_summary_is_in_the_reference() {
    let keys = JsonKeys::of_book("Summary of a measurement");
    let lossy =
        || Behaviour { script: Box::new(|n| Act { lost_there: n == 3, ..Act::default() }), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", lossy());
    for words in ["-c 5", "-c 5 tlvs access-report -- class-of-service", "-c 4 --burst 2 tlvs followup"] {
        let (code, mut summary) = summary(&quick(&reflector, words));
        assert_eq!(code, 0, "{words}");
        keys.check(&summary);
        // What can't fail shows nothing: a key of any object that is in no row is noticed.
        for place in ["/one_way", "/samples", "/ignored", "/ttl/backward", "/configuration", "/targets/0/forward_ns"] {
            let object = summary.pointer_mut(place).unwrap().as_object_mut().unwrap();
            object.insert("received".into(), Value::Null);
            assert_eq!(
                keys.differences(&[&summary]).iter().filter(|one| one.ends_with(".received")).count(),
                1,
                "{place}"
            );
            summary.pointer_mut(place).unwrap().as_object_mut().unwrap().remove("received");
        }
    }
}

#[test]
fn the_reference_has_every_column_of_a_line_in_its_order_and_every_fate() {
    use teaparty_user::sender::session::matcher::ReplyKind;
    use teaparty_user::sender::session::record::PacketOutcome;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/json.md")).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .skip_while(|line| *line != "## A line for each packet")
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let documented: Vec<String> = rows.iter().flat_map(|row| quoted(row.split('|').nth(1).unwrap())).collect();
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let lines = |format: &str| teaparty(&format!("sender {} -c 1 --format {format}", reflector.address)).1;
    assert_eq!(documented.join(","), lines("csv").lines().next().unwrap());
    let line: Value = serde_json::from_str(lines("jsonl").lines().next().unwrap()).unwrap();
    let mut sorted = documented;
    sorted.sort();
    assert_eq!(line.as_object().unwrap().keys().cloned().collect::<Vec<_>>(), sorted);
    let fates = quoted(rows.iter().find(|row| row.starts_with("| `fate` |")).unwrap());
    for kind in [ReplyKind::Reply, ReplyKind::Further, ReplyKind::Duplicate, ReplyKind::Late]
        .map(PacketOutcome::Answered)
        .into_iter()
        .chain([PacketOutcome::Lost, PacketOutcome::Unsettled])
    {
        assert!(fates.iter().any(|fate| fate == kind.label()), "{kind:?} is in no row of the reference");
    }
}
