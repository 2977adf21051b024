//! The histories of sessions: their tags, and the exchanges that are remembered.

use teaparty_common::maps::{Config, HistoryKey, HistorySlot};

use crate::atomic::fetch_add;
use crate::maps::{HISTORY, SESSION_COUNTS};

/// A tag for a new session's history: never 0.
#[inline(always)]
pub(super) fn next_tag() -> u32 {
    let Some(serial) = SESSION_COUNTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: a value of a map, eight octets, aligned.
    let number = unsafe { fetch_add(&raw mut (*serial).made, 1) } as u32;
    // 0 means no history; after 2^32 sessions one tag is skipped.
    if number == u32::MAX { 1 } else { number + 1 }
}

/// Remembers an exchange for the History TLV, in a session with this tag.
#[inline(always)]
pub(crate) fn remember(tag: u32, exchange: HistorySlot, config: &Config) {
    if tag == 0 {
        return;
    }
    let ring = HistoryKey::ring(tag, config.history_rings);
    if let Some(ring) = HISTORY.get_ptr_mut(ring) {
        // SAFETY: a value of a map; the index is below the depth.
        let slot = unsafe { &mut (*ring).slots[HistoryKey::slot(exchange.reflector_sequence)] };
        *slot = HistorySlot { tag, reserved: 0, ..exchange };
    }
}
