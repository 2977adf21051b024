//! What the XDP program's maps say, for whoever looks: descriptors of its own, so that no writer waits for a reader.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use aya::maps::{HashMap, MapData, PerCpuArray};
use teaparty_common::maps::{Counters, Session, SessionKey, name};
use teaparty_common::reflect::{Address, REASON_SLOTS};

use crate::reflector::kernel::kernel_sessions::KernelSessions;
use crate::reflector::kernel::pinned_map::{MapsError, open};

/// The maps that are read.
pub struct MapReader {
    sessions: Arc<KernelSessions>,
    provisioned: HashMap<MapData, SessionKey, Session>,
    counters: PerCpuArray<MapData, Counters>,
}

impl MapReader {
    /// Opens the maps that are pinned in a folder, except the table of sessions, which is open already.
    pub fn open(pins: &Path, sessions: Arc<KernelSessions>) -> Result<Self, MapsError> {
        Ok(Self { sessions, provisioned: open(pins, name::PROVISIONED)?, counters: open(pins, name::COUNTERS)? })
    }

    /// A session's state. Two look-ups, however many sessions there are.
    pub fn session(&self, key: &SessionKey) -> Option<Session> {
        let provisioned = self.provisioned.get(key, 0).ok().filter(|session| !session.has(Session::WILDCARD));
        provisioned.or_else(|| self.sessions.get(key))
    }

    /// All sessions, each once, in no particular order; provisioned wildcards are none.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionKey, Session)> {
        // The kernel goes on from the key that it gave last, and where that has gone in the meantime, begins again.
        let mut known = HashSet::<SessionKey, foldhash::quality::RandomState>::default();
        let provisioned = self.provisioned.iter().filter_map(Result::ok);
        let provisioned = provisioned.filter(|(_, session)| !session.has(Session::WILDCARD));
        let all = provisioned.chain(self.sessions.iter());
        all.filter(move |(key, _)| known.insert(*key))
    }

    /// Packets by the way they ended in the kernel, by [`teaparty_common::reflect::Reason`] as a number.
    pub fn counters(&self) -> [u64; REASON_SLOTS] {
        self.counters.get(&0, 0).map_or([0; REASON_SLOTS], |each| Counters::total(each.iter()))
    }

    /// Returns the source of the last packet that the kernel dropped, for each reason; `None` where none was or it is unknown.
    pub fn last_sources(&self) -> [Option<Address>; REASON_SLOTS] {
        let read = || self.counters.get(&0, 0).map(|each| Counters::last_sources(each.iter()));
        // One that changes while it is read may be half of each of two.
        let (Ok(once), Ok(again)) = (read(), read()) else { return [None; REASON_SLOTS] };
        std::array::from_fn(|n| (once[n] == again[n] && once[n].received_ns != 0).then_some(once[n].address))
    }
}
