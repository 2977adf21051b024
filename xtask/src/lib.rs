//! The parts of xtask that its benchmarks (`xtask/bench`), its checks (`xtask/checks`) and its lab of kernels (`xtask/lab`)
//! use too: paths, child processes, builds and tests. The commands are in `main.rs`.

pub mod build_ebpf;
pub mod exec;
pub mod paths;
pub mod program;
pub mod setup;
pub mod steps;
pub mod test;
pub mod tools;
