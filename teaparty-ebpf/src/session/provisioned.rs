//! Look-ups in the map of provisioned sessions.

use core::hint::black_box;
use core::ptr::NonNull;

use teaparty_common::maps::{Config, Session, SessionKey};
use teaparty_common::reflect::Policy;
use teaparty_common::reflect::provisioned::{self as common, ProvisionedSessions};

use crate::maps::PROVISIONED;

/// The entry of a provisioned session. A packet from port 0 finds the wildcard itself, which keeps no state.
#[inline(always)]
pub(crate) fn provisioned(key: &SessionKey) -> Option<NonNull<Session>> {
    let found = PROVISIONED.get_ptr_mut(key).and_then(NonNull::new)?;
    // SAFETY: a value of a map, looked up above; the entry stays readable until the program ends.
    if unsafe { found.as_ref() }.flags & Session::WILDCARD != 0 { None } else { Some(found) }
}

/// The map of them, and what the configuration says of their kinds.
pub(super) struct ProvisionedMap<'a>(pub(super) &'a Config);

impl ProvisionedSessions for ProvisionedMap<'_> {
    // The flags. An entry itself may change.
    type Found = u32;

    #[inline(always)]
    fn get(&self, key: &SessionKey) -> Option<u32> {
        // SAFETY: only the flags are copied.
        unsafe { PROVISIONED.get(key) }.map(|found| found.flags)
    }

    #[inline(always)]
    fn get_any_ssid(&self, any: &SessionKey) -> Option<(u32, u16)> {
        // SAFETY: only flags and SSID are copied.
        unsafe { PROVISIONED.get(any) }.map(|found| (found.flags, found.ssid))
    }

    #[inline(always)]
    fn flags(found: &u32) -> u32 {
        *found
    }

    #[inline(always)]
    fn has_wildcards(&self) -> bool {
        self.0.has(Config::HAS_WILDCARDS)
    }

    #[inline(always)]
    fn has_any_ssid(&self) -> bool {
        self.0.has(Config::HAS_ANY_SSID)
    }

    #[inline(always)]
    fn ignores_ssid(&self) -> bool {
        self.0.policy.has(Policy::IGNORE_SSID)
    }

    #[inline(always)]
    fn zero(&self) -> u64 {
        // Else LLVM calls memset.
        black_box(0)
    }
}

/// [`common::own_ssid`]. A function of its own for the sake of the stack.
#[inline(never)]
pub(crate) fn own_ssid(key: &SessionKey, config: &Config) -> u32 {
    common::own_ssid(&ProvisionedMap(config), key).into()
}
