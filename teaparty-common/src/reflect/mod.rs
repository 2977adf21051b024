//! Reflection: [`plan`] reads a test packet and decides, [`apply`] and [`stamp`] turn it into its reply in place.
//!
//! Order of use: `plan`; on [`Verdict::Reflect`] first `apply` (TLVs), then, with T3 just read, `stamp` (base packet).
//! Decide, then write: `plan` proves that every octet that the other two touch is there, and writes nothing, so a
//! packet that is punted is the packet that arrived. The order of work is that of RFC 8972 §4.

#[cfg(all(feature = "frame", feature = "maps"))]
pub mod admission;
mod apply;
mod heartbeat;
#[cfg(feature = "maps")]
pub mod provisioned;
mod reply_loop;
mod source;

#[cfg(test)]
mod tests;

pub use self::apply::{ReplyFields, ReplyOptions, StampResult, apply, apply_step, apply_tlv, history_entry, stamp};
pub use self::heartbeat::{HEARTBEAT_SEQUENCE, is_heartbeat};
pub use self::reply_loop::{WINDOW_S, is_reply_to_ours, may_be_reply};
pub use self::source::is_invalid_source;
pub use crate::address::Address;
pub use crate::packet_meta::PacketMeta;
pub use crate::plan::{Plan, TlvIntegrity, Verdict};
pub use crate::policy::{LocationFields, Policy};
pub use crate::reason::{Disposition, REASON_SLOTS, REASONS, Reason};
pub use crate::tlv::{Tlv, TlvItem, next_tlv};

use crate::packet_buf::PacketBuf;
use crate::tlv::micro_session::MicroSessionId;
use crate::tlv::{HEADER_LEN, HandledBy, Kind, KindSet, location, return_path};
use crate::wire::{ErrorEstimate, Mode, sender};

/// The environment of a reflection, and its abilities.
pub trait ReflectorEnv {
    /// The TLVs that may be finished here. Any other known one makes the packet a [`Verdict::Punt`].
    const KINDS: KindSet;
    /// Most sub-TLVs of a Location or a Return Path that are walked here; a packet with more is punted.
    const MAX_SUBS: usize;
    /// True if a reply may be longer than its request here (RFC 8762 §4.6: packets shorter than the base packet).
    const CAN_GROW: bool;

    /// Returns true if a Destination Node Address may name this address: ours, and one that replies may leave from.
    fn is_local(&self, address: &Address) -> bool;

    /// The received packet's IPv4 header without options, or its IPv6 header, if `N` octets is what it has.
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]>;

    /// Answers the sub-TLVs of a Location that lie from `sub` up to `end`: [`location::step`] until there are no more.
    #[inline(always)]
    fn location_subs<B: PacketBuf>(
        &mut self,
        payload: &mut B,
        sub: usize,
        end: usize,
        meta: &PacketMeta,
        policy: &Policy,
    ) {
        let mut sub = sub;
        while let Some(next) = location::step(payload, sub, end, meta, policy) {
            sub = next;
        }
    }

    /// Finishes a TLV that only the controller can: a kind with [`crate::tlv::HandledBy::Controller`], or a Return Path
    /// without a Control Code. Edits Value and Flags in place. Environments whose [`Self::KINDS`] has none need not care.
    fn finish<B: PacketBuf>(
        &mut self,
        _payload: &mut B,
        _tlv: Tlv,
        _plan: &Plan,
        _facts: &PacketMeta,
        _policy: &Policy,
    ) {
    }
}

/// The SSID of a test packet of `len` octets; 0 where it is too short to have one (RFC 8972 §3).
///
/// A packet shorter than the base packet in unauthenticated mode is a TWAMP-Light sender's: what stands there is padding, and often
/// pseudo-random (RFC 4656 §4.1.2). Such a sender knows no STAMP authenticated mode, so a packet that is too short
/// for that one is of the session that its octets name, and fails there.
#[inline(always)]
pub fn ssid<B: PacketBuf>(payload: &B, len: usize, mode: Mode) -> u16 {
    let (at, least) = match mode {
        Mode::Unauthenticated => (core::mem::offset_of!(sender::UnauthenticatedPacket, ssid), mode.base_len()),
        Mode::Authenticated => {
            let at = core::mem::offset_of!(sender::AuthenticatedPacket, ssid);
            (at, at + 2)
        }
    };
    if len < least {
        return 0;
    }
    payload.get::<2>(at).map_or(0, u16::from_be_bytes)
}

