//! The writing half of reflection: TLV bodies and flags in place, then the base packet.

use core::mem::offset_of;

use zerocopy::network_endian::{U16, U32};
use zerocopy::transmute;

use super::{Address, PacketMeta, Plan, Policy, ReflectorEnv, Tlv, TlvIntegrity, TlvItem, next_tlv};
use crate::packet_buf::PacketBuf;
use crate::tlv::access_report::AccessReport;
use crate::tlv::class_of_service::{ClassOfService, ClassOfServiceV2, DscpEcn};
use crate::tlv::destination_port::DestinationPort;
use crate::tlv::measurement::HistorySlot;
use crate::tlv::measurement::{DirectMeasurement, FOLLOW_UP_CLEARED, FollowUpTelemetry};
use crate::tlv::micro_session::MicroSessionId;
use crate::tlv::{Flags, Kind, location};
use crate::wire::checksum::{self, ChecksumDelta};
use crate::wire::reflector::{self, Stamp};
use crate::wire::sender::{self, ReflectedFields};
use crate::wire::{AUTHENTICATED_LEN, Ecn, ErrorEstimate, Mode, Timestamp, TrafficClass, UNAUTHENTICATED_LEN};

/// The destination and marking of a reply, as far as TLVs decide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyOptions {
    /// TOS or Traffic Class of the reply. Without a TLV that asks: the DSCP as received, ECN 00 (the RFCs leave it open).
    pub traffic_class: TrafficClass,
    /// Source address of the reply, where it is not the destination of the request (RFC 9503 §3).
    pub source: Option<Address>,
    /// Destination port of the reply, where it is not the source port of the request.
    pub destination_port: Option<u16>,
    /// A valid Access Report, for the controller.
    pub access_report: Option<AccessReport>,
    /// True if the IP header has been given to a Reflected Fixed Header TLV already.
    is_header_used: bool,
}

impl ReplyOptions {
    /// Returns the options before any TLV is applied, for a request with this TOS or Traffic Class.
    #[inline(always)]
    pub fn new(received_class: u8) -> Self {
        Self {
            traffic_class: TrafficClass::new(TrafficClass(received_class).dscp(), Ecn::default()),
            source: None,
            destination_port: None,
            access_report: None,
            is_header_used: false,
        }
    }
}

/// Processes the TLVs in place (RFC 8972 §4) and says in `reply_options`, which comes as [`ReplyOptions::new`], how the reply is
/// to be sent. Call with the [`Plan`] of [`super::plan`] for the same octets; the base packet is [`stamp`]'s.
#[inline(always)]
pub fn apply<B: PacketBuf, E: ReflectorEnv>(
    payload: &mut B,
    plan: &Plan,
    meta: &PacketMeta,
    policy: &Policy,
    env: &mut E,
    reply_options: &mut ReplyOptions,
) {
    if !plan.has_tlvs {
        return;
    }
    let mut at = plan.mode.base_len();
    while let Some(next) = apply_step(payload, at, plan, meta, policy, env, reply_options) {
        at = next;
    }
}

/// One turn of [`apply`]: what stands at `at`. Gives where the next TLV begins, or `None` when nothing more is touched.
#[inline(always)]
pub fn apply_step<B: PacketBuf, E: ReflectorEnv>(
    payload: &mut B,
    at: usize,
    plan: &Plan,
    meta: &PacketMeta,
    policy: &Policy,
    env: &mut E,
    reply_options: &mut ReplyOptions,
) -> Option<usize> {
    // Only an environment that has keys can find integrity violated.
    let has_failed = E::KINDS.has(Kind::Hmac as u8) && plan.integrity == TlvIntegrity::Failed;
    match next_tlv(payload, at, plan.tlvs_end, policy) {
        TlvItem::End => None,
        TlvItem::Stray | TlvItem::Overrun(_) => {
            payload.put(at, [if has_failed { Flags::INTEGRITY.0 } else { Flags::MALFORMED.0 }]);
            None
        }
        TlvItem::Tlv(tlv) if has_failed => {
            payload.put(at, [Flags::INTEGRITY.0]);
            Some(tlv.end())
        }
        TlvItem::Tlv(tlv) if !tlv.is_well_formed => {
            mark_malformed(payload, &tlv);
            None
        }
        TlvItem::Tlv(tlv) => {
            apply_tlv(payload, tlv, plan, meta, policy, env, reply_options);
            if tlv.end() < plan.tlvs_end { Some(tlv.end()) } else { None }
        }
    }
}

