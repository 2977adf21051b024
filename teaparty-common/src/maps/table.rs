//! The table of sessions that packets make: the algorithm, over places in memory that the kernel program and the
//! controller share.
//!
//! The places are an array. A session's key says in which *row* of [`WAYS`] places it is, and at which of them to begin
//! looking; a row that is full sends it on to the next one, [`REACH`] rows at most. So one that is known is found by one or
//! two cache lines, and without a helper's call, since the verifier turns a look-up in an array into arithmetic.
//!
//! Who makes a session holds its row's lock, so that no key is there twice; who takes one out needs none. A place's state
//! changes by compare-and-exchange, and says what is there: nothing, a session that is being put there or taken away, or
//! a session. A packet whose session is evicted while another processor still writes to it may leave a number in the one
//! that comes after, as it may in the kernel's own LRU map.

#[cfg(target_has_atomic = "64")]
mod shared;

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[cfg(target_has_atomic = "64")]
pub use shared::{Shared, SharedPlace};

use super::{BUCKET_ROWS, Session, SessionKey, Standing};
use crate::reflect::Address;

/// Places in a row.
pub const WAYS: u32 = 8;

/// Rows that a session may be in: its own and those behind it.
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
pub struct Place {
    /// What is here ([`FREE`], [`BUSY`] or [`LIVE`]) in the lowest two bits, and above how often that has begun to change.
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
const _: () = assert!(size_of::<Place>() == 128 && offset_of!(Place, session) + offset_of!(Session, unanswered) == 64);

/// [`Place::state`]: nothing is here.
pub const FREE: u64 = 0;
/// A session is being put here or taken away.
pub const BUSY: u64 = 1;
/// A session is here.
pub const LIVE: u64 = 2;
/// The bits of [`Place::state`] that say which.
const KIND: u64 = 3;
/// One more change.
const CHANGE: u64 = 4;

/// Words of a place.
pub const WORDS: usize = size_of::<Place>() / 8;

const STATE: usize = offset_of!(Place, state) / 8;
const KEY: usize = offset_of!(Place, key) / 8;
const KEY_WORDS: usize = size_of::<SessionKey>() / 8;
const SESSION: usize = offset_of!(Place, session) / 8;
const SESSION_WORDS: usize = size_of::<Session>() / 8;
const REPLIES: usize = SESSION + offset_of!(Session, replies) / 8;
const GENERATION_AND_FLAGS: usize = SESSION + offset_of!(Session, generation) / 8;
const UNANSWERED: usize = SESSION + offset_of!(Session, unanswered) / 8;
const LAST_RECEIVED: usize = SESSION + offset_of!(Session, last_received_ns) / 8;
const LOCK: usize = offset_of!(Place, lock) / 8;
const PASSED: usize = offset_of!(Place, passed) / 8;

/// The words of a place or of another value, which others may read and write at any time. `at` is always less than their
/// number.
pub trait Words: Copy {
    /// A word. What was written before it by [`Words::publish`] is seen.
    fn get(self, at: usize) -> u64;
    /// Writes a word.
    fn set(self, at: usize, word: u64);
    /// Writes a word after all that was written before.
    fn publish(self, at: usize, word: u64);
    /// Puts `new` where `old` is, after all that was written and before all that will be; whether it was there.
    fn exchange(self, at: usize, old: u64, new: u64) -> bool;
}

/// The memory of a table: the kernel's by look-ups in a map, the controller's by a mapping of the same, a test's own.
pub trait Memory {
    /// A place.
    type Place: Words;
    /// The place with this index; `None` if there are not so many.
    fn place(&self, index: u32) -> Option<Self::Place>;
    /// Adds to the number of sessions, modulo 2^64, and gives what it was.
    fn count(&self, more: u64) -> u64;
    /// The same number, of which the kernel's verifier knows nothing any more.
    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        number
    }
}

/// The shape of a table, made once for its life: what a key's place depends on.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Shape {
    /// Random, so that nobody can choose keys of one row.
    pub seed: [u64; KEY_WORDS],
    /// What the words that are zero in every IPv4 address add to a key's sum.
    pub zeros: u64,
    /// Rows in the table.
    pub rows: u32,
    /// Sessions that are remembered; from then on, a new one takes the place of one of its row.
    pub max_sessions: u32,
}

