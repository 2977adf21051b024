//! What runs inside a kernel of the lab: as the guest's first process, or on this machine in namespaces of its own.

mod checks;
mod clocks;
mod frame;
mod net;
mod peer;
mod raw;
mod reflector;
mod vectors;

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use teaparty_lab::programs;

use self::checks::{Bench, Extent};
use self::net::{Link, Net};
use super::image::GUEST_MODULES;
use super::report::{Message, Outcome};

/// The guest's port to the host: its second serial port.
const PORT: &str = "/dev/ttyS1";

/// Run inside a kernel of the lab, by `cargo xtask kernels`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The remedy.
    #[arg(value_enum)]
    task: Task,
    /// The BPF object.
    #[arg(long)]
    object: PathBuf,
    /// The program.
    #[arg(long)]
    teaparty: Option<PathBuf>,
    /// The file of the vectors.
    #[arg(long)]
    vectors: PathBuf,
    /// Only rows whose driver or mode contains one of these, with commas between.
    #[arg(long)]
    only: Option<String>,
}

/// The files under test, in the guest or on this machine.
struct Tried {
    object: PathBuf,
    teaparty: PathBuf,
    vectors: PathBuf,
}

impl Tried {
    /// Writes a key, in hex, into a file as operators have it, and returns its path.
    fn key_file(&self, hex: &str) -> Result<String> {
        // `/run` is ours alone, in a guest and in a namespace.
        let path = format!("/run/key-{}", &hex[..hex.len().min(8)]);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        writeln!(file, "hex:{hex}")?;
        Ok(path)
    }
}

/// A row of the table.
struct Row {
    driver: &'static str,
    mode: &'static str,
    link: fn(&Net, &Path) -> Result<Link>,
    extent: Extent,
    /// True if the vectors are sent too.
    has_vectors: bool,
    /// Only a guest has such a device.
    is_guests: bool,
}

const fn row(driver: &'static str, mode: &'static str, link: fn(&Net, &Path) -> Result<Link>, extent: Extent) -> Row {
    Row { driver, mode, link, extent, has_vectors: false, is_guests: false }
}

const ROWS: &[Row] = &[
    Row { has_vectors: true, is_guests: true, ..row("virtio_net", "native", Net::virtio, Extent::All) },
    Row { has_vectors: true, is_guests: true, ..row("virtio_net", "skb", Net::virtio, Extent::All) },
    Row { has_vectors: true, ..row("veth", "native", Net::veth, Extent::All) },
    row("veth", "skb", Net::veth, Extent::All),
    row("lo", "skb", Net::loopback, Extent::All),
    row("dummy", "skb", Net::dummy, Extent::Life),
    row("802.1Q", "skb", Net::vlan, Extent::Packets),
    Row { is_guests: true, ..row("virtio.100", "native", Net::virtio_vlan, Extent::Tags) },
    row("QinQ", "skb", Net::double_vlan, Extent::Packets),
    row("bond", "native", Net::bond, Extent::Packets),
    row("bridge", "skb", Net::bridge, Extent::Packets),
    row("macvlan", "skb", Net::macvlan, Extent::Packets),
];

/// Tells how the checks of a row end.
struct Recorder<'a> {
    driver: &'a str,
    mode: &'a str,
}

impl Recorder<'_> {
    fn progress(&self, what: &str) {
        tell(&Message::Progress(format!("{} {}: {what}", self.driver, self.mode)));
    }

    fn check(&self, name: &str, run: impl FnOnce() -> Result<()>) {
        self.progress(name);
        self.ended(name, run().map_or_else(|error| Outcome::Failed(format!("{error:#}")), |()| Outcome::Passed));
    }

    fn ended(&self, name: &str, outcome: Outcome) {
        let (driver, mode) = (self.driver.to_owned(), self.mode.to_owned());
        tell(&Message::Check { driver, mode, name: name.to_owned(), outcome });
    }
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Task {
    Walk,
    Checks,
    Shell,
}

/// Does the task and says how it went, line by line. As a guest's first process it then turns the machine off.
///
/// Fails where the task could not be begun; checks that fail are reported like others.
pub(crate) fn main(args: &Args) -> Result<()> {
    let is_guest = std::process::id() == 1;
    let done = if is_guest { set_up_guest() } else { isolate() }.and_then(|()| perform(args, is_guest));
    if is_guest {
        if let Err(error) = &done {
            println!("{}", Message::Progress(format!("ended early: {error:#}")).line());
        }
        // SAFETY: takes no pointers; nothing is left to be written.
        unsafe { libc::reboot(libc::RB_POWER_OFF) };
    }
    done
}

