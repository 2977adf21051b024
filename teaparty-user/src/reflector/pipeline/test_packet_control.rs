//! Reflected Test Packet Control (RFC 10052 §3) in the slow path: who we are, what a request gets, and replies of the
//! length that it asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use teaparty_common::frame::{IPV4_LEN, IPV6_LEN, UDP_LEN};
use teaparty_common::maps::SessionKey;
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{Address, PacketMeta, Plan, Policy, TlvIntegrity};
use teaparty_common::tlv::reflected_control::{self, Limits, Members, Replies, ReplyDecision, Request};
use teaparty_common::tlv::{HEADER_LEN, Header, Kind, TlvView, tlvs};
use zerocopy::IntoBytes;

use crate::net::address::ip;
use crate::reflector::pipeline::burst_limits::{BurstLimiter, Permit};
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource, SystemClock};

/// The relation of a packet to the control that it asks for.
#[derive(Clone, Copy)]
pub enum BurstStage<'a> {
    /// It has come in, and may be granted several replies out of this.
    First(&'a Arc<BurstLimiter>),
    /// It has been granted these, and gets another one.
    Again(Replies),
}

/// The grant for a packet with the TLV.
pub struct ControlGrant {
    /// The decision for the TLV's flags and the reply's size.
    pub decision: ReplyDecision,
    /// The permit for further replies.
    pub permit: Option<Permit>,
}

/// We, as far as address groups ask.
pub struct LocalMembership<'a>(pub &'a ConfigSnapshot);

impl Members for LocalMembership<'_> {
    fn has_prefix(&self, prefix: &Address, prefix_len: u8) -> bool {
        // A prefix that is longer than its address has no members.
        let Ok(net) = IpNet::new(ip(prefix), prefix_len) else { return false };
        self.0.book.own().any(|own| net.contains(&ip(own)))
    }

    fn has_mac<const N: usize>(&self, mask: [u8; N], group: [u8; N]) -> bool {
        // An interface without a MAC address is in no group of them.
        let own = self.0.interface.mac;
        let is_member = |own: &[u8]| own.iter().zip(mask).map(|(octet, mask)| octet & mask).eq(group);
        N == own.len() && !self.0.interface.has_no_mac() && is_member(&own)
    }
}

/// The request for control that a packet carries, where it may have an effect.
pub fn find<B: PacketBuf>(payload: &B, plan: &Plan, policy: &Policy) -> Option<Request> {
    let is_asked = plan.has_tlvs && plan.seen.has(Kind::ReflectedControl as u8);
    if !is_asked || !policy.has(Policy::REFLECTED_CONTROL) || plan.integrity == TlvIntegrity::Failed {
        return None;
    }
    reflected_control::find(payload, plan, policy)
}

/// Decides about a request that means us. `facts` are those of the packet with the reply's Sequence Number claimed,
/// `sender_sequence` is the number that the packet came with.
pub fn grant(
    request: &Request,
    plan: &Plan,
    snapshot: &ConfigSnapshot,
    (key, meta, sender_sequence): (&SessionKey, &PacketMeta, u32),
    control: BurstStage<'_>,
) -> ControlGrant {
    let bursts = match control {
        BurstStage::Again(replies) => return ControlGrant { decision: ReplyDecision::Replies(replies), permit: None },
        BurstStage::First(bursts) => bursts,
    };
    let config = &snapshot.config.control;
    let headers = if meta.source.is_ipv4() { IPV4_LEN } else { IPV6_LEN } + UDP_LEN;
    let limits = Limits {
        max_count: config.max_count,
        max_len: config.max_len.into(),
        min_interval_ns: config.min_interval_ns,
        path_len: (snapshot.interface.mtu as usize).saturating_sub(headers),
    };
    let is_repeated = meta.flags & PacketMeta::HAS_PREVIOUS != 0
        && sender_sequence.wrapping_sub(meta.previous_sender_sequence) as i32 <= 0;
    let decision = reflected_control::decide(request, plan.len, &limits, is_repeated, plan.control_conflict);
    let ReplyDecision::Replies(asked) = decision else {
        if plan.control_conflict {
            tracing::warn!(
                peer = %SocketAddr::new(ip(&key.source), key.source_port),
                session = key.ssid,
                "asks for several replies and, by its Return Path, for none: answered once, with both TLVs unrecognised \
                 (RFC 10052 §4.3). Take one of the two out of its packets."
            );
        }
        return ControlGrant { decision, permit: None };
    };
    let lens = (plan.len, request.fixed_len);
    let (replies, permit) = bursts.grant(key, asked, lens, config, SystemClock.monotonic_ns());
    ControlGrant { decision: ReplyDecision::Replies(replies), permit }
}

/// Gives the packet the length of its reply: Extra Padding and zeros at the end go, and one Extra Padding fills up behind
/// what is left. A gap that is too small for a TLV stays open. The plan becomes that of the new octets.
pub fn resize(payload: &mut Vec<u8>, plan: &mut Plan, policy: &Policy, len: usize) {
    let mut kept = payload[..plan.mode.base_len()].to_vec();
    let request = &payload[..plan.tlvs_end];
    for TlvView { tlv, .. } in tlvs(request, plan.mode.base_len(), policy).map_while(Result::ok) {
        if tlv.number != Kind::ExtraPadding as u8 {
            kept.extend_from_slice(&request[tlv.at..tlv.end()]);
        }
    }
    let padding = policy.code_points.code(Kind::ExtraPadding).zip(len.checked_sub(kept.len() + HEADER_LEN));
    if let Some((code, length)) = padding {
        kept.extend_from_slice(Header::sent(code, length as u16).as_bytes());
        kept.resize(len, 0);
    }
    *payload = kept;
    (plan.len, plan.tlvs_end) = (payload.len(), payload.len());
}