/// Decides whether this environment can answer the packet. Reads only; never panics, for any bytes.
///
/// * `payload`: the UDP payload, `len` octets (UDP length minus 8). More than is there gives [`Verdict::Punt`]. Where
///   the environment [can grow](ReflectorEnv::CAN_GROW) a packet, the caller has zero-filled it up to the base length.
/// * `mode`: from the session's configuration, never from the octets.
/// * `integrity`: the result of verifying the HMAC TLV. The kernel says [`TlvIntegrity::NotAsked`] and punts such
///   packets.
///
/// Malformed TLVs give `Reflect` too: they are reflected with the M flag (RFC 8972 §4).
/// Cost: one pass over the TLV headers.
#[inline(always)]
pub fn plan<B: PacketBuf, E: ReflectorEnv>(
    payload: &B,
    len: usize,
    mode: Mode,
    policy: &Policy,
    integrity: TlvIntegrity,
    env: &E,
) -> Verdict {
    let verdict = plan_bare(payload, len, mode, policy, env);
    let Verdict::Reflect(mut plan) = verdict else { return verdict };
    if len <= mode.base_len() || policy.has(Policy::NO_TLV) {
        return verdict;
    }
    plan.has_tlvs = true;
    plan.integrity = integrity;
    let mut scan = TlvScan::new(mode);
    while scan.step(payload, len, policy, env) {}
    scan.finish(plan, policy)
}

/// [`plan`] for a packet whose tail is not looked at: sizes and base packet only.
#[inline(always)]
pub fn plan_bare<B: PacketBuf, E: ReflectorEnv>(
    payload: &B,
    len: usize,
    mode: Mode,
    policy: &Policy,
    _: &E,
) -> Verdict {
    let base_len = mode.base_len();
    if len < usize::from(policy.min_payload) {
        return Verdict::Drop(Reason::TooShort);
    }
    if len < base_len && !E::CAN_GROW {
        return Verdict::Punt(Reason::ShortPacket);
    }
    if !payload.holds(if len < base_len { base_len } else { len }) {
        return Verdict::Punt(Reason::LongPacket);
    }
    if policy.has(Policy::STRICT) && has_zero_multiplier(payload, mode) {
        return Verdict::Drop(Reason::ZeroMultiplier);
    }
    Verdict::Reflect(Plan::without_tlvs(len, mode))
}

/// Returns true if the Error Estimate has Multiplier 0. Octets that are not there count as zero.
#[inline(always)]
fn has_zero_multiplier<B: PacketBuf>(payload: &B, mode: Mode) -> bool {
    let at = match mode {
        Mode::Unauthenticated => core::mem::offset_of!(sender::UnauthenticatedPacket, error_estimate),
        Mode::Authenticated => core::mem::offset_of!(sender::AuthenticatedPacket, error_estimate),
    };
    payload.get::<2>(at).is_none_or(|bits| ErrorEstimate::from_bits(u16::from_be_bytes(bits)).multiplier() == 0)
}

/// Findings of the survey, as bits.
mod flag {
    /// A TLV needs the controller.
    pub(super) const CONTROLLER: u32 = 1;
    /// An HMAC TLV needs the controller.
    pub(super) const INTEGRITY: u32 = 2;
    /// A Micro-session ID names another link.
    pub(super) const OTHER_LINK: u32 = 4;
    /// Return Path asks for no reply.
    pub(super) const NO_REPLY: u32 = 8;
    /// Reflected Test Packet Control asks for at least one.
    pub(super) const WANTS_REPLIES: u32 = 16;
    /// A malformed TLV has been met.
    pub(super) const MALFORMED: u32 = 32;
    /// A Reflected Fixed Header follows a Reflected IPv6 Extension Header.
    pub(super) const OUT_OF_ORDER: u32 = 64;
    /// A Location or a Return Path has more sub-TLVs than may be walked.
    pub(super) const MANY_SUBS: u32 = 128;
    /// The end has been found.
    pub(super) const OVER: u32 = 256;
}

