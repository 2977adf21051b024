//! The tables of the dissector `dist/wireshark/stamp.lua`: codes, names and Lengths of TLVs as the registry has them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use xtask::paths;

use super::example;

const FILE: &str = "dist/wireshark/stamp.lua";
const BEGIN: &str = "-- Begin: made by `cargo xtask codegen` from the sources of teaparty-common\n";
const END: &str = "-- End\n";

/// Returns the dissector with the tables of today.
pub(super) fn file() -> Result<(PathBuf, String)> {
    let old = std::fs::read_to_string(paths::root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    Ok((FILE.into(), with_tables(&old, &example("teaparty-common", "tlv_lua")?)?))
}

/// Returns the script with these tables between its markers.
///
/// Fails if a marker is missing.
fn with_tables(script: &str, tables: &str) -> Result<String> {
    let found = script.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let Some((before, (_, after))) = found else {
        bail!("{FILE} lacks the lines {BEGIN:?} and {END:?} around its tables");
    };
    Ok(format!("{before}{BEGIN}{}\n{END}{after}", tables.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tables_of_the_script_change() {
        let old = format!("-- head\n{BEGIN}local STALE = 1\n{END}-- tail\n");
        let new = with_tables(&old, "local NEW = 2\n").unwrap();
        assert_eq!(new, format!("-- head\n{BEGIN}local NEW = 2\n{END}-- tail\n"));
        assert_eq!(with_tables(&new, "local NEW = 2").unwrap(), new);
    }

    #[test]
    fn a_script_without_markers_is_refused() {
        assert!(with_tables("-- nothing\n", "").unwrap_err().to_string().contains("lacks the lines"));
    }
}
