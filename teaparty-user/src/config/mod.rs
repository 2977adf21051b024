//! The program's input: command line and file.
//!
//! Reading order: [`service`] (what may be set of the process; what may be set of a reflector is with the reflector), [`typed`]
//! (options that know whether they were typed), [`document`] and [`problem`] (a file's text, and what is wrong with it), [`plan`]
//! (all of it together, checked), [`namesake`] (another program's files made ours).

pub mod document;
pub mod namesake;
pub mod plan;
pub mod problem;
pub mod service;
pub mod typed;
