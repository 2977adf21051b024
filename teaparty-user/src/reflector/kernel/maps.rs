//! The maps of the XDP program on one interface, by their types.

use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, MapData, MapError, ProgramArray};
use aya::programs::{ProgramError, Xdp};
use teaparty_common::maps::session_table::TableLayout;
use teaparty_common::maps::{
    ABI_VERSION, Clock, Config, ControlBlock, KernelConfig, Session, SessionKey, TailCall, name,
};
use teaparty_common::reflect::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::reflector::config::{HISTORY_RINGS, MOST_PROVISIONED};
use crate::reflector::kernel::address_maps::AddressMaps;
use crate::reflector::kernel::clock_step::ClockStep;
use crate::reflector::kernel::kernel_sessions::KernelSessions;
use crate::reflector::kernel::map_reader::MapReader;
use crate::reflector::kernel::pinned_map::{MapsError, open};
use crate::reflector::provisioned::is_wildcard;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::clock::{ClockSource as _, SystemClock};

mod allowed;
mod provisioned;

/// Grace period: most time for a packet to be judged by a configuration that has just been replaced.
const GRACE: Duration = Duration::from_millis(2);

/// For an update of an entry that is there, from linux/bpf.h.
const BPF_EXIST: u64 = 2;

/// Names of all maps, in the order in which they are pinned.
pub const ALL: [&str; 12] = [
    name::CONFIG,
    name::ADDRESSES,
    name::VLANS,
    name::ALLOWED,
    name::SESSIONS,
    name::PROVISIONED,
    name::BUCKETS,
    name::COUNTERS,
    name::PUNTS,
    name::HISTORY,
    name::SESSION_COUNTS,
    name::TAIL_CALLS,
];

/// Names of the maps that hold no state: each start has new ones, of the size that it needs.
pub const FRESH: [&str; 3] = [name::ADDRESSES, name::VLANS, name::TAIL_CALLS];

/// The maps that the controller writes and reads.
pub struct Maps {
    control: Array<MapData, KernelConfig>,
    addresses: AddressMaps,
    allowed: LpmTrie<MapData, Address, u32>,
    sessions: Arc<KernelSessions>,
    provisioned: HashMap<MapData, SessionKey, Session>,
    /// Places in the map for provisioned sessions.
    most_provisioned: usize,
    reader: Arc<MapReader>,
}

impl Maps {
    /// Opens the maps that are pinned in a folder.
    pub fn open(pins: &Path) -> Result<Self, MapsError> {
        Self::with(pins, AddressMaps::open(&pins.join(name::ADDRESSES), &pins.join(name::VLANS))?)
    }

    /// Opens the maps, except those of addresses, which are not pinned under their names yet.
    pub fn with(pins: &Path, addresses: AddressMaps) -> Result<Self, MapsError> {
        let control: Array<MapData, KernelConfig> = open(pins, name::CONFIG)?;
        let layout = first(&control)?.control.table;
        let sessions = Arc::new(KernelSessions::open(pins, layout)?);
        Ok(Self {
            control,
            addresses,
            allowed: open(pins, name::ALLOWED)?,
            provisioned: open(pins, name::PROVISIONED)?,
            most_provisioned: provisioned_places(pins)? as usize,
            reader: Arc::new(MapReader::open(pins, sessions.clone())?),
            sessions,
        })
    }

    /// The entry that says which layouts the maps have. All zero where no controller has written it yet.
    pub fn control(&self) -> Result<ControlBlock, MapsError> {
        Ok(first(&self.control)?.control)
    }

    /// Puts a version of the configuration in force: a packet sees the old one or the new one, except for addresses,
    /// ports, and provisioned sessions, which change one by one.
    pub fn publish(&mut self, snapshot: &ConfigSnapshot, clock: &Clock) -> Result<(), MapsError> {
        self.check_room(snapshot)?;
        let mut kernel_config = first(&self.control)?;
        let old = kernel_config.control;
        let active = if old.abi_version == 0 { 0 } else { !old.active & 1 };
        let second = if active == 1 { Config::SECOND } else { 0 };
        let config = Config {
            policy: snapshot.config.policy,
            source_rate: snapshot.config.source_rate,
            flags: snapshot.flags() | second,
            history_rings: HISTORY_RINGS,
            mac: Config::mac(snapshot.interface.mac),
            rate_prefix: snapshot.config.rate_prefix,
            session_restart_s: snapshot.config.session_restart_s,
            punt_rate: snapshot.config.punt_rate,
        }
        .derived();
        // All but the word that says which configuration holds; that one is written when all the rest is there.
        kernel_config.configs[active as usize] = config;
        kernel_config.ports.copy_from_slice(snapshot.port_words());
        self.write(&kernel_config)?;
        self.addresses.set(snapshot)?;
        self.set_allowed(snapshot, config.allowed_bit())?;
        self.set_provisioned(snapshot)?;
        kernel_config.control = ControlBlock {
            abi_version: ABI_VERSION,
            active,
            generation: old.generation.wrapping_add(1),
            interface: snapshot.interface.index,
            clock: *clock,
            table: old.table,
        };
        self.write(&kernel_config)?;
        self.forget_disallowed(snapshot)?;
        self.drop_authenticated(snapshot);
        Ok(())
    }

