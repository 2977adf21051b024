//! Takes in replies: which packet a reply belongs to, its delays, and what is out of the ordinary.

use teaparty_common::tlv::Kind;
use teaparty_common::wire::TimestampFormat;

use super::ecn::forward_class;
use super::record::{ReplyExchange, ReplyTimes, t1_of};
use super::templates::refused_bit_errors;
use super::tlvs::not_known;
use super::{ReceiveOutcome, SenderSession};
use crate::layout::nanos;
use crate::net::batch::{HostTimestamp, Received};
use crate::sender::config::SenderConfig;
use crate::sender::session::delays::{NoDelays, Sample, Times};
use crate::sender::session::matcher::{MatchedReply, ReplyId, ReplyKind};
use crate::sender::session::reflector_clock::{ClockReading, ClockVerdict, lacks_tai_offset, other_format};
use crate::sender::session::reply::Reply;
use crate::sender::session::stats::Observation;
use crate::sender::session::transit::Arrival;
use crate::sender::tlvs::reply::{Check, ReplyTlv, TlvOutcome, reply_tlvs};
use crate::sys::clock::ClockState;

impl SenderSession {
    /// Takes in a datagram that claims to be of this session.
    pub fn receive(
        &mut self,
        reply: &Reply,
        received: &Received<'_>,
        arrival: Arrival,
        config: &SenderConfig,
        clock: &ClockState,
        wants_record: bool,
    ) -> ReceiveOutcome {
        if received.peer().is_none_or(|peer| !self.accepts(peer, config)) {
            self.ignored.foreign += 1;
            return ReceiveOutcome::default();
        }
        // A reflector that does not send our SSID back knows no TLVs: what follows the base packet is padding.
        let has_tlvs = reply.ssid == self.ssid && received.payload.len() >= config.mode.base_len();
        let found = self.tlvs_of(received, has_tlvs, config);
        if !self.is_our_link(&found, config) {
            self.ignored.other_link += 1;
            return ReceiveOutcome::default();
        }
        let t4 = arrival.stamp;
        let format = reply.error_estimate.format();
        let t3 = clock.realtime_ns(reply.timestamp, format, t4.nanos);
        let claim = ReplyId {
            sender_sequence: reply.sender_sequence_number,
            sender_timestamp: reply.sender_timestamp.bits(),
            reflector_sequence: reply.sequence_number,
            t3_ns: t3,
        };
        let Some(matched) = self.matcher.received(claim, arrival) else { return ReceiveOutcome::default() };
        if matches!(matched.kind, ReplyKind::Reply | ReplyKind::Further) {
            self.note_burst(&matched, &found, t4.nanos);
        }
        let times = reply_times(reply, &matched, t4, clock);
        let exchange = ReplyExchange { reply, received, matched, found: &found, times };
        let seen = self.observe(&exchange, config, clock);
        let sample = exchange.times.sample;
        match matched.kind {
            ReplyKind::Reply => {
                self.statistics.record(&seen, sample);
                self.last_round_trip_ns = sample.ok().map(|sample| sample.round_trip_ns);
            }
            ReplyKind::Further => self.statistics.record_further(sample),
            ReplyKind::Duplicate | ReplyKind::Late => {}
        }
        if !found.is_empty() && has_tlvs {
            let (octets, class) = &mut self.last_reply;
            octets.clear();
            octets.extend_from_slice(received.payload);
            *class = received.traffic_class;
        }
        let notices = [
            self.note_tlvs(&found, &seen, t4.nanos, config),
            self.give_up(refused_bit_errors(&found), config),
            self.note_bit_errors(&found, matched.kind, config),
            step_notice(seen.reflector_clock),
            self.timestamp_notice(&seen, sample, format, clock),
            self.ssid_notice(reply, config),
        ];
        let loss = (wants_record && matched.is_loss).then(|| self.lost(matched.index));
        let record = wants_record.then(|| self.answered(&exchange, &seen, config));
        // The last one is the most important.
        ReceiveOutcome { loss, record, notice: notices.into_iter().flatten().next_back() }
    }

