//! One target's session: its packets, its replies, its statistics. Does no I/O; the engine moves the octets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use teaparty_common::tlv::{Kind, KindSet};
use teaparty_common::wire::TrafficClass;

use super::matcher::{MatcherSettings, ReplyMatcher, Resolution, ResolvedPacket};
use super::packet::{NoCodePoint, Template};
use super::record::{Ignored, Record, SessionCounters, TargetSnapshot};
use super::reflector_clock::ReflectorClock;
use super::schedule::Schedule;
use super::stats::Statistics;
use crate::net::batch::HostTimestamp;
use crate::sender::config::{Pattern, SenderConfig};
use crate::sender::tlvs::chain::AccessReportRequest;

mod access_report;
mod bit_errors;
mod burst_gap;
mod congestion;
mod ecn;
mod receive;
mod record;
mod templates;
mod tlvs;

pub use bit_errors::{BitErrors, WrongBits};
pub use tlvs::TlvCounts;

use access_report::AccessTimer;
use burst_gap::BurstGap;
use congestion::Congestion;
use templates::templates;

/// The variant of its packets that a session sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As always.
    Plain,
    /// With the Access Report in front of the other TLVs.
    Report,
}

/// The consequences of a reply.
#[derive(Debug, Default)]
pub struct ReceiveOutcome {
    /// Of a packet that is lost by this, for those who want it.
    pub loss: Option<Box<Record>>,
    /// Of the reply, if wanted.
    pub record: Option<Box<Record>>,
    /// Out of the ordinary.
    pub notice: Option<String>,
}

/// The start of a session.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Session-Sender Identifier, 0 for none.
    pub ssid: u16,
    /// Time of the first packet (monotonic).
    pub start_ns: u64,
    /// Decides about Poisson intervals.
    pub seed: u64,
}

/// Ranges in the histogram of a snapshot.
const SNAPSHOT_RANGES: usize = 12;

/// A session.
pub struct SenderSession {
    place: usize,
    /// Destination of the packets.
    pub address: SocketAddr,
    /// Session-Sender Identifier, 0 for none.
    pub ssid: u16,
    /// Packets and replies.
    pub matcher: ReplyMatcher,
    /// Totals of the samples.
    pub statistics: Statistics,
    /// By what they are and their type on the wire.
    tlvs: BTreeMap<(Option<Kind>, u8), TlvCounts>,
    /// Replies that were ignored.
    pub ignored: Ignored,
    /// Packets that the system refused to send, and the first reason.
    pub send_errors: (u64, Option<String>),
    /// Refusals that the network reported.
    pub refusals: u64,
    /// Packets of the schedule that were never sent, as this process was stopped or this host is too slow.
    pub schedule_skipped: u64,
    /// The system's error number of the first one.
    pub refusal: Option<i32>,
    /// Congestion marks that made us slow down (cos-ecn-01 §3.4).
    pub slowdowns: u64,
    /// Bit errors of both directions (stamp-ber-07 §6.2).
    pub bit_errors: BitErrors,
    schedule: Schedule,
    due_ns: Option<u64>,
    plain: Template,
    /// The evidence of its replies about the reflector's clock.
    reflector_clock: ReflectorClock,
    /// Kinds of TLVs that are no longer sent.
    given_up: KindSet,
    reporting: Option<(Template, AccessTimer)>,
    burst_gap: Option<BurstGap>,
    congestion: Congestion,
    reflector_link: Option<u16>,
    last_round_trip_ns: Option<i64>,
    /// The last reply that had TLVs, and its traffic class, to be put into words in the end.
    last_reply: (Vec<u8>, Option<TrafficClass>),
}

impl SenderSession {
    /// The session of the target at `place`, whose first packet is due at `start_ns` (monotonic).
    pub fn new(config: &SenderConfig, place: usize, ssid: u16, start_ns: u64, seed: u64) -> Result<Self, NoCodePoint> {
        Self::with(config, place, config.targets[place].address, Start { ssid, start_ns, seed })
    }

