//! The BPF objects that only measurements use, built where needed.

use std::path::PathBuf;

use anyhow::Result;
use xtask::build_ebpf;

/// Builds the programs that the reflector is measured against, and returns the path of their object.
pub(crate) fn baseline() -> Result<PathBuf> {
    build_ebpf::build_bench("teaparty-baseline")
}

/// Builds both ends of the load of `bench live` and `bench slow-path`, and returns the path of their object.
pub(crate) fn traffic_gen() -> Result<PathBuf> {
    build_ebpf::build_bench("teaparty-traffic-gen")
}

/// Builds the programs that measure single steps, and returns the path of their object.
pub(crate) fn microbench() -> Result<PathBuf> {
    build_ebpf::build_bench("teaparty-microbench")
}

/// Builds the experiment with authentication in XDP, and returns the path of its object.
pub(crate) fn hmac_experiment() -> Result<PathBuf> {
    build_ebpf::build_bench("teaparty-hmac-experiment")
}
