//! One packet's way through the controller, whichever engine brought it: authenticate, decide, edit, finalize.
//!
//! [`process`] does everything but the base packet; [`PendingReply::finalize`] writes that, with T3 read just before, and signs;
//! [`PendingReply::commit`] remembers the exchange.

use teaparty_common::maps::{Clock, HistorySlot, Session, SessionKey};
use teaparty_common::packet_buf::{ReadOnlyBuf, SliceBuf};
use teaparty_common::reflect::{self, PacketMeta, Policy, Reason, ReplyOptions, TlvIntegrity, Verdict};
use teaparty_common::tlv::hmac::{self, Placement};
use teaparty_common::tlv::reflected_control::{self, Replies, ReplyDecision};
use teaparty_common::tlv::return_path::ReturnPathRequest;
use teaparty_common::tlv::{Kind, tlvs};
use teaparty_common::wire::sender::{AuthenticatedPacket, ReflectedFields, UnauthenticatedPacket};
use teaparty_common::wire::{HMAC_LEN, Mode, TimestampFormat};
use zerocopy::FromBytes;

use crate::crypto::HmacKey;
use crate::reflector::capture::packet::CapturedPacket;
use crate::reflector::pipeline::burst_limits::Permit;
use crate::reflector::pipeline::test_packet_control::{self, BurstStage, ControlGrant, LocalMembership};
use crate::reflector::pipeline::tlv_env::{ControllerEnv, Headers};
use crate::reflector::session::session_store::SessionStore;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock, plausible_arrival};

/// A packet to be answered.
pub struct TestPacket<'a> {
    /// Its session.
    pub key: SessionKey,
    /// [`Session::flags`] of the session, or what a new one is to start with.
    pub session_flags: u32,
    /// Its metadata.
    pub meta: PacketMeta,
    /// Its IP headers.
    pub headers: Headers<'a>,
    /// Returns true if its reply can be sent along SRv6 segments, called only for such a reply.
    pub has_segments: &'a dyn Fn() -> bool,
    /// Its relation to the several replies that it may ask for.
    pub control: BurstStage<'a>,
}

/// A reply that lacks only its base packet.
pub struct PendingReply {
    key: SessionKey,
    meta: PacketMeta,
    mode: Mode,
    format: TimestampFormat,
    sender_sequence: u32,
    sender_timestamp: u64,
    base_key: Option<HmacKey>,
    /// Offset of the reply's HMAC TLV, and its key.
    tlv_key: Option<(usize, HmacKey)>,
    /// Marking, source address and port of the reply.
    pub reply_options: ReplyOptions,
    /// The request of an obeyed Return Path.
    pub path_request: Option<ReturnPathRequest>,
    /// The replies that are to follow this one.
    pub grant: Option<BurstGrant>,
    /// True if it is itself one that follows.
    pub is_again: bool,
    /// The request, where somebody captures it.
    pub captured: Option<Box<CapturedPacket>>,
}

/// Replies that are to follow the first one.
pub struct BurstGrant {
    /// The right to them.
    pub permit: Permit,
    /// The grant, the first one included.
    pub replies: Replies,
}

