//! `cargo xtask codegen`: what documents repeat from the source, written from the source.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use teaparty_common::tlv::{Entry, REGISTRY};

use crate::paths;

const BEGIN: &str = "<!-- coverage: made by `cargo xtask codegen` from teaparty-common/src/tlv/mod.rs -->\n";
const END: &str = "<!-- coverage ends -->";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing, and fail if something would change
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let readme = paths::root().join("README.md");
    let old = std::fs::read_to_string(&readme).context("cannot read README.md")?;
    let new = with_table(&old)?;
    if old == new {
        return Ok(());
    }
    if args.check {
        bail!("the TLV table in README.md is not that of the registry; run `cargo xtask codegen`");
    }
    std::fs::write(&readme, new).context("cannot write README.md")?;
    println!("README.md: TLV table renewed");
    Ok(())
}

/// The document with the current table between its markers.
///
/// Fails if a marker is missing.
fn with_table(document: &str) -> Result<String> {
    let found = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (_, after))) = found else {
        bail!("README.md lacks the lines {BEGIN:?} and {END:?} around its TLV table");
    };
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", table(REGISTRY)))
}

/// One Markdown line for each TLV, in the order of the registry.
fn table(registry: &[Entry]) -> String {
    let mut lines = String::from(
        "| type | TLV | name here | specified in | answered by | the reflector must allow |\n|---|---|---|---|---|---|\n",
    );
    for entry in registry {
        let Entry { title, name, section, .. } = entry;
        let earlier = entry.earlier_code.map(|code| format!(" (earlier {code})")).unwrap_or_default();
        let handled_by = entry.handled_by.label();
        let option = entry.allowed_by.map(|option| format!("`{option}`")).unwrap_or_default();
        let line =
            writeln!(lines, "| {}{earlier} | {title} | `{name}` | {section} | {handled_by} | {option} |", entry.code);
        line.expect("writing to a string cannot fail");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("head\n{BEGIN}| stale |\n{END}\ntail\n");
        let new = with_table(&old).unwrap();
        assert!(new.starts_with("head\n") && new.ends_with("\ntail\n") && !new.contains("stale"), "{new}");
        assert!(
            new.contains("| 9 | Destination Node Address | `destination-address` | RFC 9503 §3 | kernel |  |"),
            "{new}"
        );
        assert_eq!(with_table(&new).unwrap(), new);
    }

    #[test]
    fn each_tlv_has_a_line() {
        assert_eq!(table(REGISTRY).lines().count(), 2 + REGISTRY.len());
    }

    #[test]
    fn a_document_without_markers_is_refused() {
        assert!(with_table("# Teaparty\n").unwrap_err().to_string().contains("README.md lacks"));
    }
}