/// The walk over the TLV headers for what decides about the packet as a whole, one turn for each TLV.
///
/// [`plan`] takes all turns. The kernel program takes them itself, each in a function that the verifier looks at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvScan {
    /// Offset of the next TLV.
    pub at: usize,
    /// End of the walk: the start of padding with zeros, or beyond any packet.
    tlvs_end: usize,
    flags: u32,
    seen: KindSet,
}

impl TlvScan {
    /// Before the first turn.
    #[inline(always)]
    pub const fn new(mode: Mode) -> Self {
        Self { at: mode.base_len(), tlvs_end: usize::MAX, flags: 0, seen: KindSet::EMPTY }
    }

    /// Returns true if a turn has found the end: of the packet, of what can be read as TLVs, or of all but zeros.
    #[inline(always)]
    pub const fn is_over(&self) -> bool {
        self.flags & flag::OVER != 0
    }

    /// A turn for the TLVs that need no second look: well formed, and of a kind that can neither end the packet nor send
    /// it elsewhere. Gives this one for [`apply_tlv`], with [`TlvScan::is_over`] where it is the last; if it is none,
    /// [`TlvScan::step`] goes on from here.
    #[inline(always)]
    pub fn next_simple<B: PacketBuf>(&mut self, payload: &B, len: usize, policy: &Policy) -> Option<Tlv> {
        let TlvItem::Tlv(tlv) = next_tlv(payload, self.at, len, policy) else { return None };
        if !tlv.is_well_formed || !Self::SIMPLE.has(tlv.number) {
            return None;
        }
        self.at = tlv.end();
        self.seen.0 |= 1 << (tlv.number & 31);
        if self.at >= len {
            self.flags |= flag::OVER;
        }
        Some(tlv)
    }

    /// The kinds that `classify` has nothing to note of. A Reflected Fixed Header is one, because in front of it nothing but
    /// these can have been skimmed.
    pub const SIMPLE: KindSet = KindSet::handled_by(HandledBy::Kernel)
        .without(Kind::ReturnPath.set().with(Kind::MicroSessionId.set()).with(Kind::Location.set()));

    /// Concludes a survey of simple TLVs alone: the packet is answered.
    #[inline(always)]
    pub const fn finish_simple(&self, plan: &mut Plan) {
        plan.has_tlvs = true;
        plan.seen = self.seen;
    }

    /// Looks at one TLV of a payload of `len` octets, all of which are there. Whether there may be more.
    #[inline(always)]
    pub fn step<B: PacketBuf, E: ReflectorEnv>(&mut self, payload: &B, len: usize, policy: &Policy, _: &E) -> bool {
        let tlv = match next_tlv(payload, self.at, len, policy) {
            TlvItem::Tlv(tlv) => tlv,
            TlvItem::End => {
                self.tlvs_end = self.at;
                self.flags |= flag::OVER;
                return false;
            }
            TlvItem::Stray | TlvItem::Overrun(_) => {
                self.flags |= flag::OVER;
                return false;
            }
        };
        self.at = tlv.end();
        if self.flags & flag::MALFORMED != 0 || !tlv.is_well_formed {
            // Nothing after a malformed TLV has an effect (RFC 8972 §4), but an HMAC TLV there still means that
            // integrity was asked for, and can't be given.
            self.flags |= flag::MALFORMED;
            if tlv.number == Kind::Hmac as u8 && !E::KINDS.has(Kind::Hmac as u8) {
                self.flags |= flag::INTEGRITY;
            }
        } else if tlv.number != 0 {
            self.flags |= classify::<B, E>(payload, policy, &tlv, self.seen);
            self.seen.0 |= 1 << (tlv.number & 31);
        }
        if self.at >= len {
            self.flags |= flag::OVER;
            return false;
        }
        true
    }

