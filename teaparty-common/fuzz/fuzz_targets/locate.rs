//! Fuzz target: see `hostile::locate`.
#![no_main]

use teaparty_testing::hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::locate(data));
