//! The table of sessions made by packets, as the program reaches it: look-ups in an array, which cost no helper's call.

use core::arch::asm;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg};
use core::mem::offset_of;
use core::ptr::NonNull;

use teaparty_common::maps::session_table::{self, SessionSlot, SlotWords, TableLayout, TableOps, TableStorage, WAYS};
use teaparty_common::maps::{Session, SessionKey};

use crate::atomic::fetch_add;
use crate::maps::{SESSION_COUNTS, SESSIONS, kernel_config};
use crate::packet::opaque_to_verifier;
use crate::scratch::SCRATCH;

/// The memory of the table.
pub(crate) struct MapStorage;

/// A place in it, or another value of a map that processors share.
pub(crate) struct SlotPtr<T = SessionSlot>(NonNull<T>);

impl<T> Clone for SlotPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SlotPtr<T> {}

impl<T> SlotPtr<T> {
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

impl SlotPtr {
    /// The session there.
    #[inline(always)]
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "the instruction adds to the pointer and reads nothing")]
    pub(crate) fn session(self) -> NonNull<Session> {
        let mut slot = self.0.as_ptr();
        // SAFETY: a field of a value of a map. In assembly, because LLVM would add before it has compared with null
        // ("pointer arithmetic on map_value_or_null prohibited").
        unsafe {
            asm!("{slot} += {at}", slot = inout(reg) slot, at = const offset_of!(SessionSlot, session), options(nomem, nostack));
            NonNull::new_unchecked(slot.cast())
        }
    }
}

impl<T> SlotWords for SlotPtr<T> {
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

impl TableStorage for MapStorage {
    type Slot = SlotPtr;

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<SlotPtr> {
        SESSIONS.get_ptr_mut(index).and_then(NonNull::new).map(SlotPtr)
    }

    #[inline(always)]
    fn count(&self, more: u64) -> u64 {
        let Some(counts) = SESSION_COUNTS.get_ptr_mut(0) else { return 0 };
        // SAFETY: a value of a map, eight octets, aligned.
        unsafe { fetch_add(&raw mut (*counts).present, more) }
    }

    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        let Some(kernel_config) = kernel_config() else { return number };
        opaque_to_verifier(number as usize, kernel_config.control.clock.monotonic_offset_ns) as u64
    }
}

/// The index of a slot, or none, as the single register that a BPF function can return.
#[repr(transparent)]
struct SlotIndex(u32);

impl SlotIndex {
    /// A number of slots that no table has.
    const NONE: u32 = u32::MAX;

    #[inline(always)]
    fn new(index: Option<u32>) -> Self {
        Self(index.unwrap_or(Self::NONE))
    }

    #[inline(always)]
    fn get(self) -> Option<u32> {
        if self.0 == Self::NONE { None } else { Some(self.0) }
    }

    /// Returns the session in the slot. The table's own look-up finds nothing at [`Self::NONE`], which spares a test.
    #[inline(always)]
    fn session(self) -> Option<NonNull<Session>> {
        MapStorage.slot(self.0).map(SlotPtr::session)
    }
}

/// The session in its own row; and, where it is not there, whether it may be in another.
#[inline(always)]
pub(crate) fn find_near(key: &SessionKey, layout: &TableLayout) -> Result<NonNull<Session>, bool> {
    let home = layout.home(key);
    match session_table::find_near(&MapStorage, key, home) {
        Some(slot) => Ok(slot.session()),
        None => Err(session_table::is_passed(&MapStorage, home.row * WAYS)),
    }
}

/// The session whose key is in working memory.
#[inline(always)]
pub(crate) fn find() -> Option<NonNull<Session>> {
    SlotIndex(teaparty_find()).session()
}

/// The session whose key is in working memory, made of the one there if it was not in the table.
#[inline(always)]
pub(crate) fn make() -> Option<NonNull<Session>> {
    SlotIndex(teaparty_make()).session()
}

/// [`session_table::find`] for the key in working memory; returns the number of a [`SlotIndex`]. A global function, as all
/// walks are, and such a function may return only an integer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_find() -> u32 {
    let Some((key, _, layout)) = scratch_key() else { return SlotIndex::NONE };
    SlotIndex::new(session_table::find(&MapStorage, layout, key)).0
}

/// [`session_table::make_room`] for the session in working memory; returns the number of a [`SlotIndex`], 0 if there is
/// room. Of a flag, 0 or 1, the verifier would walk 3 % more of `teaparty_op`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_make_room() -> u32 {
    let Some((key, session, layout)) = scratch_key() else { return SlotIndex::NONE };
    SlotIndex::new(session_table::make_room(&MapStorage, layout, key, session).then_some(0)).0
}

/// [`session_table::insert`] for the session in working memory; returns the number of a [`SlotIndex`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_insert() -> u32 {
    let Some((key, session, layout)) = scratch_key() else { return SlotIndex::NONE };
    SlotIndex::new(session_table::insert(&MapStorage, layout, key, session)).0
}

/// [`session_table::make`] for the session in working memory; returns the number of a [`SlotIndex`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn teaparty_make() -> u32 {
    let Some((key, _, layout)) = scratch_key() else { return SlotIndex::NONE };
    SlotIndex::new(session_table::make(&MapStorage, layout, key, &GlobalFnOps)).0
}

/// The walks of making a session, as calls.
struct GlobalFnOps;

impl TableOps for GlobalFnOps {
    #[inline(always)]
    fn find(&self) -> Option<u32> {
        SlotIndex(teaparty_find()).get()
    }

    #[inline(always)]
    fn make_room(&self) -> bool {
        SlotIndex(teaparty_make_room()).get().is_some()
    }

    #[inline(always)]
    fn insert(&self) -> Option<u32> {
        SlotIndex(teaparty_insert()).get()
    }
}

/// The key and the session in working memory, and the shape of the table.
#[inline(always)]
fn scratch_key<'a>() -> Option<(&'a SessionKey, &'a Session, &'a TableLayout)> {
    let (scratch, kernel_config) = (SCRATCH.get_ptr(0)?, kernel_config()?);
    // SAFETY: this processor's own, and nobody else writes to it.
    unsafe { Some((&(*scratch).key, &(*scratch).session, &kernel_config.control.table)) }
}
