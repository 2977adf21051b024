//! The program's input: command line and file.
//!
//! Reading order: [`service`] (what may be set of the process; what may be set of a reflector is with the reflector), [`cli_overrides`]
//! (options that know whether they were typed), [`toml_doc`] and [`diagnostic`] (a file's text, and what is wrong with it), [`plan`]
//! (all of it together, checked), [`legacy`] (another program's files made ours).

pub(crate) mod cli_overrides;
pub(crate) mod diagnostic;
pub(crate) mod legacy;
pub(crate) mod plan;
pub(crate) mod service;
pub mod toml_doc;
