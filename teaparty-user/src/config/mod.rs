//! What the program is told, by command line and file.
//!
//! Reading order: [`typed`] (options that know whether they were typed).

pub mod typed;
