//! What a session's packets are made from, and what it leaves out of them once a reflector does not know it.

use teaparty_common::tlv::{Kind, KindSet};

use crate::sender::config::SenderConfig;
use crate::sender::session::packet::{self, NoCodePoint, Template};
use crate::sender::tlvs::reply::{ReplyTlv, TlvOutcome};
use crate::sender::tlvs::request::RequestTlv;

/// Those without an Access Report, and where there is one, those with it. TLVs of the kinds `without` are left out.
///
/// `reply_interval_ns` is what Reflected Test Packet Control asks for instead of what the configuration has.
pub(super) fn templates(
    config: &SenderConfig,
    ssid: u16,
    without: KindSet,
    reply_interval_ns: Option<u32>,
) -> Result<(Template, Option<Template>), NoCodePoint> {
    let template = |report: Option<RequestTlv>| {
        let is_kept = |tlv: &&RequestTlv| tlv.kind.is_none_or(|kind| !without.has(kind as u8));
        let mut tlvs: Vec<RequestTlv> = report.into_iter().chain(config.tlvs.iter().filter(is_kept).cloned()).collect();
        if let Some(interval_ns) = reply_interval_ns {
            tlvs.iter_mut().for_each(|tlv| tlv.set_reply_interval(interval_ns));
        }
        Template::new(&packet::PacketSettings {
            mode: config.mode,
            key: config.key.clone(),
            tlv_key: config.tlv_key.clone(),
            code_points: &config.policy.code_points,
            ssid,
            tlvs: &tlvs,
            malformed: config.malformed,
        })
    };
    let reporting = config.access_report.map(|report| template(Some(RequestTlv::access_report(report.access))));
    Ok((template(None)?, reporting.transpose()?))
}

/// Bit error TLVs that a reflector is not asked for again, because they came back with U (stamp-ber-07 §4.1).
///
/// Of the three only the burst is optional: without one of the others the rest of them makes no sense.
pub(super) fn refused_bit_errors(found: &[ReplyTlv<'_>]) -> KindSet {
    let is_refused =
        |kind| found.iter().any(|answer| answer.kind == Some(kind) && answer.outcome == TlvOutcome::Unrecognized);
    let all = [Kind::BitErrorPattern, Kind::BitErrorCount, Kind::BitErrorBurst];
    let set = |kinds: &[Kind]| kinds.iter().fold(KindSet::EMPTY, |set, kind| set.with(kind.set()));
    if all[..2].iter().any(|kind| is_refused(*kind)) {
        set(&all)
    } else if is_refused(all[2]) {
        set(&all[2..])
    } else {
        KindSet::EMPTY
    }
}
