//! What test programs of several crates share. Assertions about the product stay in the tests.
//!
//! Frames are built and judged by code that shares nothing with `teaparty-common`: a mistake there must not hide itself.

pub mod bad_input;
pub mod cases;
pub mod frame;
pub mod hostile;
pub mod json_keys;
pub mod random;
pub mod skip;
pub mod vectors;

#[cfg(feature = "user")]
pub mod api;
#[cfg(feature = "user")]
pub mod authority;
#[cfg(feature = "user")]
pub mod booted;
#[cfg(feature = "user")]
pub mod browser;
#[cfg(feature = "user")]
pub mod hostile_reply;
#[cfg(feature = "user")]
pub mod kernel;
#[cfg(feature = "user")]
pub mod local;
#[cfg(feature = "user")]
pub mod model;
#[cfg(feature = "user")]
pub mod namespace;
#[cfg(feature = "user")]
pub mod packets;
#[cfg(feature = "user")]
pub mod program;
#[cfg(feature = "user")]
pub mod reflector;
#[cfg(feature = "user")]
pub mod relay;
#[cfg(feature = "user")]
pub mod sender;
#[cfg(feature = "user")]
pub mod slow_path;
#[cfg(feature = "user")]
pub mod web;
