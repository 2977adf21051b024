//! The memory of a table where there are atomics: the controller's, and the tests'.

use core::sync::atomic::{AtomicU64, Ordering};

use super::super::{Session, SessionKey};
use super::{Memory, Shape, WORDS, Walks, Words};

/// Words that others read and write at any time.
pub type SharedPlace = [AtomicU64; WORDS];

/// The memory of a table, mapped or a program's own.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// All places.
    pub places: &'a [SharedPlace],
    /// [`super::super::Census::present`].
    pub present: &'a AtomicU64,
}

impl<const N: usize> Words for &[AtomicU64; N] {
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

impl<'a> Memory for Shared<'a> {
    type Place = &'a SharedPlace;

    #[inline]
    fn place(&self, index: u32) -> Option<&'a SharedPlace> {
        self.places.get(index as usize)
    }

    #[inline]
    fn count(&self, more: u64) -> u64 {
        self.present.fetch_add(more, Ordering::AcqRel)
    }
}

impl Shared<'_> {
    /// [`super::make`].
    pub fn make(&self, shape: &Shape, key: &SessionKey, session: &Session) -> Option<u32> {
        super::make(self, shape, key, &Direct { memory: self, shape, key, session })
    }
}

/// The walks of making a session.
struct Direct<'a> {
    memory: &'a Shared<'a>,
    shape: &'a Shape,
    key: &'a SessionKey,
    session: &'a Session,
}

impl Walks for Direct<'_> {
    fn find(&self) -> Option<u32> {
        super::find(self.memory, self.shape, self.key)
    }

    fn make_room(&self) -> bool {
        super::make_room(self.memory, self.shape, self.key, self.session)
    }

    fn settle(&self) -> Option<u32> {
        super::settle(self.memory, self.shape, self.key, self.session)
    }
}
