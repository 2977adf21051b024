//! Loads the XDP programs of an object for a measurement or a check: nothing is attached.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::ProgramArray;
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use teaparty_common::maps::{TailCall, name};
use xtask::paths;

/// The cost of loading one program.
pub struct Cost {
    /// The program.
    pub name: String,
    /// Instructions that the verifier walked, on all paths together.
    pub walked: u32,
    /// Octets of BPF instructions after the verifier's changes.
    pub translated: u32,
    /// Octets of machine code; 0 where the kernel interprets.
    pub jitted: u32,
}

/// Makes the maps of an object; its programs are not loaded yet.
pub fn load(object: &Path) -> Result<Ebpf> {
    load_sized(object, &[])
}

/// [`load`] with other sizes for some maps, by their names.
pub fn load_sized(object: &Path, sizes: &[(&'static str, u32)]) -> Result<Ebpf> {
    let bytes = std::fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut loader = EbpfLoader::new();
    for (name, entries) in sizes {
        loader.map_max_entries(name, *entries);
    }
    loader.load(&bytes).with_context(|| format!("the kernel refuses the maps of {}", paths::shown(object)))
}

/// Loads every program; in the order of their names.
///
/// Fails with the end of the verifier's log if it refuses one.
pub fn costs(ebpf: &mut Ebpf) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let program: &mut Xdp = program.try_into().with_context(|| format!("{name} is no XDP program"))?;
        program.load().map_err(|error| refusal(name, &error))?;
        let info = program.info()?;
        let walked =
            info.verified_instruction_count().context("the kernel does not say what it verified (before 5.16)")?;
        let translated = info.size_translated().unwrap_or(0);
        costs.push(Cost { name: name.to_owned(), walked, translated, jitted: info.size_jitted() });
    }
    costs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(costs)
}

/// Has the reflector find the programs that it goes on to, which are loaded.
pub fn connect(ebpf: &mut Ebpf) -> Result<()> {
    for step in TailCall::ALL {
        let program: &Xdp =
            ebpf.program(step.program()).with_context(|| format!("no program {}", step.program()))?.try_into()?;
        let program = program.fd()?.try_clone()?;
        let map = ebpf.map_mut(name::TAIL_CALLS).with_context(|| format!("no map {}", name::TAIL_CALLS))?;
        ProgramArray::try_from(map)?.set(step as u32, &program, 0)?;
    }
    Ok(())
}

/// The verifier says what is wrong in its last lines, and may say a megabyte before.
fn refusal(name: &str, error: &aya::programs::ProgramError) -> anyhow::Error {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    anyhow::anyhow!("the kernel's verifier refuses {name}; the end of its log:\n{end}")
}
