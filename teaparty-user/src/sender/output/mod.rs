//! What a measurement shows: reports, the lines that they are written in, and the live view.

pub(crate) mod line_writer;
pub(crate) mod report;
pub(crate) mod tui;
