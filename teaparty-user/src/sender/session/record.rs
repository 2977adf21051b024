//! What a session tells: a record of each packet and its reply, its counters, and its state.

use teaparty_common::wire::TrafficClass;

use super::delays::{NoDelays, Sample};
use super::histogram::DistributionFigures;
use super::matcher::{Counts, ReplyKind, Split};
use crate::net::batch::StampSource;
use crate::sender::tlvs::describe::TlvFinding;

/// The counters of a session since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionCounters {
    /// Packets and replies.
    pub counts: Counts,
    /// Loss by direction; `None` at the start.
    pub split: Option<Split>,
    /// Replies that were ignored.
    pub ignored: Ignored,
    /// Packets that the system refused to send.
    pub send_errors: u64,
    /// Refusals that the network reported.
    pub refusals: u64,
    /// Packets of the schedule that were never sent.
    pub schedule_skipped: u64,
    /// Lateness of packets against the schedule, in nanoseconds: p50 and p99; `None` before the first one.
    pub pacing_error_ns: Option<[i64; 2]>,
}

/// The fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketOutcome {
    /// Answered; see [`ReplyKind`].
    Answered(ReplyKind),
    /// No reply came in time.
    Lost,
    /// Nobody waited for its reply long enough.
    Unsettled,
}

impl PacketOutcome {
    /// Label in streams of records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered(ReplyKind::Reply) => "reply",
            Self::Answered(ReplyKind::Further) => "further",
            Self::Answered(ReplyKind::Duplicate) => "duplicate",
            Self::Answered(ReplyKind::Late) => "late",
            Self::Lost => "lost",
            Self::Unsettled => "unsettled",
        }
    }
}

/// One reply, or one packet without.
#[derive(Clone, Debug)]
pub struct Record {
    /// Place of the target in the configuration.
    pub target: usize,
    /// The Session-Sender Identifier of its session, 0 for none.
    pub ssid: u16,
    /// The fate of the packet.
    pub fate: PacketOutcome,
    /// Its Sequence Number.
    pub sequence: u32,
    /// T1 and who took it.
    pub t1: (u64, StampSource),
    /// The reply; `None` where there is none.
    pub reply: Option<ReplyRecord>,
}

/// The record of a reply.
#[derive(Clone, Debug)]
pub struct ReplyRecord {
    /// Its UDP payload in octets.
    pub octets: usize,
    /// T2 in nanoseconds since 1970, on the reflector's clock.
    pub t2: u64,
    /// T3, in the same form.
    pub t3: u64,
    /// T4 and who took it.
    pub t4: (u64, StampSource),
    /// Its own Sequence Number.
    pub reflector_sequence: u32,
    /// The delays, or why there are none.
    pub sample: Result<Sample, NoDelays>,
    /// True if both clocks claim synchronisation.
    pub is_synchronized: bool,
    /// Both claimed error bounds added, in nanoseconds; `None` where one clock claims none.
    pub error_ns: Option<u64>,
    /// TTL or Hop Limit at the reflector.
    pub forward_ttl: Option<u8>,
    /// TTL or Hop Limit of the reply.
    pub backward_ttl: Option<u8>,
    /// Traffic class at the reflector, where a TLV tells.
    pub forward_class: Option<TrafficClass>,
    /// Traffic class of the reply.
    pub backward_class: Option<TrafficClass>,
    /// Replies to later packets that came before it.
    pub reordering_extent: u32,
    /// The findings of its TLVs.
    pub findings: Vec<TlvFinding>,
}

/// The state of one target.
#[derive(Clone, Debug)]
pub struct TargetSnapshot {
    /// Counts.
    pub counts: Counts,
    /// Loss by direction.
    pub split: Split,
    /// Round trip so far.
    pub round_trip: Option<DistributionFigures>,
    /// The last round trip.
    pub last_round_trip_ns: Option<i64>,
    /// Round trips so far in a few ranges of equal width: the middle of each and how many fell into it.
    pub histogram: Vec<(i64, u64)>,
}

/// Replies that were ignored, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ignored {
    /// From an address or port that is not the target's.
    pub foreign: u64,
    /// With a wrong HMAC.
    pub unauthenticated: u64,
    /// Too short to be a reply.
    pub malformed: u64,
    /// For another member link (RFC 9534 §3.2).
    pub other_link: u64,
}
