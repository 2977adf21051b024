//! The kernel's table of sessions made by packets, mapped: read and changed without a system call.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{MapData, MapError};
use memmap2::{MmapOptions, MmapRaw};
use rustix::rand::GetRandomFlags;
use teaparty_common::maps::table::{self, Memory, Shape, Shared, SharedPlace};
use teaparty_common::maps::{Census, Session, SessionKey, name};

use super::maps::MapsError;

/// How long the kernel program may take to make a session, by far.
const GRACE: Duration = Duration::from_millis(2);

/// The table of one interface.
pub struct KernelTable {
    shape: Shape,
    places: MmapRaw,
    census: MmapRaw,
}

/// The shape of a new table for so many sessions, with a seed of its own.
pub fn new_shape(max_sessions: u32) -> io::Result<Shape> {
    let mut seed = [[0u8; 8]; 5];
    for word in &mut seed {
        rustix::rand::getrandom(&mut *word, GetRandomFlags::empty())?;
    }
    Ok(Shape::new(max_sessions, seed.map(u64::from_ne_bytes)))
}

impl KernelTable {
    /// Maps the table that is pinned in a folder, and has this shape.
    pub fn open(pins: &Path, shape: Shape) -> Result<Self, MapsError> {
        let pinned = |name| MapData::from_pin(pins.join(name)).map_err(|source| MapsError { name, source });
        Self::new(&pinned(name::SESSIONS)?, &pinned(name::SERIAL)?, shape)
    }

    /// Maps the two maps of a table that has this shape.
    pub fn new(sessions: &MapData, serial: &MapData, shape: Shape) -> Result<Self, MapsError> {
        Ok(Self {
            shape,
            places: map(sessions, name::SESSIONS, shape.places() as usize * size_of::<SharedPlace>())?,
            census: map(serial, name::SERIAL, size_of::<Census>())?,
        })
    }

    /// The memory, which the kernel program has too.
    fn shared(&self) -> Shared<'_> {
        let count = self.shape.places() as usize;
        // SAFETY: so many places are mapped, at the start of a page, as long as `self` lives; all who write to them, the
        // kernel too, write whole words, and any are valid.
        let places = unsafe { std::slice::from_raw_parts(self.places.as_ptr().cast::<SharedPlace>(), count) };
        // SAFETY: as above, of a `Census`.
        let [_, present, ..] = unsafe { &*self.census.as_ptr().cast::<[AtomicU64; size_of::<Census>() / 8]>() };
        Shared { places, present }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Sessions in the table, by the kernel's count.
    pub fn len(&self) -> usize {
        self.shared().count(0) as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&self, key: &SessionKey) -> Option<&SharedPlace> {
        let shared = self.shared();
        let index = table::find(&shared, &self.shape, key)?;
        shared.places.get(index as usize)
    }

    /// A session. Takes as long however many there are.
    pub fn get(&self, key: &SessionKey) -> Option<Session> {
        table::read(self.place(key)?).filter(|(there, _)| there == key).map(|(_, session)| session)
    }

    /// Takes a session out; whether there was one.
    pub fn remove(&self, key: &SessionKey) -> bool {
        self.place(key).is_some_and(|place| table::remove_if(&self.shared(), place, |there, _| there == key))
    }

    /// Takes out all sessions of which `is_over` says so; how many.
    pub fn remove_all(&self, mut is_over: impl FnMut(&SessionKey, &Session) -> bool) -> usize {
        let shared = self.shared();
        shared.places.iter().filter(|place| table::remove_if(&shared, *place, &mut is_over)).count()
    }

    /// Writes what `with` makes of a session; whether there was one. What a packet writes at the same moment may be kept.
    pub fn change(&self, key: &SessionKey, with: impl FnOnce(Session) -> Session) -> bool {
        let Some(place) = self.place(key) else { return false };
        let Some((_, session)) = table::read(place).filter(|(there, _)| there == key) else { return false };
        table::rewrite(place, &with(session));
        true
    }

    /// Puts a session into the table, as the kernel does for a packet; whether it is there.
    pub fn insert(&self, key: &SessionKey, session: &Session) -> bool {
        self.shared().make(&self.shape, key, session).is_some()
    }

    /// All sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (SessionKey, Session)> {
        self.shared().places.iter().filter_map(table::read)
    }

    /// Sets right when sessions last had a packet, where `corrected` says otherwise; returns of how many.
    pub fn correct_last_received(&self, corrected: impl Fn(u64) -> Option<u64>) -> usize {
        let places = self.shared().places.iter();
        places.filter(|place| table::correct_last_received(*place, &corrected)).count()
    }

    /// Mends what a controller that was killed while it took a session out has left, and the count of sessions. For a
    /// start, when no other controller runs.
    pub fn mend(&self) {
        let shared = self.shared();
        let changing: Vec<(&SharedPlace, u64)> =
            shared.places.iter().filter_map(|place| Some((place, table::changing(place)?))).collect();
        if !changing.is_empty() {
            std::thread::sleep(GRACE);
        }
        for (place, state) in changing {
            table::free(place, state);
        }
        self.recount();
    }

    /// Sets the count of sessions right, if none comes or goes meanwhile.
    pub fn recount(&self) {
        let shared = self.shared();
        let before = shared.present.load(Ordering::Acquire);
        let counted = self.iter().count() as u64;
        // In vain where one came or went: then it is for the next time.
        let _ = shared.present.compare_exchange(before, counted, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Maps an array, of which that many octets have to be there.
fn map(data: &MapData, name: &'static str, len: usize) -> Result<MmapRaw, MapsError> {
    let mapped = MmapOptions::new().len(len).map_raw(data.fd().as_fd().as_raw_fd());
    mapped.map_err(|error| MapsError { name, source: MapError::IoError(error) })
}