/// Marks a TLV whose Length is wrong for its type; nothing after it is touched (RFC 8972 §4).
#[inline(always)]
fn mark_malformed<B: PacketBuf>(payload: &mut B, tlv: &Tlv) {
    payload.put(tlv.at, [Flags::MALFORMED.0]);
    if tlv.number == Kind::FollowUpTelemetry as u8 {
        // RFC 8972 §4.7 with EID 8339: the fields are zeroed, as far as they are there.
        if usize::from(tlv.length) >= FOLLOW_UP_CLEARED {
            payload.put(tlv.value(), [0; FOLLOW_UP_CLEARED]);
        } else {
            for i in 0..FOLLOW_UP_CLEARED {
                if i < usize::from(tlv.length) {
                    payload.put(tlv.value() + i, [0]);
                }
            }
        }
    }
}

/// Rewrites a body of fixed size by a function from body to body.
macro_rules! rewrite {
    ($payload:ident, $tlv:ident, |$body:ident: $type:ty| $new:expr) => {{
        if let Some(octets) = $payload.get::<{ size_of::<$type>() }>($tlv.value()) {
            let $body: $type = transmute!(octets);
            let new: $type = $new;
            $payload.put::<{ size_of::<$type>() }>($tlv.value(), transmute!(new));
        }
    }};
}

/// Gives one well-formed TLV its flags and Value: what [`apply_step`] does with it, and all that is to be done with one that
/// [`super::TlvScan::next_simple`] gave.
#[inline(always)]
pub fn apply_tlv<B: PacketBuf, E: ReflectorEnv>(
    payload: &mut B,
    tlv: Tlv,
    plan: &Plan,
    meta: &PacketMeta,
    policy: &Policy,
    env: &mut E,
    reply_options: &mut ReplyOptions,
) {
    let received = TrafficClass(meta.traffic_class);
    let mut flags = Flags::NONE;
    // Comparisons and not a `match` on `Kind`: the number comes from a map, and every value of it must have a meaning.
    let is = |kind: Kind| E::KINDS.has(kind as u8) && tlv.number == kind as u8;
    if is(Kind::ExtraPadding) {
        // Copied as it is (RFC 8972 §4.1).
    } else if is(Kind::ClassOfService) {
        rewrite!(payload, tlv, |body: ClassOfService| {
            let (body, class) = body.reflect(received, policy);
            reply_options.traffic_class = class;
            body
        });
    } else if is(Kind::TimestampInformation) {
        payload.put(tlv.value(), meta.timestamp_information);
    } else if is(Kind::DirectMeasurement) {
        if meta.has_counts() {
            rewrite!(payload, tlv, |body: DirectMeasurement| body.reflect(meta));
        } else {
            // Nothing is counted, and no number is better than a wrong one (RFC 8972 §4.5).
            flags = Flags::UNRECOGNIZED;
        }
    } else if is(Kind::Location) {
        location::reflect_head(payload, tlv.value(), meta, policy);
        env.location_subs(payload, tlv.value() + location::FIXED_LEN, tlv.end(), meta, policy);
    } else if is(Kind::FollowUpTelemetry) {
        let body: [u8; size_of::<FollowUpTelemetry>()] = transmute!(FollowUpTelemetry::reflect(meta));
        payload.put(tlv.value(), body);
    } else if is(Kind::AccessReport) {
        rewrite!(payload, tlv, |body: AccessReport| {
            if body.is_valid() {
                reply_options.access_report = Some(body);
            } else {
                // To be discarded, says RFC 8972 §4.6, and not how that shows on the wire.
                flags = Flags::UNRECOGNIZED;
            }
            // The reserved octets are zero in whatever we send.
            AccessReport { access_id: body.access_id & 0xf0, reserved: U16::ZERO, ..body }
        });
    } else if is(Kind::DestinationNodeAddress) {
        flags = destination_node(payload, &tlv, meta, policy, env, reply_options);
    } else if is(Kind::MicroSessionId) {
        if policy.micro_session_id == 0 {
            flags = Flags::UNRECOGNIZED;
        } else {
            rewrite!(payload, tlv, |body: MicroSessionId| MicroSessionId {
                reflector_id: U16::new(policy.micro_session_id),
                ..body
            });
        }
    } else if is(Kind::DestinationPort) {
        flags = destination_port(payload, &tlv, policy, reply_options);
    } else if is(Kind::ReflectedFixedHeader) {
        flags = fixed_header(payload, &tlv, plan, env, reply_options);
    } else if is(Kind::ClassOfServiceV2) {
        rewrite!(payload, tlv, |body: ClassOfServiceV2| {
            let (body, class) = body.reflect(received, policy);
            reply_options.traffic_class = class;
            body
        });
    } else if is(Kind::DscpEcn) {
        rewrite!(payload, tlv, |body: DscpEcn| {
            let otherwise = TrafficClass::new(received.dscp(), Ecn::default());
            let (body, class) = body.reflect(received, otherwise, policy);
            reply_options.traffic_class = class;
            body
        });
    } else if is(Kind::ReturnPath) && !E::KINDS.has(Kind::Hmac as u8) {
        // The kernel comes here with a Control Code alone, or a Return Path that is not the first and so is not used
        // (RFC 9503 §4). With "no reply" it would not have come here.
    } else if tlv.number != 0 && E::KINDS.has(tlv.number) {
        env.finish(payload, tlv, plan, meta, policy);
        return;
    } else {
        flags = Flags::UNRECOGNIZED;
    }
    payload.put(tlv.at, [flags.0]);
}