impl Shape {
    /// A table for so many sessions, of 1 to [`MAX_SESSIONS`].
    pub const fn new(max_sessions: u32, seed: [u64; KEY_WORDS]) -> Self {
        let max_sessions = if max_sessions > MAX_SESSIONS { MAX_SESSIONS } else { max_sessions };
        let zeros = product(0, seed[0]).wrapping_add(product(0, seed[2]));
        Self { seed, zeros, rows: (max_sessions * ROOM).div_ceil(WAYS), max_sessions }
    }

    /// Places in the table.
    pub const fn places(&self) -> u32 {
        self.rows * WAYS
    }

    /// Where to look for a key.
    #[inline(always)]
    pub fn spot(&self, key: &SessionKey) -> Spot {
        let words = key.words();
        let mut sum = self.zeros;
        if words[0] | words[2] != 0 {
            sum = product(words[0], self.seed[0]).wrapping_add(product(words[2], self.seed[2]));
        }
        for i in [1, 3, 4] {
            sum = sum.wrapping_add(product(words[i], self.seed[i]));
        }
        let mixed = mix(sum);
        Spot { row: ((mixed * u64::from(self.rows)) >> 32) as u32, way: mixed as u32 % WAYS }
    }

    /// The row of buckets of a source prefix.
    #[inline(always)]
    pub fn bucket_row(&self, source: &Address) -> u32 {
        let [high, low] = source.words();
        let sum = product(high, self.seed[0]).wrapping_add(product(low, self.seed[1]));
        ((mix(sum) * u64::from(BUCKET_ROWS)) >> 32) as u32
    }

    /// Index of the place that is looked at as number `i` for a spot: all of its row, then the next ones' in turn. One
    /// number that counts and not two loops: those the verifier takes for endless.
    #[inline(always)]
    fn index(&self, spot: Spot, i: u32) -> u32 {
        self.first(spot, i / WAYS) + (spot.way + i) % WAYS
    }

    /// Index of the first place of the row that is `further` rows behind a spot's.
    #[inline(always)]
    fn first(&self, spot: Spot, further: u32) -> u32 {
        (spot.row + further).checked_rem(self.rows).unwrap_or(0) * WAYS
    }
}

/// What a word adds to a sum as in UMAC's NH (RFC 4418 §5.2), which two sets of words have in common for one seed in 2^32.
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

/// Where to begin to look for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The row.
    pub row: u32,
    /// The first of its places to look at.
    pub way: u32,
}

/// Whether a place has the session with a key of these words.
#[inline(always)]
fn holds(place: impl Words, key: &[u64; KEY_WORDS]) -> bool {
    let mut different = (place.get(STATE) & KIND) ^ LIVE;
    let mut i = 0;
    while i < KEY_WORDS {
        different |= place.get(KEY + i) ^ key[i];
        i += 1;
    }
    different == 0
}

/// Looks for a session in its own row, where nearly all are.
#[inline(always)]
pub fn find_near<M: Memory>(memory: &M, key: &SessionKey, spot: Spot) -> Option<M::Place> {
    let key = key.words();
    for i in 0..WAYS {
        let place = memory.place(spot.row * WAYS + (spot.way + i) % WAYS)?;
        // The second line of the place: of a session that is in neither cache nor TLB, both are waited for at once.
        place.get(LAST_RECEIVED);
        if holds(place, &key) {
            return Some(place);
        }
    }
    None
}

/// Whether a session that is not in a row, of which this is the first place, may be in the next.
#[inline(always)]
pub fn is_passed<M: Memory>(memory: &M, first: u32) -> bool {
    memory.place(first).is_some_and(|first| first.get(PASSED) != 0)
}

/// Looks for a session wherever it may be; gives the index of its place.
#[inline(always)]
pub fn find<M: Memory>(memory: &M, shape: &Shape, key: &SessionKey) -> Option<u32> {
    let spot = shape.spot(key);
    let key = key.words();
    for i in 0..REACH * WAYS {
        let index = shape.index(spot, i);
        if i != 0 && i % WAYS == 0 && !is_passed(memory, shape.first(spot, i / WAYS - 1)) {
            return None;
        }
        if holds(memory.place(index)?, &key) {
            return Some(index);
        }
    }
    None
}

