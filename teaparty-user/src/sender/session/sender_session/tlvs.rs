//! What the TLVs of a session's replies came back as, and what they call for.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use teaparty_common::tlv::access_report;
use teaparty_common::tlv::measurement::FollowUpTelemetry;
use teaparty_common::tlv::micro_session::MicroSessionId;
use teaparty_common::tlv::{Kind, KindSet};

use super::SenderSession;
use super::ecn::is_congested;
use crate::sender::config::SenderConfig;
use crate::sender::session::stats::Observation;
use crate::sender::tlvs::describe::{self, Marks};
use crate::sender::tlvs::reply::{Check, ReplyTlv, TlvOutcome, body, reply_tlvs};
use crate::sender::tlvs::request::UNRECOGNIZED_CODE;

/// Counts of the outcomes of TLVs with one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TlvCounts {
    /// Usable.
    pub answered: u64,
    /// U.
    pub unrecognized: u64,
    /// M.
    pub malformed: u64,
    /// C.
    pub not_conformant: u64,
    /// I, or a wrong HMAC TLV.
    pub not_authentic: u64,
    /// Behind a malformed one.
    pub skipped: u64,
    /// The description of the one in the last reply.
    pub words: String,
    /// Its fields.
    pub value: Value,
}

impl SenderSession {
    /// RFC 9534 §3.2: our own ID must come back, and the reflector's must be the configured or the first one seen.
    ///
    /// A reflector that says with U that it does not know the TLV has no member links to mix up; our ID comes back all the
    /// same. A reply without the TLV is not of this session.
    pub(super) fn is_our_link(&mut self, found: &[ReplyTlv<'_>], config: &SenderConfig) -> bool {
        let Some((ours, _)) = config.micro_session else { return true };
        let of_links = |answer: &&ReplyTlv<'_>| answer.kind == Some(Kind::MicroSessionId);
        let Some(answer) = found.iter().find(of_links) else { return false };
        let Some(ids) = body::<MicroSessionId>(answer.value) else { return false };
        match answer.outcome {
            TlvOutcome::Answered => {}
            TlvOutcome::Unrecognized => return ids.sender_id.get() == ours,
            _ => return false,
        }
        let theirs = *self.reflector_link.get_or_insert(ids.reflector_id.get());
        ids.sender_id.get() == ours && ids.reflector_id.get() == theirs
    }

    /// Counts what TLVs came back as, and does what they call for.
    pub(super) fn note_tlvs(
        &mut self,
        found: &[ReplyTlv<'_>],
        seen: &Observation,
        now_ns: u64,
        config: &SenderConfig,
    ) -> Option<String> {
        if found.is_empty() {
            return None;
        }
        for answer in found {
            let counts = self.tlvs.entry((answer.kind, answer.code)).or_default();
            *match answer.outcome {
                TlvOutcome::Answered => &mut counts.answered,
                TlvOutcome::Unrecognized => &mut counts.unrecognized,
                TlvOutcome::Malformed => &mut counts.malformed,
                TlvOutcome::NotConformant => &mut counts.not_conformant,
                TlvOutcome::NotAuthentic => &mut counts.not_authentic,
                TlvOutcome::Skipped => &mut counts.skipped,
            } += 1;
            if answer.kind == Some(Kind::AccessReport)
                && answer.outcome != TlvOutcome::NotAuthentic
                && is_our_report(answer, config)
                && let Some((_, timer)) = &mut self.reporting
            {
                timer.acknowledge();
                // Later replies need not have it, so what it says is kept now.
                let marks =
                    Marks { sent: config.traffic_class, reply: seen.backward_class, has_key: config.tlv_key.is_some() };
                let finding = describe::finding(answer, marks);
                (counts.words, counts.value) = (finding.words, finding.value);
            }
            if answer.kind == Some(Kind::FollowUpTelemetry)
                && answer.outcome == TlvOutcome::Answered
                && body::<FollowUpTelemetry>(answer.value).is_some_and(|body| body.follow_up_timestamp.bits() != 0)
            {
                self.matcher.note_stateful();
            }
        }
        let is_marked = is_congested(found, seen, config);
        let stretch = self.congestion.observe(is_marked, now_ns, self.schedule.stretch());
        if stretch > self.schedule.stretch() {
            self.slowdowns += 1;
        }
        let bursts = if self.burst_gap.is_some() { ", replies of a burst further apart too" } else { "" };
        let text = (stretch > self.schedule.stretch())
            .then(|| format!("congestion was marked on the way: sending {stretch} times slower than asked{bursts}"));
        if stretch != self.schedule.stretch() {
            self.schedule.set_stretch(stretch);
            self.stretch_bursts(config);
        }
        text
    }

    /// TLVs of these kinds are not sent again. All other TLVs stay, padding too.
    pub(super) fn give_up(&mut self, kinds: KindSet, config: &SenderConfig) -> Option<String> {
        let given_up = self.given_up.with(kinds);
        if given_up == self.given_up {
            return None;
        }
        self.given_up = given_up;
        self.renew_templates(config);
        let is_gone = |kind: &Kind| given_up.has(*kind as u8);
        let gone = config.tlvs.iter().filter_map(|tlv| tlv.kind).filter(is_gone).map(|kind| kind.entry().name);
        let names: Vec<&str> = gone.collect();
        Some(format!("the reflector does not know {}: left out from now on", names.join(", ")))
    }

    /// Returns the outcomes of TLVs by name, with the descriptions of those in the last reply.
    pub fn tlvs(&self, config: &SenderConfig) -> BTreeMap<String, TlvCounts> {
        let name = |kind: Option<Kind>, code| {
            describe::name(&ReplyTlv { code, kind, outcome: TlvOutcome::Answered, value: &[] })
        };
        let mut by_name: BTreeMap<String, TlvCounts> =
            self.tlvs.iter().map(|((kind, code), counts)| (name(*kind, *code), counts.clone())).collect();
        let check = Check { policy: &config.policy, key: config.tlv_key.as_ref(), sent: &config.tlvs };
        let (octets, class) = &self.last_reply;
        let marks = Marks { sent: config.traffic_class, reply: *class, has_key: config.tlv_key.is_some() };
        for answer in reply_tlvs(octets, config.mode.base_len(), check) {
            let finding = describe::finding(&answer, marks);
            if let Some(counts) = by_name.get_mut(&finding.tlv) {
                (counts.words, counts.value) = (finding.words, finding.value);
                if answer.kind == Some(Kind::ReflectedControl) && answer.outcome == TlvOutcome::Answered {
                    counts.words += &match self.matcher.counts().further_lost {
                        0 => ", as asked".to_owned(),
                        missing => format!("; {missing} of them are missing"),
                    };
                }
            }
        }
        for counts in by_name.values_mut().filter(|counts| counts.words.is_empty() && counts.unrecognized > 0) {
            counts.words = "not recognised: the reflector knows no TLVs".into();
        }
        by_name
    }
}

/// Returns the TLVs that were asked for, as a reflector leaves them that knows none: it pads, and does not say U.
pub(super) fn not_known(config: &SenderConfig) -> Vec<ReplyTlv<'static>> {
    let requested = config.tlvs.iter().filter(|tlv| tlv.kind != Some(Kind::ExtraPadding));
    let code = |kind: Option<Kind>| {
        kind.map_or(UNRECOGNIZED_CODE, |kind| config.policy.code_points.code(kind).unwrap_or_default())
    };
    let answer =
        |kind: Option<Kind>| ReplyTlv { code: code(kind), kind, outcome: TlvOutcome::Unrecognized, value: &[] };
    requested.map(|tlv| answer(tlv.kind)).collect()
}

/// Returns true if an Access Report is the one that we tell; another acknowledges nothing (RFC 8972 §4.6).
fn is_our_report(answer: &ReplyTlv<'_>, config: &SenderConfig) -> bool {
    let ours = config.access_report.map(|report| (report.access.id, report.access.return_code));
    body::<access_report::AccessReport>(answer.value).map(|body| (body.id(), body.return_code)) == ours
}