    /// Weighs what the turns found. An HMAC TLV comes first, since it may void all the others; then what ends the
    /// packet, so that the packets punted for another TLV are sure to be answered.
    #[inline(always)]
    pub fn finish(&self, mut plan: Plan, policy: &Policy) -> Verdict {
        let has = |flags: u32| self.flags & flags != 0;
        plan.seen = self.seen;
        // A tail of zeros ends the walk before the packet ends; `apply` need not look at it again.
        if self.tlvs_end < plan.len {
            plan.tlvs_end = self.tlvs_end;
        }
        plan.headers_out_of_order = has(flag::OUT_OF_ORDER);
        if plan.integrity == TlvIntegrity::Failed {
            return Verdict::Reflect(plan);
        }
        if has(flag::INTEGRITY) {
            return Verdict::Punt(Reason::IntegrityTlv);
        }
        if has(flag::OTHER_LINK) {
            return Verdict::Drop(Reason::MicroSession);
        }
        if has(flag::NO_REPLY) {
            if !has(flag::WANTS_REPLIES) || !policy.has(Policy::REFLECTED_CONTROL) {
                return Verdict::Drop(Reason::NoReplyWanted);
            }
            plan.control_conflict = true;
        }
        if has(flag::MANY_SUBS) {
            // First, since it may yet turn out that no reply is wanted: a packet punted for another TLV alone is answered.
            Verdict::Punt(Reason::ManyTlvs)
        } else if has(flag::CONTROLLER) {
            Verdict::Punt(Reason::ControllerTlv)
        } else {
            Verdict::Reflect(plan)
        }
    }
}

/// Records one well-formed TLV of a known kind.
#[inline(always)]
fn classify<B: PacketBuf, E: ReflectorEnv>(payload: &B, policy: &Policy, tlv: &Tlv, seen: KindSet) -> u32 {
    let is = |kind: Kind| tlv.number == kind as u8;
    let is_first = !seen.has(tlv.number);
    let mut flags = 0;
    if is(Kind::ReflectedControl) && is_first {
        // The count of replies: two octets after the two of their length (RFC 10052 §3).
        if payload.get::<2>(tlv.value() + 2).is_some_and(|count| count != [0, 0]) {
            flags |= flag::WANTS_REPLIES;
        }
    }
    if !E::KINDS.has(tlv.number) {
        if is(Kind::Hmac) {
            flags |= flag::INTEGRITY;
        } else if needs_controller(tlv.number, policy) {
            flags |= flag::CONTROLLER;
        }
    } else if is(Kind::ReturnPath) {
        if is_first {
            match return_path::control_code(payload, tlv, E::MAX_SUBS) {
                None => flags |= flag::MANY_SUBS,
                Some(Some(code)) if code.is_no_reply() => flags |= flag::NO_REPLY,
                Some(Some(_)) => {}
                // Addresses and segment lists, without a Control Code among them.
                Some(None) if !E::KINDS.has(Kind::Hmac as u8) => flags |= flag::CONTROLLER,
                Some(None) => {}
            }
        }
    } else if is(Kind::MicroSessionId) {
        if is_other_link(payload, tlv, policy) {
            flags |= flag::OTHER_LINK;
        }
    } else if is(Kind::Location) {
        if location::count_subs(payload, tlv.value() + location::FIXED_LEN, tlv.end(), E::MAX_SUBS).is_none() {
            flags |= flag::MANY_SUBS;
        }
    } else if is(Kind::ReflectedFixedHeader) && seen.has(Kind::ReflectedExtensionHeader as u8) {
        flags |= flag::OUT_OF_ORDER;
    }
    flags
}

/// Returns true if a TLV that can't be finished here has anything to finish: some come back as unrecognised wherever they are.
#[inline(always)]
fn needs_controller(number: u8, policy: &Policy) -> bool {
    if number == Kind::ReflectedControl as u8 {
        return policy.has(Policy::REFLECTED_CONTROL);
    }
    KindSet::handled_by(HandledBy::Controller).has(number)
}

/// Returns true if a Micro-session ID names one of our links other than the one configured (RFC 9534 §3.2).
#[inline(always)]
fn is_other_link<B: PacketBuf>(payload: &B, tlv: &Tlv, policy: &Policy) -> bool {
    if policy.micro_session_id == 0 {
        return false;
    }
    let Some(octets) = payload.get::<{ size_of::<MicroSessionId>() }>(tlv.value()) else {
        return false;
    };
    let id: MicroSessionId = zerocopy::transmute!(octets);
    id.reflector_id.get() != 0 && id.reflector_id.get() != policy.micro_session_id
}

const _: () = assert!(HEADER_LEN == 4);
