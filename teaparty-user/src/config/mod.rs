//! The program's input: command line and file.
//!
//! Reading order: [`service`] (what may be set of the process; what may be set of a reflector is with the reflector), [`cli_overrides`]
//! (options that know whether they were typed), [`file_kind`] (whose
//! file it is), [`config_text`] (a file, or a folder of them), [`toml_doc`] and [`diagnostic`] (the text as tables, and what is wrong with it), [`plan`]
//! (all of it together, checked), [`legacy`] (another program's files made ours).

pub(crate) mod cli_overrides;
pub(crate) mod config_text;
pub(crate) mod diagnostic;
pub mod file_kind;
pub(crate) mod legacy;
pub(crate) mod plan;
pub(crate) mod service;
pub mod toml_doc;
