//! Loads the XDP program, attaches it to an interface, and pins what must outlive the controller.
//!
//! Everything of one interface is pinned in one folder: link, programs and maps. If the controller is killed they stay,
//! and so does the answering; the next controller adopts the maps and replaces the program in one step.

use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use rustix::thread::CapabilitySet;
use teaparty_common::maps::session_table::TableLayout;
use teaparty_common::maps::{ABI_VERSION, Clock, Session, SessionKey, name, program};

use super::address_maps::{AddressMaps, Room};
use super::attachment::Attachment;
use super::kernel_log::KernelLog;
use super::kernel_session_store::KernelSessionStore;
use super::link::{Linked, link};
use super::load_error::{LoadError, busy, load_error};
use super::maps::{self, ALL, FRESH, Maps};
use super::object::{check_kernel, layout, load_programs, object, open_object, pin_program, take_map, xdp};
use super::pinned_map::MapsError;
use super::pins::claim::claim;
use super::pins::folder::Folder;
use super::pins::{self, PinError};
use crate::net::interface::{Interface, xdp_state};
use crate::net::xdp_link::BpfLink;
use crate::reflector::config::{ReflectorConfig, XdpMode};
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sys::capabilities;

/// The controller's end of an XDP program: all that sockets need to answer in the program's sessions.
pub(crate) struct KernelObjects {
    /// The maps.
    pub maps: Maps,
    /// Punted frames.
    pub punts: RingBuf<MapData>,
    /// The sessions that the program owns.
    pub store: KernelSessionStore,
}

/// An object whose maps and session program are in the kernel, on the way to an attached program.
///
/// To have the kernel verify the program takes a second or two; until then sockets answer in the same sessions. One that is
/// not attached in the end is to be given up: [`Loading::give_up`].
pub(crate) struct Loading {
    object: Ebpf,
    folder: Folder,
    /// The pins of the maps of [`FRESH`], in that order.
    fresh: [PathBuf; FRESH.len()],
    /// The shape of a new table of sessions; none where maps of an earlier controller are taken over.
    table: Option<TableLayout>,
    /// The content of a map of provisioned sessions that is too small and gets replaced.
    outgrown: Option<Vec<(SessionKey, Session)>>,
    /// True if the folder was kept while the interface was away.
    was_held: bool,
}

/// A program that was loaded and not attached: why, and the folder if that is kept for an interface that was away.
pub(crate) type NotAttached = (LoadError, Option<Folder>);

/// Looks, while the process may still do everything, for what a start would fail of: other people's programs have names
/// only for CAP_SYS_ADMIN. Mounts the BPF file system where it is missing, which takes that too.
pub(crate) fn check(config: &ReflectorConfig) -> Result<(), LoadError> {
    if config.xdp_mode == XdpMode::Off {
        return Ok(());
    }
    // A failure is reported by the start, which may go on without it.
    if let Err(error) = pins::prepare() {
        tracing::debug!(%error);
    }
    for name in &config.interfaces {
        let Ok(interface) = Interface::find(name) else { continue };
        if let Ok(Some(state)) = xdp_state(interface.index)
            && !pins::holds(state.program_id)
        {
            let found = busy(name, state.program_id);
            if !config.is_chosen {
                return Err(found);
            }
            // The start leaves it out, and has the program's number only.
            tracing::warn!(interface = %name, program = state.program_id, "{found}");
        }
    }
    Ok(())
}

