//! The programs that are measured, each started as its users would, and what their own reports say.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use xtask::exec;

use crate::frames::OUR_PORT;
use crate::net::{End, FAR_V4, NEAR, NEAR_V4, Net};
use crate::running::Running;

/// irtt's own port.
const IRTT_PORT: u16 = 2112;

/// A program that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Teaparty,
    Realtime,
    Trains,
    StampSuite,
    Irtt,
}

impl Subject {
    pub(super) const ALL: [Self; 5] = [Self::Teaparty, Self::Realtime, Self::Trains, Self::StampSuite, Self::Irtt];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Teaparty => "teaparty",
            Self::Realtime => "teaparty, realtime",
            Self::Trains => "teaparty, GSO",
            Self::StampSuite => "stamp-suite",
            // Its most exact timer, which its default is far behind.
            Self::Irtt => "irtt, busy timer",
        }
    }

    /// Returns the destination port of its packets.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Teaparty | Self::Realtime | Self::Trains | Self::StampSuite => OUR_PORT,
            Self::Irtt => IRTT_PORT,
        }
    }
}

/// A program's report on a run, and the cost of it.
pub(super) struct Run {
    pub(super) sent: u64,
    pub(super) lost: u64,
    /// Of all its threads, and of the kernel on their behalf.
    pub(super) processor: Duration,
}

/// The programs.
pub(super) struct Programs {
    pub(super) teaparty: PathBuf,
    pub(super) stamp_suite: PathBuf,
    pub(super) irtt: PathBuf,
}

impl Programs {
    /// Starts the reflector and irtt's server, on one processor.
    pub(super) fn serve(&self, net: &Net, processor: usize) -> Result<[Running; 2]> {
        let mut reflector = Command::new(&self.teaparty);
        reflector.args(["-q", "reflector", "--iface", NEAR, "--api", "none", "--rate-limit", "0"]);
        reflector.args(["--xdp-mode", "native"]);
        net.place(&mut reflector, End::Near, Some(processor))?;
        let mut server = Command::new(&self.irtt);
        // Without its limits on interval, duration and length.
        server.args(["server", "-b", &format!("{NEAR_V4}:{IRTT_PORT}"), "-i", "0", "-d", "0", "-l", "0"]);
        net.place(&mut server, End::Near, Some(processor))?;
        Ok([Running::start(reflector, Some("  sessions "))?, Running::start(server, Some("[ListenerStart]"))?])
    }

    /// Has a program send `count` packets at a rate.
    pub(super) fn run(&self, net: &Net, subject: Subject, rate_pps: f64, count: u64) -> Result<Run> {
        let micros = 1e6 / rate_pps;
        let mut command = match subject {
            Subject::Teaparty | Subject::Realtime | Subject::Trains => {
                let mut command = self.sender();
                command.args([&NEAR_V4.to_string(), "--rate", &rate_pps.to_string(), "--count", &count.to_string()]);
                match subject {
                    Subject::Trains => drop(command.arg("--segmentation-offload")),
                    Subject::Realtime => drop(command.arg("--realtime")),
                    _ => {}
                }
                command
            }
            Subject::StampSuite => {
                let mut command = Command::new(&self.stamp_suite);
                command.args(["-r", &NEAR_V4.to_string(), "-S", &FAR_V4.to_string(), "--timeout", "1"]);
                command.args(["--send-delay", &format!("{micros:.3}us"), "--count", &count.to_string()]);
                command.args(["--output-format", "json"]);
                command
            }
            Subject::Irtt => {
                let mut command = Command::new(&self.irtt);
                let seconds = count as f64 / rate_pps;
                command.args(["client", "-i", &format!("{micros:.3}us"), "-d", &format!("{seconds}s")]);
                command.args(["--timer=busy", "--wait=1s", "-Q", "-o", "-", &format!("{NEAR_V4}:{IRTT_PORT}")]);
                command
            }
        };
        net.place(&mut command, End::Far, None)?;
        let (document, processor) = finish(command)?;
        let number = |pointer: &str| {
            let value = document.pointer(pointer).and_then(Value::as_u64);
            value.with_context(|| format!("no {pointer} in what {} says", subject.name()))
        };
        let (sent, received) = match subject {
            Subject::Teaparty | Subject::Realtime | Subject::Trains => (number("/sent")?, number("/received")?),
            Subject::StampSuite => (number("/packets_sent")?, number("/packets_received")?),
            Subject::Irtt => (number("/stats/packets_sent")?, number("/stats/packets_received")?),
        };
        Ok(Run { sent, lost: sent.saturating_sub(received), processor })
    }

    fn sender(&self) -> Command {
        let mut command = Command::new(&self.teaparty);
        command.args(["-q", "sender", "--format", "json", "--timeout", "1s"]);
        command
    }

    /// Has ours send to all targets of a file for a while, at a rate for each.
    pub(super) fn run_targets(&self, net: &Net, targets: &Path, rate_pps: f64, seconds: f64) -> Result<Run> {
        let mut command = self.sender();
        command.args(["--rate", &rate_pps.to_string(), "--duration", &format!("{seconds}s"), "--targets"]).arg(targets);
        net.place(&mut command, End::Far, None)?;
        let (document, processor) = finish(command)?;
        let number = |key: &str| document[key].as_u64().with_context(|| format!("no {key} in what teaparty says"));
        Ok(Run { sent: number("sent")?, lost: number("lost")?, processor })
    }

    /// Starts ours for a long run.
    pub(super) fn start_for_memory(&self, net: &Net, rate_pps: f64, count: u64) -> Result<Long> {
        let before = transmitted(net)?;
        let mut command = self.sender();
        command.args([&NEAR_V4.to_string(), "--rate", &rate_pps.to_string(), "--count", &count.to_string()]);
        net.place(&mut command, End::Far, None)?;
        Ok(Long { running: Running::start(command, None)?, before })
    }
}

/// A long run of our program.
pub(super) struct Long {
    running: Running,
    before: u64,
}

impl Long {
    /// Returns its resident memory, in KiB; `None` when it has ended.
    pub(super) fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().split(' ').next()?.parse().ok()
    }

    /// Packets that went out since it started.
    pub(super) fn sent(&self, net: &Net) -> Result<u64> {
        Ok(transmitted(net)? - self.before)
    }
}

fn transmitted(net: &Net) -> Result<u64> {
    net.inside(End::Far, None, super::counter::transmitted)
}

/// Runs a program to its end; gives the JSON that it writes, and the processor time that it took.
fn finish(mut command: Command) -> Result<(Value, Duration)> {
    let before = used()?;
    let output = command.stdin(Stdio::null()).output().with_context(|| exec::cannot_start(&command))?;
    let processor = used()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    // Where a log goes the same way, the document is what begins with a brace.
    let start = text.find("\n{").map(|at| at + 1).or_else(|| text.find('{'));
    let document = start.and_then(|at| serde_json::Deserializer::from_str(&text[at..]).into_iter().next()?.ok());
    ensure!(
        document.is_some(),
        "`{}` ended with {} and no JSON: {}",
        exec::shown(&command),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((document.unwrap_or_default(), processor))
}

/// Processor time of all children that have ended.
fn used() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let duration =
        |time: nix::sys::time::TimeVal| Duration::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64);
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}
