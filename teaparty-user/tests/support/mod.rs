//! What the tests that run the loaded program share.
//!
//! Frames are built and judged by code that shares nothing with `teaparty-common`: a mistake there must not hide itself.
#![allow(dead_code, reason = "no single test program needs all of it")]

pub(crate) mod bad_input;
#[path = "../../../teaparty-common/tests/support/cases.rs"]
pub(crate) mod cases;
pub(crate) mod frame;
pub(crate) mod kernel;
pub(crate) mod model;
pub(crate) mod packets;
pub(crate) mod probe;
pub(crate) mod random;
pub(crate) mod slow;
#[path = "../../../teaparty-common/tests/support/vectors.rs"]
pub(crate) mod vectors;
