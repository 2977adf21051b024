//! A running `teaparty reflector`, and what it says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Tried;
use super::net::{End, Net};

/// Longest that a start or an end may take on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(180);
/// The last line of the ready block begins so.
const LAST_READY_LINE: &str = "  sessions ";

/// A reflector in the near namespace. Dropping it ends it in order, so that a failed check leaves nothing to the next one.
pub(super) struct Reflector {
    child: Child,
    said: Arc<Mutex<String>>,
}

/// The whole output of a reflector.
pub(super) struct Ended(String);

impl Reflector {
    /// Starts it on a device and waits until it answers.
    pub(super) fn start(net: &Net, tried: &Tried, device: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(&tried.teaparty);
        command.args(["reflector", "--api", "none", "--iface", device]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        net.place(&mut command, End::Near)?;
        let mut child = command.spawn().context("cannot start teaparty")?;
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().context("no output")?, &said);
        collect(child.stderr.take().context("no output")?, &said);
        let mut running = Self { child, said };
        let until = Instant::now() + PATIENCE;
        while !running.said().contains(LAST_READY_LINE) {
            if let Some(status) = running.child.try_wait()? {
                bail!("it ended at its start ({status}): {}", running.said());
            }
            ensure!(Instant::now() < until, "it is not ready after {PATIENCE:?}: {}", running.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// All that it has said so far.
    pub(super) fn said(&self) -> String {
        self.said.lock().expect("the readers do not panic").clone()
    }

    /// Kills it, as a crash would: programs and maps stay.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait().context("cannot wait for it").map(drop)
    }

    /// Ends it in order.
    ///
    /// Fails where it does not end, or not with status 0.
    pub(super) fn stop(mut self) -> Result<Ended> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let status = self.wait()?;
        // Its last lines are on their way to the readers.
        std::thread::sleep(Duration::from_millis(200));
        ensure!(status.success(), "it ended with {status}: {}", self.said());
        Ok(Ended(self.said()))
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        if self.wait().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    /// Packets that ended by this path for this reason, by the final summary.
    pub(super) fn count(&self, path: &str, reason: &str) -> u64 {
        self.0.lines().filter_map(|line| count(line, path, reason)).sum()
    }

    /// Fails unless this path answered this many packets at least.
    pub(super) fn expect(&self, path: &str, packets: u64) -> Result<()> {
        let found = self.count(path, "reflected");
        ensure!(found >= packets, "{path} answered {found} packets and not {packets}: {}", self.0);
        Ok(())
    }
}

/// The number in a line of the summary: `lo  xdp  reflect  reflected  5`.
fn count(line: &str, path: &str, reason: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, its_path, _, its_reason, packets] = words[..] else { return None };
    if its_path == path && its_reason == reason { packets.parse().ok() } else { None }
}

fn collect(pipe: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = said.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut said = said.lock().expect("the other reader does not panic");
            said.push_str(&line);
            said.push('\n');
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read_by_path_and_reason() {
        let ended = Ended(
            "9 packets answered in 1 sessions\n  lo  xdp     reflect  reflected  5\n  lo  ring    reflect  reflected  4\n  \
             lo  xdp     pass     not-our-port  6\n"
                .into(),
        );
        assert_eq!([ended.count("xdp", "reflected"), ended.count("ring", "reflected")], [5, 4]);
        assert_eq!([ended.count("socket", "reflected"), ended.count("xdp", "not-our-port")], [0, 6]);
        assert!(ended.expect("ring", 4).is_ok() && ended.expect("ring", 5).is_err());
    }
}
