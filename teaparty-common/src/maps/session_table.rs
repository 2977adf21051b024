//! The table of sessions that packets make: the algorithm, over places in memory that the kernel program and the
//! controller share.
//!
//! The places are an array. A session's key says in which *row* of [`WAYS`] places it is, and at which of them to begin
//! looking; a row that is full sends it on to the next one, [`REACH`] rows at most. So one that is known is found by one or
//! two cache lines, and without a helper's call, since the verifier turns a look-up in an array into arithmetic.
//!
//! Who makes a session holds its row's lock, so that no key is there twice; who takes one out needs none. A place's
//! state changes by compare-and-exchange, and describes the content: nothing, a session that is being put there or
//! taken away, or a session. A packet whose session is evicted while another processor still writes to it may leave a
//! number in the one that comes after, as it may in the kernel's own LRU map.

mod eviction;
#[cfg(target_has_atomic = "64")]
mod shared;

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use eviction::make_room;
#[cfg(target_has_atomic = "64")]
pub use shared::{SharedSlot, SharedTable};

use super::{BUCKET_SETS, Session, SessionKey};
use crate::address::Address;

/// Places in a row.
pub const WAYS: u32 = 8;

/// Rows that a session may be in: its own and the following ones.
pub const REACH: u32 = 8;

/// Places for each session that is to be remembered. With half of them empty, one session in a hundred is not in its
/// row, and of ten million none found all [`REACH`] of them full.
const ROOM: u32 = 2;

/// Most sessions that a table can be made for: it takes 2 GiB then.
pub const MAX_SESSIONS: u32 = 1 << 23;

/// Tries to lock a row: a processor that has the lock keeps it for less than a microsecond.
const TRIES: u32 = 256;

/// One place of the table. What is compared and what is counted for each packet lies in its first cache line.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct SessionSlot {
    /// The state ([`FREE`], [`BUSY`] or [`LIVE`]) in the lowest two bits, and a count of its changes above them.
    pub state: u64,
    /// The session's key.
    pub key: SessionKey,
    /// The session.
    pub session: Session,
    /// Of the first place in a row: 1 while somebody makes a session in the row.
    pub lock: u64,
    /// Of the first place in a row: 1 if a session has gone on to the next row, ever.
    pub passed: u64,
}

const _: () = assert!(offset_of!(Session, flags) == offset_of!(Session, generation) + 4);
const _: () = assert!(
    size_of::<SessionSlot>() == 128 && offset_of!(SessionSlot, session) + offset_of!(Session, unanswered) == 64
);

/// [`SessionSlot::state`]: nothing is here.
pub const FREE: u64 = 0;
/// A session is being put here or taken away.
pub const BUSY: u64 = 1;
/// A session is here.
pub const LIVE: u64 = 2;
/// The bits of [`SessionSlot::state`] that say which.
const KIND: u64 = 3;
/// One more change.
const CHANGE: u64 = 4;

/// Words of a place.
pub const WORDS: usize = size_of::<SessionSlot>() / 8;

const STATE: usize = offset_of!(SessionSlot, state) / 8;
const KEY: usize = offset_of!(SessionSlot, key) / 8;
const KEY_WORDS: usize = size_of::<SessionKey>() / 8;
const SESSION: usize = offset_of!(SessionSlot, session) / 8;
const SESSION_WORDS: usize = size_of::<Session>() / 8;
const REPLIES: usize = SESSION + offset_of!(Session, replies) / 8;
const GENERATION_AND_FLAGS: usize = SESSION + offset_of!(Session, generation) / 8;
const UNANSWERED: usize = SESSION + offset_of!(Session, unanswered) / 8;
const LAST_RECEIVED: usize = SESSION + offset_of!(Session, last_received_ns) / 8;
const LOCK: usize = offset_of!(SessionSlot, lock) / 8;
const PASSED: usize = offset_of!(SessionSlot, passed) / 8;

