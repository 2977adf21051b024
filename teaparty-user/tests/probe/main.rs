//! `teaparty probe`: what it measures, what it tells Prometheus, and what it outlives. Needs root, for namespaces; where there
//! is none, tests print SKIPPED.

mod reflector_support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reflector_support::Net;
use reflector_support::probe::or_skip;
use serde_json::Value;

/// Where the probe listens, in its namespace.
const API: &str = "127.0.0.1:9862";
/// Where the documents are, likewise.
const DOCUMENTS: &str = "127.0.0.1:9863";
/// Likewise Prometheus.
const PROMETHEUS: &str = "127.0.0.1:9090";
/// How long anything may take; nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A probe in the near namespace, with files of its own.
struct Probe {
    child: Ended,
    folder: tempfile::TempDir,
}

impl Probe {
    /// Starts it with this file. `hosts`, if there are any, stand in place of /etc/hosts.
    fn start(net: &Net, config: &str, hosts: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("probe.toml"), config.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
        let mut command = match hosts {
            None => net.teaparty(&[]),
            Some(hosts) => {
                std::fs::write(path("hosts"), hosts).unwrap();
                let mut command = net.command("unshare");
                let script = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", path("hosts").display());
                command.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_teaparty")]);
                command
            }
        };
        command.args(["probe", "--format", "jsonl", "--config"]).arg(path("probe.toml"));
        let log = std::fs::File::create(path("log")).unwrap();
        let output = std::fs::File::create(path("periods")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().unwrap();
        Self { child: Ended(child), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until something is so; the probe must be alive all the time.
    fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            let ended = self.child.0.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the probe has ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < end, "{what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a target has so many more replies than it has now.
    fn until_answered(&mut self, net: &Net, target: &str, more: u64) {
        let before = number(net, target, "received").unwrap_or(0);
        self.until(&format!("{target} answers"), || {
            number(net, target, "received").is_some_and(|now| now >= before + more)
        });
    }

    fn end(mut self) -> String {
        kill(Pid::from_raw(self.child.0.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(self.child.0.wait().unwrap().code(), Some(0), "{}", self.log());
        std::fs::read_to_string(self.path("periods")).unwrap()
    }
}

/// Puts a file in the place of another in one step.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// The body of what a server in the probe's namespace answers.
fn get(net: &Net, server: &str, path: &str) -> Option<String> {
    let mut stream = net.in_near(|| TcpStream::connect(server)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {server}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.contains(" 200 "), "{path}: {answer}");
    Some(body.to_owned())
}

fn targets(net: &Net) -> Vec<Value> {
    let Some(body) = get(net, API, "/api/v1/targets") else { return Vec::new() };
    let value: Value = serde_json::from_str(&body).unwrap();
    value["targets"].as_array().unwrap().clone()
}

fn names(net: &Net) -> Vec<String> {
    targets(net).iter().map(|target| target["target"].as_str().unwrap().to_owned()).collect()
}

fn target(net: &Net, name: &str) -> Option<Value> {
    targets(net).into_iter().find(|target| target["target"] == name)
}

fn number(net: &Net, name: &str, key: &str) -> Option<u64> {
    target(net, name)?[key].as_u64()
}

/// A server of one document in the near namespace; the test changes what it says.
fn serve(net: &Net) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::from("no document")));
    let listener = net.in_near(|| TcpListener::bind(DOCUMENTS)).unwrap();
    let says = said.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let document = says.lock().unwrap().clone();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", document.len());
            let _ = stream.write_all((head + &document).as_bytes());
        }
    });
    said
}

#[test]
fn a_probe_outlives_its_reflector_and_its_interface() {
    let name = "a_probe_outlives_its_reflector_and_its_interface";
    let Some(mut net) = or_skip(name, Net::new()) else { return };
    let reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config =
        "interval = \"20ms\"\ntimeout = \"300ms\"\n[[target]]\naddress = \"192.0.2.2\"\ninterface = \"veth0\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "192.0.2.2", 20);
    drop(reflector);
    probe.until("loss", || number(&net, "192.0.2.2", "lost").is_some_and(|lost| lost > 20));
    let reflector = net.far_reflector(&["--xdp-mode", "off"]);
    probe.until_answered(&net, "192.0.2.2", 20);
    net.disconnect();
    probe.until("no interface", || target(&net, "192.0.2.2").is_some_and(|target| target["measured"] == false));
    drop(reflector);
    net.connect().unwrap();
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    probe.until_answered(&net, "192.0.2.2", 20);
    probe.end();
}

