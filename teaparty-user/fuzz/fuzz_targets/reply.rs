//! Fuzz target: see `hostile_reply::reply`.
#![no_main]

use teaparty_testing::hostile_reply;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile_reply::reply(data));