/// Makes the reply's TLVs out of the request's, in place, and takes its Sequence Number.
///
/// `payload` may grow to the size of the base packet. The error is the reason that the packet ends with; state has then
/// changed only as far as its counting as received.
pub fn process(
    packet: TestPacket<'_>,
    payload: &mut Vec<u8>,
    snapshot: &ConfigSnapshot,
    store: &dyn SessionStore,
) -> Result<PendingReply, Reason> {
    let TestPacket { mut key, session_flags, mut meta, headers, has_segments, control } = packet;
    let is_again = matches!(control, BurstStage::Again(_));
    let is_authenticated = session_flags & Session::AUTHENTICATED != 0;
    let mode = if is_authenticated { Mode::Authenticated } else { Mode::Unauthenticated };
    let mut policy = snapshot.config.policy;
    if session_flags & Session::NO_TLV != 0 {
        policy.flags |= Policy::NO_TLV;
    }
    let len = payload.len();
    let mut base_key = None;
    if is_authenticated {
        // Whoever made the key looked where an unauthenticated packet has its SSID.
        let ssid = reflect::ssid(&SliceBuf(payload), len, mode);
        key = snapshot.own_key(&SessionKey { ssid, ..key });
        base_key = Some(authenticate(snapshot.keys(&key).base, payload)?.clone());
    }
    // Not counted as received either: nobody has sent a request.
    if !is_again && reflect::is_reply_to_ours(&ReadOnlyBuf(payload), len, mode, || meta.receive_timestamp) {
        return Err(Reason::ReplyLoop);
    }
    let (integrity, tlv_key) = integrity(&key, payload, mode, &policy, snapshot);
    payload.resize(len.max(mode.base_len()), 0);
    let mut host = ControllerEnv::new(snapshot, headers, store, has_segments);
    let mut bytes = SliceBuf(payload);
    let mut plan = match reflect::plan(&bytes, len, mode, &policy, integrity, &host) {
        Verdict::Reflect(plan) => plan,
        Verdict::Drop(reason) => {
            if !is_again {
                store.unanswered(&key, &meta);
            }
            return Err(reason);
        }
        // Nobody is left to punt to; with this environment's bounds it can't be.
        Verdict::Punt(_) => return Err(Reason::Internal),
    };
    let request = test_packet_control::find(&bytes, &plan, &policy);
    if request
        .as_ref()
        .is_some_and(|request| !reflected_control::is_wanted(&mut bytes, request, &LocalMembership(snapshot)))
    {
        if !is_again {
            store.unanswered(&key, &meta);
        }
        return Err(Reason::ControlNoReply);
    }
    let reflected = reflected(payload, mode).ok_or(Reason::Internal)?;
    if meta.flags & PacketMeta::UNASSIGNED != 0 {
        meta.flags &= !PacketMeta::UNASSIGNED;
        match snapshot.config.is_stateful {
            true if is_again => store.claim_again(&key, &mut meta)?,
            true => store.claim(&key, session_flags, snapshot, &reflected, &mut meta)?,
            false => {}
        }
    }
    let mut grant = None;
    if let Some(request) = request {
        let asked = (&key, &meta, reflected.sequence_number.get());
        let ControlGrant { decision, permit } = test_packet_control::grant(&request, &plan, snapshot, asked, control);
        host.control = Some(decision);
        if let ReplyDecision::Replies(replies) = decision {
            // They go to where the request came from and nowhere else (RFC 10052 §4.2).
            policy.flags &= !(Policy::RETURN_ADDRESS | Policy::DESTINATION_PORT);
            if !request.is_malformed {
                test_packet_control::resize(payload, &mut plan, &policy, replies.len);
            }
            grant = permit.map(|permit| BurstGrant { permit, replies });
        }
    }
    let mut bytes = SliceBuf(payload);
    let pattern = snapshot.bit_error_pattern(&key);
    host.prepare(&bytes, &plan, &policy, pattern);
    let mut reply_options = ReplyOptions::new(meta.traffic_class);
    reflect::apply(&mut bytes, &plan, &meta, &policy, &mut host, &mut reply_options);
    host.complete(&mut bytes, pattern);
    let (hmac_at, path_request) = (host.hmac_at, host.path_request);
    let tlv_key = hmac_at.zip(tlv_key.cloned());
    let format = Session::format(session_flags, &snapshot.config.policy);
    let (sender_sequence, sender_timestamp) = (reflected.sequence_number.get(), reflected.timestamp.bits());
    Ok(PendingReply {
        key,
        meta,
        mode,
        format,
        sender_sequence,
        sender_timestamp,
        base_key,
        tlv_key,
        reply_options,
        path_request,
        grant,
        is_again,
        captured: None,
    })
}

/// Returns true if a packet asks what came of those before it (Follow-Up Telemetry, History). Their replies then have to be on
/// their way first: until T3 is read there is nothing to tell.
pub fn needs_previous_reply(payload: &[u8], session_flags: u32, snapshot: &ConfigSnapshot) -> bool {
    let mode = if session_flags & Session::AUTHENTICATED != 0 { Mode::Authenticated } else { Mode::Unauthenticated };
    let asking = Kind::FollowUpTelemetry.set().with(Kind::History.set());
    let mut whole = tlvs(payload, mode.base_len(), &snapshot.config.policy).map_while(Result::ok);
    whole.any(|view| asking.has(view.tlv.number))
}

/// Brings up to date what the kernel knew of the reply before, when it assigned this one's number and punted the packet.
pub fn refresh_previous(meta: &mut PacketMeta, store: &dyn SessionStore) {
    if !meta.is_stateful() || meta.flags & PacketMeta::UNASSIGNED != 0 {
        return;
    }
    let ring = store.history_ring(meta.history_tag);
    if let Some(slot) = ring.and_then(|ring| ring.remembered(meta.history_tag, meta.sequence.wrapping_sub(1))) {
        (meta.previous_sequence, meta.previous_timestamp) = (slot.reflector_sequence, slot.timestamp);
    }
}