impl Loading {
    /// Brings maps and session program for an interface into the kernel; nothing answers by them yet.
    ///
    /// `held` is the folder of an interface that was away: it is taken, and comes back where this fails.
    pub(crate) fn begin(snapshot: &ConfigSnapshot, held: &mut Option<Folder>) -> Result<Self, LoadError> {
        let object = object()?;
        check_kernel()?;
        // Not even a map that says whose the pins are could be made.
        if !capabilities::has(CapabilitySet::BPF) {
            return Err(LoadError::NoPermission);
        }
        let interface = &*snapshot.interface;
        let was_held = held.is_some();
        let folder = match held.take() {
            Some(folder) => pins::claim::hand_over(folder, &interface.name, interface.index)?,
            None => claim(&interface.name, interface.index).map_err(|error| match xdp_state(interface.index) {
                // Sockets beside another user's program would be a second reflector.
                Ok(Some(state)) if matches!(error, PinError::Foreign { .. }) => {
                    tracing::warn!(interface = interface.name, %error, "its folder of pins is not ours");
                    busy(&interface.name, state.program_id)
                }
                _ => LoadError::from(error),
            })?,
        };
        let is_adopted = adoptable(&folder, &interface.name)?;
        let door = folder.fd_path();
        let fresh = FRESH.map(|name| if is_adopted { pins::free_name(&door, name) } else { door.join(name) });
        let begun = || {
            // What is there and not ours is refused before anything is answered.
            if let (false, Ok(Some(state))) = (is_adopted, xdp_state(interface.index)) {
                return Err(busy(&interface.name, state.program_id));
            }
            let table = layout(snapshot.config.max_sessions)?;
            let outgrown = is_adopted.then(|| outgrown(&door, snapshot)).transpose()?.flatten();
            let sizes = (&table, maps::places_for(snapshot.provisioned.len()), Room::of(&snapshot.book));
            let mut object = open_object(&object, &door, sizes, is_adopted, outgrown.is_some())?;
            xdp(&mut object, program::SESSION_OP)?.load().map_err(|error| load_error(&error))?;
            Ok((object, (!is_adopted).then_some(table), outgrown))
        };
        match begun() {
            Ok((object, table, outgrown)) => Ok(Self { object, folder, fresh, table, outgrown, was_held }),
            Err(error) => {
                *held = forget(folder, &fresh, is_adopted, was_held);
                Err(error)
            }
        }
    }

    /// Returns true if maps of an earlier controller are taken over.
    fn is_adopted(&self) -> bool {
        self.table.is_none()
    }

