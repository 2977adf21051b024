//! What a session tells of each packet to those who want to know.

use teaparty_common::wire::ErrorEstimate;

use super::SenderSession;
use crate::net::batch::{HostTimestamp, Received, StampSource};
use crate::sender::config::SenderConfig;
use crate::sender::session::clock_claims::bound_ns;
use crate::sender::session::delays::{NoDelays, Sample};
use crate::sender::session::matcher::MatchedReply;
use crate::sender::session::record::{PacketOutcome, Record, ReplyRecord};
use crate::sender::session::reflector_clock::TAI_OFFSET_NS;
use crate::sender::session::reply::Reply;
use crate::sender::session::stats::Observation;
use crate::sender::session::transit::SentPacket;
use crate::sender::tlvs::describe::{self, Marks};
use crate::sender::tlvs::reply::ReplyTlv;

/// A reply with the packet that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct ReplyExchange<'a> {
    pub(super) reply: &'a Reply,
    pub(super) received: &'a Received<'a>,
    pub(super) matched: MatchedReply,
    /// The TLVs of the reply.
    pub(super) found: &'a [ReplyTlv<'a>],
    pub(super) times: ReplyTimes,
}

/// The four timestamps of an exchange.
#[derive(Clone, Copy)]
pub(super) struct ReplyTimes {
    pub(super) t1: HostTimestamp,
    /// In nanoseconds since 1970, on the reflector's clock.
    pub(super) t2: u64,
    /// With the same unit, on the same clock.
    pub(super) t3: u64,
    pub(super) t4: HostTimestamp,
    /// The delays, or why there are none.
    pub(super) sample: Result<Sample, NoDelays>,
}

impl SenderSession {
    /// The record of a packet that was answered.
    pub(super) fn answered(
        &self,
        exchange: &ReplyExchange<'_>,
        seen: &Observation,
        config: &SenderConfig,
    ) -> Box<Record> {
        let ReplyExchange { matched, reply, received, found, times } = *exchange;
        let ReplyTimes { t1, t2, t3, t4, sample } = times;
        let marks =
            Marks { sent: config.traffic_class, reply: received.traffic_class, has_key: config.tlv_key.is_some() };
        let (ours, theirs) = (seen.sender_estimate, seen.reflector_estimate);
        Box::new(Record {
            target: self.place,
            ssid: self.ssid,
            fate: PacketOutcome::Answered(matched.kind),
            sequence: reply.sender_sequence_number,
            t1: (t1.nanos, t1.source),
            reply: Some(ReplyRecord {
                octets: received.payload.len(),
                t2,
                t3,
                t4: (t4.nanos, t4.source),
                reflector_sequence: reply.sequence_number,
                sample,
                is_synchronized: ours.is_synchronized() && theirs.is_synchronized(),
                error_ns: error_sum(ours, theirs)
                    .map(|error| if seen.lacks_tai_offset { error.max(TAI_OFFSET_NS) } else { error }),
                forward_ttl: seen.forward_ttl,
                backward_ttl: seen.backward_ttl,
                forward_class: seen.forward_class,
                backward_class: seen.backward_class,
                reordering_extent: matched.reordering_extent,
                findings: found.iter().map(|answer| describe::finding(answer, marks)).collect(),
            }),
        })
    }

    /// The record of a packet that is lost.
    pub(super) fn lost(&self, index: u64) -> Box<Record> {
        self.without_reply(index, PacketOutcome::Lost)
    }

    /// The record of a packet that nobody waits for any more.
    pub(super) fn unsettled(&self, index: u64) -> Box<Record> {
        self.without_reply(index, PacketOutcome::Unsettled)
    }

    fn without_reply(&self, index: u64, fate: PacketOutcome) -> Box<Record> {
        let t1 = t1_of(&self.matcher.departure(index));
        let sequence = self.matcher.sequence(index);
        let (target, ssid) = (self.place, self.ssid);
        Box::new(Record { target, ssid, fate, sequence, t1: (t1.nanos, t1.source), reply: None })
    }
}

/// T1: the card's or the kernel's if they told, else ours.
pub(super) fn t1_of(departure: &SentPacket) -> HostTimestamp {
    departure.stamp.unwrap_or(HostTimestamp { nanos: departure.realtime_ns, source: StampSource::User })
}

/// Both bounds added; `None` where one of them is not known.
fn error_sum(ours: ErrorEstimate, theirs: ErrorEstimate) -> Option<u64> {
    Some(bound_ns(ours)?.saturating_add(bound_ns(theirs)?))
}
