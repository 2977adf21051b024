//! What sessions cost a running reflector: to list them, and to forget them when their time is over.
//!
//! Its program, attached and pinned, is shown packets of as many sessions by the harness; from then on it is asked over
//! its API, as anybody would.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::ProgramInfo;
use serde::Serialize;
use teaparty_common::maps::program;
use xtask::exec;

use crate::cases;
use crate::frames;
use crate::harness::{Harness, XDP_TX};
use crate::net::{End, NEAR, Net};
use crate::running::Running;
use crate::slow_path::load::processor_time;

/// Sessions per page of the API.
const PAGE: u32 = 10_000;

/// The start of a reflector.
pub(super) struct Controller<'a> {
    pub(super) teaparty: &'a Path,
    pub(super) floors: &'a Path,
    pub(super) net: &'a Net,
}

/// Its measurements.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Controlled {
    /// A page of sessions: from the request to its last octet, and processor time of the reflector.
    pub(super) page_ms: f64,
    pub(super) page_cpu_ms: f64,
    /// Processor time of the reflector until all sessions were forgotten.
    pub(super) over_ms: f64,
    /// The time from the setting of the time-out.
    pub(super) over_wall_ms: f64,
    /// The reflector's memory while it had the sessions.
    pub(super) resident_kib: u64,
}

impl Controller<'_> {
    /// Fills a new reflector with this many sessions.
    pub(super) fn measure(&self, sessions: u32) -> Result<Controlled> {
        let folder = std::env::temp_dir().join(format!("teaparty-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let measured = self.measure_in(&folder.join("api"), sessions);
        let _ = std::fs::remove_dir_all(&folder);
        measured
    }

    fn measure_in(&self, socket: &Path, sessions: u32) -> Result<Controlled> {
        let mut command = Command::new(self.teaparty);
        command.args(["-q", "reflector", "--iface", NEAR, "--xdp-mode", "native", "--rate-limit", "0"]);
        command.args(["--max-sessions", &super::places(sessions).to_string(), "--session-timeout", "900"]);
        command.arg("--api").arg(format!("unix:{}", socket.display()));
        self.net.place(&mut command, End::Near, None)?;
        let running = Running::start(command, Some("  sessions ")).context("cannot start the reflector")?;
        let pid = running.pid();
        self.make(pid, sessions)?;

        let api = Api { socket };
        // The first request pays for what is made once.
        let page = api.get(&format!("sessions?limit={}", PAGE.min(sessions)))?;
        let total = total(&page)?;
        ensure!(total == u64::from(sessions), "{sessions} sessions were made, and the reflector has {total}");
        let before = processor_time(pid)?;
        let page_ms = api.time(&format!("sessions?limit={}", PAGE.min(sessions)))?;
        let page_cpu_ms = (processor_time(pid)? - before).as_secs_f64() * 1e3;
        let resident_kib = resident_kib(pid)?;

        let (before, start) = (processor_time(pid)?, Instant::now());
        api.patch("limits", r#"{"session_timeout":1}"#)?;
        let used_by = rest(pid)?;
        let (over, over_wall) = (used_by.0 - before, used_by.1 - start);
        let left = self::total(&api.get("sessions?limit=1")?)?;
        ensure!(left == 0, "{left} of {sessions} sessions are there after their time");
        let [over_ms, over_wall_ms] = [over, over_wall].map(|time| time.as_secs_f64() * 1e3);
        Ok(Controlled { page_ms, page_cpu_ms, over_ms, over_wall_ms, resident_kib })
    }

    /// Shows the reflector's program a packet of each session.
    fn make(&self, pid: u32, sessions: u32) -> Result<()> {
        let namespace = std::fs::metadata(format!("/proc/{pid}/ns/net"))?.ino();
        let pin = PathBuf::from(format!("/sys/fs/bpf/teaparty/{NEAR}@{namespace}/{}", program::REFLECT));
        let attached = ProgramInfo::from_pin(&pin)
            .with_context(|| format!("the reflector's program is not at {}", pin.display()))?;
        let mut harness = Harness::load(self.floors)?;
        let shape = cases::of_many_sessions().into_iter().next_back().context("there is a base packet")?.shape;
        let frame = frames::without_checksum(&shape);
        let timed = harness.time_many(&attached.fd()?, &frame, sessions, 1, sessions)?;
        ensure!(timed.action == XDP_TX, "the reflector's program ended with action {}", timed.action);
        Ok(())
    }
}

/// Waits until a process has worked and rests; its processor time, and when it began to rest.
fn rest(pid: u32) -> Result<(Duration, Instant)> {
    /// The time-out, the longest that a look for sessions can be due after it, and then some rest.
    const AT_LEAST: Duration = Duration::from_secs(4);
    const STEP: Duration = Duration::from_millis(100);
    let start = Instant::now();
    let (mut last, mut busy_at) = (processor_time(pid)?, start);
    while start.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(STEP);
        let now = processor_time(pid)?;
        // Its clock's and watchdog's beat takes less.
        if now - last > Duration::from_millis(5) {
            busy_at = Instant::now();
        }
        last = now;
        if start.elapsed() > AT_LEAST && busy_at.elapsed() > STEP * 20 {
            return Ok((now, busy_at));
        }
    }
    bail!("the reflector still works after two minutes")
}

fn total(page: &str) -> Result<u64> {
    let page: serde_json::Value = serde_json::from_str(page).context("the answer of the API is no JSON")?;
    page["total"].as_u64().with_context(|| format!("the API does not say how many sessions there are: {page}"))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel does not say")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The reflector's API.
struct Api<'a> {
    socket: &'a Path,
}

impl Api<'_> {
    fn get(&self, path: &str) -> Result<String> {
        exec::capture(&mut self.curl(path))
    }

    /// Returns the time of the answer, in milliseconds.
    fn time(&self, path: &str) -> Result<f64> {
        let seconds = exec::capture(self.curl(path).args(["--output", "/dev/null", "--write-out", "%{time_total}"]))?;
        Ok(seconds.parse::<f64>()? * 1e3)
    }

    fn patch(&self, path: &str, body: &str) -> Result<()> {
        let json = "content-type: application/json";
        exec::capture(self.curl(path).args(["--request", "PATCH", "--header", json, "--data", body])).map(drop)
    }

    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "120", "--unix-socket"]);
        command.arg(self.socket).arg(format!("http://teaparty/api/v1/{path}"));
        command
    }
}