    /// Publishes the clock's state.
    pub fn publish_clock(&mut self, clock: &Clock) -> Result<(), MapsError> {
        let mut kernel_config = first(&self.control)?;
        if kernel_config.control.clock == *clock {
            return Ok(());
        }
        kernel_config.control.clock = *clock;
        self.write(&kernel_config)
    }

    /// Writes the whole configuration. Unchanged parts stay valid for a packet that reads them concurrently.
    fn write(&mut self, kernel_config: &KernelConfig) -> Result<(), MapsError> {
        self.control.set(0, kernel_config, 0).map_err(|source| MapsError { name: name::CONFIG, source })
    }

    /// Returns the number of places in the map for provisioned sessions, of which some take two.
    pub fn most_provisioned(&self) -> usize {
        self.most_provisioned
    }

    /// Puts in force what a version says of one provisioned session, all else being as it was.
    pub fn publish_session(&mut self, snapshot: &ConfigSnapshot, key: &SessionKey) -> Result<(), MapsError> {
        self.check_room(snapshot)?;
        let failed = |source| MapsError { name: name::PROVISIONED, source };
        match snapshot.provisioned.get(key) {
            Some(wanted) => self.put_provisioned(key, wanted).map_err(failed)?,
            None => match self.provisioned.remove(key) {
                Err(error) if !is_missing(&error) => return Err(failed(error)),
                _ => {}
            },
        }
        self.put_any_ssid(snapshot, key).map_err(failed)?;
        let mut kernel_config = first(&self.control)?;
        kernel_config.control.generation = kernel_config.control.generation.wrapping_add(1);
        self.write(&kernel_config)?;
        if is_wildcard(key) {
            self.drop_authenticated(snapshot);
        } else if snapshot.is_authenticated(key) {
            // It need not be there.
            self.sessions.remove(key);
        }
        Ok(())
    }

    /// Has a session start over; returns true if it exists.
    pub fn reset(&mut self, key: &SessionKey) -> Result<bool, MapsError> {
        let anew = |session: Session| Session { history_tag: tag(key), ..session.reset() };
        let provisioned = self.provisioned.get(key, 0).ok().filter(|session| !session.has(Session::WILDCARD));
        let Some(session) = provisioned else { return Ok(self.sessions.change(key, anew)) };
        // Only if it still is there: a session that has gone since is not made again.
        match self.provisioned.insert(key, anew(session), BPF_EXIST) {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(source) => Err(MapsError { name: name::PROVISIONED, source }),
        }
    }

    /// Returns a reader of these maps.
    pub fn reader(&self) -> Arc<MapReader> {
        self.reader.clone()
    }

    /// Forgets the sessions made by packets that are to be authenticated from now on: their state is the controller's.
    /// A packet that was under way while the version changed may make one once more; so this is done at expiry too.
    pub fn drop_authenticated(&mut self, snapshot: &ConfigSnapshot) {
        if snapshot.config.default_keys.base.is_empty() && !snapshot.provisioned.has_authenticated() {
            return;
        }
        self.sessions.remove_all(|key, _| snapshot.is_authenticated(key));
    }

    /// Forgets a session that was made by packets; whether there was one.
    pub fn remove_session(&mut self, key: &SessionKey) -> bool {
        self.sessions.remove(key)
    }

    /// Forgets sessions made by packets whose last one came before `oldest_ns` of CLOCK_MONOTONIC; how many.
    pub fn expire(&mut self, oldest_ns: u64) -> usize {
        if self.sessions.is_empty() {
            return 0;
        }
        let over = self.sessions.remove_all(|_, session| session.last_received_ns < oldest_ns);
        self.sessions.recount();
        over
    }

