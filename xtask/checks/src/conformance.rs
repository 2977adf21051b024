//! `cargo xtask conformance`: the conformance list with the result of the tests that show each row.

use std::fmt;
use std::process::ExitCode;

use anyhow::{Context, Result};
use xtask::{paths, test};

#[path = "../../../teaparty-common/tests/support/rows.rs"]
pub(crate) mod rows;

use self::rows::{List, Row};

/// The end of a test, or of all that show a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Passed,
    Failed,
    Skipped,
    /// Named in the list, and no test of this name ran.
    Missing,
    /// The list names nothing that shows it.
    Untested,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
            Self::Missing => "NOT RUN",
            Self::Untested => "no test",
        })
    }
}

/// One test that ran.
struct Ran<'a> {
    /// Its program: crate and target.
    program: &'a str,
    /// Its name, modules in front.
    name: &'a str,
    state: State,
}

pub(crate) fn main() -> Result<ExitCode> {
    let file = paths::root().join("testing_data/conformance.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", paths::shown(&file)))?;
    let list: List = toml::from_str(&text).with_context(|| format!("{} is not as expected", paths::shown(&file)))?;
    let programs = test::run_all()?;
    let ran: Vec<Ran<'_>> = programs.iter().flat_map(ran).collect();
    let states: Vec<State> = list.row.iter().map(|row| judge(row, &ran)).collect();
    println!();
    for (row, state) in list.row.iter().zip(&states) {
        let Row { id, level, role, section, statement, .. } = row;
        println!("{id}  {state:<7}  {level:<10} {role:<3}  {statement} ({section})");
    }
    without_test(&list);
    let count = |state| states.iter().filter(|found| **found == state).count();
    println!(
        "\n{} rows: {} passed, {} failed, {} skipped, {} not run, {} without a test",
        states.len(),
        count(State::Passed),
        count(State::Failed),
        count(State::Skipped),
        count(State::Missing),
        count(State::Untested)
    );
    let is_well = count(State::Failed) + count(State::Missing) == 0;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows that nothing shows, and why.
fn without_test(list: &List) {
    let rows: Vec<&Row> = list.row.iter().filter(|row| !row.is_shown()).collect();
    if rows.is_empty() {
        return;
    }
    println!("\nWithout a test:");
    for row in rows {
        let reason = row.untested.as_deref().unwrap_or("no reason is given");
        println!("{}  {}: {reason} It would be seen so: {}.", row.id, row.statement, row.on_the_wire);
    }
}

fn ran(row: &test::Row) -> Vec<Ran<'_>> {
    let outcome = &row.outcome;
    let passed = outcome.passed.iter().map(|name| (name, State::Passed));
    let failed = outcome.failed.iter().map(|name| (name, State::Failed));
    let skipped = outcome.skipped.keys().map(|name| (name, State::Skipped));
    let all = passed.chain(failed).chain(skipped);
    all.map(|(name, state)| Ran { program: &row.name, name, state }).collect()
}

/// A row is shown by the tests it names, and by the tests that go through the tables where it names entries of them.
fn judge(row: &Row, ran: &[Ran<'_>]) -> State {
    let mut states: Vec<State> =
        row.tests.iter().map(|name| worst(ran.iter().filter(|test| is_called(test, name)))).collect();
    states.extend((!row.vectors.is_empty()).then(|| worst(ran.iter().filter(|test| goes_through(test, "vectors")))));
    states.extend((!row.cases.is_empty()).then(|| worst(ran.iter().filter(|test| goes_through(test, "tlvs")))));
    for state in [State::Failed, State::Missing, State::Passed, State::Skipped] {
        if states.contains(&state) {
            return state;
        }
    }
    State::Untested
}

/// The state of several tests together: one that passed is enough, unless one failed.
fn worst<'a>(tests: impl Iterator<Item = &'a Ran<'a>>) -> State {
    let states: Vec<State> = tests.map(|test| test.state).collect();
    let order = [State::Failed, State::Passed, State::Skipped];
    order.into_iter().find(|state| states.contains(state)).unwrap_or(State::Missing)
}

fn is_called(test: &Ran<'_>, name: &str) -> bool {
    test.name.rsplit("::").next() == Some(name)
}

/// Returns true if a test is one of those that go through a table: all of a program or module that is called like it.
fn goes_through(test: &Ran<'_>, table: &str) -> bool {
    test.program.ends_with(&format!("tests/{table}")) || test.name.split("::").next() == Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(vectors: &[&str], tests: &[&str]) -> Row {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Row {
            id: "C001".into(),
            level: "MUST".into(),
            role: "R".into(),
            section: "RFC 8762 §4".into(),
            statement: "x".into(),
            on_the_wire: "y".into(),
            vectors: owned(vectors),
            cases: Vec::new(),
            tests: owned(tests),
            untested: None,
        }
    }

    const RAN: [Ran<'static>; 4] = [
        Ran { program: "teaparty-common tests/vectors", name: "all_come_out", state: State::Passed },
        Ran { program: "teaparty-user", name: "a::good_c001", state: State::Passed },
        Ran { program: "teaparty-user", name: "a::bad_c001", state: State::Failed },
        Ran { program: "teaparty-user", name: "a::rooted_c001", state: State::Skipped },
    ];

    #[test]
    fn a_row_is_as_good_as_what_shows_it() {
        let judged = |row: Row| judge(&row, &RAN);
        assert_eq!(judged(row(&[], &["good_c001"])), State::Passed);
        assert_eq!(judged(row(&["V01"], &[])), State::Passed);
        assert_eq!(judged(row(&["V01"], &["rooted_c001"])), State::Passed);
        assert_eq!(judged(row(&["V01"], &["good_c001", "bad_c001"])), State::Failed);
        assert_eq!(judged(row(&[], &["rooted_c001"])), State::Skipped);
        assert_eq!(judged(row(&[], &["good_c001", "gone_c001"])), State::Missing);
        assert_eq!(judged(row(&[], &[])), State::Untested);
    }
}