fn perform(args: &Args, is_guest: bool) -> Result<()> {
    if args.task == Task::Shell {
        return shell();
    }
    tell(&Message::Release(nix::sys::utsname::uname()?.release().to_string_lossy().into_owned()));
    walk(&args.object)?;
    if args.task == Task::Checks {
        let teaparty = args.teaparty.clone().context("the checks need --teaparty")?;
        let tried = Tried { object: args.object.clone(), teaparty, vectors: args.vectors.clone() };
        let is_wanted =
            |what: &str| args.only.as_deref().is_none_or(|only| only.split(',').any(|only| what.contains(only)));
        let of_row = |row: &&Row| is_wanted(&format!("{} {}", row.driver, row.mode)) && (is_guest || !row.is_guests);
        for row in ROWS.iter().filter(of_row) {
            try_row(row, &tried, is_guest)?;
        }
        if is_guest && is_wanted("clocks") {
            try_clocks(&tried)?;
        }
    }
    tell(&Message::End);
    Ok(())
}

/// Makes the devices of a row and runs its checks. A guest's kernel has all of them; this machine's may lack some.
fn try_row(row: &Row, tried: &Tried, is_guest: bool) -> Result<()> {
    let recorder = Recorder { driver: row.driver, mode: row.mode };
    // What a failed row has left is not this one's.
    let _ = std::fs::remove_dir_all("/sys/fs/bpf/teaparty");
    let net = Net::new()?;
    let link = match (row.link)(&net, &tried.object) {
        Ok(link) => link,
        Err(error) => {
            let why = format!("{error:#}");
            recorder.ended("devices", if is_guest { Outcome::Failed(why) } else { Outcome::Absent(why) });
            return Ok(());
        }
    };
    let bench = Bench { net: &net, link: &link, tried, mode: row.mode };
    checks::run(&bench, row.extent, &recorder);
    // Each start takes the emulation half a minute: a guest sends the vectors by its own cards alone.
    if row.has_vectors && (row.is_guests || !is_guest) {
        vectors::run(&bench, &recorder);
    }
    Ok(())
}

/// Moves the clocks of the guest under a reflector. Last, because nobody sets them right again.
fn try_clocks(tried: &Tried) -> Result<()> {
    let recorder = Recorder { driver: "virtio_net", mode: "clocks" };
    let net = Net::new()?;
    let link = net.virtio(&tried.object)?;
    clocks::run(&Bench { net: &net, link: &link, tried, mode: "native" }, &recorder);
    Ok(())
}

/// Says something to the host.
fn tell(message: &Message) {
    println!("{}", message.line());
}

/// Loads every program, and tells what the verifier walked.
fn walk(object: &Path) -> Result<()> {
    tell(&Message::Progress("loading all programs".into()));
    for cost in programs::costs(&mut programs::load(object)?)? {
        tell(&Message::Walk { program: cost.name, walked: cost.walked });
    }
    Ok(())
}

/// A shell at the console, which is the first serial port.
fn shell() -> Result<()> {
    let install = Command::new("/bin/busybox").args(["--install", "-s", "/bin"]).status()?;
    if !install.success() {
        bail!("busybox cannot be installed");
    }
    let mut shell = Command::new("/bin/busybox");
    shell.args(["setsid", "cttyhack", "sh"]).env("PS1", "lab# ");
    shell.status().context("cannot start the shell").map(drop)
}

/// Mounts what a system has, loads the modules, and takes the second serial port for output.
fn set_up_guest() -> Result<()> {
    // SAFETY: there is one thread.
    unsafe { std::env::set_var("PATH", "/sbin:/bin") };
    mount("devtmpfs", "/dev")?;
    mount("proc", "/proc")?;
    mount("sysfs", "/sys")?;
    mount("bpf", "/sys/fs/bpf")?;
    mount("tmpfs", "/run")?;
    mount("tmpfs", "/tmp")?;
    let mut modules: Vec<PathBuf> = std::fs::read_dir(GUEST_MODULES)?.filter_map(|e| Some(e.ok()?.path())).collect();
    modules.sort();
    for module in modules {
        load_module(&module)?;
    }
    if !std::env::args().any(|argument| argument == "shell") {
        let port = File::options().write(true).open(PORT).with_context(|| format!("cannot open {PORT}"))?;
        // SAFETY: both are descriptors of this process.
        if unsafe { libc::dup2(port.as_raw_fd(), libc::STDOUT_FILENO) } < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot take the port for output");
        }
    }
    Ok(())
}

fn load_module(file: &Path) -> Result<()> {
    let module = File::open(file)?;
    // SAFETY: a descriptor that outlives the call, and a text.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), c"".as_ptr(), 0) };
    let error = std::io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::EEXIST) {
        return Ok(());
    }
    Err(error).with_context(|| format!("cannot load the module {}", file.display()))
}

/// Leaves the machine's own namespaces, so that nothing that is tried here is seen outside.
fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)
        .context("cannot make namespaces")?;
    // SAFETY: the texts outlive the call.
    let result = unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make mounts private");
    }
    mount("sysfs", "/sys")?;
    mount("bpf", "/sys/fs/bpf")?;
    mount("tmpfs", "/run")
}

/// Mounts a file system that has no device.
fn mount(kind: &str, target: &str) -> Result<()> {
    let (name, place) = (CString::new(kind)?, CString::new(target)?);
    // SAFETY: the texts outlive the call.
    let result = unsafe { libc::mount(name.as_ptr(), place.as_ptr(), name.as_ptr(), 0, std::ptr::null()) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot mount {kind} at {target}"));
    }
    Ok(())
}