    /// Creates a session for an address that the configuration does not name.
    pub fn with(
        config: &SenderConfig,
        place: usize,
        address: SocketAddr,
        Start { ssid, start_ns, seed }: Start,
    ) -> Result<Self, NoCodePoint> {
        let (plain, reporting) = templates(config, ssid, KindSet::EMPTY, None)?;
        let timer = |report: AccessReportRequest| AccessTimer::new(report.timer, report.retransmissions);
        let reporting = reporting.zip(config.access_report.map(timer));
        let mut schedule = Schedule::new(config.plan, start_ns, seed);
        let due_ns = schedule.next();
        Ok(Self {
            place,
            address,
            ssid,
            matcher: ReplyMatcher::new(matcher_settings(config)),
            statistics: Statistics::default(),
            tlvs: BTreeMap::new(),
            ignored: Ignored::default(),
            send_errors: (0, None),
            refusals: 0,
            schedule_skipped: 0,
            refusal: None,
            slowdowns: 0,
            bit_errors: BitErrors::default(),
            schedule,
            due_ns,
            plain,
            given_up: KindSet::EMPTY,
            reporting,
            burst_gap: BurstGap::new(config.replies_per_packet, config.reply_interval_ns, config.timeout),
            congestion: Congestion::default(),
            reflector_link: config.micro_session.and_then(|(_, reflector)| reflector),
            last_round_trip_ns: None,
            reflector_clock: ReflectorClock::default(),
            last_reply: (Vec::new(), None),
        })
    }

    /// Moves the start of a session that began at 0 and has sent nothing to `start_ns` (monotonic).
    pub fn start_at(&mut self, start_ns: u64) {
        self.schedule.start_at(start_ns);
        self.due_ns = self.due_ns.map(|due| due + start_ns);
    }

    /// Returns the time of the next packet (monotonic); `None` after the last one.
    pub fn due_ns(&self) -> Option<u64> {
        let report = self.reporting.as_ref().and_then(|(_, timer)| timer.due_ns());
        let due = match (self.due_ns, report) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(self.not_before(due))
    }

    /// Returns the earliest time for a packet that is due at `due_ns`: a burst of replies may have to end first.
    fn not_before(&self, due_ns: u64) -> u64 {
        let pause = self.burst_gap.as_ref().and_then(BurstGap::until_ns).unwrap_or(0);
        due_ns.max(pause).max(self.matcher.full_until_ns().unwrap_or(0))
    }

    /// Takes what was missed by `now_ns` off the schedule, all but its last packet: it would leave in a burst. Returns how
    /// many packets that were.
    pub fn skip_missed(&mut self, now_ns: u64) -> u64 {
        let Some(due_ns) = self.due_ns else { return 0 };
        let deadline_ns = self.not_before(due_ns);
        if !self.schedule.is_missed(deadline_ns, now_ns) {
            return 0;
        }
        self.schedule.delay(deadline_ns - due_ns);
        let (due_ns, skipped) = self.schedule.skip_missed(deadline_ns, now_ns);
        self.due_ns = due_ns;
        self.schedule_skipped += skipped;
        skipped
    }

    /// Takes the packet that is due by `now_ns` off the schedule: its deadline, and which template it is made from.
    pub fn take_due(&mut self, now_ns: u64) -> Option<(u64, Variant)> {
        let deadline = self.due_ns()?;
        if let Some(due) = self.due_ns.filter(|due| *due <= deadline) {
            // Unless a burst had to end first, there is no delay.
            self.schedule.delay(deadline - due);
            self.due_ns = self.schedule.next();
        }
        // What follows from a packet follows from when it leaves, however late that is.
        let leaves_ns = if self.schedule.is_missed(deadline, now_ns) { now_ns } else { deadline };
        if let Some(gap) = &mut self.burst_gap {
            gap.begin(leaves_ns);
        }
        let is_report = self.reporting.as_mut().is_some_and(|(_, timer)| timer.take(leaves_ns));
        Some((deadline, if is_report { Variant::Report } else { Variant::Plain }))
    }

    /// The template of a variant.
    pub fn template(&self, variant: Variant) -> &Template {
        match (variant, &self.reporting) {
            (Variant::Report, Some((template, _))) => template,
            _ => &self.plain,
        }
    }

