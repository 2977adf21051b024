//! The TLVs of a reply: where they are, and which of them may be used (RFC 8972 §4, §4.8). Never panics, for any bytes.

use serde::Serialize;
use teaparty_common::reflect::Policy;
use teaparty_common::tlv::{Flags, Header, Kind, LENGTH_RULES, TlvOverrun, TlvView, tlvs};
use zerocopy::FromBytes;

use super::request::RequestTlv;
use crate::crypto::HmacKey;

/// TLVs of a reply that are looked at; a packet of 64 KiB can hold 16,000 empty ones.
const MAX_TLVS: usize = 512;

/// The outcome of a TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlvOutcome {
    /// Understood: its Value may be used.
    Answered,
    /// U: not understood, or not complied with for a reason of its type.
    Unrecognized,
    /// M: malformed, as the reflector or we see it. Nothing after it counts.
    Malformed,
    /// C: understood, but can't be done as asked.
    NotConformant,
    /// The reply's TLVs are not to be used: I was set on one of them, or the HMAC TLV is wrong or missing.
    NotAuthentic,
    /// Behind a malformed one, and so not looked at.
    Skipped,
}

impl TlvOutcome {
    /// As people read it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unrecognized => "not recognised (U)",
            Self::Malformed => "malformed (M)",
            Self::NotConformant => "not possible as asked (C)",
            Self::NotAuthentic => "integrity check failed (I)",
            Self::Skipped => "skipped, after a malformed one",
        }
    }
}

/// One TLV of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTlv<'a> {
    /// Its type on the wire.
    pub code: u8,
    /// Its kind, if we know the type.
    pub kind: Option<Kind>,
    /// The verdict on its Value.
    pub outcome: TlvOutcome,
    /// Its Value, cut to what is there.
    pub value: &'a [u8],
}

/// The rules for checking the TLVs of replies.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// The mapping of types to kinds.
    pub policy: &'a Policy,
    /// Key of the HMAC TLV, if replies are to have one.
    pub key: Option<&'a HmacKey>,
    /// The TLVs that were sent. A Reflected Test Packet Control that was short may come back so.
    pub sent: &'a [RequestTlv],
}

/// The TLVs after the first `base_len` octets of a reply, in order, each with what may be made of it.
///
/// The order of judgement is RFC 8972's: first the HMAC TLV, then I on any TLV, which voids all of them; then, one TLV
/// after the other, U (skip it) and M (stop).
pub fn reply_tlvs<'a>(payload: &'a [u8], base_len: usize, check: Check<'_>) -> Vec<ReplyTlv<'a>> {
    let mut found = walk(payload, base_len, check);
    let flags_of = |entry: &(usize, ReplyTlv<'_>)| Flags(payload[entry.0]);
    let voided = found.iter().any(|entry| flags_of(entry).contains(Flags::INTEGRITY))
        || check.key.is_some_and(|key| !found.is_empty() && !is_authentic(payload, base_len, &found, key));
    let mut is_stopped = false;
    for entry in &mut found {
        let flags = Flags(payload[entry.0]);
        let answer = &mut entry.1;
        answer.outcome = if voided {
            TlvOutcome::NotAuthentic
        } else if is_stopped {
            TlvOutcome::Skipped
        } else if flags.contains(Flags::MALFORMED) || answer.outcome == TlvOutcome::Malformed {
            is_stopped = true;
            TlvOutcome::Malformed
        } else if flags.contains(Flags::UNRECOGNIZED) {
            TlvOutcome::Unrecognized
        } else if flags.contains(Flags::CONFORMANT) {
            TlvOutcome::NotConformant
        } else if answer.kind.is_none() {
            // A reflector that knows a type that we don't; there is nothing to be done with its Value.
            TlvOutcome::Unrecognized
        } else {
            TlvOutcome::Answered
        };
    }
    found.into_iter().map(|(_, answer)| answer).collect()
}

/// TLVs with the place of their headers; the outcome says only whether each is whole and of a legal Length.
fn walk<'a>(payload: &'a [u8], base_len: usize, check: Check<'_>) -> Vec<(usize, ReplyTlv<'a>)> {
    let Check { policy, sent, .. } = check;
    let reply_tlv = |item: Result<TlvView<'a>, TlvOverrun<'a>>| match item {
        Ok(TlvView { tlv, value, .. }) => {
            // The walk's own judgement is about requests: Class of Service v2 has other octets in a reply.
            let is_legal = LENGTH_RULES[usize::from(tlv.number & 31)].allows(tlv.length);
            let is_ours = |sent: &RequestTlv| {
                sent.kind == Some(Kind::ReflectedControl) && sent.value.len() == usize::from(tlv.length)
            };
            let is_legal = is_legal || tlv.number == Kind::ReflectedControl as u8 && sent.iter().any(is_ours);
            let outcome = if is_legal { TlvOutcome::Answered } else { TlvOutcome::Malformed };
            (tlv.at, ReplyTlv { code: tlv.code, kind: Kind::from_number(tlv.number), outcome, value })
        }
        Err(TlvOverrun { at, header, value }) => {
            let kind = Kind::from_number(policy.code_points.kind(header.code, header.length.get()));
            (at, ReplyTlv { code: header.code, kind, outcome: TlvOutcome::Malformed, value })
        }
    };
    tlvs(payload, base_len, policy).take(MAX_TLVS).map(reply_tlv).collect()
}

/// Returns true if the TLVs have exactly one HMAC TLV, right and in its place, or are one Extra Padding alone (RFC 8972 §4.8).
fn is_authentic(payload: &[u8], base_len: usize, found: &[(usize, ReplyTlv<'_>)], key: &HmacKey) -> bool {
    if let [(_, only)] = found
        && only.kind == Some(Kind::ExtraPadding)
    {
        return true;
    }
    let is_hmac = |entry: &&(usize, ReplyTlv<'_>)| entry.1.kind == Some(Kind::Hmac);
    let mut hmacs = found.iter().filter(is_hmac);
    let (Some((at, hmac)), None) = (hmacs.next(), hmacs.next()) else { return false };
    let only_padding_behind =
        found.iter().filter(|(place, _)| place > at).all(|(_, answer)| answer.kind == Some(Kind::ExtraPadding));
    let Some(sequence) = payload.first_chunk::<4>() else { return false };
    only_padding_behind && key.verify_tlvs(*sequence, &payload[base_len..*at], hmac.value)
}

/// The body of an answered TLV, if it has the size of `T`.
pub fn body<T: FromBytes>(value: &[u8]) -> Option<T> {
    T::read_from_bytes(value).ok()
}

/// The header and value of each sub-TLV of a Value, whole ones only.
pub fn subs(value: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (header, tail) = Header::read_from_prefix(rest).ok()?;
        let value = tail.get(..header.length.get().into())?;
        rest = &tail[value.len()..];
        Some((header, value))
    })
}

#[cfg(test)]
mod tests;
