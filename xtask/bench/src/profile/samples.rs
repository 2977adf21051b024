//! Samples of where a processor is, taken by perf.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::exec;
use xtask::setup::apt;
use xtask::steps::Steps;

/// The calls that the processor was in, innermost first: address and symbol.
pub(super) type Chain = Vec<(u64, String)>;

/// Has perf where it is missing and can be had.
pub(super) fn provide_perf() -> Result<()> {
    if exec::find("perf").is_none() {
        apt::install(&["linux-perf"], &mut Steps::new(apt::STEPS)).context("this needs perf; install linux-perf")?;
    }
    Ok(())
}

/// `perf record` of what follows, into a file: this many samples a second of the processor's clock.
pub(super) fn record(file: &Path, per_second: u32) -> Command {
    let mut command = Command::new("perf");
    command.args(["record", "--quiet", "--event", "cpu-clock", "--freq", &per_second.to_string(), "--output"]);
    command.arg(file);
    command
}

/// The text of what was recorded; empty lines between samples.
pub(super) fn script(file: &Path, fields: &str) -> Result<String> {
    let mut command = Command::new("perf");
    command.args(["script", "--no-inline", "--fields", fields, "--input"]).arg(file);
    let text = exec::capture(&mut command)?;
    ensure!(!text.is_empty(), "perf took no samples: this machine does not let it");
    Ok(text)
}

/// The chains of what was recorded.
pub(super) fn chains(file: &Path) -> Result<Vec<Chain>> {
    Ok(script(file, "ip,sym")?.split("\n\n").map(chain).filter(|chain| !chain.is_empty()).collect())
}

/// "  ffffffff81234567 symbol", one call a line.
fn chain(text: &str) -> Chain {
    let call = |line: &str| {
        let (address, symbol) = line.trim().split_once(' ')?;
        Some((u64::from_str_radix(address, 16).ok()?, symbol.trim().to_owned()))
    };
    text.lines().filter_map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_read_from_the_innermost_call_on() {
        let chain = chain("\tffffffffc0a0 look_v4\n\t    10 core::slice::<impl [T]>::len\n");
        assert_eq!(
            chain,
            [(0xffff_ffff_c0a0, "look_v4".to_owned()), (0x10, "core::slice::<impl [T]>::len".to_owned())]
        );
    }
}