/// The words of a place or of another value, which others may read and write at any time. `at` is always less than their
/// number.
pub trait SlotWords: Copy {
    /// A word. What was written before it by [`SlotWords::publish`] is seen.
    fn get(self, at: usize) -> u64;
    /// Writes a word.
    fn set(self, at: usize, word: u64);
    /// Writes a word after all that was written before.
    fn publish(self, at: usize, word: u64);
    /// Puts `new` where `old` is, after all that was written and before all that will be; whether it was there.
    fn exchange(self, at: usize, old: u64, new: u64) -> bool;
}

/// The memory of a table: the kernel's by look-ups in a map, the controller's by a mapping of the same, a test's own.
pub trait TableStorage {
    /// A place.
    type Slot: SlotWords;
    /// The place with this index; `None` if it does not exist.
    fn slot(&self, index: u32) -> Option<Self::Slot>;
    /// Adds to the number of sessions, modulo 2^64, and gives what it was.
    fn count(&self, more: u64) -> u64;
    /// Returns `number`, and hides its range from the kernel's verifier.
    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        number
    }
}

/// The shape of a table, made once for its life: what a key's place depends on.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct TableLayout {
    /// Random, so that nobody can choose keys of one row.
    pub seed: [u64; KEY_WORDS],
    /// The share of a key's sum that comes from the words that are zero in every IPv4 address.
    pub zeros: u64,
    /// Rows in the table.
    pub rows: u32,
    /// Sessions that are remembered; from then on, a new one takes the place of one of its row.
    pub max_sessions: u32,
}

impl TableLayout {
    /// A table for this many sessions, of 1 to [`MAX_SESSIONS`].
    pub const fn new(max_sessions: u32, seed: [u64; KEY_WORDS]) -> Self {
        let max_sessions = if max_sessions > MAX_SESSIONS { MAX_SESSIONS } else { max_sessions };
        let zeros = product(0, seed[0]).wrapping_add(product(0, seed[2]));
        Self { seed, zeros, rows: (max_sessions * ROOM).div_ceil(WAYS), max_sessions }
    }

    /// Places in the table.
    pub const fn slots(&self) -> u32 {
        self.rows * WAYS
    }

    /// Returns the place where the search for a key begins.
    #[inline(always)]
    pub fn home(&self, key: &SessionKey) -> HomeSlot {
        let words = key.words();
        let mut sum = self.zeros;
        if words[0] | words[2] != 0 {
            sum = product(words[0], self.seed[0]).wrapping_add(product(words[2], self.seed[2]));
        }
        for i in [1, 3, 4] {
            sum = sum.wrapping_add(product(words[i], self.seed[i]));
        }
        let mixed = mix(sum);
        HomeSlot { row: ((mixed * u64::from(self.rows)) >> 32) as u32, way: mixed as u32 % WAYS }
    }

    /// The row of buckets of a source prefix.
    #[inline(always)]
    pub fn bucket_set(&self, source: &Address) -> u32 {
        let [high, low] = source.words();
        let sum = product(high, self.seed[0]).wrapping_add(product(low, self.seed[1]));
        ((mix(sum) * u64::from(BUCKET_SETS)) >> 32) as u32
    }

    /// Index of the place that is looked at as number `i` for a spot: all of its row, then the next ones' in turn. One
    /// number that counts and not two loops: those the verifier takes for endless.
    #[inline(always)]
    fn index(&self, home: HomeSlot, i: u32) -> u32 {
        self.first(home, i / WAYS) + (home.way + i) % WAYS
    }

    /// Index of the first place of the row that is `further` rows after a slot's.
    #[inline(always)]
    fn first(&self, home: HomeSlot, further: u32) -> u32 {
        (home.row + further).checked_rem(self.rows).unwrap_or(0) * WAYS
    }
}

