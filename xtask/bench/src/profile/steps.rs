//! `cargo xtask profile steps`: where the kernel's nanoseconds go, as the price of single steps.
//!
//! Variants of one small program are timed: a swap of addresses with two readings of the clock, and one thing more in
//! each. Retired instructions would say more, and few virtual machines let one count them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::objects;
use crate::{options, pin_to_one_processor, prices};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Measurements of each step; the median counts
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    /// Measure with these objects, the floors and the prices, and build nothing
    #[arg(long, num_args = 2, value_name = "FILE", hide = true)]
    built: Option<Vec<PathBuf>>,
}

/// The programs of `xtask/bench/ebpf/src/bin/microbench.rs`, and what each does.
const STEPS: [(&str, &str); 9] = [
    ("price_function", "a call of one of our functions"),
    ("price_array", "a look-up in an array"),
    ("price_counter", "a counter of this processor"),
    ("price_atomic", "an atomic addition"),
    ("price_time", "a time as it goes on the wire"),
    ("price_lru40", "a look-up of a session, key of 40 octets"),
    ("price_lru16", "the same with a key of 16 octets"),
    ("price_hash40", "the same without LRU"),
    ("price_hash4", "a look-up with a key of 4 octets"),
];
const NOTHING: &str = "price_nothing";

pub(super) fn main(args: &Args) -> Result<()> {
    let build = || Ok([objects::baseline()?, objects::microbench()?]);
    let words = std::env::args_os().skip(1).collect();
    let Some([floors, prices]) = options::built(words, args.built.as_deref(), build)? else { return Ok(()) };
    pin_to_one_processor()?;
    let names: Vec<&str> = [NOTHING].into_iter().chain(STEPS.iter().map(|(name, _)| *name)).collect();
    let spreads = prices::measure(&floors, &prices, &names, args.rounds)?;
    let nothing = spreads.first().context("nothing was measured")?.median;
    println!(
        "a swap with two readings of the clock, in the harness: {nothing:.0} ns; more than that, by medians of {} rounds:\n",
        args.rounds
    );
    println!("{:<44}{:>6}{:>16}", "step", "ns", "middle half");
    for ((_, what), spread) in STEPS.iter().zip(&spreads[1..]) {
        let [low, high] = spread.quartiles.map(|ns| ns - nothing);
        println!("{what:<44}{:>6.0}{:>16}", spread.median - nothing, format!("{low:.0} to {high:.0}"));
    }
    Ok(())
}
