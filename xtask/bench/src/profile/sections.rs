//! `cargo xtask profile kernel`: where the nanoseconds of a packet go in the XDP program.
//!
//! The program is run on a packet by BPF_PROG_TEST_RUN while perf samples where the processor is. An address in its machine code is
//! a line of source, which belongs to a part of the program; a sample in a function of the kernel's is the helper's that
//! the program called. The share of the samples is the share of the nanoseconds that a packet takes without them.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use xtask::build_ebpf::{self, Warnings};
use xtask::exec;

use super::layout::Layout;
use super::samples::{self, Chain};
use crate::cases::{self, Case, Subject};
use crate::figures::spread;
use crate::objects;
use crate::options;
use crate::rig::Rig;

/// Runs of one measurement; fits in the punt ring.
const REPEAT: u32 = 10_000;
/// Rounds without samples.
const UNDISTURBED: u32 = 51;
/// Samples in a second: as many as the kernel takes without being busy with that.
const PER_SECOND: u32 = 20_000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A packet, by its name in `cargo xtask bench kernel`; may repeat
    #[arg(long = "case", value_name = "NAME", default_values_t = [cases::BASE.to_owned()])]
    cases: Vec<String>,
    /// Runs of 10,000 packets
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..))]
    rounds: u32,
    /// Lines of source to show
    #[arg(long, default_value_t = 12)]
    lines: usize,
    /// Run it, while somebody else takes samples, and say how long it took and where it lies in memory
    #[arg(long, hide = true)]
    inner: bool,
    #[arg(long, num_args = 2, value_name = "FILE", hide = true)]
    built: Option<Vec<PathBuf>>,
}

impl Default for Args {
    fn default() -> Self {
        Self { cases: vec![cases::BASE.to_owned()], rounds: 1_000, lines: 12, inner: false, built: None }
    }
}

/// The report of the sampled process.
#[derive(Serialize, Deserialize)]
struct Run {
    /// Of a packet, net of the harness.
    ns: f64,
    layout: Layout,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let mut words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.len() == 1 {
        words.push("kernel".into());
    }
    let build = || Ok([build_ebpf::build(Warnings::Shown)?, objects::baseline()?]);
    let Some([object, floors]) = options::built(words, args.built.as_deref(), build)? else { return Ok(()) };
    for name in &args.cases {
        let case = case(name)?;
        if args.inner {
            let run = run(&object, &floors, &case, args.rounds)?;
            println!("{}", serde_json::to_string(&run)?);
        } else {
            samples::provide_perf()?;
            profile(&object, &floors, &case, args)?;
        }
    }
    Ok(())
}

fn case(name: &str) -> Result<Case> {
    let all = cases::all();
    let names: Vec<_> = all.iter().filter(|case| is_ours(case)).map(|case| format!("'{}'", case.name)).collect();
    let found = all.into_iter().find(|case| case.name == name && is_ours(case));
    found.with_context(|| format!("there is no packet '{name}'; there are {}", names.join(", ")))
}

fn is_ours(case: &Case) -> bool {
    matches!(case.subject, Subject::Reflector(_))
}

fn run(object: &Path, floors: &Path, case: &Case, rounds: u32) -> Result<Run> {
    crate::pin_to_one_processor()?;
    let mut rig = Rig::new(object, floors)?;
    let layout = rig.programs()?.iter().try_fold(Layout::default(), |layout, program| layout.and(program.as_fd()))?;
    let empty = Case { subject: Subject::Floor("floor_pass"), shape: case.shape.clone(), ..*case };
    rig.run(case, REPEAT)?;
    let harness = spread((0..11).map(|_| rig.run(&empty, REPEAT)).collect::<Result<Vec<_>>>()?.into_iter());
    let times = (0..rounds).map(|_| rig.run(case, REPEAT)).collect::<Result<Vec<_>>>()?;
    Ok(Run { ns: spread(times.into_iter()).median - harness.median, layout })
}

/// Times a process of its own that does [`run`], and then samples another one.
fn profile(object: &Path, floors: &Path, case: &Case, args: &Args) -> Result<()> {
    let itself = std::env::current_exe()?;
    let inner = |command: &mut Command, rounds: u32| {
        command.args(["profile", "kernel", "--inner", "--case", case.name, "--rounds", &rounds.to_string(), "--built"]);
        let said = exec::capture(command.arg(object).arg(floors))?;
        serde_json::from_str::<Run>(&said).context("the sampled process does not say what it did")
    };
    // Sampling takes time too.
    let ns = inner(&mut Command::new(&itself), UNDISTURBED)?.ns;
    let file = std::env::temp_dir().join(format!("teaparty-profile-{}", std::process::id()));
    let mut command = samples::record(&file, PER_SECOND);
    command.arg("--call-graph=fp").arg("--").arg(&itself);
    let sampled = inner(&mut command, args.rounds).and_then(|run| Ok((run.layout, samples::chains(&file)?)));
    let _ = std::fs::remove_file(&file);
    let (layout, chains) = sampled?;
    let places: Vec<Place> = chains.iter().filter_map(|chain| place(chain, &layout)).collect();
    ensure!(places.len() > 100, "{} of {} samples are in the program: too few", places.len(), chains.len());
    print(case, ns, &places, args.lines);
    Ok(())
}

