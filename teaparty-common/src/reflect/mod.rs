//! Reflection: [`plan`] reads a test packet and decides, [`apply`] and [`stamp`] turn it into its reply in place.
//!
//! Order of use: `plan`; on [`Verdict::Reflect`] first `apply` (TLVs), then, with T3 just read, `stamp` (base packet).
//! Decide, then write: `plan` proves that every octet that the other two touch is there, and writes nothing, so a
//! packet that is punted is the packet that arrived. The order of work is that of RFC 8972 §4.

mod address;
mod apply;
mod facts;
mod policy;
mod verdict;
mod walk;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use apply::{Steering, apply, stamp};
pub use facts::Facts;
pub use policy::{LocationFields, Policy};
pub use verdict::{Class, REASON_SLOTS, REASONS, Reason, Verdict};
pub use walk::{Step, Tlv, step};

use crate::bytes::Bytes;
use crate::tlv::steering::{ControlCode, MicroSessionId};
use crate::tlv::{Finisher, HEADER_LEN, Kind, KindSet, location};
use crate::wire::{ErrorEstimate, Mode, sender};

/// What verification of the HMAC TLV came to, before any TLV has an effect (RFC 8972 §4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// There is nothing to verify.
    NotAsked,
    /// The HMAC TLV is right; the environment signs the reply's after [`apply`].
    Verified,
    /// It is wrong, missing where it must be, misplaced, or there is no key: every TLV comes back with the I flag.
    Failed,
}

/// Where a reflection happens, and what it can do there.
pub trait Environment {
    /// The TLVs that may be finished here. Any other known one makes the packet a [`Verdict::Punt`].
    const KINDS: KindSet;
    /// Most TLVs that are walked here; a packet with more is punted.
    const MAX_TLVS: usize;
    /// Most sub-TLVs of a Location that are walked here; a packet with more is punted.
    const MAX_SUBS: usize;
    /// Whether a reply may be longer than its request here (RFC 8762 §4.6: packets shorter than the base packet).
    const CAN_GROW: bool;

    /// Whether the address is one of ours.
    fn is_local(&self, address: &Address) -> bool;

    /// The received packet's IPv4 header without options, or its IPv6 header, if `N` octets is what it has.
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]>;

    /// Finishes a TLV that only the controller can: a kind with [`crate::tlv::Finisher::Controller`], or a Return Path
    /// without a Control Code. Edits Value and Flags in place. Environments whose [`Self::KINDS`] has none need not care.
    fn finish<B: Bytes>(&mut self, _payload: &mut B, _tlv: Tlv, _plan: Plan, _facts: &Facts, _policy: &Policy) {}
}

/// What [`plan`] found out, for [`apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Octets of UDP payload.
    pub len: usize,
    /// Layout of the base packet.
    pub mode: Mode,
    /// Whether there are TLVs to look at.
    pub has_tlvs: bool,
    /// Whether they may have an effect.
    pub integrity: Integrity,
    /// Kinds that occur before the walk ends.
    pub seen: KindSet,
    /// Return Path asks for no reply while Reflected Test Packet Control asks for some: U on both (RFC 10052 §4.3).
    pub control_conflict: bool,
    /// A Reflected IPv6 Extension Header stands before a Reflected Fixed Header: C on all of them (ext-hdr §3.3).
    pub headers_out_of_order: bool,
}

/// The SSID of a test packet; 0 where it is too short to have one (RFC 8972 §3).
#[inline(always)]
pub fn ssid<B: Bytes>(payload: &B, len: usize, mode: Mode) -> u16 {
    let at = match mode {
        Mode::Open => core::mem::offset_of!(sender::OpenPacket, ssid),
        Mode::Authenticated => core::mem::offset_of!(sender::AuthenticatedPacket, ssid),
    };
    if len < at + 2 {
        return 0;
    }
    payload.get::<2>(at).map_or(0, u16::from_be_bytes)
}

/// Decides whether this environment can answer the packet. Reads only; never panics, for any bytes.
///
/// * `payload`: the UDP payload, `len` octets (UDP length minus 8). More than is there gives [`Verdict::Punt`]. Where
///   the environment [can grow](Environment::CAN_GROW) a packet, the caller has zero-filled it up to the base length.
/// * `mode`: from the session's configuration, never from the octets.
/// * `integrity`: what verification of the HMAC TLV came to. The kernel says [`Integrity::NotAsked`] and punts such packets.
///
/// Malformed TLVs give `Reflect` too: they are reflected with the M flag (RFC 8972 §4).
/// Cost: one pass over the TLV headers, at most [`Environment::MAX_TLVS`] steps.
#[inline(always)]
pub fn plan<B: Bytes, E: Environment>(
    payload: &B,
    len: usize,
    mode: Mode,
    policy: &Policy,
    integrity: Integrity,
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
    let mut plan = Plan {
        len,
        mode,
        has_tlvs: len > base_len && !policy.has(Policy::NO_TLV),
        integrity,
        seen: KindSet::EMPTY,
        control_conflict: false,
        headers_out_of_order: false,
    };
    if !plan.has_tlvs || integrity == Integrity::Failed {
        return Verdict::Reflect(plan);
    }
    survey::<B, E>(payload, policy, &mut plan)
}

/// Whether the Error Estimate has Multiplier 0. Octets that are not there count as zero.
#[inline(always)]
fn has_zero_multiplier<B: Bytes>(payload: &B, mode: Mode) -> bool {
    let at = match mode {
        Mode::Open => core::mem::offset_of!(sender::OpenPacket, error_estimate),
        Mode::Authenticated => core::mem::offset_of!(sender::AuthenticatedPacket, error_estimate),
    };
    payload.get::<2>(at).is_none_or(|bits| ErrorEstimate::from_bits(u16::from_be_bytes(bits)).multiplier() == 0)
}

