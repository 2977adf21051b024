//! `cargo xtask verify`: loads each program of the object in each kernel of the lab and in the one that runs, and says what
//! it costs their verifiers.
//!
//! How many instructions a verifier walks depends on the compiler and the kernel; a budget well under the kernel's limit
//! leaves room for both.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use teaparty_common::maps::{TailCall, program};
use teaparty_lab::programs::{self, Cost};
use xtask::{build_ebpf, exec};

use crate::kernels::{self, Kernel, Message};

/// Most instructions that the kernel's verifier walks (BPF_COMPLEXITY_LIMIT_INSNS since 5.2).
const KERNEL_LIMIT: u32 = 1_000_000;

/// Most instructions that each program may have a verifier walk: that of 6.1, and those of later kernels.
const BUDGETS: &[(&str, [u32; 2])] = &[
    (program::REFLECT, [250_000, 250_000]),
    (TailCall::V6.program(), [300_000, 300_000]),
    (TailCall::Parse.program(), [10_000, 10_000]),
    (TailCall::Full.program(), [300_000, 300_000]),
    (program::CAPTURE, [450_000, 350_000]),
    (TailCall::V6.capture_program(), [450_000, 450_000]),
    (TailCall::Parse.capture_program(), [15_000, 10_000]),
    (TailCall::Full.capture_program(), [300_000, 300_000]),
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
    for Cost { name, walked, translated, jitted } in programs::costs(&mut programs::load(&object)?)? {
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

/// The cost of one program on one kernel's verifier.
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