/// The place of a sample in the program.
struct Place {
    part: &'static str,
    /// The helper that was called, by its symbol; none in the program's own code.
    helper: Option<String>,
    /// File and line of our source.
    line: String,
}

fn place(chain: &Chain, layout: &Layout) -> Option<Place> {
    let depth = chain.iter().position(|(address, _)| layout.contains(*address))?;
    // A return address belongs to the call in front of it.
    let address = chain[depth].0 - u64::from(depth > 0);
    // Code inlined from libraries counts for our line before it.
    let ours = layout.lines_before(address).find_map(|(file, line)| Some((part(file)?, file, line)));
    let (part, line) = match ours {
        Some((part, file, line)) => (part, format!("{}:{line}", short(file))),
        None => ("?", "?".to_owned()),
    };
    let helper = depth.checked_sub(1).map(|outer| chain[outer].1.clone());
    Some(Place { part, helper, line })
}

/// Parts of the program by where they are written; the first that a path contains counts. None for libraries.
const PARTS: [(&str, &str); 21] = [
    ("teaparty-common/src/frame", "find the datagram"),
    ("teaparty-ebpf/src/parse", "find the datagram"),
    ("teaparty-ebpf/src/packet/ip_family", "find the datagram"),
    ("teaparty-ebpf/src/session", "session, rate limit, ports"),
    ("teaparty-ebpf/src/maps", "session, rate limit, ports"),
    ("teaparty-common/src/maps/clock", "times to the wire"),
    ("teaparty-common/src/maps", "session, rate limit, ports"),
    ("teaparty-common/src/wire/timestamp", "times to the wire"),
    ("teaparty-common/src/wire/checksum", "checksums"),
    ("teaparty-ebpf/src/reply", "headers of the reply"),
    ("teaparty-common/src/wire", "base packet"),
    ("teaparty-common/src/reflect", "decide, and walk over TLVs"),
    ("teaparty-ebpf/src/path/tlv_steps", "decide, and walk over TLVs"),
    ("teaparty-common/src/tlv", "TLVs"),
    ("teaparty-ebpf/src/packet", "access to the packet"),
    ("teaparty-common/src/packet_buf", "access to the packet"),
    ("teaparty-common/src/", "decide, and walk over TLVs"),
    ("teaparty-ebpf/src/punt", "punt"),
    ("teaparty-ebpf/src/path/fast", "the fast path itself"),
    ("teaparty-ebpf/src/main", "count"),
    ("teaparty-ebpf/src/", "the generic path itself"),
];

fn part(file: &str) -> Option<&'static str> {
    PARTS.iter().find(|(path, _)| file.contains(path)).map(|(_, part)| *part)
}

fn short(file: &str) -> &str {
    file.find("teaparty-").map_or(file, |at| &file[at..])
}

fn print(case: &Case, ns: f64, places: &[Place], lines: usize) {
    println!("{}: {ns:.0} ns net of the harness, by {} samples in the program\n", case.name, places.len());
    let each = ns / places.len() as f64;
    let table = |title: &str, names: Vec<String>, most: usize| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        names.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
        let mut rows: Vec<_> = counts.into_iter().collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        println!("{title:<52}{:>8}{:>8}", "ns", "share");
        for (name, count) in rows.into_iter().take(most) {
            let share = count as f64 / places.len() as f64 * 100.0;
            println!("{name:<52}{:>8.1}{share:>7.1}%", count as f64 * each);
        }
        println!();
    };
    let of = |place: &Place| match &place.helper {
        Some(helper) => format!("helper {helper}"),
        None => place.part.to_owned(),
    };
    table("part of the program, or helper of the kernel's", places.iter().map(of).collect(), usize::MAX);
    table("line, with what it calls", places.iter().map(|place| place.line.clone()).collect(), lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_a_file_or_a_folder_of_ours() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        for (path, _) in PARTS {
            let exists = ["", ".rs"].iter().any(|end| std::path::Path::new(root).join(format!("{path}{end}")).exists());
            assert!(exists, "{path}");
        }
    }
}