/// The key that the base packet is signed with, which the reply will be signed with too (RFC 8762 §4.4). Before this,
/// nothing of an authenticated packet is used and no state changes.
fn authenticate<'a>(keys: &'a [HmacKey], payload: &[u8]) -> Result<&'a HmacKey, Reason> {
    if keys.is_empty() {
        return Err(Reason::NoKey);
    }
    keys.iter().find(|key| key.verify_base(payload)).ok_or(Reason::AuthenticationFailed)
}

/// Verifies the HMAC TLV, and returns the key for the reply's (RFC 8972 §4.8).
fn integrity<'a>(
    key: &SessionKey,
    payload: &mut [u8],
    mode: Mode,
    policy: &Policy,
    snapshot: &'a ConfigSnapshot,
) -> (TlvIntegrity, Option<&'a HmacKey>) {
    let len = payload.len();
    if len <= mode.base_len() || policy.has(Policy::NO_TLV) {
        return (TlvIntegrity::NotAsked, None);
    }
    match hmac::find(&SliceBuf(payload), len, mode, policy) {
        Placement::NotAsked => (TlvIntegrity::NotAsked, None),
        Placement::Wrong => (TlvIntegrity::Failed, None),
        Placement::At(at) => {
            let Some(sequence) = payload.first_chunk().copied() else { return (TlvIntegrity::Failed, None) };
            let tlvs = &payload[mode.base_len()..at];
            let stated = &payload[Placement::value(at)..Placement::value(at) + HMAC_LEN];
            let found = snapshot.keys(key).tlv.iter().find(|key| key.verify_tlvs(sequence, tlvs, stated));
            (if found.is_some() { TlvIntegrity::Verified } else { TlvIntegrity::Failed }, found)
        }
    }
}

/// Returns the fields that the reply repeats.
fn reflected(payload: &[u8], mode: Mode) -> Option<ReflectedFields> {
    Some(match mode {
        Mode::Unauthenticated => UnauthenticatedPacket::read_from_prefix(payload).ok()?.0.into(),
        Mode::Authenticated => AuthenticatedPacket::read_from_prefix(payload).ok()?.0.into(),
    })
}

/// An arrival on CLOCK_REALTIME, shortly before now, in nanoseconds of CLOCK_MONOTONIC.
pub fn arrival_ns(realtime_ns: u64, clock: &Clock) -> u64 {
    let arrival_ns = clock.monotonic_ns(clock.tai_ns(realtime_ns));
    plausible_arrival(arrival_ns, SystemClock.monotonic_ns())
}

impl PendingReply {
    /// Signs the TLVs, writes the base packet with T3, which `realtime_ns` reads from CLOCK_REALTIME, and signs that.
    /// Returns T3 as it is on the wire.
    pub fn finalize(&self, payload: &mut [u8], realtime_ns: impl FnOnce() -> u64, clock: &Clock) -> u64 {
        if let Some((at, key)) = &self.tlv_key {
            let sequence = if self.meta.is_stateful() { self.meta.sequence } else { self.sender_sequence };
            let value = key.tlv_hmac(sequence.to_be_bytes(), &payload[self.mode.base_len()..*at]);
            payload[Placement::value(*at)..Placement::value(*at) + HMAC_LEN].copy_from_slice(&value);
        }
        let timestamp = clock.wire_time(clock.tai_ns(realtime_ns()), self.format);
        // The octets are there: `process` has read the same ones.
        let _ = reflect::stamp(&mut SliceBuf(payload), self.mode, (&self.meta).into(), timestamp);
        if let Some(key) = &self.base_key {
            key.sign_base(payload);
        }
        timestamp
    }

    /// Remembers the exchange, with T3 as `timestamp`.
    pub fn commit(&self, timestamp: u64, store: &dyn SessionStore) {
        if !self.meta.is_stateful() {
            return;
        }
        let exchange = HistorySlot {
            tag: self.meta.history_tag,
            reflector_sequence: self.meta.sequence,
            sender_timestamp: self.sender_timestamp,
            receive_timestamp: self.meta.receive_timestamp,
            timestamp,
            sender_sequence: self.sender_sequence,
            reserved: 0,
        };
        store.record_exchange(&self.key, &self.meta, exchange);
    }

    /// Returns true if the session is authenticated.
    pub fn is_authenticated(&self) -> bool {
        self.base_key.is_some()
    }

    /// Returns the metadata of the request.
    pub fn meta(&self) -> &PacketMeta {
        &self.meta
    }

    /// The session.
    pub fn key(&self) -> &SessionKey {
        &self.key
    }
}

#[cfg(test)]
mod tests;