/// RFC 9503 §3: ours means U=0 and the reply's source, another's means U=1 and an ordinary reply.
#[inline(always)]
fn destination_node<B: PacketBuf, E: ReflectorEnv>(
    payload: &B,
    tlv: &Tlv,
    meta: &PacketMeta,
    policy: &Policy,
    env: &E,
    reply_options: &mut ReplyOptions,
) -> Flags {
    let address = if tlv.length == 4 {
        payload.get::<4>(tlv.value()).map(Address::v4)
    } else {
        payload.get::<16>(tlv.value()).map(Address)
    };
    let Some(address) = address else {
        return Flags::UNRECOGNIZED;
    };
    // An IPv4 address written as an IPv6 one is not one of our addresses.
    if policy.has(Policy::NO_DESTINATION_NODE) || (tlv.length != 4 && address.is_ipv4()) {
        return Flags::UNRECOGNIZED;
    }
    // The destination address of the packet is known to be ours.
    if address == meta.destination {
        return Flags::NONE;
    }
    if !env.is_local(&address) {
        return Flags::UNRECOGNIZED;
    }
    if address.is_ipv4() == meta.destination.is_ipv4() {
        reply_options.source = Some(address);
    }
    Flags::NONE
}

/// The reply to another UDP port of the sender's, where policy allows that; else U=1.
#[inline(always)]
fn destination_port<B: PacketBuf>(payload: &B, tlv: &Tlv, policy: &Policy, reply_options: &mut ReplyOptions) -> Flags {
    let Some(octets) = payload.get::<{ size_of::<DestinationPort>() }>(tlv.value()) else {
        return Flags::UNRECOGNIZED;
    };
    let body: DestinationPort = transmute!(octets);
    if body.port.get() == 0 || !policy.has(Policy::DESTINATION_PORT) {
        return Flags::UNRECOGNIZED;
    }
    reply_options.destination_port = Some(body.port.get());
    Flags::NONE
}

/// The received IP header, whole, where the selector matches it; else C=1 and the Value unchanged (ext-hdr §6.1).
#[inline(always)]
fn fixed_header<B: PacketBuf, E: ReflectorEnv>(
    payload: &mut B,
    tlv: &Tlv,
    plan: &Plan,
    env: &E,
    reply_options: &mut ReplyOptions,
) -> Flags {
    const SELECTOR: usize = 4;
    if plan.headers_out_of_order {
        return Flags::CONFORMANT;
    }
    let Some(selector) = payload.get::<SELECTOR>(tlv.value()) else {
        return Flags::CONFORMANT;
    };
    // Only one header of each length is in sight, and it is given once.
    let matches =
        |head: [u8; SELECTOR]| !reply_options.is_header_used && (selector == [0; SELECTOR] || selector == head);
    if tlv.length == 20 {
        match env.fixed_header::<20>() {
            Some(header) if matches([header[0], header[1], header[2], header[3]]) => payload.put(tlv.value(), header),
            _ => return Flags::CONFORMANT,
        };
    } else {
        match env.fixed_header::<40>() {
            Some(header) if matches([header[0], header[1], header[2], header[3]]) => payload.put(tlv.value(), header),
            _ => return Flags::CONFORMANT,
        };
    }
    reply_options.is_header_used = true;
    Flags::NONE
}

