//! The table of sessions made by packets, as the program reaches it: look-ups in an array, which cost no helper's call.

use core::arch::asm;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg};
use core::mem::offset_of;
use core::ptr::NonNull;

use teaparty_common::maps::table::{self, Memory, Place, Shape, WAYS, Walks, Words};
use teaparty_common::maps::{Session, SessionKey};

use crate::maps::{SCRATCH, SERIAL, SESSIONS, board};
use crate::packet::hidden;
use crate::session::fetch_add;

/// The memory of the table.
pub(crate) struct Kernel;

/// A place in it, or another value of a map that processors share.
pub(crate) struct Here<T = Place>(NonNull<T>);

impl<T> Clone for Here<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Here<T> {}

impl<T> Here<T> {
    /// A value of a map, of eight octets or more and aligned to them.
    #[inline(always)]
    pub(crate) fn new(value: NonNull<T>) -> Self {
        const { assert!(align_of::<T>() >= 8) };
        Self(value)
    }

    #[inline(always)]
    fn word(self, at: usize) -> *mut u64 {
        self.0.as_ptr().cast::<u64>().wrapping_add(at)
    }
}

impl Here {
    /// The session there.
    #[inline(always)]
    pub(crate) fn session(self) -> NonNull<Session> {
        let mut place = self.0.as_ptr();
        // SAFETY: a field of a value of a map. In assembly, because LLVM would add before it has compared with null
        // ("pointer arithmetic on map_value_or_null prohibited").
        unsafe {
            asm!("{place} += {at}", place = inout(reg) place, at = const offset_of!(Place, session), options(nomem, nostack));
            NonNull::new_unchecked(place.cast())
        }
    }
}

impl<T> Words for Here<T> {
    #[inline(always)]
    fn get(self, at: usize) -> u64 {
        // SAFETY: within a value of a map, eight octets, aligned; `at` is below the number of words.
        unsafe { self.word(at).read_volatile() }
    }

    #[inline(always)]
    fn set(self, at: usize, word: u64) {
        // SAFETY: as above.
        unsafe { self.word(at).write_volatile(word) }
    }

    #[inline(always)]
    fn publish(self, at: usize, word: u64) {
        // A store that keeps its order would be an instruction of Linux 6.15.
        // SAFETY: as above.
        unsafe { atomic_xchg::<u64, { AtomicOrdering::AcqRel }>(self.word(at), word) };
    }

    #[inline(always)]
    fn exchange(self, at: usize, old: u64, new: u64) -> bool {
        // SAFETY: as above.
        let (_, was_there) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(self.word(at), old, new)
        };
        was_there
    }
}

impl Memory for Kernel {
    type Place = Here;

    #[inline(always)]
    fn place(&self, index: u32) -> Option<Here> {
        SESSIONS.get_ptr_mut(index).and_then(NonNull::new).map(Here)
    }

    #[inline(always)]
    fn count(&self, more: u64) -> u64 {
        let Some(census) = SERIAL.get_ptr_mut(0) else { return 0 };
        // SAFETY: a value of a map, eight octets, aligned.
        unsafe { fetch_add(&raw mut (*census).present, more) }
    }

    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        let Some(board) = board() else { return number };
        hidden(number as usize, board.control.clock.monotonic_offset_ns) as u64
    }
}

/// What the walks return where there is no place.
const NONE: u32 = u32::MAX;

/// The session in its own row; and, where it is not there, whether it may be in another.
#[inline(always)]
pub(crate) fn find_near(key: &SessionKey, shape: &Shape) -> Result<NonNull<Session>, bool> {
    let spot = shape.spot(key);
    match table::find_near(&Kernel, key, spot) {
        Some(place) => Ok(place.session()),
        None => Err(table::is_passed(&Kernel, spot.row * WAYS)),
    }
}

/// The session whose key is in working memory.
#[inline(always)]
pub(crate) fn find() -> Option<NonNull<Session>> {
    Kernel.place(teaparty_find()).map(Here::session)
}

/// The session whose key is in working memory, made of the one there if it was not in the table.
#[inline(always)]
pub(crate) fn make() -> Option<NonNull<Session>> {
    Kernel.place(teaparty_make()).map(Here::session)
}

/// [`table::find`] for the key in working memory; gives the index of its place. A global function, as all walks are.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_find() -> u32 {
    let Some((key, _, shape)) = at_hand() else { return NONE };
    table::find(&Kernel, shape, key).unwrap_or(NONE)
}

/// [`table::make_room`] for the session in working memory; returns [`NONE`] where there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_make_room() -> u32 {
    let Some((key, session, shape)) = at_hand() else { return NONE };
    if table::make_room(&Kernel, shape, key, session) { 0 } else { NONE }
}

/// [`table::settle`] for the session in working memory; gives the index of its place.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_settle() -> u32 {
    let Some((key, session, shape)) = at_hand() else { return NONE };
    table::settle(&Kernel, shape, key, session).unwrap_or(NONE)
}

/// [`table::make`] for the session in working memory; gives the index of its place.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_make() -> u32 {
    let Some((key, _, shape)) = at_hand() else { return NONE };
    table::make(&Kernel, shape, key, &Calls).unwrap_or(NONE)
}

/// The walks of making a session, as calls.
struct Calls;

impl Walks for Calls {
    #[inline(always)]
    fn find(&self) -> Option<u32> {
        Some(teaparty_find()).filter(|index| *index != NONE)
    }

    #[inline(always)]
    fn make_room(&self) -> bool {
        teaparty_make_room() != NONE
    }

    #[inline(always)]
    fn settle(&self) -> Option<u32> {
        Some(teaparty_settle()).filter(|index| *index != NONE)
    }
}

/// The key and the session in working memory, and the shape of the table.
#[inline(always)]
fn at_hand<'a>() -> Option<(&'a SessionKey, &'a Session, &'a Shape)> {
    let (scratch, board) = (SCRATCH.get_ptr(0)?, board()?);
    // SAFETY: this processor's own, and nobody writes to it meanwhile.
    unsafe { Some((&(*scratch).key, &(*scratch).session, &board.control.table)) }
}
