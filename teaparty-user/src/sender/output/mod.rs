//! What a measurement shows: reports, the lines that they are written in, and the live view.

pub mod line_writer;
pub mod report;
pub mod tui;
