//! `teaparty status` of a running reflector, and `teaparty doctor` beside it. Takes root; root is needed for namespaces and
//! programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use teaparty_testing::json_keys::JsonKeys;
use teaparty_testing::reflector::{Net, V4, attach_pass, start};
use teaparty_testing::skip::or_skip;

/// The address of the reflector's API, in its namespace.
const API: &str = "127.0.0.1:8000";

/// Runs `teaparty` in the reflector's namespace: exit status, standard output, standard error.
fn run(net: &Net, arguments: &[&str]) -> (i32, String, String) {
    let output = net.teaparty(arguments).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn status_shows_what_the_reflector_counts() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = start(&mut net.teaparty(&["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API]));
    let (mut one, mut other) = (net.client(V4, 862), net.client(V4, 862));
    for _ in 0..3 {
        assert!(one.ask(&[]).is_some());
    }
    assert!(other.ask(&[0x80, 244, 0, 0]).is_some());

    let (code, out, error) = run(&net, &["status", "--format", "json"]);
    assert_eq!((code, &*error), (0, ""));
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(JsonKeys::of_book("Status").differences(&[&status]), [""; 0]);
    assert_eq!((&status["state"], &status["sessions_total"]), (&Value::from("ready"), &Value::from(2)));
    assert_eq!(status["interfaces"][0]["xdp_mode"], "native");
    let packets = |path: &str, reason: &str| {
        let counters = status["counters"].as_array().unwrap();
        counters.iter().find(|c| c["path"] == path && c["reason"] == reason).map(|c| c["packets"].clone())
    };
    assert_eq!(packets("xdp", "reflected"), Some(3.into()));
    assert_eq!(packets("ring", "reflected"), Some(1.into()));
    let port = one.socket.local_addr().unwrap().port();
    assert_eq!(status["sessions"][0]["source_port"], port, "the busiest comes first: {out}");

    let (code, out, _) = run(&net, &["status", "--top", "1"]);
    assert_eq!(code, 0);
    // Lines are folded at 80 columns.
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "ready".to_owned(),
        "veth0 XDP mode native, port 862, 192.0.2.1".into(),
        "2 sessions, the busiest:".into(),
        format!("192.0.2.2 port {port} to 192.0.2.1 port 862, SSID 0, by veth0: 3 received, 3 replies"),
    ] {
        assert!(out.contains(&words), "no {words} in {out}");
    }
    assert_eq!(out.matches("SSID").count(), 1, "{out}");
}

#[test]
fn status_names_the_last_source_of_each_reason_on_every_path() {
    for (mode, path) in [("native", "xdp"), ("off", "socket")] {
        let Some(net) = or_skip(Net::new()) else { return };
        let arguments =
            ["reflector", "--iface", "veth0", "--xdp-mode", mode, "--api", API, "--allow", "203.0.113.0/24"];
        let _reflector = start(&mut net.teaparty(&arguments));
        let before: Value = serde_json::from_str(&run(&net, &["status", "--format", "json"]).1).unwrap();
        assert!(before["counters"].as_array().unwrap().iter().all(|counter| counter["last_source"].is_null()));
        assert!(net.client(V4, 862).ask(&[]).is_none());
        let (code, out, _) = run(&net, &["status", "--format", "json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        let counters = status["counters"].as_array().unwrap();
        let found: Vec<_> = counters.iter().filter(|counter| !counter["last_source"].is_null()).collect();
        assert_eq!((code, found.len()), (0, 1), "{out}");
        assert_eq!((&found[0]["path"], &found[0]["reason"]), (&Value::from(path), &Value::from("not-allowed")));
        assert_eq!(found[0]["last_source"], "192.0.2.2");
        let (_, out, _) = run(&net, &["status"]);
        assert!(out.contains(&format!("\n  not-allowed 1, last 192.0.2.2 (veth0, {path})\n")), "{out}");
    }
}

#[test]
fn a_flood_is_refused_by_the_rate_limit_and_names_its_source() {
    let Some(net) = or_skip(Net::new()) else { return };
    let arguments = ["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API, "--rate-limit", "1:1"];
    let _reflector = start(&mut net.teaparty(&arguments));
    let mut client = net.client(V4, 862);
    let refused = (0..4).filter(|_| client.ask(&[]).is_none()).count();
    assert!(refused > 0);
    let (_, out, _) = run(&net, &["status"]);
    assert!(out.contains(", last 192.0.2.2 (veth0, xdp)") && out.contains("  rate-limited "), "{out}");
}

#[test]
fn watching_gives_rates_between_looks() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = start(&mut net.teaparty(&["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API]));
    let mut client = net.client(V4, 862);
    assert!(client.ask(&[]).is_some());
    let mut watch =
        net.teaparty(&["status", "--watch", "1", "--format", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let rate = |line: &str| {
        let status: Value = serde_json::from_str(line).unwrap();
        let counters = status["counters"].as_array().unwrap().clone();
        let found = counters.iter().find(|c| c["path"] == "xdp" && c["reason"] == "reflected").unwrap().clone();
        found["packets_per_second"].as_f64()
    };
    let first = lines.next().unwrap().unwrap();
    assert_eq!(rate(&first), None, "there is no rate yet");
    for _ in 0..5 {
        assert!(client.ask(&[]).is_some());
    }
    // Some later look sees all of them.
    let seen = lines.by_ref().map(|line| rate(&line.unwrap()).expect("a rate")).take(10).find(|rate| *rate > 0.0);
    assert!(seen.is_some_and(|rate| rate < 10.0), "{seen:?}");
    // A pipe that nobody reads ends it.
    drop(lines);
    assert!(watch.wait().unwrap().success());
}

#[test]
fn lost_output_is_a_failure_and_a_reader_who_has_gone_is_none() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = ["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API];
    let running = start(&mut net.teaparty(&reflector));
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let closed = || std::io::pipe().unwrap().1;
    let to = |stdout: Stdio, arguments: &[&str]| {
        let output = net.teaparty(arguments).stdout(stdout).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let status = [
        &["status"][..],
        &["status", "--format", "json"],
        &["status", "--watch", "1"],
        &["status", "--watch", "1", "--format", "json"],
    ];
    let lost = "teaparty: cannot write to standard output: No space left on device (os error 28)\n";
    for arguments in status {
        assert_eq!(to(full().into(), arguments), (Some(1), lost.to_owned()), "{arguments:?}");
        assert_eq!(to(closed().into(), arguments), (Some(0), String::new()), "{arguments:?}");
    }
    assert!(running.stop().status.success());
    let detach = ["detach", "--iface", "veth0"];
    assert_eq!(to(full().into(), &detach), (Some(1), lost.to_owned()));
    assert_eq!(to(closed().into(), &detach), (Some(0), String::new()));

    // A reflector answers without readers, and says at its end where the summary has gone.
    for (stdout, code) in [(Stdio::from(full()), 1), (closed().into(), 0)] {
        let mut command = net.teaparty(&reflector);
        let mut child = command.stdout(stdout).spawn().unwrap();
        // The API is there once all else is.
        let until = Instant::now() + Duration::from_secs(60);
        while run(&net, &["status"]).0 != 0 {
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "it is not ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(net.client(V4, 862).ask(&[]).is_some());
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{said}");
        assert!(said.contains("teaparty goes on without it") && !said.contains("panicked"), "{said}");
        assert!(said.contains(" answered in 1 session"), "the summary is not lost: {said}");
    }
}

#[test]
fn a_token_is_sent_and_failures_say_what_to_do() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (token, other) =
        (file("token", "a-token-for-this-test-0123456789\n"), file("other", "another-token-987654321\n"));
    let empty = file("empty", "\n");
    let (code, _, error) = run(&net, &["status"]);
    assert_eq!(code, 1);
    assert!(error.contains("http://127.0.0.1:8000") && error.contains("--api"), "{error}");
    let arguments =
        ["reflector", "--iface", "lo", "--xdp-mode", "off", "--api", "0.0.0.0:8000", "--api-token-file", &token];
    let _reflector = start(&mut net.teaparty(&arguments));
    assert_eq!(run(&net, &["status", "--token-file", &token, "--api", "http://192.0.2.1:8000/"]).0, 0);
    for arguments in [&["status"][..], &["status", "--token-file", &other]] {
        let (code, _, error) = run(&net, arguments);
        assert!(code == 1 && error.contains("--token-file"), "{error}");
    }
    let (code, _, error) = run(&net, &["status", "--token-file", &empty]);
    assert!(code == 2 && error.contains("no token"), "{error}");
    let unknown = folder.path().join("none");
    let by_tls = ["status", "--api", "https://127.0.0.1:8000", "--api-ca", unknown.to_str().unwrap()];
    let (code, _, error) = run(&net, &by_tls);
    assert!(code == 2 && error.contains("--api-ca: cannot read"), "{error}");
}

#[test]
fn a_unix_socket_is_asked_too() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let len = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.0 503 Busy\r\n\r\nnot now").unwrap();
        String::from_utf8_lossy(&request[..len]).into_owned()
    });
    let (code, _, error) = run(&net, &["status", "--api", &format!("unix:{}", path.display())]);
    assert!(code == 1 && error.contains("503: not now"), "{error}");
    assert!(server.join().unwrap().starts_with("GET /api/v1/reflector HTTP/1.0\r\n"));
}

/// The finding about an interface, from the JSON report; about the host where there is no name.
fn finding(report: &str, interface: &str, check: &str) -> Value {
    let report: Value = serde_json::from_str(report).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["interface"].as_str().unwrap_or("") == interface && f["check"] == *check);
    found.unwrap_or_else(|| panic!("no {check} in {report}")).clone()
}

#[test]
fn the_doctor_sees_drivers_programs_and_what_was_left_behind() {
    let Some(net) = or_skip(Net::new()) else { return };
    let doctor = ["doctor", "--iface", "veth0", "--format", "json"];
    let (code, out, error) = run(&net, &doctor);
    assert_eq!((code, &*error), (0, ""), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(JsonKeys::of_book("Doctor").differences(&[&report]), [""; 0]);
    let xdp = finding(&out, "veth0", "XDP");
    assert!(xdp["verdict"] == "note" && xdp["found"].as_str().unwrap().contains("driver veth: generic mode"), "{xdp}");
    assert!(xdp["remedy"].as_str().unwrap().contains("--xdp-mode native"), "{xdp}");

    net.reflector(&["--xdp-mode", "native"]).kill();
    let (code, out, _) = run(&net, &doctor);
    assert_eq!(code, 0, "{out}");
    assert!(finding(&out, "veth0", "program")["found"].as_str().unwrap().contains("which is teaparty's"), "{out}");
    assert!(out.contains("veth0: a program answers there, and no controller runs"), "{out}");
    let running = net.reflector(&[]);
    assert!(!run(&net, &doctor).1.contains("no controller runs"));
    assert!(running.stop().status.success());

    let foreign = net.in_near(|| attach_pass("veth0").unwrap());
    let (code, out, _) = run(&net, &["doctor"]);
    assert_eq!(code, 1);
    let words = ["this host\n", "\nlo\n", "\nveth0\n", "FAIL  program", "bpftool net", "1 failure"];
    assert!(words.iter().all(|words| out.contains(words)), "{out}");
    drop(foreign);

    net.near_ip(&["link", "set", "veth0", "down"]);
    assert_eq!(finding(&run(&net, &doctor).1, "veth0", "link")["verdict"], "warning");
    let (code, out, _) = run(&net, &["doctor", "--iface", "nosuch0"]);
    assert!(code == 1 && out.contains("FAIL  presence"), "{out}");
}

#[test]
fn the_doctor_tries_what_it_judges() {
    let Some(net) = or_skip(Net::new()) else { return };
    let program = env!("CARGO_BIN_EXE_teaparty");
    let doctor = |command: &str, arguments: &[&str]| {
        let arguments = [arguments, &[program, "doctor", "--iface", "lo", "--format", "json"]].concat();
        let output = net.command(command).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, out) = doctor("env", &[]);
    let found = finding(&out, "", "program");
    assert!(
        code == Some(0) && found["found"].as_str().unwrap().starts_with("the kernel loads the XDP program"),
        "{out}"
    );
    assert_eq!(finding(&out, "", "privileges")["verdict"], "good");

    let folder = tempfile::tempdir().unwrap();
    let object = folder.path().join("object");
    std::fs::write(&object, "no object").unwrap();
    let (code, out) = doctor("env", &[&format!("TEAPARTY_EBPF_OBJECT={}", object.display())]);
    let found = finding(&out, "", "program");
    assert!(code == Some(1) && found["verdict"] == "failure", "{found}");
    assert!(found["found"].as_str().unwrap().starts_with("the kernel does not load the XDP program: "), "{found}");

    let (code, out) = doctor("prlimit", &["--nofile=120:130"]);
    let found = finding(&out, "", "descriptors");
    assert!(code == Some(1) && found["verdict"] == "failure", "{out}");
    assert!(found["found"].as_str().unwrap().starts_with("120 may be open, at most 130; 1 interfaces"), "{found}");

    // A root that has all capabilities, and none of the host's.
    let (code, out) = doctor("unshare", &["--user", "--map-root-user"]);
    if out.is_empty() {
        let _: Option<()> = or_skip(Err("no user namespaces"));
        return;
    }
    let found = finding(&out, "", "privileges");
    assert!(code == Some(1) && found["verdict"] == "failure", "{found}");
    assert!(found["found"].as_str().unwrap().contains("user namespace"), "{found}");
}
