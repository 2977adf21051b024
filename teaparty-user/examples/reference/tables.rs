//! Pages that are one table of the program's own: reasons, exit statuses.

use teaparty_common::reflect::{REASONS, Reason};
use teaparty_user::cli::help::{ENVIRONMENT, EXIT_STATUS, FILES};

use crate::markdown::{code, head, plain, table};

const REASONS_ABOUT: &str = "\
Every packet ends for exactly one reason, and adds one to its counter. The label is the same in `teaparty status`, in the metric \
`teaparty_packets_total`, in JSON and in logs. The number is the index in the map `counters`; numbers never change.

| verdict | meaning |
|---|---|
| `reflect` | answered |
| `punt` | handed to the controller, untouched |
| `drop` | ended here without an answer |
| `pass` | left to the network stack, untouched |
";

pub(crate) fn reasons() -> String {
    let row = |reason: &Reason| {
        let number = (*reason as u32).to_string();
        let remedy = reason.remedy().map_or_else(String::new, plain);
        [number, code(reason.label()), code(reason.disposition().label()), plain(reason.help()), remedy]
    };
    head("Reasons and counters", "`teaparty-common/src/reason.rs`", REASONS_ABOUT)
        + &table(["number", "reason", "verdict", "meaning", "what to do"], REASONS.iter().map(row))
}

pub(crate) fn exit_status() -> String {
    let rows =
        |entries: &[(&str, &str)]| entries.iter().map(|(term, what)| [code(term), plain(what)]).collect::<Vec<_>>();
    let about = "Scripts and monitoring systems may rely on these numbers.";
    let mut text = head("Exit statuses, environment and files", "what `teaparty --help` says", about);
    text += "\n## Exit statuses\n";
    text += &table(["status", "meaning"], rows(EXIT_STATUS));
    text += "\n## Variables of the environment\n";
    text += &table(["variable", "what it does"], rows(ENVIRONMENT));
    text += "\n## Files\n";
    text + &table(["file", "what it is for"], rows(FILES))
}
