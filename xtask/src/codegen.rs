//! `cargo xtask codegen`: what documents repeat from the source, written from the source.

use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask::{exec, paths};

const BEGIN: &str = "<!-- coverage: made by `cargo xtask codegen` from teaparty-common/src/registry.rs -->\n";
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
    let new = with_table(&old, &table()?)?;
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

/// Returns the document with this table between its markers.
///
/// Fails if a marker is missing.
fn with_table(document: &str, table: &str) -> Result<String> {
    let found = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (_, after))) = found else {
        bail!("README.md lacks the lines {BEGIN:?} and {END:?} around its TLV table");
    };
    Ok(format!("{before}{BEGIN}\n{table}\n\n{END}{after}"))
}

/// Returns the registry's table, printed by an example of its crate: so that xtask need not compile that crate first.
fn table() -> Result<String> {
    let mut command = exec::cargo();
    command.args(["build", "--quiet", "--package", "teaparty-common", "--example", "tlv_table"]);
    exec::build("the registry of TLVs", &mut command)?;
    exec::capture(&mut Command::new(paths::host_target().join("debug/examples/tlv_table")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let old = format!("head\n{BEGIN}| stale |\n{END}\ntail\n");
        let new = with_table(&old, "| new |").unwrap();
        assert_eq!(new, format!("head\n{BEGIN}\n| new |\n\n{END}\ntail\n"));
        assert_eq!(with_table(&new, "| new |").unwrap(), new);
    }

    #[test]
    fn a_document_without_markers_is_refused() {
        assert!(with_table("# Teaparty\n", "").unwrap_err().to_string().contains("README.md lacks"));
    }
}
