//! `cargo xtask profile`: where time goes, in the kernel by parts of the program and by single steps, and in processes.

mod flame;
mod hmac;
mod layout;
mod samples;
mod sections;
mod steps;

use anyhow::Result;

#[derive(clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

const HELP: &str = "\
Without a command: `kernel` for a base packet. Needs root (asks for it through sudo), and perf (linux-perf) for all but `steps`.
Samples are taken by the processor's clock, which every machine has: few virtual machines count cycles or instructions.

  cargo xtask profile kernel --case '3 TLVs'
  cargo xtask profile flame ring              target/bench/flame-ring.svg";

#[derive(clap::Subcommand)]
enum What {
    /// Nanoseconds of a packet in the XDP program: by part of it, by helper, by line of source
    Kernel(sections::Args),
    /// Cost of single steps: a look-up, an atomic addition, a clock, measured by small programs
    Steps(steps::Args),
    /// Cost of authentication in the kernel: an experiment, beside userspace
    Hmac(hmac::Args),
    /// A flame graph of a process while it works: the slow path, the socket engine, or the sender
    Flame(flame::Args),
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let usual = What::Kernel(sections::Args::default());
    match args.what.as_ref().unwrap_or(&usual) {
        What::Kernel(args) => sections::main(args),
        What::Steps(args) => steps::main(args),
        What::Hmac(args) => hmac::main(args),
        What::Flame(args) => flame::main(args),
    }
}
