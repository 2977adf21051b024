//! The slow path on a veth pair, as root: authentication under attack, keys that stay secret, bounds and fairness, and
//! the two owners of sessions that never disagree.

#[path = "../reflector_support/mod.rs"]
mod reflector_support;

mod authentication;
mod fairness;

mod secrets;
mod sessions;

mod signed;
