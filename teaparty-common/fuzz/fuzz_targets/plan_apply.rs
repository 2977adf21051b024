//! Fuzz target: see `hostile::plan_apply`.
#![no_main]

#[path = "../../tests/support/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::plan_apply(data));