    /// Nothing more will be sent.
    pub fn stop_sending(&mut self) {
        self.due_ns = None;
        if let Some((_, timer)) = &mut self.reporting {
            timer.stop();
        }
    }

    /// Returns true if nothing more is to be sent or awaited.
    pub fn is_over(&self) -> bool {
        self.due_ns().is_none() && self.matcher.awaited() == 0
    }

    /// Returns true if a reply may come from this address.
    pub fn accepts(&self, peer: SocketAddr, config: &SenderConfig) -> bool {
        let from_target =
            peer.ip().to_canonical() == self.address.ip().to_canonical() && peer.port() == self.address.port();
        from_target || self.address.ip().is_multicast() || config.reply_sources.contains(&peer.ip().to_canonical())
    }

    /// Notes when the packet with this number left.
    pub fn transmitted(&mut self, index: u64, stamp: HostTimestamp) {
        if let Some(late_ns) = self.matcher.transmitted(index, stamp) {
            self.statistics.pacing.record(i64::try_from(late_ns).unwrap_or(i64::MAX));
            self.statistics.stamped_pacing += 1;
        }
    }

    /// Returns the events for a packet whose outcome is known: its record, where that is not reported yet, and
    /// anything unusual.
    pub fn outcome_of(&self, resolved: ResolvedPacket, wants_record: bool) -> ReceiveOutcome {
        let loss = wants_record.then_some(resolved.index).and_then(|index| match resolved.fate {
            Resolution::Known => None,
            Resolution::Lost => Some(self.lost(index)),
            Resolution::Unsettled => Some(self.unsettled(index)),
        });
        let notice =
            resolved.is_restart.then(|| "the reflector has restarted: its sequence numbers begin again".to_owned());
        ReceiveOutcome { loss, record: None, notice }
    }

    /// Returns its state.
    pub fn snapshot(&self) -> TargetSnapshot {
        TargetSnapshot {
            counts: self.matcher.counts(),
            split: self.matcher.split(),
            round_trip: self.statistics.round_trip.figures(),
            last_round_trip_ns: self.last_round_trip_ns,
            histogram: self.statistics.round_trip.histogram(SNAPSHOT_RANGES),
        }
    }

    /// Returns its counters.
    pub fn counters(&self) -> SessionCounters {
        SessionCounters {
            counts: self.matcher.counts(),
            split: Some(self.matcher.split()),
            ignored: self.ignored,
            send_errors: self.send_errors.0,
            refusals: self.refusals,
            schedule_skipped: self.schedule_skipped,
            pacing_error_ns: self.pacing_error_ns(),
        }
    }

    /// Returns the lateness of packets against the schedule: p50 and p99.
    fn pacing_error_ns(&self) -> Option<[i64; 2]> {
        let pacing = &self.statistics.pacing;
        Some([pacing.quantile(0.5)?, pacing.quantile(0.99)?])
    }

    /// Returns true if an address is this target's.
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.address.ip().to_canonical() == address.to_canonical()
    }

    /// The present pace as a multiple of the interval asked for.
    pub fn stretch(&self) -> u32 {
        self.schedule.stretch()
    }
}

fn matcher_settings(config: &SenderConfig) -> MatcherSettings {
    let per_second = config.plan.packets_per_second(1);
    let capacity = per_second * config.timeout.as_secs_f64() * 1.5 + 64.0 + burst_size(config) as f64;
    // No more than there will be packets, and a bound for what nobody can send.
    let most = config.plan.count.map_or(1 << 21, |count| count.saturating_add(64)).min(1 << 21) as f64;
    MatcherSettings {
        capacity: capacity.min(most) as usize,
        timeout_ns: burst_gap::patience_ns(config.replies_per_packet, config.reply_interval_ns.into(), config.timeout),
        first_sequence: 0,
        replies_per_packet: config.replies_per_packet,
        is_stateful_reflector: config.is_stateful_reflector,
    }
}

fn burst_size(config: &SenderConfig) -> u32 {
    match config.plan.pattern {
        Pattern::Burst(size) => size.max(1),
        _ => 1,
    }
}
