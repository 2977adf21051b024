//! `cargo xtask test`: every test of the workspace, with what they need provided, and one table at the end.
//!
//! A test that can't run here prints `SKIPPED: <test>: <reason>` and returns; it is counted as skipped, not as passed.
//! Integration tests whose head says "needs root" run one at a time, because they share the machine's network and BPF, unless
//! it also says "in parallel"; all others run in parallel. The head is that of the program, `tests/NAME/main.rs`.

mod outcome;
mod targets;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::{build_ebpf, exec, paths, steps, tools};
use anyhow::Result;
use clap::ValueEnum;

pub use self::outcome::Outcome;
use self::targets::Target;

/// Set to 1, this makes a skipped test a failed one.
const DEMAND_VARIABLE: &str = "TEAPARTY_TEST_DEMAND";

/// Longest that one test program may take, in seconds; longer is a hang. `reflector` takes minutes, and a quarter of an hour on a
/// host with six times its load.
const TIME_LIMIT: &str = "2400";

/// The command line of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// The tests to run
    #[arg(value_enum, default_value_t)]
    part: Part,
    /// Count skipped tests as failed
    #[arg(long)]
    demand: bool,
    /// Only tests whose names contain this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Those that need neither root nor BPF
    Unit,
    /// Those that need root
    Root,
    #[default]
    /// Both
    All,
}

/// One row of the table at the end: how the tests of one program ended.
pub struct Row {
    /// Crate and target.
    pub name: String,
    /// The end of its tests.
    pub outcome: Outcome,
    elapsed: Duration,
}

/// Runs what was asked for, and shows the table.
pub fn main(args: &Args) -> Result<ExitCode> {
    let rows = run_tests(args.part, args.filter.as_deref())?;
    let is_demanding = args.demand || std::env::var(DEMAND_VARIABLE).is_ok_and(|value| value == "1");
    Ok(report(&rows, is_demanding))
}

/// Runs all tests there are, as `cargo xtask test` does.
pub fn run_all() -> Result<Vec<Row>> {
    run_tests(Part::All, None)
}

/// Provides what tests need, and runs those of `part` whose names contain `filter`.
fn run_tests(part: Part, filter: Option<&str>) -> Result<Vec<Row>> {
    build_ebpf::build(build_ebpf::Warnings::Shown)?;
    let tools = tools::provide()?;
    let targets = targets::compile()?;
    let wanted = targets.iter().filter(|target| wants(part, target));
    let mut rows: Vec<Row> = wanted.map(|target| run(target, filter, &tools)).collect();
    if part != Part::Root {
        rows.push(run_doc_tests(filter));
    }
    Ok(rows)
}

fn wants(part: Part, target: &Target) -> bool {
    match part {
        Part::All => true,
        Part::Unit => !target.needs_root,
        Part::Root => target.needs_root,
    }
}

fn run(target: &Target, filter: Option<&str>, tools: &tools::Tools) -> Row {
    let mut command = limited(&target.executable);
    command.current_dir(&target.folder).envs(target.environment()).envs(tools.environment());
    command.args(filter).args(["--show-output", "--color=never"]);
    if target.is_serial {
        command.arg("--test-threads=1");
    }
    observe(&target.name, &mut command)
}

fn run_doc_tests(filter: Option<&str>) -> Row {
    let mut command = limited(exec::cargo().get_program());
    exec::without_package(command.current_dir(paths::root())).args(["test", "--quiet", "--doc", "--workspace"]);
    command.args(build_ebpf::NOT_FOR_THE_HOST).args(["--", "--format=pretty"]).args(filter);
    observe("doc tests", &mut command)
}

fn limited(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", TIME_LIMIT]).arg(program);
    command
}

/// Runs one test program, shows what it says if it fails, and one line in any case.
fn observe(name: &str, command: &mut Command) -> Row {
    let started = Instant::now();
    let mut output = String::new();
    let progress = steps::Progress::new(name);
    let result = exec::follow(command, |line| {
        progress.show(line);
        output += line;
        output.push('\n');
    });
    progress.finish();
    let mut outcome = outcome::read(&output);
    if result.is_err() && outcome.failed.is_empty() {
        outcome.failed.push("(ended without a result: crashed, or ran into the time limit)".to_owned());
    }
    if !outcome.failed.is_empty() {
        eprintln!("--- output of {name}\n{}\n---", output.trim_end());
    }
    let elapsed = started.elapsed();
    if outcome != Outcome::default() {
        eprintln!("{name}: {} in {elapsed:.1?}", outcome.summary());
    }
    Row { name: name.to_owned(), outcome, elapsed }
}

/// The table, the reasons, and the last line. Nothing run at all is a failure too.
fn report(rows: &[Row], is_demanding: bool) -> ExitCode {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    println!("\n{:width$}  passed  failed  skipped  seconds", "tests");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for Row { name, outcome, elapsed } in rows {
        let counts = (outcome.passed.len(), outcome.failed.len(), outcome.skipped.len());
        if counts == (0, 0, 0) {
            continue;
        }
        println!("{name:width$}  {:6}  {:6}  {:7}  {:7.1}", counts.0, counts.1, counts.2, elapsed.as_secs_f64());
        (passed, failed, skipped) = (passed + counts.0, failed + counts.1, skipped + counts.2);
    }
    for Row { name, outcome, .. } in rows {
        outcome.failed.iter().for_each(|test| println!("FAILED   {name}: {test}"));
        outcome.skipped.iter().for_each(|(test, reason)| println!("SKIPPED  {name}: {test}: {reason}"));
    }
    if is_demanding && skipped > 0 {
        println!("Skipping was not allowed ({DEMAND_VARIABLE} or --demand): what was skipped counts as failed.");
        (failed, skipped) = (failed + skipped, 0);
    }
    println!("\n{}", total(passed, failed, skipped));
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn total(passed: usize, failed: usize, skipped: usize) -> String {
    let end = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    format!("{passed} passed, {failed} failed{end}")
}
