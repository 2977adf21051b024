//! Programs that run while something is measured, and end when the measurement does.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running program. Dropping it ends it.
pub(super) struct Running {
    child: Child,
}

impl Running {
    /// Starts it, and waits for the line that begins with `ready` where it says when it is.
    pub(super) fn start(mut command: Command, ready: Option<&str>) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if ready.is_some() {
            command.stdout(Stdio::piped());
        }
        let child = command.spawn().with_context(|| xtask::exec::cannot_start(&command))?;
        let mut running = Self { child };
        if let (Some(ready), Some(out)) = (ready, running.child.stdout.take()) {
            wait_until_ready(out, ready)?;
        }
        Ok(running)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Reads what it says until it is ready, and goes on reading so that it never waits for us.
fn wait_until_ready(out: ChildStdout, ready: &str) -> Result<()> {
    let mut lines = BufReader::new(out).lines();
    let is_ready = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with(ready));
    ensure!(is_ready, "it ended before it was ready");
    std::thread::spawn(move || lines.for_each(drop));
    Ok(())
}

impl Drop for Running {
    fn drop(&mut self) {
        // In order, so that a reflector takes its program from the interface.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        for _ in 0..200 {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