#[test]
fn a_name_that_nobody_knows_is_measured_once_somebody_does_and_followed_when_it_moves() {
    let name = "a_name_that_nobody_knows_is_measured_once_somebody_does_and_followed_when_it_moves";
    let Some(net) = or_skip(name, Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = "interval = \"20ms\"\nresolve-interval = \"1s\"\n[[target]]\naddress = \"reflector.test\"\n";
    let mut probe = Probe::start(&net, config, Some("127.0.0.1 localhost\n"));
    probe.until("a problem", || {
        target(&net, "reflector.test")
            .is_some_and(|target| target["problem"].is_string() && target["address"].is_null())
    });
    // In place, for the file is bound over another.
    std::fs::write(probe.path("hosts"), "192.0.2.2 reflector.test\n").unwrap();
    probe.until_answered(&net, "reflector.test", 20);
    std::fs::write(probe.path("hosts"), "2001:db8::2 reflector.test\n").unwrap();
    probe.until("the new address", || {
        target(&net, "reflector.test").is_some_and(|target| target["address"] == "[2001:db8::2]:862")
    });
    probe.until_answered(&net, "reflector.test", 20);
    // What is no longer known stays where it was.
    std::fs::write(probe.path("hosts"), "").unwrap();
    probe.until("a problem again", || {
        target(&net, "reflector.test").is_some_and(|target| target["problem"].is_string())
    });
    probe.until_answered(&net, "reflector.test", 20);
    probe.end();
}

#[test]
fn targets_come_from_documents_and_bad_ones_change_nothing() {
    let name = "targets_come_from_documents_and_bad_ones_change_nothing";
    let Some(net) = or_skip(name, Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let document = serve(&net);
    let config = "interval = \"20ms\"\n[[target]]\naddress = \"192.0.2.2:862\"\nname = \"own\"\n\
        [[file-sd]]\nfile = \"FOLDER/sd.json\"\n[[http-sd]]\nurl = \"http://127.0.0.1:9863/sd\"\nrefresh = \"1s\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "own", 20);
    assert_eq!(names(&net), ["own"]);
    *document.lock().unwrap() = r#"[{"targets": ["[2001:db8::2]:862"], "labels": {"via": "http"}}]"#.into();
    replace(&probe.path("sd.json"), r#"[{"targets": ["192.0.2.2:862"], "labels": {"via": "file"}}]"#);
    probe.until_answered(&net, "[2001:db8::2]:862", 20);
    probe.until_answered(&net, "192.0.2.2:862", 20);
    *document.lock().unwrap() = "[{".into();
    replace(&probe.path("sd.json"), r#"{"targets": []}"#);
    let failed = |net: &Net, of: &str| {
        let metrics = get(net, API, "/metrics").unwrap_or_default();
        let line =
            metrics.lines().find(|line| line.starts_with("teaparty_probe_source_failures_total") && line.contains(of));
        line.is_some_and(|line| line.rsplit(' ').next().is_some_and(|count| count.parse::<u64>().unwrap() >= 2))
    };
    probe.until("failures", || failed(&net, "http://") && failed(&net, "sd.json"));
    assert_eq!(names(&net), ["own", "192.0.2.2:862", "[2001:db8::2]:862"]);
    // A mistake in the file changes nothing either; a good file does, and leaves the others alone.
    let session = target(&net, "192.0.2.2:862").unwrap()["session"].clone();
    let received = number(&net, "192.0.2.2:862", "received").unwrap();
    let text = std::fs::read_to_string(probe.path("probe.toml")).unwrap();
    replace(&probe.path("probe.toml"), &format!("nonsense = 1\n{text}"));
    let log = probe.path("log");
    probe.until("a refusal", || std::fs::read_to_string(&log).unwrap().contains("1:1: nonsense"));
    replace(&probe.path("probe.toml"), &text.replace("name = \"own\"", "name = \"renamed\""));
    probe.until_answered(&net, "renamed", 20);
    assert_eq!(names(&net), ["renamed", "192.0.2.2:862", "[2001:db8::2]:862"]);
    let kept = target(&net, "192.0.2.2:862").unwrap();
    assert_eq!(kept["session"], session);
    assert!(kept["received"].as_u64().unwrap() >= received, "it began anew: {kept}");
    probe.end();
}

#[test]
fn five_hundred_targets_are_measured_and_each_period_has_a_line() {
    let name = "five_hundred_targets_are_measured_and_each_period_has_a_line";
    let Some(net) = or_skip(name, Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off", "--rate-limit", "0"]);
    let config = "interval = \"200ms\"\n[[file-sd]]\nfile = \"FOLDER/sd.json\"\n\
        [sla]\nperiod = \"5s\"\nsmall-interval = \"1s\"\n";
    let mut probe = Probe::start(&net, config, None);
    let group = |number: u32| format!("{{\"targets\": [\"192.0.2.2\"], \"labels\": {{\"number\": \"{number}\"}}}}");
    let groups: Vec<String> = (0..500).map(group).collect();
    replace(&probe.path("sd.json"), &format!("[{}]", groups.join(",")));
    probe.until("all answered", || {
        let targets = targets(&net);
        targets.len() == 500 && targets.iter().all(|target| target["received"].as_u64() >= Some(10))
    });
    let periods = probe.path("periods");
    probe.until("a whole period of each", || {
        let lines = std::fs::read_to_string(&periods).unwrap();
        lines.lines().filter(|line| line.contains("\"is_whole\":true")).count() >= 500
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", probe.child.0.id())).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    println!("500 targets: {memory}");
    let octets: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(octets < 300_000, "{memory}");
    let lines = probe.end();
    for line in lines.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value["grade"].is_string() && value["start_ns"].as_u64() < value["end_ns"].as_u64(), "{line}");
    }
}

#[test]
fn prometheus_takes_native_and_classic_histograms() {
    let name = "prometheus_takes_native_and_classic_histograms";
    let has = |program: &str| {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map(drop).map_err(|error| format!("{program}: {error}"))
    };
    let net = has("promtool").and_then(|()| has("prometheus")).and_then(|()| Net::new());
    let Some(net) = or_skip(name, net) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let config = "interval = \"20ms\"\n[[target]]\naddress = \"192.0.2.2\"\nlabels = { site = \"north\" }\nssid = 7\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "192.0.2.2", 20);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    let metrics = get(&net, API, "/metrics").unwrap();
    assert!(
        metrics.contains("teaparty_probe_delay_seconds_bucket{le=\"0.001\",target=\"192.0.2.2\",session=\"7\""),
        "{metrics}"
    );
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");

    let configuration = probe.path("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: probe\n    \
         static_configs: [{{targets: ['{API}']}}]\n"
    );
    std::fs::write(&configuration, text).unwrap();
    let log = std::fs::File::create(probe.path("prometheus.log")).unwrap();
    let mut command = net.command("prometheus");
    command.arg("--enable-feature=native-histograms").arg(format!("--config.file={}", configuration.display()));
    command.arg(format!("--storage.tsdb.path={}", probe.path("data").display()));
    command.arg(format!("--web.listen-address={PROMETHEUS}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let _prometheus = Ended(command.spawn().unwrap());
    let of = "target=\"192.0.2.2\",session=\"7\",site=\"north\",direction=\"round_trip\"";
    for query in [
        format!("histogram_count(teaparty_probe_delay_seconds{{{of}}})>bool 10"),
        format!("histogram_quantile(0.5,teaparty_probe_delay_seconds{{{of}}})>bool 0"),
        "teaparty_probe_sent_packets_total>bool 10".into(),
        "teaparty_probe_sla_grade{grade=\"good\"}<=bool 1".into(),
    ] {
        let encoded =
            query.replace('+', "%2B").replace('"', "%22").replace(' ', "%20").replace('>', "%3E").replace('<', "%3C");
        let path = format!("/api/v1/query?query={encoded}");
        let mut answer = String::new();
        let log = probe.path("prometheus.log");
        let end = Instant::now() + PATIENCE;
        while !answer.contains(",\"1\"]}") {
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < end, "{query}: {answer}\n{}", log());
            std::thread::sleep(Duration::from_millis(200));
            answer = get(&net, PROMETHEUS, &path).unwrap_or_default();
        }
    }
    probe.end();
}
