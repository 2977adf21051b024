//! `cargo xtask kernels`: a lab of the kernels that we promise to run on. Boots each in qemu's emulation, without KVM, and tries the
//! reflector in it on every driver; the kernel of this machine is tried in namespaces.
//!
//! Kernels are Debian's own packages, unpacked and not installed. The guest's first process is this program itself ([`inside`]), so
//! that no second language is needed.

mod image;
pub(crate) mod inside;
mod kernel;
mod machine;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xtask::program::{self, Profile};
use xtask::{build_ebpf, exec, paths};

pub(crate) use self::kernel::Kernel;
pub(crate) use self::report::Message;
use self::report::Row;

/// Longest that the checks may take in one kernel.
const CHECKS_LIMIT: Duration = Duration::from_secs(2400);
/// Longest that loading all programs may take in one kernel.
const WALK_LIMIT: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel: `6.1`, `6.12`, or `here` for the one that runs
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Open a shell in the kernel instead of running the checks; it ends with `poweroff -f`
    #[arg(long, requires = "kernel")]
    shell: bool,
    /// Only rows whose driver or mode contains one of these, with commas between
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Try this `teaparty` instead of building one; its XDP program is the one that it has inside
    #[arg(long, value_name = "FILE")]
    teaparty: Option<PathBuf>,
}

/// The files under test.
pub(crate) struct Subject {
    /// The BPF object.
    pub(crate) object: PathBuf,
    /// The program `teaparty`; none where only the object is loaded.
    pub(crate) teaparty: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let name = args.kernel.as_deref();
    let is_here = name.is_none_or(|name| name == kernel::HERE);
    let kernels: Vec<Kernel> = Kernel::ALL.into_iter().filter(|k| name.is_none_or(|name| name == k.name)).collect();
    if kernels.is_empty() && !is_here {
        let names: Vec<&str> = Kernel::ALL.iter().map(|kernel| kernel.name).collect();
        bail!("no kernel {}: there are {} and {}", name.unwrap_or_default(), names.join(", "), kernel::HERE);
    }
    let object = build_ebpf::build(build_ebpf::Warnings::Shown)?;
    // As the tests do, which is quicker than a release.
    let teaparty = args.teaparty.clone().map_or_else(|| program::teaparty(Profile::Dev), Ok)?;
    let subject = Subject { object, teaparty: Some(teaparty) };
    if !kernels.is_empty() {
        kernel::provide(&kernels)?;
    }
    if args.shell {
        let kernel = kernels.first().context("the kernel that runs has a shell already")?;
        return machine::shell(kernel, &subject).map(|()| ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    if is_here {
        rows.extend(report::rows(&here(&subject, args.only.as_deref())?));
    }
    for messages in in_each(&kernels, &subject, &Task::Checks(args.only.clone()))? {
        rows.extend(report::rows(&messages));
    }
    print!("{}", report::table(&rows));
    let is_well = !rows.is_empty() && rows.iter().all(Row::is_well);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The task of a guest.
pub(crate) enum Task {
    /// Load every program and tell what the verifier walked.
    Walk,
    /// Run the checks, of rows that contain the text.
    Checks(Option<String>),
}

impl Task {
    /// The arguments of [`inside::Args`] for this.
    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Walk => vec!["walk".to_owned()],
            Self::Checks(None) => vec!["checks".to_owned()],
            // The kernel's command line has no quotes for spaces within.
            Self::Checks(Some(only)) => vec!["checks".to_owned(), "--only".to_owned(), only.replace(' ', "")],
        }
    }

    fn limit(&self) -> Duration {
        if matches!(self, Self::Walk) { WALK_LIMIT } else { CHECKS_LIMIT }
    }
}

/// Loads the programs of an object in each kernel of the lab; what was walked, in the order of [`Kernel::ALL`].
///
/// Fails where a kernel is not available or refuses a program.
pub(crate) fn walks(object: PathBuf) -> Result<Vec<Vec<Message>>> {
    kernel::provide(&Kernel::ALL)?;
    in_each(&Kernel::ALL, &Subject { object, teaparty: None }, &Task::Walk)
}

/// Boots all `kernels` at the same time, since each has one processor only, and returns what they said.
fn in_each(kernels: &[Kernel], subject: &Subject, task: &Task) -> Result<Vec<Vec<Message>>> {
    std::thread::scope(|scope| {
        let run = |kernel| scope.spawn(move || timed(kernel, subject, task));
        let running: Vec<_> = kernels.iter().map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("the thread hands its errors on")).collect()
    })
}

fn timed(kernel: &Kernel, subject: &Subject, task: &Task) -> Result<Vec<Message>> {
    let started = Instant::now();
    eprintln!("{}: booting {}", kernel.name, kernel.release()?);
    let mut messages = Vec::new();
    let result = machine::run(kernel, subject, &task.arguments(), task.limit(), &mut messages);
    match (result, task) {
        (Ok(()), _) => eprintln!("{}: done in {:.0?}", kernel.name, started.elapsed()),
        // What was checked until then is in the table, and this is.
        (Err(error), Task::Checks(_)) => messages.push(Message::Check {
            driver: "guest".into(),
            mode: "-".into(),
            name: "all checks".into(),
            outcome: report::Outcome::Failed(format!("{error:#}")),
        }),
        (Err(error), Task::Walk) => return Err(error.context(format!("kernel {}", kernel.name))),
    }
    Ok(messages)
}

/// Runs the checks in this machine's own kernel, in a process with namespaces of its own.
fn here(subject: &Subject, only: Option<&str>) -> Result<Vec<Message>> {
    let mut command = exec::as_root(std::env::current_exe().context("cannot find the program itself")?);
    command.args(["kernels-inside", "checks", "--object"]).arg(&subject.object);
    command.arg("--teaparty").args(&subject.teaparty);
    command.arg("--vectors").arg(paths::root().join(image::VECTORS));
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    let mut messages = Vec::new();
    exec::follow(&mut command, |line| messages.extend(report::heard(kernel::HERE, line)))?;
    Ok(messages)
}
