//! `cargo xtask demo`: a reflector, a sender, and a probe with Prometheus, in two network namespaces of this host.
//!
//! What runs in the namespaces ends with the demo. What a killed demo leaves is removed by the next one.

mod forward;
mod pair;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use xtask::program::Profile;
use xtask::setup::apt;
use xtask::steps::Steps;
use xtask::{build_ebpf, exec, paths, program};

use self::forward::forward;
use self::pair::{Pair, Side};

/// A socket that one demo at a time has, as the namespaces have fixed names. It ends with the process and is no file.
const LOCK: &str = "teaparty-demo";
/// Most time from the start of a service to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL_MS: u16 = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Start this `teaparty` and build nothing
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// A page that the demo shows on an address of the host itself.
struct Page {
    title: &'static str,
    side: Side,
    port: u16,
    path: &'static str,
    /// The path that answers with success once it is ready.
    ready: &'static str,
}

const PAGES: [Page; 3] = [
    Page { title: "the reflector's dashboard", side: Side::Far, port: 8000, path: "/", ready: "/readyz" },
    Page { title: "the probe's dashboard", side: Side::Near, port: 9862, path: "/", ready: "/" },
    Page {
        title: "Prometheus",
        side: Side::Near,
        port: 9090,
        path: "/graph?g0.expr=teaparty_probe_available",
        ready: "/-/ready",
    },
];

/// Runs the demo until SIGINT, SIGTERM or SIGHUP.
pub(crate) fn main(args: &Args) -> Result<()> {
    let teaparty = match &args.program {
        Some(program) => std::path::absolute(program)?,
        None => {
            build_ebpf::build(build_ebpf::Warnings::Shown)?;
            program::teaparty(Profile::Release)?
        }
    };
    let arguments = ["demo", "--program"].map(OsString::from).into_iter().chain([teaparty.clone().into()]);
    if exec::again_as_root(&arguments.collect::<Vec<_>>())? {
        return Ok(());
    }
    let Ok(_lock) = UnixListener::bind_addr(&SocketAddr::from_abstract_name(LOCK)?) else {
        bail!("a demo runs already; end it by Ctrl-C in its terminal");
    };
    let prometheus = prometheus()?;
    // Before there are threads, so that no thread takes them. Commands are started without the mask.
    let stop = Stop::new()?;
    let mut pair = Pair::new()?;
    let folder = Folder::new()?;
    start(&mut pair, &folder.0, &teaparty, &prometheus)?;
    for page in &PAGES {
        if !wait_for(page, &mut pair, &stop)? {
            return Ok(());
        }
    }
    println!("$ teaparty sender {}", Side::Far.address());
    exec::show(pair.command(Side::Near, &teaparty).args(["sender", Side::Far.address(), "--count", "5"]))?;
    println!();
    for page in &PAGES {
        let address = forward(page.side.namespace(), page.port)?;
        println!("{:<26} http://{address}{}", page.title, page.path);
    }
    println!("Logs are in {}. Ctrl-C ends the demo.", paths::shown(&folder.0));
    std::io::stdout().flush()?;
    while !stop.is_requested()? {
        pair.check()?;
    }
    Ok(())
}

/// Returns the path of Prometheus, installed first if it is not there.
fn prometheus() -> Result<PathBuf> {
    if exec::find("prometheus").is_none() {
        apt::install(&["prometheus"], &mut Steps::new(apt::STEPS))?;
    }
    exec::find("prometheus").context("there is no prometheus on PATH; install it")
}

/// Starts reflector, probe and Prometheus.
fn start(pair: &mut Pair, folder: &Path, teaparty: &Path, prometheus: &Path) -> Result<()> {
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok::<_, anyhow::Error>(file)
    };
    let targets = write(
        "probe.toml",
        format!(
            "interval = \"100ms\"\n\n[[target]]\naddress = \"{}\"\nname = \"far\"\n\
             labels = {{ from = \"near\", to = \"far\" }}\n",
            Side::Far.address()
        ),
    )?;
    let rules = paths::root().join("dist/prometheus/teaparty-probe.rules.yml");
    let scrapes = write(
        "prometheus.yml",
        format!(
            "global:\n  scrape_interval: 1s\nrule_files: [{}]\nscrape_configs:\n  - job_name: teaparty-probe\n    \
             static_configs:\n      - targets: [\"127.0.0.1:9862\"]\n",
            rules.display()
        ),
    )?;
    // Whoever reaches the forwarded port would be root to the API.
    let mut reflector = pair.command(Side::Far, teaparty);
    reflector.args(["reflector", "--iface", "eth0", "--api", "127.0.0.1:8000", "--api-writes", "none"]);
    pair.start(reflector, &folder.join("reflector.log"))?;
    let mut probe = pair.command(Side::Near, teaparty);
    probe.args(["probe", "--config"]).arg(&targets);
    pair.start(probe, &folder.join("probe.log"))?;
    let mut database = pair.command(Side::Near, prometheus);
    database.arg("--web.listen-address=127.0.0.1:9090");
    database.arg(format!("--config.file={}", scrapes.display()));
    database.arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()));
    pair.start(database, &folder.join("prometheus.log"))
}

/// Waits until a page answers; false if the demo is to end before.
fn wait_for(page: &Page, pair: &mut Pair, stop: &Stop) -> Result<bool> {
    let end = Instant::now() + START_TIMEOUT;
    while !forward::answers(page.side.namespace(), page.port, page.ready) {
        pair.check()?;
        if Instant::now() > end {
            bail!("{} does not answer after {} s; see its log", page.title, START_TIMEOUT.as_secs());
        }
        if stop.is_requested()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The folder of logs and data, which ends with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let folder = paths::tools().join("demo");
        // Of a demo that was killed.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The signals that end the demo.
struct Stop(SignalFd);

impl Stop {
    fn new() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        Ok(Self(signals.context("cannot wait for signals")?))
    }

    /// Waits a moment; returns true if the demo is to end.
    fn is_requested(&self) -> Result<bool> {
        let ready = poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], POLL_INTERVAL_MS)?;
        Ok(ready > 0)
    }
}
