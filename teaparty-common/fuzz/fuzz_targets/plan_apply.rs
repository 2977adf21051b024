//! Fuzz target: see `hostile::plan_apply`.
#![no_main]

use teaparty_testing::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::plan_apply(data));
