//! `cargo xtask profile hmac`: what authentication would cost in the kernel.
//!
//! An experiment with its own numbers: the XDP program of `xtask/bench/ebpf/src/bin/hmac_experiment.rs` verifies a packet of 112 octets and seals
//! its reply. Its replies are checked before anything is timed, and that it drops a forged packet.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::Array;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sha2::block_api::compress256;
use teaparty_common::wire::{HMAC_COVERS, HMAC_LEN};
use teaparty_lab::programs;

use crate::figures::{Spread, spread};
use crate::harness::{self, Harness, XDP_DROP, XDP_TX};
use crate::objects;
use crate::slow_path::packets::{Kinds, Template, key};
use crate::{options, pin_to_one_processor};

const REPEAT: u32 = 2_000;
const HEADERS: usize = 14 + 20 + 8;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Measurements of each; the median counts
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(3..))]
    rounds: u32,
    #[arg(long, num_args = 2, value_name = "FILE", hide = true)]
    built: Option<Vec<PathBuf>>,
}

pub(super) fn main(args: &Args) -> Result<()> {
    let build = || Ok([objects::baseline()?, objects::hmac_experiment()?]);
    let words = std::env::args_os().skip(1).collect();
    let Some([floors, sealed]) = options::built(words, args.built.as_deref(), build)? else { return Ok(()) };
    pin_to_one_processor()?;
    let mut object = programs::load(&sealed)?;
    let costs = programs::costs(&mut object)?;
    let states = states(&key());
    Array::<_, [[u32; 8]; 2]>::try_from(object.map_mut("key").context("no map `key`")?)?.set(0, states, 0)?;
    let frame = frame();
    check(&object, &frame)?;

    let mut harness = Harness::load(&floors)?;
    let nothing = harness.floor("floor_pass")?;
    let clocks = harness.floor("floor_clocks")?;
    let [block, reply] = ["hmac_block", "hmac_reply"].map(|name| harness::program(&object, name));
    let (block, reply) = (block?, reply?);
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..args.rounds {
        let empty = harness.time(&nothing, &frame, REPEAT)?.ns;
        for (program, samples) in [&clocks, &block, &reply].into_iter().zip(&mut samples) {
            let timed = harness.time(program, &frame, REPEAT)?;
            ensure!(timed.action == XDP_TX, "it ended with action {}", timed.action);
            samples.push(timed.ns - empty);
        }
    }
    let [clocks, block, reply] = samples.map(|samples| spread(samples.into_iter()));
    println!("medians of {} rounds, ns net of the harness; an HMAC is three blocks of 64 octets\n", args.rounds);
    println!("{:<58}{:>8}{:>18}{:>20}", "", "ns", "middle half", "instructions walked");
    let walked = |name: &str| costs.iter().find(|cost| cost.name == name).map(|cost| cost.walked.to_string());
    row("floor: swap, two clocks", clocks, None);
    row("one block of SHA-256", block, walked("hmac_block"));
    row("verified, answered, sealed; no session", reply, walked("hmac_reply"));
    println!(
        "
SHA instructions, which BPF does not have and the controller's crate takes: {} on this processor
the whole of an authenticated reply by the controller: CPU s/M of `cargo xtask bench slow-path`, in microseconds",
        if has_instructions() { "there" } else { "none" }
    );
    Ok(())
}

fn row(name: &str, Spread { median, quartiles: [low, high] }: Spread, walked: Option<String>) {
    let walked = walked.unwrap_or_default();
    println!("{name:<58}{median:>8.0}{:>18}{walked:>20}", format!("{low:.0} to {high:.0}"));
}

/// The states of SHA-256 after the key's inner and outer pad (RFC 2104 §2, §4).
fn states(key: &[u8]) -> [[u32; 8]; 2] {
    [0x36, 0x5c].map(|pad| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
        // FIPS 180-4 §5.3.3.
        let mut state =
            [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
        compress256(&mut state, &[block]);
        state
    })
}

/// An authenticated packet with a right HMAC.
fn frame() -> Vec<u8> {
    let template = Template::new(Kinds::Authenticated);
    let mut frame = template.frame().to_vec();
    let seal = seal(&frame);
    frame[HEADERS + HMAC_COVERS..][..HMAC_LEN].copy_from_slice(&seal);
    frame
}

fn seal(frame: &[u8]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key()).expect("a key of any length will do");
    hmac.update(&frame[HEADERS..][..HMAC_COVERS]);
    hmac.finalize().into_bytes()[..HMAC_LEN].to_vec()
}

/// A number of a program that does something else would be worse than none.
fn check(object: &Ebpf, frame: &[u8]) -> Result<()> {
    let program: &Xdp = object.program("hmac_reply").context("no program `hmac_reply`")?.try_into()?;
    let run = |frame: &[u8]| -> Result<(u32, Vec<u8>)> {
        let mut reply = vec![0; frame.len()];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut reply), ..TestRunOptions::default() };
        Ok((program.test_run(options).context("BPF_PROG_TEST_RUN failed")?.return_value, reply))
    };
    let (action, reply) = run(frame)?;
    ensure!(action == XDP_TX, "a right packet ended with action {action}");
    ensure!(reply[HEADERS + HMAC_COVERS..] == seal(&reply), "the reply's HMAC is wrong");
    for octet in HEADERS..frame.len() {
        let mut forged = frame.to_vec();
        forged[octet] ^= 1;
        let (action, _) = run(&forged)?;
        ensure!(action == XDP_DROP, "octet {octet} was forged, and it ended with action {action}");
    }
    Ok(())
}

/// Returns true if the processor has the instructions that the crate asks for (cpufeatures).
fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}
