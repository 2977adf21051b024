//! What a measurement prints: [`packet_line`] and [`human`] (the summary) for people, [`json`] a summary for programs,
//! [`stream`] a line for each packet, [`hdr`] distributions for HdrHistogram's tools.

mod delay_table;
pub mod hdr;
pub mod human;
pub mod json;
pub mod packet_line;
pub mod stream;

/// The forms of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// For people: a line for each reply, unless there are more than a hundred a second, then a summary.
    #[default]
    Human,
    /// One JSON object at the end.
    Json,
    /// One JSON object a line for each packet while it runs, the summary as the last line.
    Jsonl,
    /// One line of comma-separated values for each packet while it runs.
    Csv,
}
