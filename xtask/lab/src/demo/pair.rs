//! Two network namespaces with a link between them, and what runs there.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::exec;

/// Most time for a service to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// What a service needs besides its network: a BPF file system, and a `/run` of its own.
const MOUNTS: &str = "mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\"";

/// One of the two hosts.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// The one that measures.
    Near,
    /// The one with the reflector.
    Far,
}

impl Side {
    const ALL: [Self; 2] = [Self::Near, Self::Far];

    pub(super) fn namespace(self) -> &'static str {
        match self {
            Self::Near => "teaparty-demo-near",
            Self::Far => "teaparty-demo-far",
        }
    }

    pub(super) fn address(self) -> &'static str {
        match self {
            Self::Near => "192.0.2.1",
            Self::Far => "192.0.2.2",
        }
    }
}

/// The two hosts. All that runs there ends with this.
pub(super) struct Pair {
    services: Vec<Service>,
}

/// A program that is to run until the end.
pub(super) struct Service {
    child: Child,
    log: PathBuf,
}

impl Pair {
    /// Makes the namespaces and their link, after what a killed demo has left is gone.
    pub(super) fn new() -> Result<Self> {
        remove()?;
        let pair = Self { services: Vec::new() };
        for side in Side::ALL {
            ip(&format!("netns add {}", side.namespace()))?;
        }
        let [near, far] = Side::ALL.map(Side::namespace);
        ip(&format!("link add eth0 netns {near} type veth peer name eth0 netns {far}"))?;
        for side in Side::ALL {
            let inside = format!("-n {}", side.namespace());
            ip(&format!("{inside} address add {}/24 dev eth0", side.address()))?;
            ip(&format!("{inside} link set lo up"))?;
            ip(&format!("{inside} link set eth0 up"))?;
        }
        Ok(pair)
    }

    /// Returns a command that runs a program on one of the hosts.
    pub(super) fn command(&self, side: Side, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", side.namespace(), "sh", "-c", MOUNTS]).arg(program);
        command
    }

    /// Starts a command whose output goes to a file.
    pub(super) fn start(&mut self, mut command: Command, log: &Path) -> Result<()> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // Ctrl-C is for the demo, which ends them in its own time.
        command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| exec::cannot_start(&command))?;
        self.services.push(Service { child, log: log.to_owned() });
        Ok(())
    }

    /// Fails if a service has ended, with what it said.
    pub(super) fn check(&mut self) -> Result<()> {
        for Service { child, log } in &mut self.services {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let name = log.file_stem().unwrap_or_default().to_string_lossy();
                bail!("{name} has ended ({status}):\n{}", said.trim_end());
            }
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for Service { child, .. } in &self.services {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
        }
        let end = Instant::now() + END_TIMEOUT;
        for Service { child, .. } in &mut self.services {
            while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = remove() {
            eprintln!("error: {error:#}");
        }
    }
}

/// Removes both namespaces, and ends what still runs there.
fn remove() -> Result<()> {
    let list = exec::capture(Command::new("ip").args(["netns", "list"]))?;
    let is_there = |name: &str| list.lines().any(|line| line.split(' ').next() == Some(name));
    for name in Side::ALL.map(Side::namespace).into_iter().filter(|name| is_there(name)) {
        let pids = exec::capture(Command::new("ip").args(["netns", "pids", name]))?;
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        ip(&format!("netns del {name}"))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> Result<()> {
    exec::capture(Command::new("ip").args(arguments.split(' '))).map(drop)
}
