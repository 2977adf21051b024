//! What a guest tells the host, line by line, and the table that is made of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Start of a line for the host: everything else on the port is for people.
const MARK: &str = "@lab ";

/// One thing that a guest tells.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The release of the kernel that runs.
    Release(String),
    /// The present step.
    Progress(String),
    /// A program has been loaded.
    Walk {
        /// Its name.
        program: String,
        /// Instructions that the verifier walked.
        walked: u32,
    },
    /// A check has ended.
    Check {
        /// The driver of the row.
        driver: String,
        /// The mode that was asked for.
        mode: String,
        /// The check.
        name: String,
        /// Its outcome.
        outcome: Outcome,
    },
    /// All is done.
    End,
}

/// The outcome of a check.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// As it should.
    Passed,
    /// It did not, for this reason.
    Failed(String),
    /// The kernel lacks what it takes: its own words.
    Absent(String),
}

impl Message {
    /// Writes it for the host.
    pub(crate) fn line(&self) -> String {
        format!("{MARK}{}", serde_json::to_string(self).expect("a message has only texts and numbers"))
    }

    /// Returns the present step, if the message has one.
    pub(crate) fn progress(&self) -> Option<&str> {
        if let Self::Progress(text) = self { Some(text) } else { None }
    }
}

/// Reads a line of a guest: a message, or nothing. Shows progress and failures as they come.
pub(crate) fn heard(kernel: &str, line: &str) -> Option<Message> {
    let message = parse(line)?;
    match &message {
        Message::Progress(text) => eprintln!("{kernel}: {text}"),
        Message::Check { driver, mode, name, outcome: Outcome::Failed(why), .. } => {
            eprintln!("{kernel}: FAILED {driver} {mode} {name}: {why}");
        }
        _ => (),
    }
    Some(message)
}

fn parse(line: &str) -> Option<Message> {
    // The port may have said something without a line's end before.
    let (_, json) = line.split_once(MARK)?;
    serde_json::from_str(json.trim()).ok()
}

/// A row of the table: a driver and a mode in a kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    kernel: String,
    driver: String,
    mode: String,
    walked: BTreeMap<String, u32>,
    passed: Vec<String>,
    failed: Vec<(String, String)>,
    absent: Vec<(String, String)>,
}

impl Row {
    /// Returns true if nothing failed.
    pub(crate) fn is_well(&self) -> bool {
        self.failed.is_empty()
    }

    fn result(&self) -> &'static str {
        match (self.failed.is_empty(), self.passed.is_empty()) {
            (false, _) => "FAILED",
            (true, false) => "passed",
            (true, true) => "not had here",
        }
    }
}

/// The rows of one kernel, in the order in which they were tried.
pub(crate) fn rows(messages: &[Message]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut kernel = String::new();
    let mut walks = BTreeMap::new();
    for message in messages {
        match message {
            Message::Release(release) => kernel.clone_from(release),
            Message::Walk { program, walked } => {
                walks.insert(program.clone(), *walked);
            }
            Message::Check { driver, mode, name, outcome } => {
                let row = row(&mut rows, driver, mode);
                let name = name.clone();
                match outcome {
                    Outcome::Passed => row.passed.push(name),
                    Outcome::Failed(why) => row.failed.push((name, why.clone())),
                    Outcome::Absent(why) => row.absent.push((name, why.clone())),
                }
            }
            Message::Progress(_) | Message::End => (),
        }
    }
    for row in &mut rows {
        row.kernel.clone_from(&kernel);
        row.walked.clone_from(&walks);
    }
    rows
}

fn row<'a>(rows: &'a mut Vec<Row>, driver: &str, mode: &str) -> &'a mut Row {
    let at = rows.iter().position(|row| row.driver == driver && row.mode == mode).unwrap_or_else(|| {
        rows.push(Row {
            kernel: String::new(),
            driver: driver.to_owned(),
            mode: mode.to_owned(),
            walked: BTreeMap::new(),
            passed: Vec::new(),
            failed: Vec::new(),
            absent: Vec::new(),
        });
        rows.len() - 1
    });
    &mut rows[at]
}

/// The programs of the table, by the short names of their columns.
const PROGRAMS: [(&str, &str); 5] = [
    ("teaparty", "teaparty"),
    ("v6", "teaparty_v6"),
    ("parse", "teaparty_parse"),
    ("full", "teaparty_full"),
    ("op", "teaparty_op"),
];

/// One table of all rows, and beneath it why something failed or could not be had.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 3], walked: [String; 5], checks: &str, result: &str| {
        let [kernel, driver, mode] = cells;
        let [a, b, c, d, e] = walked;
        let _ = writeln!(
            text,
            "{kernel:<30} {driver:<11} {mode:<7} {a:>9} {b:>8} {c:>7} {d:>8} {e:>7}  {checks:>7}  {result}"
        );
    };
    line(["kernel", "driver", "mode"], PROGRAMS.map(|(short, _)| short.to_owned()), "checks", "result");
    for row in rows {
        let walked = PROGRAMS.map(|(_, name)| row.walked.get(name).map_or_else(|| "-".into(), u32::to_string));
        let all = row.passed.len() + row.failed.len() + row.absent.len();
        let checks = format!("{}/{all}", row.passed.len());
        line([&row.kernel, &row.driver, &row.mode], walked, &checks, row.result());
    }
    for row in rows {
        let absent = row.absent.iter().map(|detail| ("not had here", detail));
        for (word, (name, why)) in row.failed.iter().map(|detail| ("FAILED", detail)).chain(absent) {
            let Row { kernel, driver, mode, .. } = row;
            let _ = writeln!(text, "{word}: {kernel} {driver} {mode}, {name}: {why}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(driver: &str, name: &str, outcome: Outcome) -> Message {
        Message::Check { driver: driver.into(), mode: "native".into(), name: name.into(), outcome }
    }

    #[test]
    fn messages_survive_the_line_and_other_lines_are_none() {
        let failed = check("veth", "base packets", Outcome::Failed("0 of 5, \"line\n2\"".into()));
        let walk = Message::Walk { program: "teaparty".into(), walked: 339_435 };
        for message in [failed, walk, Message::End, Message::Release("6.1.0-57".into())] {
            assert_eq!(parse(&format!("[    1.2] left over{}\r", message.line())), Some(message));
        }
        assert_eq!(parse("Booting from ROM..."), None);
        assert_eq!(parse("@lab {\"Unknown\":1}"), None);
    }

    #[test]
    fn rows_have_their_kernel_and_all_walks_and_a_failure_shows() {
        let messages = [
            Message::Release("6.1.0-57".into()),
            Message::Walk { program: "teaparty".into(), walked: 300_001 },
            check("veth", "base packets", Outcome::Passed),
            check("dummy", "start", Outcome::Absent("Unknown device type".into())),
            check("veth", "ring", Outcome::Failed("no reply".into())),
            Message::Walk { program: "teaparty_full".into(), walked: 7 },
        ];
        let rows = rows(&messages);
        assert_eq!(rows.len(), 2);
        assert!(!rows[0].is_well() && rows[1].is_well());
        let table = table(&rows);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["6.1.0-57", "veth", "native", "300001", "-", "-", "7", "-", "1/2", "FAILED"]);
        assert_eq!(lines[2][8..], ["0/1", "not", "had", "here"]);
        assert_eq!(table.lines().nth(3), Some("FAILED: 6.1.0-57 veth native, ring: no reply"));
        assert_eq!(table.lines().count(), 5);
    }
}
