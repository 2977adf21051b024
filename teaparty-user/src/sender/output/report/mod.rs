//! What a measurement prints: [`packet_line`] and [`human`] (the summary) for people, [`json`] a summary for programs,
//! [`stream`] a line for each packet, [`hdr`] distributions for HdrHistogram's tools.

mod delay_table;
pub(crate) mod hdr;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod packet_line;
pub(crate) mod stream;

/// The forms of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
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