/// The walks that [`make`] is made of. Of the kernel program they are functions of their own.
pub trait Walks {
    /// [`find`].
    fn find(&self) -> Option<u32>;
    /// [`make_room`].
    fn make_room(&self) -> bool;
    /// [`settle`].
    fn settle(&self) -> Option<u32>;
}

/// Puts a session into the table, unless one with its key is there; gives the index of its place or of that one's. Where
/// there are as many as may be, another one makes room: see [`make_room`]. `None` where none does, or the lock can't be had.
#[inline(always)]
pub fn make<M: Memory>(memory: &M, shape: &Shape, key: &SessionKey, walks: &impl Walks) -> Option<u32> {
    let first = memory.place(shape.spot(key).row * WAYS)?;
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
    let mut made = walks.find();
    if made.is_none() && (memory.count(0) < u64::from(shape.max_sessions) || walks.make_room()) {
        made = walks.settle();
        if made.is_none() && walks.make_room() {
            made = walks.settle();
        }
    }
    first.publish(LOCK, 0);
    made
}

/// 1 where a number is not 0. In arithmetic, since each branch in the walk that asks for this would double what the verifier
/// walks.
#[inline(always)]
const fn is_set(number: u64) -> u64 {
    (number | number.wrapping_neg()) >> 63
}

/// Bits of [`turn_to_go`] for the place, and above them for the time since its last packet.
const PLACE_BITS: u32 = (REACH * WAYS).ilog2();
const AGE_BITS: u32 = 55;

/// Returns when it is the turn of the session in a place to make room for another one, as a number: the lowest one goes. It
/// is [`NEVER`] or more where there is no session, and where it makes no room for that one.
///
/// In the highest bits is its [`Standing`], then how lately it had a packet, in 8 ns, and the number `i` of the place.
#[inline(always)]
fn turn_to_go(place: impl Words, i: u32, newcomer: Standing, now_ns: u64) -> u64 {
    const AGE: u64 = (1 << AGE_BITS) - 1;
    let [_, flags]: [u32; 2] = zerocopy::transmute!(place.get(GENERATION_AND_FLAGS));
    let is_known = is_set(u64::from(flags & Standing::KNOWN_BY));
    let has_more = is_set(place.get(REPLIES).wrapping_add(place.get(UNANSWERED)) >> 1);
    let standing = is_known << 1 | has_more & !is_known;
    // A last packet in the future was left there while the clock was ahead.
    let age = now_ns.wrapping_sub(place.get(LAST_RECEIVED)) as i64;
    let age = (age & !(age >> 63)) as u64 >> 3 & AGE;
    let is_out = is_set((place.get(STATE) & KIND) ^ LIVE) | is_known & is_set(newcomer as u64 ^ Standing::Known as u64);
    is_out << 63 | (standing << AGE_BITS | (AGE - age)) << PLACE_BITS | i as u64
}

/// The least of what [`turn_to_go`] returns for a session that stays.
const NEVER: u64 = 1 << 63;

/// Takes out a session within reach of a key, to make room for `session`: of those that are least known, the one that was
/// used least recently. Sessions of its own row go first, as far as there is one of a single packet. Returns true unless all
/// are better known than the new one.
#[inline(always)]
pub fn make_room<M: Memory>(memory: &M, shape: &Shape, key: &SessionKey, session: &Session) -> bool {
    const ONE_PACKET: u64 = (Standing::Stranger as u64) << AGE_BITS << PLACE_BITS;
    let spot = shape.spot(key);
    let (newcomer, now_ns) = (session.standing(), session.last_received_ns);
    let mut first = NEVER;
    for i in 0..REACH * WAYS {
        if i % WAYS == 0 && first < ONE_PACKET {
            break;
        }
        let Some(place) = memory.place(shape.index(spot, i)) else { return false };
        let turn = memory.opaque(turn_to_go(place, i, newcomer, now_ns));
        first = memory.opaque(if turn < first { turn } else { first });
    }
    if first >= NEVER {
        return false;
    }
    let i = first as u32 % (REACH * WAYS);
    let Some(place) = memory.place(shape.index(spot, i)) else { return false };
    // In vain where somebody else takes it out at this moment, which makes room as well.
    let state = place.get(STATE);
    if memory.opaque(turn_to_go(place, i, newcomer, now_ns)) < NEVER {
        clear(memory, place, state);
    }
    true
}