/// Returns what a word adds to a sum as in UMAC's NH (RFC 4418 §5.2), which collides for one seed in 2^32.
#[inline(always)]
const fn product(word: u64, seed: u64) -> u64 {
    let low = (word as u32).wrapping_add(seed as u32);
    let high = ((word >> 32) as u32).wrapping_add((seed >> 32) as u32);
    low as u64 * high as u64
}

/// A sum to 32 bits: all of it is brought to the upper ones by one more product.
#[inline(always)]
const fn mix(sum: u64) -> u64 {
    sum.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// The place where the search for a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeSlot {
    /// The row.
    pub row: u32,
    /// The first of its places to look at.
    pub way: u32,
}

/// Returns true if a place has the session with a key of these words.
#[inline(always)]
fn holds(slot: impl SlotWords, key: &[u64; KEY_WORDS]) -> bool {
    let mut different = (slot.get(STATE) & KIND) ^ LIVE;
    let mut i = 0;
    while i < KEY_WORDS {
        different |= slot.get(KEY + i) ^ key[i];
        i += 1;
    }
    different == 0
}

/// Looks for a session in its own row, where nearly all are.
#[inline(always)]
pub fn find_near<M: TableStorage>(storage: &M, key: &SessionKey, home: HomeSlot) -> Option<M::Slot> {
    let key = key.words();
    for i in 0..WAYS {
        let slot = storage.slot(home.row * WAYS + (home.way + i) % WAYS)?;
        // The second line of the place: of a session that is in neither cache nor TLB, both are waited for at once.
        slot.get(LAST_RECEIVED);
        if holds(slot, &key) {
            return Some(slot);
        }
    }
    None
}

/// Returns true if a session that is not in a row, of which this is the first place, may be in the next.
#[inline(always)]
pub fn is_passed<M: TableStorage>(storage: &M, first: u32) -> bool {
    storage.slot(first).is_some_and(|first| first.get(PASSED) != 0)
}

/// Looks for a session wherever it may be; gives the index of its place.
#[inline(always)]
pub fn find<M: TableStorage>(storage: &M, layout: &TableLayout, key: &SessionKey) -> Option<u32> {
    let home = layout.home(key);
    let key = key.words();
    for i in 0..REACH * WAYS {
        let index = layout.index(home, i);
        if i != 0 && i % WAYS == 0 && !is_passed(storage, layout.first(home, i / WAYS - 1)) {
            return None;
        }
        if holds(storage.slot(index)?, &key) {
            return Some(index);
        }
    }
    None
}

/// The walks that [`make`] is made of. Of the kernel program they are functions of their own.
pub trait TableOps {
    /// [`find`].
    fn find(&self) -> Option<u32>;
    /// [`make_room`].
    fn make_room(&self) -> bool;
    /// [`insert`].
    fn insert(&self) -> Option<u32>;
}

/// Puts a session into the table, unless one with its key is there; gives the index of its place or of that one's. Where
/// there are as many as may be, another one makes room: see [`make_room`]. `None` where none does, or the lock is
/// taken.
#[inline(always)]
pub fn make<M: TableStorage>(storage: &M, layout: &TableLayout, key: &SessionKey, ops: &impl TableOps) -> Option<u32> {
    let first = storage.slot(layout.home(key).row * WAYS)?;
    let mut is_locked = false;
    for _ in 0..TRIES {
        is_locked = first.exchange(LOCK, 0, 1);
        if is_locked {
            break;
        }
    }
    if !is_locked {
        return None;
    }
    // Another processor may have been faster.
    let mut made = ops.find();
    if made.is_none() && (storage.count(0) < u64::from(layout.max_sessions) || ops.make_room()) {
        made = ops.insert();
        if made.is_none() && ops.make_room() {
            made = ops.insert();
        }
    }
    first.publish(LOCK, 0);
    made
}

