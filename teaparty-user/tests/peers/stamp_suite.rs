//! Interworking with `stamp-suite` 1.0.0: its sender against our reflector, its reflector against our sender, and the
//! vectors against its reflector. The part with the XDP program needs root; all of it needs stamp-suite, which
//! `cargo xtask test` installs, or whose path is in the environment variable TEAPARTY_STAMP_SUITE.
//!
//! What is to happen, and where the two disagree, is in `testing_data/interop.toml`. A disagreement that is not listed
//! there fails the tests, and so does one that is listed and gone.

mod bursts;
mod our_sender;
mod programs;
mod table;
mod their_sender;
mod vector_flags;