/// Puts a session into the first free place within reach; gives its index. The caller has the row's lock.
#[inline(always)]
pub fn settle<M: Memory>(memory: &M, shape: &Shape, key: &SessionKey, session: &Session) -> Option<u32> {
    let spot = shape.spot(key);
    for i in 0..REACH * WAYS {
        let index = shape.index(spot, i);
        if i != 0 && i % WAYS == 0 {
            memory.place(shape.first(spot, i / WAYS - 1))?.publish(PASSED, 1);
        }
        let place = memory.place(index)?;
        let state = place.get(STATE);
        if state & KIND == FREE && place.exchange(STATE, state, (state + CHANGE) | BUSY) {
            write(place, key, session);
            place.publish(STATE, (state + CHANGE) | LIVE);
            memory.count(1);
            return Some(index);
        }
    }
    None
}

#[inline(always)]
fn write(place: impl Words, key: &SessionKey, session: &Session) {
    let (key, session) = (key.words(), session.words());
    let mut i = 0;
    while i < KEY_WORDS {
        place.set(KEY + i, key[i]);
        i += 1;
    }
    i = 0;
    while i < SESSION_WORDS {
        place.set(SESSION + i, session[i]);
        i += 1;
    }
}

/// Takes out what is in a place while its state is this; whether it still was.
#[inline(always)]
fn clear<M: Memory>(memory: &M, place: M::Place, state: u64) -> bool {
    let state = state & !KIND;
    if !place.exchange(STATE, state | LIVE, (state + CHANGE) | BUSY) {
        return false;
    }
    for at in KEY..SESSION + SESSION_WORDS {
        place.set(at, 0);
    }
    place.publish(STATE, (state + CHANGE) | FREE);
    memory.count(1u64.wrapping_neg());
    true
}

/// What is in a place: a session, as it was at one moment but for the numbers that packets change meanwhile.
pub fn read(place: impl Words) -> Option<(SessionKey, Session)> {
    let state = place.get(STATE);
    if state & KIND != LIVE {
        return None;
    }
    let key: [u64; KEY_WORDS] = core::array::from_fn(|i| place.get(KEY + i));
    let session: [u64; SESSION_WORDS] = core::array::from_fn(|i| place.get(SESSION + i));
    (place.get(STATE) == state).then(|| (zerocopy::transmute!(key), zerocopy::transmute!(session)))
}

/// Takes out the session in a place if `is_over` says so of it; whether it was taken out.
pub fn remove_if<M: Memory>(memory: &M, place: M::Place, is_over: impl FnOnce(&SessionKey, &Session) -> bool) -> bool {
    let state = place.get(STATE);
    read(place).is_some_and(|(key, session)| is_over(&key, &session)) && clear(memory, place, state)
}

/// Writes the session of a place anew. What packets write at the same moment may be kept.
pub fn rewrite(place: impl Words, session: &Session) {
    for (i, word) in session.words().into_iter().enumerate() {
        place.set(SESSION + i, word);
    }
}

/// Sets right when the session of a place last had a packet, where `corrected` says otherwise. What a packet writes at the
/// same moment is kept. Returns true if it was set.
pub fn correct_last_received(place: impl Words, corrected: impl FnOnce(u64) -> Option<u64>) -> bool {
    let last = place.get(LAST_RECEIVED);
    let is_live = place.get(STATE) & KIND == LIVE;
    is_live && corrected(last).is_some_and(|right| place.exchange(LAST_RECEIVED, last, right))
}

/// A place that was being changed, if it is: its state, for [`free`].
pub fn changing(place: impl Words) -> Option<u64> {
    let state = place.get(STATE);
    (state & KIND == BUSY).then_some(state)
}

/// Frees a place whose change was never ended, its state being this still: the controller that began it was killed.
pub fn free(place: impl Words, state: u64) -> bool {
    place.exchange(STATE, state, state & !KIND | FREE)
}

#[cfg(test)]
mod tests;
