//! `cargo xtask profile flame`: a flame graph of one of our processes while it works.
//!
//! In two namespaces joined by a veth pair, as in `bench slow-path` and `bench sender`; the wider a box, the more of the
//! processor's time its function and what it calls took, the kernel's part of it included.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;
use xtask::build_ebpf::{self, Warnings};
use xtask::program::{self, Profile};
use xtask::{exec, paths, tools};

use super::samples;
use crate::net::{End, NEAR, NEAR_V4, Net, Priority};
use crate::objects;
use crate::running::Running;
use crate::slow_path::load::{Load, Note};
use crate::slow_path::subjects::{self, Answerer, Programs};
use crate::{options, processors};

/// Samples in a second: not a divisor of anything that happens regularly.
const PER_SECOND: u32 = 997;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The process
    process: Process,
    /// Seconds that it is sampled for
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Packets a second that it gets, or sends
    #[arg(long, default_value_t = 100_000.0)]
    rate: f64,
    /// The picture, SVG [default: target/bench/flame-PROCESS.svg]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(long, num_args = 3, value_name = "FILE", hide = true)]
    built: Option<Vec<PathBuf>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Process {
    /// The controller, with authenticated packets that the XDP program hands over
    Ring,
    /// Authenticated packets with requests for History
    History,
    /// The socket engine, with authenticated packets
    Socket,
    /// The link engine, with authenticated packets
    Link,
    /// The sender, with our XDP program as reflector
    Sender,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let build = || {
        build_ebpf::build(Warnings::Shown)?;
        Ok([program::teaparty(Profile::Release)?, tools::provide_stamp_suite()?, objects::traffic_gen()?])
    };
    let words = std::env::args_os().skip(1).collect();
    let Some([teaparty, stamp_suite, load]) = options::built(words, args.built.as_deref(), build)? else {
        return Ok(());
    };
    samples::provide_perf()?;
    let folder = std::env::temp_dir().join(format!("teaparty-flame-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let flame = Flame { args, programs: Programs { teaparty, stamp_suite }, load, folder: &folder };
    let text = flame.sample();
    let _ = std::fs::remove_dir_all(&folder);
    let (text, subtitle) = text?;

    let output = args.output.clone().unwrap_or_else(|| {
        let name = args.process.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        paths::root().join(format!("target/bench/flame-{name}.svg"))
    });
    draw(&text, subtitle, &output)?;
    println!("written to {}: open it in a browser, click a box to look closer", paths::shown(&output));
    Ok(())
}

struct Flame<'a> {
    args: &'a Args,
    programs: Programs,
    load: PathBuf,
    folder: &'a Path,
}

impl Flame<'_> {
    /// Returns perf's samples of the process at work, and its load.
    fn sample(&self) -> Result<(String, String)> {
        let net = Net::new()?;
        let _priority = Priority::raise();
        let [load_on, work_on] = processors()?;
        match self.args.process {
            Process::Sender => self.sender(&net, work_on),
            Process::Ring => self.reflector(&net, subjects::RING, load_on, work_on),
            Process::History => self.reflector(&net, subjects::RING_HISTORY, load_on, work_on),
            Process::Socket => self.reflector(&net, subjects::SOCKET, load_on, work_on),
            Process::Link => self.reflector(&net, subjects::LINK, load_on, work_on),
        }
    }

    fn reflector(&self, net: &Net, name: &str, load_on: usize, work_on: usize) -> Result<(String, String)> {
        let subject = subjects::all().into_iter().find(|subject| subject.name == name).context("no such subject")?;
        let is_ring = subject.answerer == Answerer::Ring;
        let _pass = if is_ring { None } else { Some(net.attach_pass(End::Near, &self.load)?) };
        let running = subject.start(&self.programs, net, work_on, self.folder)?;
        let mut load = Load::new(net, &self.load, load_on)?;
        load.prepare(subject.kind)?;
        load.wait_until_answered()?;
        let sample = || self.record(running.pid());
        let (text, pps) = load.send(self.args.rate, Duration::from_millis(300), Note::Nothing, sample)?;
        Ok((text, format!("{name}: {pps:.0} replies a second to {:.0} packets", self.args.rate)))
    }

    fn sender(&self, net: &Net, work_on: usize) -> Result<(String, String)> {
        let mut reflector = Command::new(&self.programs.teaparty);
        reflector.args(["-q", "reflector", "--iface", NEAR, "--api", "none", "--rate-limit", "0"]);
        net.place(&mut reflector, End::Near, None)?;
        let _pass = net.attach_pass(End::Far, &self.load)?;
        let _reflector = Running::start(reflector, Some("  sessions "))?;
        let mut sender = Command::new(&self.programs.teaparty);
        let seconds = self.args.seconds + 2.0;
        sender.args(["-q", "sender", &NEAR_V4.to_string(), "--rate", &self.args.rate.to_string()]);
        sender.args(["--duration", &format!("{seconds}s")]);
        net.place(&mut sender, End::Far, Some(work_on))?;
        let running = Running::start(sender, None)?;
        // It says nothing before its end; by then it sends, or there are no samples.
        std::thread::sleep(Duration::from_millis(500));
        Ok((self.record(running.pid())?, format!("sender at {} packets a second", self.args.rate)))
    }

    fn record(&self, pid: u32) -> Result<String> {
        let file = self.folder.join("perf.data");
        let mut command = samples::record(&file, PER_SECOND);
        // By the tables for unwinding: frame pointers are not kept.
        command.args(["--call-graph=dwarf,16384", "--pid", &pid.to_string(), "--", "sleep"]);
        command.arg(self.args.seconds.to_string());
        exec::capture(&mut command)?;
        samples::script(&file, "comm,pid,tid,time,event,ip,sym,dso")
    }
}

/// Draws what perf says.
fn draw(text: &str, subtitle: String, output: &Path) -> Result<()> {
    let mut folded = Vec::new();
    Folder::default().collapse(text.as_bytes(), &mut folded).context("cannot read what perf says")?;
    ensure!(!folded.is_empty(), "not one sample: the process did nothing");
    let mut options = flamegraph::Options::default();
    options.title = "Where the processor's time goes".to_owned();
    options.subtitle = Some(subtitle);
    let mut picture = Vec::new();
    flamegraph::from_reader(&mut options, Cursor::new(folded), &mut picture).context("cannot draw")?;
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(output, picture).with_context(|| format!("cannot write {}", output.display()))
}
