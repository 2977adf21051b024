//! HTTP in the reflector's namespace, and Prometheus's programs.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::reflector::Net;

/// The address of Prometheus, in the reflector's namespace.
const LISTEN: &str = "127.0.0.1:9090";
/// Most time from its start to a scrape.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the path of a file that is shipped with the program.
pub fn dist(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(path)
}

/// The names of metrics that a document uses, as they are in the text format.
pub fn names(document: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = document.split(|c: char| !is_part(c)).filter(|word| word.starts_with("teaparty_"));
    words.map(str::to_owned).collect()
}

/// Asserts that a shipped document names only these metrics, and some of them.
pub fn assert_known(file: &str, metrics: &str) {
    let document = names(&std::fs::read_to_string(dist(file)).unwrap());
    let unknown: Vec<_> = document.difference(&names(metrics)).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "{file} names what does not exist");
    assert!(document.len() > 5, "{file}");
}

/// Returns an error if foreign programs are absent; each must answer `--version`.
pub fn programs(names: &[&str]) -> Result<(), String> {
    for name in names {
        let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// The body of what a server in the reflector's namespace answers.
pub fn get(net: &Net, server: &str, path: &str) -> Option<String> {
    let mut stream = net.in_near(|| TcpStream::connect(server)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {server}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.contains(" 200 "), "{path}: {answer}");
    Some(body.to_owned())
}

/// Runs promtool with this on its standard input.
pub fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A Prometheus in the reflector's namespace. Killed when the test ends, however it does.
pub struct Prometheus {
    child: Child,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `target` every second.
    pub fn start(net: &Net, arguments: &[&str], rules: &[&Path], target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("prometheus.yml");
        let rules: Vec<String> = rules.iter().map(|path| path.display().to_string()).collect();
        let text = format!(
            "global: {{scrape_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  - job_name: teaparty\n    \
             static_configs: [{{targets: ['{target}']}}]\n",
            rules.join(", ")
        );
        std::fs::write(&configuration, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = net.command("prometheus");
        command.args(arguments).arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={LISTEN}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().unwrap(), folder }
    }

    /// Waits until a query's only result has this value.
    pub fn until(&self, net: &Net, query: &str, value: &str) {
        let encoded: String = query.bytes().map(|octet| format!("%{octet:02x}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = get(net, LISTEN, &path).unwrap_or_default();
            if answer.contains(&format!(",\"{value}\"]}}")) {
                return;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "{query}: {answer}\n{}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
