//! The probe: measures many targets forever with the sender's engine, and tells Prometheus.
//!
//! Reading order: [`settings`] (what a file may say), [`config`] (the file, checked) and [`target`] (whom, how); [`run`] (start
//! to end) and [`supervisor`] (reconciles measured with wanted targets), [`discover`], [`http`] and [`yaml`]
//! (documents with targets),
//! [`group`] (a thread with an engine); [`watched`] (what is known of a target), [`sla`] (its service level); last [`board`]
//! (all of it, to look at), [`exposition`], [`openapi`] and [`server`] (how others see it).
//!
//! Nothing from outside ends a probe: not a name server, an interface, a document, a file with mistakes, nor a lost target.

pub mod board;
pub mod config;
pub mod discover;
pub mod exposition;
pub mod group;
pub mod http;
pub mod openapi;
mod router;
pub mod run;
pub mod server;
pub mod settings;
pub mod sla;
pub mod supervisor;
pub mod target;
pub mod watched;
pub mod yaml;
