//! The Session-Sender: sends test packets, matches replies, and turns four timestamps into numbers.
//!
//! Reading order: [`config`] (the measurement) and [`target`], [`run`] (start to exit status), [`engine`] (the loop that
//! does I/O) and [`session`] (one target, no I/O) with the [`tlvs`] of its packets; then [`output`] (what is shown) and
//! [`thresholds`] (what must hold); last [`saved_run`] (earlier measurements).

pub mod config;
pub mod engine;
pub(crate) mod output;
pub(crate) mod run;
pub(crate) mod saved_run;
pub mod session;
pub mod target;
pub(crate) mod thresholds;
pub mod tlvs;
