//! Look-ups in the map of provisioned sessions.

use core::hint::black_box;
use core::ptr::NonNull;

use teaparty_common::maps::{Config, Session, SessionKey};
use teaparty_common::reflect::{Address, Policy};

use crate::maps::PROVISIONED;

/// The entry of a provisioned session. A packet from port 0 finds the wildcard itself, which keeps no state.
#[inline(always)]
pub(crate) fn provisioned(key: &SessionKey) -> Option<NonNull<Session>> {
    let found = PROVISIONED.get_ptr_mut(key).and_then(NonNull::new)?;
    // SAFETY: a value of a map, looked up above; the entry stays readable until the program ends.
    if unsafe { found.as_ref() }.flags & Session::WILDCARD != 0 { None } else { Some(found) }
}

/// The flags of the provisioned session that stands for others and fits: with a wildcard, the more it says the better; else
/// one that is found whatever the SSID is.
#[inline(always)]
pub(super) fn wildcard(key: &SessionKey, config: &Config) -> Option<u32> {
    if config.has(Config::HAS_WILDCARDS)
        && let Some(flags) = by_wildcards(key, provisioned_flags)
    {
        return Some(flags);
    }
    if config.has(Config::HAS_ANY_SSID) { any_ssid(key, config).map(|(flags, _)| flags) } else { None }
}

/// Looks for a key's wildcards in turn.
#[inline(always)]
fn by_wildcards<T>(key: &SessionKey, look: impl Fn(&SessionKey) -> Option<T>) -> Option<T> {
    // Written out, and with zeros that LLVM can't see: else it calls memset, which the verifier does not take.
    let mut wild = *key;
    wild.source_port = 0;
    if let Some(found) = look(&wild) {
        return Some(found);
    }
    wild.destination = Address::from_words([black_box(0), black_box(0)]);
    wild.source_port = key.source_port;
    if let Some(found) = look(&wild) {
        return Some(found);
    }
    wild.source_port = 0;
    look(&wild)
}

/// Flags and SSID of the provisioned session that is found for these addresses and ports whatever the SSID is.
#[inline(always)]
fn any_ssid(key: &SessionKey, config: &Config) -> Option<(u32, u16)> {
    // SAFETY: only flags and SSID are copied.
    let look = |key: &SessionKey| unsafe { PROVISIONED.get(key) }.map(|found| (found.flags, found.ssid));
    let any = key.any_ssid();
    match look(&any) {
        None if config.has(Config::HAS_WILDCARDS) => by_wildcards(&any, look),
        found => found,
    }
}

/// The SSID of the session that a packet with this key is of. What stands in the place of the SSID is none where the session
/// has no TLVs, or where SSIDs are ignored. A function of its own for the sake of the stack.
#[inline(never)]
pub(crate) fn own_ssid(key: &SessionKey, config: &Config) -> u32 {
    let stated = u32::from(key.ssid);
    if provisioned_flags(key).is_some()
        || (config.has(Config::HAS_WILDCARDS) && by_wildcards(key, provisioned_flags).is_some())
    {
        return stated;
    }
    match any_ssid(key, config) {
        Some((flags, ssid)) if flags & Session::NO_TLV != 0 || config.policy.has(Policy::IGNORE_SSID) => ssid.into(),
        _ => stated,
    }
}

#[inline(always)]
pub(super) fn provisioned_flags(key: &SessionKey) -> Option<u32> {
    // SAFETY: only the flags are copied.
    unsafe { PROVISIONED.get(key) }.map(|found| found.flags)
}
