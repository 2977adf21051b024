//! The hosts that a page's commands run on: network namespaces in a mount namespace of their own, with a fresh `/run`, BPF
//! file system and `/etc/hosts`. All of it goes with the thread that made it, and with its children.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use teaparty_testing::program::program;
use tempfile::TempDir;

use crate::page::Lab;

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n192.0.2.1 a.example\n2001:db8::1 a.example\n\
                     192.0.2.2 b.example\n2001:db8::2 b.example\n";
/// The files installed beside the program: pages call them `dist`, as in the repository.
const DIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dist");
/// The mounts, made in a mount namespace that is private already.
const MOUNTS: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/lock /run/netns && \
                      mount -t bpf bpf /sys/fs/bpf && mount --bind \"$1\" /etc/hosts";
const HOST: &str = "ip netns add host && ip -n host link set lo up";
/// Link-local addresses would come after a second, and change what commands show. Packets before both ends are up are lost.
const PAIR: &str = "ip netns add a.example && ip netns add b.example && \
    ip link add eth0 netns a.example type veth peer name eth0 netns b.example && \
    for n in 1:a.example 2:b.example; do h=${n#*:}; i=${n%%:*}; ip -n $h link set lo up && \
    ip -n $h link set eth0 addrgenmode none && ip -n $h address add 192.0.2.$i/24 dev eth0 && \
    ip -n $h address add 2001:db8::$i/64 dev eth0 nodad && ip -n $h link set eth0 up || exit 1; done; \
    for h in a.example b.example; do until ip -n $h -o link show eth0 | grep -q 'state UP'; do sleep 0.05; done; done";

/// Most time for a command, and for the output of one that is left running.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most time for a command to end that was left running.
const END: Duration = Duration::from_secs(8);
/// Time between two looks at what runs.
const LOOK: Duration = Duration::from_millis(20);

/// A command's output and its end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) output: String,
    pub(crate) status: i32,
}

/// Hosts, a working directory, and what was left running.
pub(crate) struct Running {
    folder: TempDir,
    host: &'static str,
    left: Vec<Child>,
}

impl Running {
    /// Sets up the hosts. The calling thread and its children are in other namespaces from then on.
    pub(crate) fn start(lab: Lab) -> Result<Self, String> {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("no namespaces of our own: {error}"))?;
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        // Others in here may become other users.
        let outside = folder.path().join("outside");
        let made = fs::create_dir_all(outside.join("bin")).and_then(|()| fs::create_dir(folder.path().join("work")));
        made.and_then(|()| fs::write(outside.join("hosts"), HOSTS))
            .and_then(|()| symlink(program(), outside.join("bin/teaparty")))
            .and_then(|()| symlink(DIST, folder.path().join("work/dist")))
            .map_err(|error| format!("cannot prepare {}: {error}", folder.path().display()))?;
        let hosts = outside.join("hosts");
        let (host, make) = match lab {
            Lab::Host => ("host", HOST),
            Lab::Pair => ("a.example", PAIR),
        };
        for script in [MOUNTS, make] {
            let output = Command::new("bash").args(["-c", script, "lab"]).arg(&hosts).output();
            let output = output.map_err(|error| format!("no bash: {error}"))?;
            if !output.status.success() {
                return Err(format!("cannot make the lab: {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(Self { folder, host, left: Vec::new() })
    }

    /// Writes a file into the working directory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.work().join(name);
        fs::create_dir_all(file.parent().expect("a file is in a folder")).unwrap();
        fs::write(file, text).unwrap();
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, at: Option<&str>, words: &str) -> Ended {
        let log = self.log("run");
        let mut child = self.spawn(at, words, &log);
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return Ended { output: self.said(&log), status: number(status) };
            }
            if begun.elapsed() > PATIENCE {
                end(&mut child);
                return Ended { output: self.said(&log) + "\n(it did not end)", status: -1 };
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Starts a command and leaves it running, once what it says is enough; returns what it has said. `is_enough` also gets
    /// the time since it said something last.
    ///
    /// Fails, with what it said, if it ends before.
    pub(crate) fn leave(
        &mut self,
        at: Option<&str>,
        words: &str,
        is_enough: impl Fn(&str, Duration) -> bool,
    ) -> Result<String, Ended> {
        let log = self.log(&format!("left{}", self.left.len()));
        let mut child = self.spawn(at, words, &log);
        let begun = Instant::now();
        let (mut last, mut said) = (begun, String::new());
        loop {
            let output = self.said(&log);
            if output != said {
                (last, said) = (Instant::now(), output.clone());
            }
            if let Some(status) = child.try_wait().unwrap() {
                return Err(Ended { output, status: number(status) });
            }
            if is_enough(&output, last.elapsed()) || begun.elapsed() > PATIENCE / 4 {
                self.left.push(child);
                return Ok(output);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        let log = self.folder.path().join("outside").join(name);
        fs::write(&log, "").unwrap();
        log
    }

    fn spawn(&self, at: Option<&str>, words: &str, log: &Path) -> Child {
        let output = fs::OpenOptions::new().append(true).open(log).unwrap();
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.folder.path().join("outside/bin").display());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", at.unwrap_or(self.host))).args(["--", "bash", "-c", words]);
        command.env_clear().env("PATH", path).env("HOME", self.work()).env("COLUMNS", "80").env("LANG", "C.UTF-8");
        command.current_dir(self.work()).stdin(Stdio::null()).process_group(0);
        command.stdout(output.try_clone().unwrap()).stderr(output).spawn().expect("nsenter starts")
    }

    /// Returns what is in a log, without the name of the working directory.
    fn said(&self, log: &Path) -> String {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
        text.replace(&format!("{}/", self.work().display()), "")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The last one first: it may need the others to end well.
        while let Some(mut child) = self.left.pop() {
            end(&mut child);
        }
    }
}

fn number(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// Ends a command and all that it has started.
fn end(child: &mut Child) {
    let group = Pid::from_raw(child.id() as i32);
    let _ = killpg(group, Signal::SIGTERM);
    let begun = Instant::now();
    while begun.elapsed() < END && child.try_wait().is_ok_and(|status| status.is_none()) {
        std::thread::sleep(LOOK);
    }
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
}
