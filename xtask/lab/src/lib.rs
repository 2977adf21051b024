//! Loads the reflector's programs into a kernel, for the checks of this crate and for the benchmarks.

pub mod programs;
