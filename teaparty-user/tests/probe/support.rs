//! A probe in a namespace, its files, and what it says of its targets.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use teaparty_testing::reflector::Net;
use teaparty_testing::web::get;

/// The address of the probe, in its namespace.
pub(crate) const API: &str = "127.0.0.1:9862";
/// Most time for anything; nothing here measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is ended with the test.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A probe in the near namespace, with files of its own.
pub(crate) struct Probe {
    pub(crate) child: Ended,
    folder: tempfile::TempDir,
}

impl Probe {
    /// Starts it with this file. `hosts`, if there are any, stand in place of /etc/hosts.
    pub(crate) fn start(net: &Net, config: &str, hosts: Option<&str>) -> Self {
        Self::start_with(net, config, hosts, &[])
    }

    /// Starts a probe with options.
    pub(crate) fn start_with(net: &Net, config: &str, hosts: Option<&str>, options: &[&str]) -> Self {
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
        command.args(["probe", "--format", "jsonl", "--config"]).arg(path("probe.toml")).args(options);
        let log = std::fs::File::create(path("log")).unwrap();
        let output = std::fs::File::create(path("periods")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(log).spawn().unwrap();
        Self { child: Ended(child), folder }
    }

    /// One of its files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until something is so; the probe must be alive all the time.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            let ended = self.child.0.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the probe has ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < end, "{what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a target has this many more replies than it has now.
    pub(crate) fn until_answered(&mut self, net: &Net, target: &str, more: u64) {
        let before = number(net, target, "received").unwrap_or(0);
        self.until(&format!("{target} answers"), || {
            number(net, target, "received").is_some_and(|now| now >= before + more)
        });
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.0.id() as i32), signal).unwrap();
    }

    /// Ends it as people do, and gives its lines of periods.
    pub(crate) fn end(mut self) -> String {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.child.0.wait().unwrap().code(), Some(0), "{}", self.log());
        std::fs::read_to_string(self.path("periods")).unwrap()
    }
}

/// Puts a file in the place of another in one step.
pub(crate) fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

pub(crate) fn targets(net: &Net) -> Vec<Value> {
    let Some(body) = get(net, API, "/api/v1/targets") else { return Vec::new() };
    let value: Value = serde_json::from_str(&body).unwrap();
    value["targets"].as_array().unwrap().clone()
}

pub(crate) fn names(net: &Net) -> Vec<String> {
    targets(net).iter().map(|target| target["target"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn target(net: &Net, name: &str) -> Option<Value> {
    targets(net).into_iter().find(|target| target["target"] == name)
}

pub(crate) fn number(net: &Net, name: &str, key: &str) -> Option<u64> {
    target(net, name)?[key].as_u64()
}