    /// Takes over what a controller that was killed has left, before the clock's state is published for the first time.
    pub fn repair(&self, clock: &Clock) {
        self.sessions.repair();
        let Ok(before) = self.control() else { return };
        let shift = clock.monotonic_offset_ns.wrapping_sub(before.clock.monotonic_offset_ns) as i64;
        self.sessions
            .correct_last_received(|last| ClockStep::unwatched(shift, SystemClock.monotonic_ns()).corrected(last));
    }

    /// Sets right the times that packets have left in their sessions between a step of the clock and the publication of
    /// [`Clock::monotonic_offset_ns`].
    pub fn follow_step(&self, step: &ClockStep) {
        // A program that has read the old offset may still write.
        std::thread::sleep(GRACE);
        self.sessions.correct_last_received(|last| step.corrected(last));
    }

    /// The table of sessions made by packets.
    pub fn sessions(&self) -> &KernelSessions {
        &self.sessions
    }
}

/// Writes the shape of the table into maps that are new, before anything else.
pub fn begin(pins: &Path, table: TableLayout) -> Result<(), MapsError> {
    let failed = |source| MapsError { name: name::CONFIG, source };
    let mut map: Array<MapData, KernelConfig> = open(pins, name::CONFIG)?;
    let mut kernel_config = KernelConfig::blank();
    kernel_config.control.table = table;
    map.set(0, kernel_config, 0).map_err(failed)
}

/// Has the reflector find the programs that it goes on to, which are loaded. The map must be this object's own: a packet that
/// goes on is in the working memory of one object's programs.
///
/// `name_of` gives the names of the programs.
pub fn connect(object: &mut Ebpf, name_of: fn(TailCall) -> &'static str) -> Result<(), ProgramError> {
    for step in TailCall::ALL {
        let program = object.program(name_of(step)).ok_or(ProgramError::NotLoaded)?;
        let program = <&Xdp>::try_from(program)?.fd()?.try_clone()?;
        let map = object.map_mut(name::TAIL_CALLS).ok_or(ProgramError::NotLoaded)?;
        ProgramArray::try_from(map)?.set(step as u32, &program, 0)?;
    }
    Ok(())
}

/// Places for provisioned sessions in a new map, where this many are configured: one with any SSID takes two, and
/// others may come by the API.
pub fn places_for(count: usize) -> u32 {
    const FEWEST: usize = 65_536;
    (2 * count).next_power_of_two().clamp(FEWEST, 2 * MOST_PROVISIONED) as u32
}

/// Places for provisioned sessions in the map that is pinned in a folder.
pub fn provisioned_places(pins: &Path) -> Result<u32, MapsError> {
    let info = MapData::from_pin(pins.join(name::PROVISIONED)).and_then(|map| map.info());
    info.map(|info| info.max_entries()).map_err(|source| MapsError { name: name::PROVISIONED, source })
}

/// The provisioned sessions in the map that is pinned in a folder, with their state.
pub fn provisioned(pins: &Path) -> Result<Vec<(SessionKey, Session)>, MapsError> {
    let map: HashMap<MapData, SessionKey, Session> = open(pins, name::PROVISIONED)?;
    Ok(map.iter().filter_map(Result::ok).collect())
}

/// Returns the layout version of the maps in a folder; 0 where it is unknown or no controller has written it yet.
pub fn abi_version(pins: &Path) -> u32 {
    /// The entry up to version 1, and in version 2: both begin as ours does.
    type First = [u32; 8];
    type Second = [u32; 20];
    /// The name of [`name::CONFIG`] up to version 4.
    const FORMER: &str = "control";
    let by_name = |name| {
        let entry = first_word::<KernelConfig>(pins, name).or_else(|_| first_word::<Second>(pins, name));
        entry.or_else(|_| first_word::<First>(pins, name))
    };
    by_name(name::CONFIG).or_else(|_| by_name(FORMER)).unwrap_or(0)
}

/// The first word of the entry, where it is of this size.
fn first_word<T: aya::Pod + IntoBytes + Immutable>(pins: &Path, name: &'static str) -> Result<u32, MapsError> {
    let entry = open::<Array<MapData, T>>(pins, name).and_then(|map| first(&map))?;
    Ok(u32::read_from_prefix(entry.as_bytes()).map_or(0, |(word, _)| word))
}

fn first<T: aya::Pod>(map: &Array<MapData, T>) -> Result<T, MapsError> {
    map.get(&0, 0).map_err(|source| MapsError { name: name::CONFIG, source })
}

/// A tag for the history of a session that begins here. The kernel counts its own from 1 on and does not get as far.
fn tag(key: &SessionKey) -> u32 {
    foldhash::quality::RandomState::default().hash_one(key) as u32 | 1 << 31
}

/// Returns true if an entry was not there.
fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
