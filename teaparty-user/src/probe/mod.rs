//! The probe: measures many targets forever with the sender's engine, and tells Prometheus.
//!
//! Reading order: [`settings`] (what a file may say), [`config`] (the file, checked) and [`target`] (whom, how);
//! [`run`] (start to end) and [`supervisor`] (reconciles measured with wanted targets), [`service_discovery`],
//! [`document`] and [`yaml`] (documents with targets), [`worker`] (a thread with an engine); [`target_state`]
//! (what is known of a target), [`totals`] (its counts), [`recent_delays`], [`sla`] (its service level); last [`registry`] (all of it, to
//! look at), [`listing`] (a part of it), [`views`], [`sites`], [`metrics`],
//! [`openapi`] and [`server`] (how others see it).
//!
//! Nothing from outside ends a probe: not a name server, an interface, a document, a file with mistakes, nor a lost target.

pub(crate) mod config;
pub(crate) mod document;
pub(crate) mod listing;
pub mod metrics;
pub mod openapi;
pub(crate) mod recent_delays;
pub(crate) mod registry;
mod router;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod service_discovery;
pub(crate) mod settings;
pub(crate) mod sites;
pub(crate) mod sla;
pub(crate) mod supervisor;
pub(crate) mod target;
pub(crate) mod target_state;
pub(crate) mod totals;
pub(crate) mod views;
pub(crate) mod worker;
pub(crate) mod yaml;
