//! The slow path on a veth pair: authentication under attack, keys that stay secret, bounds and fairness, the two owners of
//! sessions that never disagree, and configurations that change as a whole. Needs root.

mod authentication;
mod changes;
mod fairness;
mod inside;
mod interop;
mod layout;
mod limits;
mod listing;
mod memory;
mod reconfigure;
mod secrets;
mod sessions;
pub(crate) mod signed;
