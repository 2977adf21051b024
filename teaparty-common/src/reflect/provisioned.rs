//! Provisioned sessions: which of them a packet's session is, or is made from, and the SSID that it then has.
//!
//! Kernel and controller keep them in memory of their own. The order of the look-ups is here.

use super::Address;
use crate::maps::{Session, SessionKey};

/// The provisioned sessions, and which kinds of them there are.
pub trait ProvisionedSessions {
    /// A session that was found.
    type Found;

    /// Returns the session with exactly this key, which may be a wildcard's.
    fn get(&self, key: &SessionKey) -> Option<Self::Found>;

    /// Returns the session that is found by a key of [`SessionKey::any_ssid`], and its own SSID.
    fn get_any_ssid(&self, any: &SessionKey) -> Option<(Self::Found, u16)>;

    /// Returns the configured bits of [`Session::flags`].
    fn flags(found: &Self::Found) -> u32;

    /// Returns true if any of them is a wildcard: it has no source port, or no destination address, or neither.
    fn has_wildcards(&self) -> bool;

    /// Returns true if any of them is found whatever the SSID of a packet is.
    fn has_any_ssid(&self) -> bool;

    /// Returns true if no SSID in a packet counts.
    fn ignores_ssid(&self) -> bool;

    /// Returns zero, and hides that from LLVM where it would make a call of it that the kernel's verifier does not take.
    #[inline(always)]
    fn zero(&self) -> u64 {
        0
    }
}

/// Returns the session that a packet's session is, or is made from: the more it says the better.
#[inline(always)]
pub fn provision<P: ProvisionedSessions>(sessions: &P, key: &SessionKey) -> Option<P::Found> {
    match sessions.get(key) {
        None => inherited(sessions, key),
        found => found,
    }
}

/// Returns the session that stands for others and fits: with a wildcard, the more it says the better; else one that is found
/// whatever the SSID is.
#[inline(always)]
pub fn inherited<P: ProvisionedSessions>(sessions: &P, key: &SessionKey) -> Option<P::Found> {
    if sessions.has_wildcards()
        && let Some(found) = by_wildcards(sessions, key, |key| sessions.get(key))
    {
        return Some(found);
    }
    if sessions.has_any_ssid() { any_ssid(sessions, key).map(|(found, _)| found) } else { None }
}

/// Returns the SSID of the session that a packet with this key is of.
///
/// What stands in the place of the SSID is none where the session has no TLVs, or where SSIDs are ignored.
#[inline(always)]
pub fn own_ssid<P: ProvisionedSessions>(sessions: &P, key: &SessionKey) -> u16 {
    if sessions.get(key).is_some()
        || (sessions.has_wildcards() && by_wildcards(sessions, key, |key| sessions.get(key)).is_some())
    {
        return key.ssid;
    }
    match any_ssid(sessions, key) {
        Some((found, ssid)) if P::flags(&found) & Session::NO_TLV != 0 || sessions.ignores_ssid() => ssid,
        None if sessions.ignores_ssid() => 0,
        _ => key.ssid,
    }
}

/// Returns the session that is found for these addresses and ports whatever the SSID is, and its own SSID.
#[inline(always)]
fn any_ssid<P: ProvisionedSessions>(sessions: &P, key: &SessionKey) -> Option<(P::Found, u16)> {
    let any = key.any_ssid();
    match sessions.get_any_ssid(&any) {
        None if sessions.has_wildcards() => by_wildcards(sessions, &any, |key| sessions.get_any_ssid(key)),
        found => found,
    }
}

/// Looks for a key's wildcards in turn: any source port, any destination address, both.
#[inline(always)]
fn by_wildcards<P: ProvisionedSessions, T>(
    sessions: &P,
    key: &SessionKey,
    look: impl Fn(&SessionKey) -> Option<T>,
) -> Option<T> {
    // Written out, because a loop over an array of keys would be 160 octets of the kernel's stack.
    let mut wild = *key;
    wild.source_port = 0;
    if let Some(found) = look(&wild) {
        return Some(found);
    }
    wild.destination = Address::from_words([sessions.zero(), sessions.zero()]);
    wild.source_port = key.source_port;
    if let Some(found) = look(&wild) {
        return Some(found);
    }
    wild.source_port = 0;
    look(&wild)
}
