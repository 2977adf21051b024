//! The kernel's table of sessions made by packets, mapped: read and changed without a system call.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{MapData, MapError};
use memmap2::{MmapOptions, MmapRaw};
use teaparty_common::maps::session_table::{self, SharedSlot, SharedTable, TableLayout, TableStorage};
use teaparty_common::maps::{Session, SessionCounts, SessionKey, name};

use crate::reflector::kernel::pinned_map::MapsError;

/// Most time for the kernel program to make a session, with a wide margin.
const GRACE: Duration = Duration::from_millis(2);

/// The table of one interface.
pub struct KernelSessions {
    layout: TableLayout,
    slots: MmapRaw,
    counts: MmapRaw,
}

impl KernelSessions {
    /// Maps the table that is pinned in a folder, and has this shape.
    pub fn open(pins: &Path, layout: TableLayout) -> Result<Self, MapsError> {
        let pinned = |name| MapData::from_pin(pins.join(name)).map_err(|source| MapsError { name, source });
        Self::new(&pinned(name::SESSIONS)?, &pinned(name::SESSION_COUNTS)?, layout)
    }

    /// Maps the two maps of a table that has this shape.
    pub fn new(sessions: &MapData, serial: &MapData, layout: TableLayout) -> Result<Self, MapsError> {
        Ok(Self {
            layout,
            slots: map(sessions, name::SESSIONS, layout.slots() as usize * size_of::<SharedSlot>())?,
            counts: map(serial, name::SESSION_COUNTS, size_of::<SessionCounts>())?,
        })
    }

    /// The memory, which the kernel program has too.
    fn context(&self) -> SharedTable<'_> {
        let count = self.layout.slots() as usize;
        // SAFETY: this many places are mapped, at the start of a page, as long as `self` lives; all who write to
        // them, the kernel too, write whole words, and any are valid.
        let slots = unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast::<SharedSlot>(), count) };
        // SAFETY: as above, of a `SessionCounts`.
        let [_, present, ..] = unsafe { &*self.counts.as_ptr().cast::<[AtomicU64; size_of::<SessionCounts>() / 8]>() };
        SharedTable { slots, present }
    }

    /// The shape.
    pub fn layout(&self) -> &TableLayout {
        &self.layout
    }

    /// Sessions in the table, by the kernel's count.
    pub fn len(&self) -> usize {
        self.context().count(0) as usize
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slot(&self, key: &SessionKey) -> Option<&SharedSlot> {
        let context = self.context();
        let index = session_table::find(&context, &self.layout, key)?;
        context.slots.get(index as usize)
    }

    /// A session. Takes as long however many there are.
    pub fn get(&self, key: &SessionKey) -> Option<Session> {
        session_table::read(self.slot(key)?).filter(|(there, _)| there == key).map(|(_, session)| session)
    }

    /// Takes a session out; whether there was one.
    pub fn remove(&self, key: &SessionKey) -> bool {
        self.slot(key).is_some_and(|slot| session_table::remove_if(&self.context(), slot, |there, _| there == key))
    }

    /// Takes out all sessions of which `is_over` says so; how many.
    pub fn remove_all(&self, mut is_over: impl FnMut(&SessionKey, &Session) -> bool) -> usize {
        let context = self.context();
        context.slots.iter().filter(|slot| session_table::remove_if(&context, *slot, &mut is_over)).count()
    }

    /// Writes what `with` makes of a session; whether there was one. What a packet writes at the same moment may be kept.
    pub fn change(&self, key: &SessionKey, with: impl FnOnce(Session) -> Session) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        let Some((_, session)) = session_table::read(slot).filter(|(there, _)| there == key) else { return false };
        session_table::rewrite(slot, &with(session));
        true
    }

    /// Puts a session into the table, as the kernel does for a packet; whether it is there.
    pub fn insert(&self, key: &SessionKey, session: &Session) -> bool {
        self.context().make(&self.layout, key, session).is_some()
    }

    /// All sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionKey, Session)> {
        self.context().slots.iter().filter_map(session_table::read)
    }

    /// Sets right when sessions last had a packet, where `corrected` says otherwise; returns of how many.
    pub fn correct_last_received(&self, corrected: impl Fn(u64) -> Option<u64>) -> usize {
        let slots = self.context().slots.iter();
        slots.filter(|slot| session_table::correct_last_received(*slot, &corrected)).count()
    }

    /// Mends what a controller that was killed while it took a session out has left, and the count of sessions. For a
    /// start, when no other controller runs.
    pub fn repair(&self) {
        let context = self.context();
        let changing: Vec<(&SharedSlot, u64)> =
            context.slots.iter().filter_map(|slot| Some((slot, session_table::changing(slot)?))).collect();
        if !changing.is_empty() {
            std::thread::sleep(GRACE);
        }
        for (slot, state) in changing {
            session_table::free(slot, state);
        }
        self.recount();
    }

    /// Corrects the count of sessions, unless one comes or goes concurrently.
    pub fn recount(&self) {
        let context = self.context();
        let before = context.present.load(Ordering::Acquire);
        let counted = self.iter().count() as u64;
        // In vain where one came or went: then it is for the next time.
        let _ = context.present.compare_exchange(before, counted, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Maps an array, of which that many octets have to be there.
fn map(data: &MapData, name: &'static str, len: usize) -> Result<MmapRaw, MapsError> {
    let mapped = MmapOptions::new().len(len).map_raw(data.fd().as_fd().as_raw_fd());
    mapped.map_err(|error| MapsError { name, source: MapError::IoError(error) })
}
