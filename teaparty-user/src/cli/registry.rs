//! `teaparty tlvs`: every TLV of the registry, with who answers it.

use clap::Args;
use serde_json::json;
use teaparty_common::tlv::{Entry, REGISTRY};

use super::form::CommandFormat;
use crate::exit_code::Exit;
use crate::layout::{columns, fold};
use crate::sys::stdio;

/// Lists the TLVs: type, name, where it is specified, who answers it, and the option that a reflector needs for it.
#[derive(Args, Clone, Debug)]
pub struct TlvsArguments {
    /// Form of the list
    #[arg(long, value_enum, default_value_t)]
    format: CommandFormat,
}

impl TlvsArguments {
    /// Prints the list.
    pub fn run(self) -> anyhow::Result<Exit> {
        let text = match self.format {
            CommandFormat::Human => table(REGISTRY, columns()),
            CommandFormat::Json => serde_json::to_string_pretty(&REGISTRY.iter().map(object).collect::<Vec<_>>())?,
        };
        stdio::print(format!("{text}\n"))?.any();
        Ok(Exit::Success)
    }
}

/// Columns before the section: type, name, and who answers.
const BEFORE_SECTION: usize = 54;

/// Returns the list as a table in `columns`.
fn table(registry: &[Entry], columns: usize) -> String {
    let mut lines = vec![fold(&format!("{:>4}  {:<35}{:<13}specified in", "type", "name", "answered by"), columns, 6)];
    for entry in registry {
        // The words after a colon are README's.
        let handled_by = entry.handled_by.label().split(':').next().unwrap_or_default();
        let line = format!("{:>4}  {:<35}{handled_by:<13}{}", entry.code, entry.name, entry.section);
        let own = line.len() - line.trim_start().len();
        let hang = if columns > BEFORE_SECTION + 20 { BEFORE_SECTION } else { 6 };
        lines.push(fold(&line, columns, hang - own));
        if let Some(option) = entry.allowed_by {
            lines.push(fold(&format!("{:6}the reflector must allow it: {option}", ""), columns, 2));
        }
        if let Some(code) = entry.earlier_code {
            lines.push(fold(&format!("{:6}{code} with --tlv-profile earlier", ""), columns, 2));
        }
    }
    lines.join("\n")
}

/// Returns one TLV as JSON.
fn object(entry: &Entry) -> serde_json::Value {
    json!({
        "type": entry.code,
        "earlier_type": entry.earlier_code,
        "name": entry.name,
        "title": entry.title,
        "section": entry.section,
        "answered_by": entry.handled_by.label(),
        "allowed_by": entry.allowed_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tlv_is_listed_and_no_line_is_too_wide() {
        for columns in [40, 80, 200] {
            let text = table(REGISTRY, columns);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            assert!(REGISTRY.iter().all(|entry| text.contains(entry.name)), "{text}");
        }
        let text = table(REGISTRY, 80);
        let line = "  12  reflected-control                  controller   RFC 10052 §3\n      \
            the reflector must allow it: --allow-reflected-control\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn options_that_allow_a_tlv_are_options_of_the_reflector() {
        use clap::CommandFactory;
        let command = crate::cli::Teaparty::command();
        let reflector = command.find_subcommand("reflector").unwrap();
        for option in REGISTRY.iter().filter_map(|entry| entry.allowed_by) {
            let long = option.trim_start_matches("--");
            assert!(reflector.get_arguments().any(|arg| arg.get_long() == Some(long)), "{option}");
        }
    }
}
