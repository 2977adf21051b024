//! A Debian that systemd boots in a container, from the tree that `cargo xtask test` provides.
//!
//! The tree itself stays as it is: each container has a file system in memory laid over it, and a BPF file system and mounts of its
//! own, all of which go with it.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::program::program;

/// The variable for the tree.
const ROOT: &str = "TEAPARTY_DEBIAN_ROOT";
/// Most time for a boot, or for its end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Mounts and boots. The BPF file system is root's alone, as systemd mounts it.
///
/// Where control groups have both hierarchies, systemd in the container is to find the first one only: the second one is not for it.
const BOOT: &str = r#"
tree=$1 seed=$2 work=$3 namespace=$4
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root" "$work/bpf"
cp -a "$seed/." "$work/upper"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount -t bpf -o mode=0700 bpf "$work/bpf"
exec systemd-nspawn --quiet --directory="$work/root" --boot --register=no --keep-unit --console=pipe --machine=teaparty \
    --network-namespace-path="$namespace" --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_NET_RAW \
    --system-call-filter="bpf adjtimex clock_adjtime perf_event_open" --bind="$work/bpf:/sys/fs/bpf" \
    --kill-signal=SIGRTMIN+3
"#;

/// Files that a container has beside those of the tree, the program among them.
pub struct Seed(TempDir);

impl Default for Seed {
    fn default() -> Self {
        let seed = Self(TempDir::new().unwrap());
        // It becomes the root of the file system.
        fs::set_permissions(seed.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy(program(), seed.place("usr/bin/teaparty")).unwrap();
        seed
    }
}

impl Seed {
    fn place(&self, path: &str) -> PathBuf {
        let place = self.0.path().join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    }

    /// Adds a file of `dist`.
    pub fn dist(&mut self, name: &str, path: &str) {
        fs::copy(crate::web::dist(name), self.place(path)).unwrap();
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, text: &str) {
        fs::write(self.place(path), text).unwrap();
    }

    /// Adds a file that only root may read.
    pub fn secret(&mut self, path: &str, text: &str) {
        self.file(path, text);
        fs::set_permissions(self.place(path), PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, to: &str, path: &str) {
        symlink(to, self.place(path)).unwrap();
    }
}

/// A running container. Dropping it ends it.
pub struct Booted {
    nspawn: Child,
    /// Its first process, by the number that it has here.
    init: i32,
    _work: TempDir,
}

impl Booted {
    /// Boots one with the network of this namespace, and waits until all its units have started or failed.
    pub fn new(namespace: &Path, seed: &Seed) -> Result<Self, String> {
        let tree = std::env::var_os(ROOT).ok_or(format!("no {ROOT}: `cargo xtask test` provides a Debian as root"))?;
        let work = TempDir::new().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", BOOT, "boot"]).arg(tree);
        command.args([seed.0.path(), work.path(), namespace]).stdin(Stdio::null()).stdout(Stdio::null());
        // Below what is mounted in there.
        let log = work.path().join("log");
        command.stderr(File::create(&log).unwrap());
        let nspawn = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut booted = Self { nspawn, init: 0, _work: work };
        let end = Instant::now() + PATIENCE;
        loop {
            let ended = booted.nspawn.try_wait().unwrap();
            let (is_up, state) = booted.look();
            if is_up {
                return Ok(booted);
            }
            if ended.is_some() || Instant::now() > end {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("systemd does not boot in a container ({ended:?}, {state}): {said}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Looks for its first process, and whether that has started all units.
    fn look(&mut self) -> (bool, String) {
        let pid = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let Some(init) = children.split_whitespace().next().and_then(|number| number.parse().ok()) else {
            return (false, "no first process".into());
        };
        self.init = init;
        let output = self.command(&["systemctl", "is-system-running"]).output();
        let state = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        (["running", "degraded"].contains(&&*state), state)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "--"]).args(arguments).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").env("SYSTEMD_PAGER", "");
        command
    }

    /// Runs a command inside, which must succeed; returns its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let [out, error] = [&output.stdout, &output.stderr].map(|octets| String::from_utf8_lossy(octets).into_owned());
        assert!(output.status.success(), "{arguments:?}: {out}{error}\n{}", self.journal());
        out.trim_end().to_owned()
    }

    /// Writes a file inside.
    pub fn write(&self, path: &str, text: &str) {
        self.run(&["sh", "-c", "printf %s \"$1\" >\"$2\"", "sh", text, path]);
    }

    /// Waits until something is so.
    pub fn until(&self, patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + patience;
        while !is_so() {
            assert!(Instant::now() < end, "not so: {what}\n{}", self.journal());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns what the units have logged.
    pub fn journal(&self) -> String {
        let output = self.command(&["journalctl", "--no-pager", "--unit", "teaparty*"]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.nspawn.id() as i32), Signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while matches!(self.nspawn.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.nspawn.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
