//! `cargo xtask verify`: loads each program of the object in each kernel of the lab and in the one that runs, and says what
//! it costs their verifiers.
//!
//! How many instructions a verifier walks depends on the compiler and the kernel; a budget well under the kernel's limit
//! leaves room for both.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::maps::ProgramArray;
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use teaparty_common::maps::{TailCall, name, program};

use crate::kernels::{Kernel, Message};
use crate::{build_ebpf, exec, kernels, paths};

/// Most instructions that the kernel's verifier walks (BPF_COMPLEXITY_LIMIT_INSNS since 5.2).
const KERNEL_LIMIT: u32 = 1_000_000;

/// Most instructions that each program may have a verifier walk: that of 6.1, and those of later kernels.
const BUDGETS: &[(&str, [u32; 2])] = &[
    (program::REFLECT, [400_000, 300_000]),
    (TailCall::V6.program(), [300_000, 300_000]),
    (TailCall::Parse.program(), [10_000, 10_000]),
    (TailCall::Full.program(), [300_000, 300_000]),
    (program::SESSION_OP, [150_000, 200_000]),
    (program::PASS, [10, 10]),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Load this object and build nothing
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
    /// Only in the kernel that runs, which takes seconds
    #[arg(long)]
    here: bool,
}

/// What loading one program cost.
pub(crate) struct Cost {
    pub(crate) name: String,
    /// Instructions that the verifier walked, on all paths together.
    pub(crate) walked: u32,
    /// Octets of BPF instructions after the verifier's changes.
    pub(crate) translated: u32,
    /// Octets of machine code; 0 where the kernel interprets.
    pub(crate) jitted: u32,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let object = match &args.object {
        Some(object) => object.clone(),
        None => build_ebpf::build(build_ebpf::Warnings::Shown)?,
    };
    let mut arguments = vec!["verify".into(), "--object".into(), object.clone().into_os_string()];
    arguments.extend(args.here.then(|| "--here".into()));
    if exec::again_as_root(&arguments)? {
        return Ok(());
    }
    let mut rows = Vec::new();
    println!(
        "{:<10} {:<18}{:>10}{:>10}{:>12}{:>14}",
        "kernel", "program", "walked", "budget", "BPF octets", "machine code"
    );
    for Cost { name, walked, translated, jitted } in costs(&mut load(&object)?)? {
        let row = Row { kernel: "here", budget: budget(&name, "here")?, program: name, walked };
        println!("{row}{translated:>12}{jitted:>14}");
        rows.push(row);
    }
    if !args.here {
        for (kernel, messages) in Kernel::ALL.iter().zip(kernels::walks(object)?) {
            let lab = walked(kernel.name, messages)?;
            lab.iter().for_each(|row| println!("{row}"));
            rows.extend(lab);
        }
    }
    let over: Vec<String> = rows.iter().filter(|row| row.walked > row.budget).map(Row::excess).collect();
    if !over.is_empty() {
        bail!("over budget (the kernel's limit is {KERNEL_LIMIT}): {}", over.join("; "));
    }
    Ok(())
}

/// What one program costs one kernel's verifier.
struct Row {
    kernel: &'static str,
    program: String,
    walked: u32,
    budget: u32,
}

impl Row {
    fn excess(&self) -> String {
        let Self { kernel, program, walked, budget } = self;
        format!("{program} walks {walked} instructions in {kernel}, and may {budget}")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, program, walked, budget } = self;
        write!(f, "{kernel:<10} {program:<18}{walked:>10}{budget:>10}")
    }
}

/// The rows that a kernel of the lab has told.
fn walked(kernel: &'static str, messages: Vec<Message>) -> Result<Vec<Row>> {
    let walk = |message| if let Message::Walk { program, walked } = message { Some((program, walked)) } else { None };
    let row = |(program, walked): (String, u32)| Ok(Row { kernel, budget: budget(&program, kernel)?, program, walked });
    messages.into_iter().filter_map(walk).map(row).collect()
}

fn budget(name: &str, kernel: &str) -> Result<u32> {
    let found = BUDGETS.iter().find(|(program, _)| *program == name);
    let (_, [oldest, later]) = found.with_context(|| format!("no budget for program {name}: add one in verify.rs"))?;
    Ok(if kernel == Kernel::ALL[0].name { *oldest } else { *later })
}

/// Makes the maps of an object; its programs are not loaded yet.
pub(crate) fn load(object: &Path) -> Result<Ebpf> {
    load_sized(object, &[])
}

/// [`load`] with other sizes for some maps, by their names.
pub(crate) fn load_sized(object: &Path, sizes: &[(&'static str, u32)]) -> Result<Ebpf> {
    let bytes = std::fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut loader = EbpfLoader::new();
    for (name, entries) in sizes {
        loader.map_max_entries(name, *entries);
    }
    loader.load(&bytes).with_context(|| format!("the kernel refuses the maps of {}", paths::shown(object)))
}

/// Loads every program; in the order of their names.
///
/// Fails with the end of the verifier's log if it refuses one.
pub(crate) fn costs(ebpf: &mut Ebpf) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let program: &mut Xdp = program.try_into().with_context(|| format!("{name} is no XDP program"))?;
        program.load().map_err(|error| refusal(name, &error))?;
        let info = program.info()?;
        let walked =
            info.verified_instruction_count().context("the kernel does not say what it verified (before 5.16)")?;
        let translated = info.size_translated().unwrap_or(0);
        costs.push(Cost { name: name.to_owned(), walked, translated, jitted: info.size_jitted() });
    }
    costs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(costs)
}

/// Has the reflector find the programs that it goes on to, which are loaded.
pub(crate) fn connect(ebpf: &mut Ebpf) -> Result<()> {
    for step in TailCall::ALL {
        let program: &Xdp =
            ebpf.program(step.program()).with_context(|| format!("no program {}", step.program()))?.try_into()?;
        let program = program.fd()?.try_clone()?;
        let map = ebpf.map_mut(name::TAIL_CALLS).with_context(|| format!("no map {}", name::TAIL_CALLS))?;
        ProgramArray::try_from(map)?.set(step as u32, &program, 0)?;
    }
    Ok(())
}

/// The verifier says what is wrong in its last lines, and may say a megabyte before.
fn refusal(name: &str, error: &aya::programs::ProgramError) -> anyhow::Error {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    anyhow::anyhow!("the kernel's verifier refuses {name}; the end of its log:\n{end}")
}
