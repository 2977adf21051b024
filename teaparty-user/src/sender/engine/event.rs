//! The events of a running measurement: one for each reply and loss where asked for, and everything out of the ordinary.

use crate::sender::session::record::{Record, SessionCounters, TargetSnapshot};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum SenderEvent {
    /// A packet was answered or given up.
    Record(Box<Record>),
    /// Something that a person should know, about one target or about all.
    Notice {
        /// Place of the target in the configuration.
        target: Option<usize>,
        /// Its kind.
        text: String,
    },
    /// The state of all targets, a few times a second.
    Snapshot(Box<[TargetSnapshot]>),
    /// The counters of one target's session.
    Counters {
        /// Place of the target.
        target: usize,
        /// The counts.
        counters: Box<SessionCounters>,
    },
}

/// The wanted events; others cost nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscription {
    /// [`SenderEvent::Record`].
    pub records: bool,
    /// [`SenderEvent::Snapshot`], so often.
    pub snapshots: Option<std::time::Duration>,
    /// [`SenderEvent::Counters`] of each session, so often.
    pub counters: Option<std::time::Duration>,
}
