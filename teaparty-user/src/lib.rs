//! The controller and the Session-Sender of the program `teaparty`.
//!
//! Reading order: [`cli`] and [`config`] (what can be asked for), [`sender`] (the Session-Sender), [`reflector`] (the
//! Session-Reflector), `daemon` (the process of several), [`probe`], `doctor` (what a reflector needs of a host),
//! [`heartbeat`], [`api`] and [`metrics`] (what is around it), [`http`] (what servers and clients of HTTP share), [`net`]
//! (UDP with the facts a measurement needs), [`sys`] (clocks, privileges and streams of the process), [`crypto`] (keys and
//! HMACs), `files` (what is read by name), `layout`, `logging` and `exit_code` (what is said, and how a run ends).
//!
//! What tests, examples and `main` use is public, and nothing else.

#![allow(rustdoc::private_intra_doc_links, reason = "read by those who work on the crate, with its private items")]

pub mod api;
pub mod cli;
pub mod config;
pub mod crypto;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod exit_code;
pub(crate) mod files;
pub mod heartbeat;
pub mod http;
pub(crate) mod layout;
pub(crate) mod logging;
pub mod metrics;
pub mod net;
pub mod probe;
pub mod reflector;
pub mod sender;
pub(crate) mod sla;
pub(crate) mod sync;
pub mod sys;
pub(crate) mod units;
