//! The result of a measurement, for reports and checks.

use super::record::Ignored;
use super::sender_session::SenderSession;
use crate::sys::clock::ClockState;

/// A finished measurement.
pub struct FinishedMeasurement {
    /// One for each target, in the order of the configuration.
    pub sessions: Vec<SenderSession>,
    /// Datagrams that belong to no session at all.
    pub foreign: Ignored,
    /// Start, in nanoseconds since 1970.
    pub started_ns: u64,
    /// End, in the same.
    pub ended_ns: u64,
    /// Between those, on a clock that nobody sets.
    pub duration_ns: u64,
    /// State of our clock at the end.
    pub clock: ClockState,
    /// By how much the clock was set during the run, in nanoseconds, for each time.
    pub clock_steps_ns: Vec<i64>,
    /// Replies that the kernel dropped because our receive queue was full.
    pub queue_drops: u64,
}
