//! The memory of a table where there are atomics: the controller's, and the tests'.

use core::sync::atomic::{AtomicU64, Ordering};

use super::super::{Session, SessionKey};
use super::{SlotWords, TableLayout, TableOps, TableStorage, WORDS};

/// Words that others read and write at any time.
pub type SharedSlot = [AtomicU64; WORDS];

/// The memory of a table, mapped or a program's own.
#[derive(Clone, Copy, Debug)]
pub struct SharedTable<'a> {
    /// All places.
    pub slots: &'a [SharedSlot],
    /// [`super::super::SessionCounts::present`].
    pub present: &'a AtomicU64,
}

impl<const N: usize> SlotWords for &[AtomicU64; N] {
    #[inline]
    fn get(self, at: usize) -> u64 {
        self[at].load(Ordering::Acquire)
    }

    #[inline]
    fn set(self, at: usize, word: u64) {
        // Whoever reads it sees that the place is being changed.
        self[at].store(word, Ordering::Release);
    }

    #[inline]
    fn publish(self, at: usize, word: u64) {
        self[at].store(word, Ordering::Release);
    }

    #[inline]
    fn exchange(self, at: usize, old: u64, new: u64) -> bool {
        self[at].compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl<'a> TableStorage for SharedTable<'a> {
    type Slot = &'a SharedSlot;

    #[inline]
    fn slot(&self, index: u32) -> Option<&'a SharedSlot> {
        self.slots.get(index as usize)
    }

    #[inline]
    fn count(&self, more: u64) -> u64 {
        self.present.fetch_add(more, Ordering::AcqRel)
    }
}

impl SharedTable<'_> {
    /// [`super::make`].
    pub fn make(&self, layout: &TableLayout, key: &SessionKey, session: &Session) -> Option<u32> {
        super::make(self, layout, key, &DirectOps { storage: self, layout, key, session })
    }
}

/// The walks of making a session.
struct DirectOps<'a> {
    storage: &'a SharedTable<'a>,
    layout: &'a TableLayout,
    key: &'a SessionKey,
    session: &'a Session,
}

impl TableOps for DirectOps<'_> {
    fn find(&self) -> Option<u32> {
        super::find(self.storage, self.layout, self.key)
    }

    fn make_room(&self) -> bool {
        super::make_room(self.storage, self.layout, self.key, self.session)
    }

    fn insert(&self) -> Option<u32> {
        super::insert(self.storage, self.layout, self.key, self.session)
    }
}