/// The reflector's own fields of a reply's base packet, without T3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyFields {
    /// True if the session counts its replies itself; else the request's Sequence Number is repeated.
    pub is_stateful: bool,
    /// Sequence Number of the reply, in a stateful session.
    pub sequence: u32,
    /// T2 as it goes on the wire.
    pub receive_timestamp: u64,
    /// Error Estimate of T2 and T3, in host order.
    pub error_estimate: u16,
    /// TTL or Hop Limit as received.
    pub ttl: u8,
}

impl From<&PacketMeta> for ReplyFields {
    #[inline(always)]
    fn from(meta: &PacketMeta) -> Self {
        Self {
            is_stateful: meta.is_stateful(),
            sequence: meta.sequence,
            receive_timestamp: meta.receive_timestamp,
            error_estimate: meta.error_estimate,
            ttl: meta.ttl,
        }
    }
}

/// The result of [`stamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampResult {
    /// The fields copied from the request.
    pub reflected: ReflectedFields,
    /// The change of the base packet's sum.
    pub delta: ChecksumDelta,
}

/// Writes the reply's base packet over the request's (RFC 8762 §4.3). `timestamp` is
/// T3 in the policy's format, read as late as possible. In authenticated mode the HMAC field is left zero: it is
/// computed after this. `None`, with nothing written, where the base packet is not all there.
#[inline(always)]
pub fn stamp<B: PacketBuf>(payload: &mut B, mode: Mode, fields: ReplyFields, timestamp: u64) -> Option<StampResult> {
    match mode {
        Mode::Unauthenticated => {
            let request: sender::UnauthenticatedPacket = transmute!(payload.get::<UNAUTHENTICATED_LEN>(0)?);
            let reflected = ReflectedFields::from(request);
            let stamp = fields.stamp(reflected, timestamp);
            let reply: [u8; UNAUTHENTICATED_LEN] = transmute!(reflector::UnauthenticatedReply::new(stamp, reflected));
            payload.put(0, reply);
            Some(StampResult { reflected, delta: stamp.checksum_delta(&request) })
        }
        Mode::Authenticated => {
            let request = payload.get::<AUTHENTICATED_LEN>(0)?;
            let packet: sender::AuthenticatedPacket = transmute!(request);
            let reflected = ReflectedFields::from(packet);
            let reply = reflector::AuthenticatedReply::new(fields.stamp(reflected, timestamp), reflected);
            let reply: [u8; AUTHENTICATED_LEN] = transmute!(reply);
            payload.put(0, reply);
            let delta = ChecksumDelta { removed: checksum::sum(&request), added: checksum::sum(&reply) };
            Some(StampResult { reflected, delta })
        }
    }
}

/// Returns the entry of a reply in unauthenticated mode for the session's history. `None` where it is incomplete.
#[inline(always)]
pub fn history_entry<B: PacketBuf>(payload: &B) -> Option<HistorySlot> {
    // Field by field, since they are fewer than all and those of eight octets are not aligned.
    let number = |at: usize| payload.get::<4>(at).map(u32::from_be_bytes);
    let time = |at: usize| payload.get::<8>(at).map(u64::from_be_bytes);
    Some(HistorySlot {
        tag: 0,
        reflector_sequence: number(offset_of!(reflector::UnauthenticatedReply, sequence_number))?,
        sender_timestamp: time(offset_of!(reflector::UnauthenticatedReply, sender_timestamp))?,
        receive_timestamp: time(offset_of!(reflector::UnauthenticatedReply, receive_timestamp))?,
        timestamp: time(offset_of!(reflector::UnauthenticatedReply, timestamp))?,
        sender_sequence: number(offset_of!(reflector::UnauthenticatedReply, sender_sequence_number))?,
        reserved: 0,
    })
}

impl ReplyFields {
    #[inline(always)]
    fn stamp(self, reflected: ReflectedFields, timestamp: u64) -> Stamp {
        Stamp {
            sequence_number: if self.is_stateful { U32::new(self.sequence) } else { reflected.sequence_number },
            timestamp: Timestamp::from_bits(timestamp),
            receive_timestamp: Timestamp::from_bits(self.receive_timestamp),
            error_estimate: ErrorEstimate::from_bits(self.error_estimate),
            sender_ttl: self.ttl,
        }
    }
}