    /// Pins the maps and fills them: when the program sees its first packet, everything is there.
    pub(crate) fn open(&mut self, snapshot: &ConfigSnapshot, clock: &Clock) -> Result<KernelObjects, LoadError> {
        let Self { object, folder: pins, fresh, table, outgrown, .. } = self;
        let folder = &*pins.fd_path();
        let failed =
            |name: &str, error: &(dyn std::error::Error + 'static)| PinError::pin(&pins.path().join(name), error);
        if outgrown.is_some() {
            // The name moves on to the larger map; the old one lives on in the old program until that is replaced.
            let _ = std::fs::remove_file(folder.join(name::PROVISIONED));
        }
        let is_new =
            |name: &&str| table.is_some() || FRESH.contains(name) || outgrown.is_some() && *name == name::PROVISIONED;
        for name in ALL.into_iter().filter(is_new) {
            let map = object.map(name).ok_or_else(|| LoadError::Load(format!("the object has no map `{name}`")))?;
            let own = FRESH.iter().zip(&*fresh).find(|(fresh, _)| **fresh == name).map(|(_, path)| path.clone());
            let path = own.unwrap_or_else(|| folder.join(name));
            map.pin(&path).map_err(|error| failed(name, &error))?;
        }
        pin_program(object, pins, program::SESSION_OP)?;
        if let Some(table) = table {
            maps::begin(folder, *table)?;
        }
        let [addresses, vlans, _] = &*fresh;
        let mut maps = Maps::with(folder, AddressMaps::open(addresses, vlans)?)?;
        if table.is_none() {
            tell_size(&maps, snapshot);
            maps.repair(clock);
        }
        // Packets that the old program answers until the switch are missing: their numbers are repeated.
        outgrown.take().map(|sessions| maps.restore_provisioned(&sessions)).transpose()?;
        maps.publish(snapshot, clock)?;
        Ok(KernelObjects { maps, punts: take_map(object, name::PUNTS)?, store: KernelSessionStore::open(folder)? })
    }

    /// Loads the program and attaches it by the mode that is wanted; with [`XdpMode::Auto`], natively or else generically.
    pub(crate) fn attach(
        mut self,
        interface: &Interface,
        mode: XdpMode,
    ) -> Result<(Attachment, Option<KernelLog>), NotAttached> {
        let linked = self.load().and_then(|()| link(&mut self.object, &self.folder, interface, mode));
        let Linked { mode, program_id, reason } = match linked {
            Ok(linked) => linked,
            Err(error) => return Err((error, self.give_up())),
        };
        let is_adopted = self.is_adopted();
        let Self { mut object, folder, fresh, .. } = self;
        let door = folder.fd_path();
        for (name, path) in FRESH.iter().zip(&fresh) {
            pins::replace(&door, path, name);
        }
        let log = KernelLog::new(&mut object, &interface.name);
        let link = BpfLink::open(&door.join(pins::LINK));
        let link = link.inspect_err(|error| tracing::debug!(%error, "cannot open the pinned link")).ok();
        Ok((Attachment { object, folder, link, mode, reason, program_id, is_adopted, lost: None, capture: None }, log))
    }

    fn load(&mut self) -> Result<(), LoadError> {
        load_programs(&mut self.object)?;
        pin_program(&mut self.object, &self.folder, program::REFLECT)
    }

    /// Removes what was pinned, unless an earlier controller had pinned it. Gives the folder if that is kept for an
    /// interface that was away.
    pub(crate) fn give_up(self) -> Option<Folder> {
        let is_adopted = self.is_adopted();
        forget(self.folder, &self.fresh, is_adopted, self.was_held)
    }
}

/// Removes what a start has pinned that goes no further.
fn forget(folder: Folder, fresh: &[PathBuf], is_adopted: bool, was_held: bool) -> Option<Folder> {
    if is_adopted {
        for path in fresh {
            let _ = std::fs::remove_file(path);
        }
    }
    if was_held {
        return Some(folder);
    }
    if !is_adopted {
        // The failure to start is the one to tell.
        let _ = folder.remove();
    }
    None
}

/// Returns true if an earlier controller has left usable maps.
fn adoptable(folder: &Folder, interface: &str) -> Result<bool, LoadError> {
    let door = folder.fd_path();
    let has = |name: &str| door.join(name).exists();
    let found = maps::abi_version(&door);
    if found == ABI_VERSION && ALL.iter().all(|name| has(name)) {
        return Ok(true);
    }
    if found == 0 && !has(pins::LINK) {
        // Nothing, or the rest of a start that failed half-way.
        folder.clear().map_err(|source| PinError::Folder { path: folder.path(), source })?;
        return Ok(false);
    }
    Err(LoadError::OtherVersion { interface: interface.into(), found })
}

/// The provisioned sessions of an earlier start, where their map is too small for those of this one.
fn outgrown(folder: &Path, snapshot: &ConfigSnapshot) -> Result<Option<Vec<(SessionKey, Session)>>, MapsError> {
    let places = maps::provisioned_places(folder)? as usize;
    (places < snapshot.entries()).then(|| maps::provisioned(folder)).transpose()
}

/// Warns where an adopted table has another size than the one configured: a map keeps the size it was made with.
fn tell_size(maps: &Maps, snapshot: &ConfigSnapshot) {
    let (size, wanted) = (maps.sessions().layout().max_sessions, snapshot.config.max_sessions);
    if size != wanted {
        let interface = &snapshot.interface.name;
        tracing::warn!(
            %interface,
            count = size,
            "the table of the earlier start is kept, with place for {size} sessions; `teaparty detach --iface \
             {interface}` and a new start change it to --max-sessions {wanted}"
        );
    }
}
