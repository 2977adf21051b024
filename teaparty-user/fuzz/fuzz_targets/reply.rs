//! Fuzz target: see `hostile_reply::reply`.
#![no_main]

#[path = "../../tests/support/hostile_reply.rs"]
mod hostile_reply;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile_reply::reply(data));