/// Walks the TLV headers for what decides about the packet as a whole.
#[inline(always)]
fn survey<B: Bytes, E: Environment>(payload: &B, policy: &Policy, plan: &mut Plan) -> Verdict {
    let mut at = plan.mode.base_len();
    let mut punt = None;
    let mut drop = None;
    let mut no_reply = false;
    let mut wants_replies = false;
    let mut after_malformed = false;
    for _ in 0..E::MAX_TLVS {
        let tlv = match step(payload, at, plan.len, policy) {
            Step::Tlv(tlv) => tlv,
            Step::Unclear => return Verdict::Punt(Reason::PaddingUnclear),
            Step::End | Step::Stray | Step::Overrun(_) => {
                return conclude::<E>(policy, plan, punt, drop, no_reply, wants_replies);
            }
        };
        at = tlv.end();
        if after_malformed || !tlv.is_well_formed {
            // Nothing behind a malformed TLV has an effect (RFC 8972 §4), but an HMAC TLV there still means that
            // integrity was asked for, and can't be given.
            after_malformed = true;
            if tlv.number == Kind::Hmac as u8 && !E::KINDS.has(Kind::Hmac as u8) {
                punt = Some(Reason::IntegrityTlv);
            }
            continue;
        }
        if tlv.number == 0 {
            continue;
        }
        let is_first = !plan.seen.has(tlv.number);
        plan.seen.0 |= 1 << (tlv.number & 31);
        if tlv.number == Kind::ReflectedControl as u8 && is_first {
            // The count of replies: two octets behind the two of their length (RFC 10052 §3).
            wants_replies = payload.get::<2>(tlv.value() + 2).is_some_and(|count| count != [0, 0]);
        }
        if !E::KINDS.has(tlv.number) {
            if tlv.number == Kind::Hmac as u8 {
                punt = Some(Reason::IntegrityTlv);
            } else if punt.is_none() && needs_controller(tlv.number, policy) {
                punt = Some(Reason::ControllerTlv);
            }
        } else if tlv.number == Kind::ReturnPath as u8 {
            if is_first {
                match control_code(payload, &tlv) {
                    Some(code) => no_reply = code.is_no_reply(),
                    // Addresses and segment lists, and whatever else is not a Control Code in front.
                    None if !E::KINDS.has(Kind::Hmac as u8) => {
                        if punt.is_none() {
                            punt = Some(Reason::ControllerTlv);
                        }
                    }
                    None => {}
                }
            }
        } else if tlv.number == Kind::MicroSessionId as u8 {
            if is_other_link(payload, &tlv, policy) {
                drop = Some(Reason::MicroSession);
            }
        } else if tlv.number == Kind::Location as u8 {
            let end = tlv.end();
            if location::count_subs(payload, tlv.value() + location::FIXED_LEN, end, E::MAX_SUBS).is_none() {
                return Verdict::Punt(Reason::ManyTlvs);
            }
        } else if tlv.number == Kind::ReflectedFixedHeader as u8 {
            if plan.seen.has(Kind::ReflectedExtensionHeader as u8) {
                plan.headers_out_of_order = true;
            }
        }
    }
    if at >= plan.len {
        return conclude::<E>(policy, plan, punt, drop, no_reply, wants_replies);
    }
    Verdict::Punt(Reason::ManyTlvs)
}

/// Whether a TLV that can't be finished here has anything to finish: some come back as unrecognised wherever they are.
#[inline(always)]
fn needs_controller(number: u8, policy: &Policy) -> bool {
    if number == Kind::ReflectedControl as u8 {
        return policy.has(Policy::REFLECTED_CONTROL);
    }
    KindSet::finished_by(Finisher::Controller).has(number)
}

/// Weighs what the walk found. An HMAC TLV comes first, since it may void all the others; then what ends the packet,
/// so that the packets punted for another TLV are sure to be answered.
#[inline(always)]
fn conclude<E: Environment>(
    policy: &Policy,
    plan: &mut Plan,
    punt: Option<Reason>,
    drop: Option<Reason>,
    no_reply: bool,
    wants_replies: bool,
) -> Verdict {
    if let Some(Reason::IntegrityTlv) = punt {
        return Verdict::Punt(Reason::IntegrityTlv);
    }
    if let Some(reason) = drop {
        return Verdict::Drop(reason);
    }
    if no_reply {
        if wants_replies && policy.has(Policy::REFLECTED_CONTROL) {
            plan.control_conflict = true;
        } else {
            return Verdict::Drop(Reason::NoReplyWanted);
        }
    }
    match punt {
        Some(reason) => Verdict::Punt(reason),
        None => Verdict::Reflect(*plan),
    }
}

/// The Control Code at the head of a Return Path, if that is what stands there (RFC 9503 §4.1.1).
#[inline(always)]
fn control_code<B: Bytes>(payload: &B, tlv: &Tlv) -> Option<ControlCode> {
    if usize::from(tlv.length) < size_of::<ControlCode>() {
        return None;
    }
    let code: ControlCode = zerocopy::transmute!(payload.get::<{ size_of::<ControlCode>() }>(tlv.value())?);
    code.is_well_formed().then_some(code)
}

/// Whether a Micro-session ID names a link of ours other than the one configured (RFC 9534 §3.2).
#[inline(always)]
fn is_other_link<B: Bytes>(payload: &B, tlv: &Tlv, policy: &Policy) -> bool {
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
