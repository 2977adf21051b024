//! The session that makes room for another one.

use super::{
    GENERATION_AND_FLAGS, KIND, LAST_RECEIVED, LIVE, REACH, REPLIES, STATE, SlotWords, TableLayout, TableStorage,
    UNANSWERED, WAYS, clear,
};
use crate::maps::{Session, SessionKey, Standing};

/// 1 where a number is not 0. In arithmetic, since each branch in the walk that asks for this would double what the verifier
/// walks.
#[inline(always)]
const fn is_set(number: u64) -> u64 {
    (number | number.wrapping_neg()) >> 63
}

/// Bits of [`eviction_order`] for the place, and above them for the time since its last packet.
const SLOT_BITS: u32 = (REACH * WAYS).ilog2();
const AGE_BITS: u32 = 55;

/// Returns when it is the turn of the session in a place to make room for another one, as a number: the lowest one goes. It
/// is [`NEVER`] or more where there is no session, and where it makes no room for that one.
///
/// In the highest bits is its [`Standing`], then how lately it had a packet, in 8 ns, and the number `i` of the place.
#[inline(always)]
pub(super) fn eviction_order(slot: impl SlotWords, i: u32, newcomer: Standing, now_ns: u64) -> u64 {
    const AGE: u64 = (1 << AGE_BITS) - 1;
    let [_, flags]: [u32; 2] = zerocopy::transmute!(slot.get(GENERATION_AND_FLAGS));
    let is_known = is_set(u64::from(flags & Standing::KNOWN_BY));
    let has_more = is_set(slot.get(REPLIES).wrapping_add(slot.get(UNANSWERED)) >> 1);
    let standing = is_known << 1 | has_more & !is_known;
    // A last packet in the future was left there while the clock was ahead.
    let age = now_ns.wrapping_sub(slot.get(LAST_RECEIVED)) as i64;
    let age = (age & !(age >> 63)) as u64 >> 3 & AGE;
    let is_out = is_set((slot.get(STATE) & KIND) ^ LIVE) | is_known & is_set(newcomer as u64 ^ Standing::Known as u64);
    is_out << 63 | (standing << AGE_BITS | (AGE - age)) << SLOT_BITS | i as u64
}

/// The least of what [`eviction_order`] returns for a session that stays.
pub(super) const NEVER: u64 = 1 << 63;

/// Takes out a session within reach of a key, to make room for `session`: of those that are least known, the one that was
/// used least recently. Sessions of its own row go first, as far as there is one of a single packet. Returns true unless all
/// are better known than the new one.
#[inline(always)]
pub fn make_room<M: TableStorage>(storage: &M, layout: &TableLayout, key: &SessionKey, session: &Session) -> bool {
    const ONE_PACKET: u64 = (Standing::Stranger as u64) << AGE_BITS << SLOT_BITS;
    let home = layout.home(key);
    let (newcomer, now_ns) = (session.standing(), session.last_received_ns);
    let mut first = NEVER;
    for i in 0..REACH * WAYS {
        if i % WAYS == 0 && first < ONE_PACKET {
            break;
        }
        let Some(slot) = storage.slot(layout.index(home, i)) else { return false };
        let turn = storage.opaque(eviction_order(slot, i, newcomer, now_ns));
        first = storage.opaque(if turn < first { turn } else { first });
    }
    if first >= NEVER {
        return false;
    }
    let i = first as u32 % (REACH * WAYS);
    let Some(slot) = storage.slot(layout.index(home, i)) else { return false };
    // In vain where somebody else takes it out at this moment, which makes room as well.
    let state = slot.get(STATE);
    if storage.opaque(eviction_order(slot, i, newcomer, now_ns)) < NEVER {
        clear(storage, slot, state);
    }
    true
}