/// Puts a session into the first free place within reach; gives its index. The caller has the row's lock.
#[inline(always)]
pub fn insert<M: TableStorage>(storage: &M, layout: &TableLayout, key: &SessionKey, session: &Session) -> Option<u32> {
    let home = layout.home(key);
    for i in 0..REACH * WAYS {
        let index = layout.index(home, i);
        if i != 0 && i % WAYS == 0 {
            storage.slot(layout.first(home, i / WAYS - 1))?.publish(PASSED, 1);
        }
        let slot = storage.slot(index)?;
        let state = slot.get(STATE);
        if state & KIND == FREE && slot.exchange(STATE, state, (state + CHANGE) | BUSY) {
            write(slot, key, session);
            slot.publish(STATE, (state + CHANGE) | LIVE);
            storage.count(1);
            return Some(index);
        }
    }
    None
}

#[inline(always)]
fn write(slot: impl SlotWords, key: &SessionKey, session: &Session) {
    let (key, session) = (key.words(), session.words());
    let mut i = 0;
    while i < KEY_WORDS {
        slot.set(KEY + i, key[i]);
        i += 1;
    }
    i = 0;
    while i < SESSION_WORDS {
        slot.set(SESSION + i, session[i]);
        i += 1;
    }
}

/// Empties a place if its state is still this; returns true if it was.
#[inline(always)]
fn clear<M: TableStorage>(storage: &M, slot: M::Slot, state: u64) -> bool {
    let state = state & !KIND;
    if !slot.exchange(STATE, state | LIVE, (state + CHANGE) | BUSY) {
        return false;
    }
    for at in KEY..SESSION + SESSION_WORDS {
        slot.set(at, 0);
    }
    slot.publish(STATE, (state + CHANGE) | FREE);
    storage.count(1u64.wrapping_neg());
    true
}

/// Returns the session in a place, as it was at one moment except for the numbers that packets change concurrently.
pub fn read(slot: impl SlotWords) -> Option<(SessionKey, Session)> {
    let state = slot.get(STATE);
    if state & KIND != LIVE {
        return None;
    }
    let key: [u64; KEY_WORDS] = core::array::from_fn(|i| slot.get(KEY + i));
    let session: [u64; SESSION_WORDS] = core::array::from_fn(|i| slot.get(SESSION + i));
    (slot.get(STATE) == state).then(|| (zerocopy::transmute!(key), zerocopy::transmute!(session)))
}

/// Takes out the session in a place if `is_over` says so of it; whether it was taken out.
pub fn remove_if<M: TableStorage>(
    storage: &M,
    slot: M::Slot,
    is_over: impl FnOnce(&SessionKey, &Session) -> bool,
) -> bool {
    let state = slot.get(STATE);
    read(slot).is_some_and(|(key, session)| is_over(&key, &session)) && clear(storage, slot, state)
}

/// Writes the session of a place again. What packets write at the same moment may be kept.
pub fn rewrite(slot: impl SlotWords, session: &Session) {
    for (i, word) in session.words().into_iter().enumerate() {
        slot.set(SESSION + i, word);
    }
}

/// Sets right when the session of a place last had a packet, where `corrected` says otherwise. What a packet writes at the
/// same moment is kept. Returns true if it was set.
pub fn correct_last_received(slot: impl SlotWords, corrected: impl FnOnce(u64) -> Option<u64>) -> bool {
    let last = slot.get(LAST_RECEIVED);
    let is_live = slot.get(STATE) & KIND == LIVE;
    is_live && corrected(last).is_some_and(|right| slot.exchange(LAST_RECEIVED, last, right))
}

/// A place that was being changed, if it is: its state, for [`free`].
pub fn changing(slot: impl SlotWords) -> Option<u64> {
    let state = slot.get(STATE);
    (state & KIND == BUSY).then_some(state)
}

/// Frees a place whose change was never ended, its state being this still: the controller that began it was killed.
pub fn free(slot: impl SlotWords, state: u64) -> bool {
    slot.exchange(STATE, state, state & !KIND | FREE)
}

#[cfg(test)]
mod tests;