    /// Returns the TLVs of a reply.
    fn tlvs_of<'a>(&self, received: &Received<'a>, has_tlvs: bool, config: &SenderConfig) -> Vec<ReplyTlv<'a>> {
        let base_len = config.mode.base_len();
        if !has_tlvs {
            not_known(config)
        } else if self.plain.octets().len() > base_len || self.reporting.is_some() {
            let check = Check { policy: &config.policy, key: config.tlv_key.as_ref(), sent: &config.tlvs };
            reply_tlvs(received.payload, base_len, check)
        } else {
            Vec::new()
        }
    }

    /// Returns the observations of a reply; follows the reflector's clock.
    fn observe(&mut self, exchange: &ReplyExchange<'_>, config: &SenderConfig, clock: &ClockState) -> Observation {
        let ReplyExchange { reply, received, matched, found, times: ReplyTimes { t1, t4, sample, .. } } = *exchange;
        let reflector_clock = match sample {
            Ok(sample) if matched.kind == ReplyKind::Reply => self.reflector_clock.observe(ClockReading {
                index: matched.index,
                t4_ns: t4.nanos,
                own_offset_ns: matched.departure.realtime_ns.wrapping_sub(matched.departure.monotonic_ns) as i64,
                forward_ns: sample.forward_ns,
                backward_ns: sample.backward_ns,
            }),
            _ => ClockVerdict::Same,
        };
        let offset_ns = sample.map_or(0, |sample| (sample.forward_ns.saturating_sub(sample.backward_ns)) / 2);
        Observation {
            index: matched.index,
            t1_source: t1.source,
            t4_source: t4.source,
            reflector_clock,
            t4_ns: t4.nanos,
            lacks_tai_offset: sample.is_ok() && lacks_tai_offset(reply.error_estimate.format(), clock, offset_ns),
            sender_estimate: clock.error_estimate(config.timestamp_format),
            reflector_estimate: reply.error_estimate,
            // Nothing arrives with a TTL of 0: it is padding of a TWAMP-Light reflector that does not tell.
            forward_ttl: reply.sender_ttl.filter(|ttl| *ttl != 0),
            backward_ttl: received.ttl,
            forward_class: forward_class(found),
            backward_class: received.traffic_class,
        }
    }

    /// Returns the notice about the first reply whose timestamps are not what they should be.
    fn timestamp_notice(
        &self,
        seen: &Observation,
        sample: Result<Sample, NoDelays>,
        format: TimestampFormat,
        clock: &ClockState,
    ) -> Option<String> {
        match sample {
            Ok(_) if seen.lacks_tai_offset && self.statistics.lacking_tai_offset == 1 => {
                let whose = if clock.tai_offset_s == 0 { "this host's kernel does" } else { "the reflector does" };
                Some(format!(
                    "{whose} not know the offset from UTC to TAI (0 s), which PTP timestamps take: one-way delays may be off by 37 s"
                ))
            }
            Err(NoDelays::WrongFormat) if self.statistics.wrong_format == 1 => {
                let [says, is] = if format == TimestampFormat::Ntp { ["NTP", "PTP"] } else { ["PTP", "NTP"] };
                Some(format!(
                    "the reflector's timestamps say {says} (Z bit) and can only be {is}: such replies are left out of all delays"
                ))
            }
            Err(NoDelays::Implausible) if self.statistics.implausible == 1 => Some(
                "the reflector's T2 and T3 can't be right (zero, T3 before T2, or further apart than T1 and T4): counted as \
                 implausible, and such replies left out of all delays"
                    .into(),
            ),
            _ => None,
        }
    }

    /// Stops, and returns the notice, if a reply lacks our SSID and that was asked for.
    fn ssid_notice(&mut self, reply: &Reply, config: &SenderConfig) -> Option<String> {
        (reply.ssid == 0 && self.ssid != 0 && config.stop_on_zero_ssid && self.due_ns.is_some()).then(|| {
            self.stop_sending();
            "the reflector answers without our SSID (it knows RFC 8762 only): stopped, as asked".into()
        })
    }

    /// Notes how much of a burst is still to come, if packets ask for bursts.
    fn note_burst(&mut self, matched: &MatchedReply, found: &[ReplyTlv<'_>], t4_ns: u64) {
        let Some(gap) = &mut self.burst_gap else { return };
        let is_obeyed = |answer: &ReplyTlv<'_>| {
            answer.kind == Some(Kind::ReflectedControl) && answer.outcome == TlvOutcome::Answered
        };
        if !found.iter().any(is_obeyed) {
            self.matcher.ends_burst(matched.index);
        }
        if matched.index + 1 == self.matcher.next_index() {
            let departure = matched.departure;
            let round_trip_ns = t4_ns.saturating_sub(departure.realtime_ns);
            let now_ns = departure.monotonic_ns.saturating_add(round_trip_ns);
            gap.note(now_ns, round_trip_ns, self.matcher.left(matched.index));
        }
    }
}

/// Returns the four timestamps of an exchange, and the delays if they have any.
fn reply_times(reply: &Reply, matched: &MatchedReply, t4: HostTimestamp, clock: &ClockState) -> ReplyTimes {
    let format = reply.error_estimate.format();
    let [t2, t3] = [reply.receive_timestamp, reply.timestamp].map(|time| clock.realtime_ns(time, format, t4.nanos));
    let t1 = t1_of(&matched.departure);
    // All zeros are no time in 2036 but none at all (RFC 5905 §6).
    let are_known = reply.receive_timestamp.bits() != 0 && reply.timestamp.bits() != 0;
    let is_other_format = [reply.receive_timestamp, reply.timestamp]
        .into_iter()
        .any(|timestamp| other_format(timestamp, format, clock, t4.nanos).is_some());
    let sample = match (matched.is_one_life, are_known, is_other_format) {
        (true, true, false) => Times { t1: t1.nanos, t2, t3, t4: t4.nanos }.plausible_sample(),
        (true, true, true) => Err(NoDelays::WrongFormat),
        (true, false, _) => Err(NoDelays::Implausible),
        (false, ..) => Err(NoDelays::ClockStep),
    };
    ReplyTimes { t1, t2, t3, t4, sample }
}

/// Returns the notice about a step of the reflector's clock.
fn step_notice(verdict: ClockVerdict) -> Option<String> {
    let ClockVerdict::Step(step_ns) = verdict else { return None };
    let way = if step_ns < 0 { "back" } else { "forward" };
    let by = nanos(i64::try_from(step_ns.unsigned_abs()).unwrap_or(i64::MAX));
    Some(format!("the reflector's clock was set {way} by {by}: one-way delays begin again"))
}
