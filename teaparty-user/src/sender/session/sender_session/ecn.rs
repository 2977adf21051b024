//! What TLVs of a reply tell about marks on the way: the traffic class there, and congestion (cos-ecn-01 §3.4).

use teaparty_common::tlv::Kind;
use teaparty_common::tlv::class_of_service::{ClassOfService, ClassOfServiceV2, DscpEcn};
use teaparty_common::wire::TrafficClass;

use crate::sender::config::SenderConfig;
use crate::sender::session::stats::Observation;
use crate::sender::tlvs::reply::{ReplyTlv, TlvOutcome, body};

/// The traffic class that our packet arrived with, where a TLV of the reply tells.
pub(super) fn forward_class(found: &[ReplyTlv<'_>]) -> Option<TrafficClass> {
    found.iter().filter(|answer| answer.outcome == TlvOutcome::Answered).find_map(|answer| match answer.kind? {
        Kind::ClassOfService => {
            let body: ClassOfService = body(answer.value)?;
            Some(TrafficClass::new(body.dscp2(), body.ec2()))
        }
        Kind::ClassOfServiceV2 => Some(TrafficClass(body::<ClassOfServiceV2>(answer.value)?.received)),
        Kind::DscpEcn => Some(TrafficClass(body::<DscpEcn>(answer.value)?.received)),
        _ => None,
    })
}

/// Returns true if a packet that we made capable of it was marked on its way, or the reply that we asked to be (cos-ecn-01 §3.4).
pub(super) fn is_congested(found: &[ReplyTlv<'_>], seen: &Observation, config: &SenderConfig) -> bool {
    const CE: u8 = 3;
    let is_capable = |ecn: u8| ecn == 1 || ecn == 2;
    let forward = is_capable(config.traffic_class.ecn().value())
        && seen.forward_class.is_some_and(|class| class.ecn().value() == CE);
    let asked_for = found.iter().any(|answer| match answer.kind {
        Some(Kind::ClassOfService) => {
            body::<ClassOfService>(answer.value).is_some_and(|body| is_capable(body.ec1().value()))
        }
        Some(Kind::ClassOfServiceV2) => {
            body::<ClassOfServiceV2>(answer.value).is_some_and(|body| is_capable(body.wanted & 3))
        }
        Some(Kind::DscpEcn) => body::<DscpEcn>(answer.value).is_some_and(|body| is_capable(body.wanted & 3)),
        _ => false,
    });
    forward || asked_for && seen.backward_class.is_some_and(|class| class.ecn().value() == CE)
}
