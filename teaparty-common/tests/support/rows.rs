//! Reads `testing_data/conformance.toml`: what the RFCs and drafts demand, and what shows that we do it.
//!
//! Shared by the test that keeps the list honest and by `cargo xtask conformance`.

use serde::Deserialize;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Its rows, in the order in which they are printed.
    pub(crate) row: Vec<Row>,
}

/// One demand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// `C001` and so on.
    pub(crate) id: String,
    /// `MUST`, `SHOULD`…, as the head of the file says.
    pub(crate) level: String,
    /// `S`, `R`, `B` or `S/R`.
    pub(crate) role: String,
    /// The section that it comes from.
    pub(crate) section: String,
    /// The demand.
    pub(crate) statement: String,
    /// A way to see it with a raw sender and a capture.
    pub(crate) on_the_wire: String,
    /// Entries of `vectors/vectors.json` that show it.
    pub(crate) vectors: Vec<String>,
    /// Entries of `vectors/tlvs.toml` that show it.
    pub(crate) cases: Vec<String>,
    /// Tests that show it.
    pub(crate) tests: Vec<String>,
    /// Why there is nothing that shows it.
    pub(crate) untested: Option<String>,
}

impl Row {
    /// Returns true if something shows it.
    pub(crate) fn is_shown(&self) -> bool {
        !(self.vectors.is_empty() && self.cases.is_empty() && self.tests.is_empty())
    }
}
