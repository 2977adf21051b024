//! Loads the XDP program, attaches it to an interface, and pins what must outlive the controller.
//!
//! Everything of one interface is pinned in one folder: link, programs and maps. If the controller is killed they stay,
//! and so does the answering; the next controller adopts the maps and replaces the program in one step.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, RingBuf};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode as AyaMode, loaded_programs};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use rustix::thread::CapabilitySet;
use teaparty_common::maps::session_table::TableLayout;
use teaparty_common::maps::{ABI_VERSION, Clock, Session, SessionKey, TailCall, name, program};

use crate::net::interface::{Interface, xdp_state};
use crate::net::xdp_link::BpfLink;
use crate::reflector::config::{HISTORY_RINGS, ReflectorConfig, ReflectorSettings, XdpMode};
use crate::reflector::kernel::address_maps::{AddressMaps, Room};
use crate::reflector::kernel::kernel_log::{self, KernelLog};
use crate::reflector::kernel::kernel_session_store::{KernelSessionStore, SessionStoreError};
use crate::reflector::kernel::maps::{self, ALL, FRESH, Maps};
use crate::reflector::kernel::pinned_map::MapsError;
use crate::reflector::kernel::pins::claim::claim;
use crate::reflector::kernel::pins::folder::Folder;
use crate::reflector::kernel::pins::{self, PinError};
use crate::reflector::session::table_layout::new_layout;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::reflector::snapshot::addresses::AddressBook;
use crate::sys::capabilities;

/// Octets of the ring for punted frames, a power of two.
const PUNT_RING: u32 = 8 << 20;
/// First kernel with `bpf_ktime_get_tai_ns`.
pub const OLDEST_KERNEL: (u8, u8) = (6, 1);
/// An object to be used in place of the embedded one.
const VARIABLE: &str = "TEAPARTY_EBPF_OBJECT";

/// The program cannot be had or not be attached.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This `teaparty` was built without it.
    #[error(
        "this teaparty was built without the XDP program; build it with `cargo xtask build-ebpf`, \
         or name an object file in {VARIABLE}"
    )]
    NoObject,
    /// The object file that the environment names.
    #[error("cannot read the object file {} named by {VARIABLE}: {source}", path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No privileges.
    #[error(
        "loading an XDP program needs root, or CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON, and a folder \
             /sys/fs/bpf/teaparty of ours; try sudo"
    )]
    NoPermission,
    /// Too old a kernel.
    #[error("the XDP program needs Linux {}.{} or newer", OLDEST_KERNEL.0, OLDEST_KERNEL.1)]
    OldKernel,
    /// Pins.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// The interface is taken.
    #[error(
        "interface {interface} already runs the XDP program {program} (id {id}), which is not ours to replace; \
         `bpftool net` and `ip link show dev {interface}` show it"
    )]
    Busy {
        /// The interface.
        interface: String,
        /// The program's number.
        id: u32,
        /// Its name.
        program: String,
    },
    /// Pins of another version.
    #[error(
        "interface {interface} still runs the reflector of another version of teaparty (map layout {found}, ours is \
         {ABI_VERSION}); remove it with `teaparty detach --iface {interface}`"
    )]
    OtherVersion {
        /// The interface.
        interface: String,
        /// The version that is there.
        found: u32,
    },
    /// A program of an earlier start, while none is wanted.
    #[error(
        "interface {interface} still runs the XDP program of an earlier start; `teaparty detach --iface {interface}` removes \
         it, and without --xdp-mode off the new start goes on with it"
    )]
    Left {
        /// The interface.
        interface: String,
    },
    /// The interface's frames are none that the program knows.
    #[error(
        "the XDP program can't see what comes by {interface}, whose frames have no Ethernet header (tun, WireGuard, PPP); \
         leave --xdp-mode out and sockets answer"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The kernel refuses the object.
    #[error("the kernel does not load the XDP program: {0}")]
    Load(String),
    /// The interface refuses the program.
    #[error("cannot attach the XDP program to {interface} in mode {mode}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode tried.
        mode: &'static str,
        /// Why.
        reason: String,
    },
    /// A map.
    #[error(transparent)]
    Maps(#[from] MapsError),
}

impl From<SessionStoreError> for LoadError {
    fn from(error: SessionStoreError) -> Self {
        match error {
            SessionStoreError::Program(_) => Self::Load(error.to_string()),
            SessionStoreError::Map(error) => Self::Maps(error),
        }
    }
}

impl LoadError {
    /// Returns true if `--xdp-mode auto` goes on without the program. Not where that would leave two reflectors on an interface.
    pub fn is_optional(&self) -> bool {
        !matches!(self, Self::Busy { .. } | Self::OtherVersion { .. } | Self::Pins(PinError::Running { .. }))
    }
}

/// The controller's end of an XDP program: all that sockets need to answer in the program's sessions.
pub struct KernelObjects {
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
pub struct Loading {
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
pub type NotAttached = (LoadError, Option<Folder>);

/// An attached program. Dropping this leaves it attached: [`Attachment::detach`] takes it away.
pub struct Attachment {
    /// For when another program takes ours off.
    object: Ebpf,
    folder: Folder,
    /// Open for the end, when nobody may have to be asked for it.
    link: Option<BpfLink>,
    /// Native or skb.
    pub mode: XdpMode,
    /// Why it is not the mode that was to be expected, where it is not.
    pub reason: Option<String>,
    /// The program's number in the kernel.
    pub program_id: u32,
    /// True if maps and link of an earlier controller were taken over.
    pub is_adopted: bool,
    /// Why the program is not on the interface any more, where another program has taken it off.
    pub lost: Option<String>,
}

impl Attachment {
    /// Takes the program from the interface and removes all pins. The error says what is left.
    pub fn detach(self) -> Result<(), PinError> {
        self.take_off();
        self.folder.remove()
    }

    /// Looks whether the program is still on the interface, and attaches it again where another program has detached it.
    ///
    /// [`Attachment::lost`] says how it is afterwards. While the program is not there, sockets answer.
    pub fn follow(&mut self, interface: &Interface) {
        // A gone interface is reported elsewhere.
        let Ok(state) = xdp_state(interface.index) else { return };
        let lost = match state {
            Some(state) if state.program_id == self.program_id => None,
            Some(state) => Some(format!("another XDP program (id {}) has taken its place", state.program_id)),
            None => match self.attach_again(interface) {
                Ok(()) => {
                    let name = &interface.name;
                    tracing::warn!(interface = %name, "another program has detached the XDP program; it is attached again");
                    self.lost = None;
                    return;
                }
                Err(error) => Some(format!("another program has detached it: {error}")),
            },
        };
        if lost == self.lost {
            return;
        }
        match &lost {
            Some(reason) => {
                tracing::warn!(interface = interface.name, error = %reason, "the XDP program is off the interface, sockets answer");
            }
            None => tracing::info!(interface = interface.name, "the XDP program is back on the interface"),
        }
        self.lost = lost;
    }

    fn attach_again(&mut self, interface: &Interface) -> Result<(), LoadError> {
        let path = self.folder.fd_path().join(pins::LINK);
        let link = attach_in(xdp(&mut self.object, program::REFLECT)?, interface, self.mode)?;
        // The pin of the link that was detached.
        let _ = self.folder.forget(pins::LINK);
        link.pin(&path).map_err(|error| PinError::pin(&self.folder.path().join(pins::LINK), &error))?;
        self.link = BpfLink::open(&path).ok();
        Ok(())
    }

    /// Takes the program off an interface that is gone from here: what another namespace may have of it. The maps stay for
    /// when it comes back, in the folder.
    pub fn part(self) -> Folder {
        self.take_off();
        if let Err(error) = self.folder.unlink() {
            tracing::debug!(file = %self.folder.path().display(), %error);
        }
        self.folder
    }

    fn take_off(&self) {
        // One that is off already can't be taken off.
        if let Some(Err(error)) = self.link.as_ref().map(BpfLink::detach) {
            tracing::debug!(file = %self.folder.path().display(), %error, "cannot end its program");
        }
    }

    /// The folder of what is pinned.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }
}

/// Looks, while the process may still do everything, for what a start would fail of: other people's programs have names
/// only for CAP_SYS_ADMIN. Mounts the BPF file system where it is missing, which takes that too.
pub fn check(config: &ReflectorConfig) -> Result<(), LoadError> {
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

fn busy(interface: &str, id: u32) -> LoadError {
    LoadError::Busy { interface: interface.into(), id, program: program_name(id) }
}

impl Loading {
    /// Brings maps and session program for an interface into the kernel; nothing answers by them yet.
    ///
    /// `held` is the folder of an interface that was away: it is taken, and comes back where this fails.
    pub fn begin(snapshot: &ConfigSnapshot, held: &mut Option<Folder>) -> Result<Self, LoadError> {
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
    pub fn open(&mut self, snapshot: &ConfigSnapshot, clock: &Clock) -> Result<KernelObjects, LoadError> {
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
        Ok(KernelObjects { maps, punts: take_ring(object)?, store: KernelSessionStore::open(folder)? })
    }

    /// Loads the program and attaches it by the mode that is wanted; with [`XdpMode::Auto`], natively or else generically.
    pub fn attach(
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
        Ok((Attachment { object, folder, link, mode, reason, program_id, is_adopted, lost: None }, log))
    }

    fn load(&mut self) -> Result<(), LoadError> {
        load_programs(&mut self.object)?;
        pin_program(&mut self.object, &self.folder, program::REFLECT)
    }

    /// Removes what was pinned, unless an earlier controller had pinned it. Gives the folder if that is kept for an
    /// interface that was away.
    pub fn give_up(self) -> Option<Folder> {
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

fn pin_program(object: &mut Ebpf, pins: &Folder, name: &str) -> Result<(), LoadError> {
    let path = pins.fd_path().join(name);
    // The name moves on to the new program; the old one lives on in the link until that is updated.
    let _ = std::fs::remove_file(&path);
    let pinned = xdp(object, name)?.pin(&path);
    Ok(pinned.map_err(|error| PinError::pin(&pins.path().join(name), &error))?)
}

fn check_kernel() -> Result<(), LoadError> {
    let oldest = KernelVersion::new(OLDEST_KERNEL.0, OLDEST_KERNEL.1, 0);
    if KernelVersion::current().is_ok_and(|version| version < oldest) { Err(LoadError::OldKernel) } else { Ok(()) }
}

fn layout(max_sessions: u32) -> Result<TableLayout, LoadError> {
    new_layout(max_sessions).map_err(|error| LoadError::Load(format!("no random number: {error}")))
}

/// The object: named by the environment, or embedded.
pub fn object() -> Result<Cow<'static, [u8]>, LoadError> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        return std::fs::read(&path).map(Cow::Owned).map_err(|source| LoadError::Object { path, source });
    }
    #[cfg(teaparty_ebpf)]
    return Ok(Cow::Borrowed(aya::include_bytes_aligned!(env!("TEAPARTY_EBPF_OBJECT"))));
    #[cfg(not(teaparty_ebpf))]
    Err(LoadError::NoObject)
}

/// Has the kernel load and verify the program, with maps of the default size, and forgets all of it again.
///
/// Takes a second or two, and changes nothing. The error says what the verifier minded.
pub fn try_load() -> Result<(), LoadError> {
    let object = object()?;
    check_kernel()?;
    let table = layout(ReflectorSettings::default().max_sessions)?;
    // Nothing is adopted, so there is no folder to look in.
    let sizes = (&table, maps::places_for(0), Room::of(&AddressBook::default()));
    let mut object = open_object(&object, Path::new(""), sizes, false, false)?;
    xdp(&mut object, program::SESSION_OP)?.load().map_err(|error| load_error(&error))?;
    load_programs(&mut object)
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

/// Makes the maps of the object, or takes the pinned ones of an earlier controller if there are some to adopt. No program is
/// loaded yet.
///
/// `provisioned` is the size of that map where it is new: where there is none to adopt, or it `is_outgrown`. `room` is that of
/// the maps of addresses, which are always new.
fn open_object(
    object: &[u8],
    folder: &Path,
    (table, provisioned, room): (&TableLayout, u32, Room),
    is_adopted: bool,
    is_outgrown: bool,
) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    let level = kernel_log::level();
    loader
        .override_global(kernel_log::LEVEL_VARIABLE, &level, false)
        .map_max_entries(name::ADDRESSES, room.addresses)
        .map_max_entries(name::VLANS, room.vlans)
        .map_max_entries(name::SESSIONS, table.slots())
        .map_max_entries(name::PROVISIONED, provisioned)
        .map_max_entries(name::HISTORY, HISTORY_RINGS)
        .map_max_entries(name::PUNTS, PUNT_RING);
    if is_adopted {
        // The others are no state. The programs of one start have working memory in common, and addresses may be more now.
        let is_kept = |name: &&str| !(FRESH.contains(name) || is_outgrown && *name == name::PROVISIONED);
        for name in ALL.into_iter().filter(is_kept) {
            loader.map_pin_path(name, folder.join(name));
        }
    }
    loader.load(object).map_err(|error| load_error(&error))
}

/// Loads the programs that packets go through, and has them find each other.
fn load_programs(object: &mut Ebpf) -> Result<(), LoadError> {
    for name in [program::REFLECT].into_iter().chain(TailCall::ALL.map(TailCall::program)) {
        xdp(object, name)?.load().map_err(|error| load_error(&error))?;
    }
    maps::connect(object).map_err(|error| load_error(&error))
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

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, LoadError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| LoadError::Load(format!("the object has no program `{name}`")))?;
    program.try_into().map_err(|error: ProgramError| LoadError::Load(error.to_string()))
}

/// The error with its causes in one line; of a verifier's log the end, where it says what it minded.
fn load_error(error: &(dyn std::error::Error + 'static)) -> LoadError {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.raw_os_error() == Some(libc::EPERM)
        {
            return LoadError::NoPermission;
        }
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    // Without it the verifier refuses arithmetic on pointers, in words that don't say so.
    if !capabilities::has(CapabilitySet::PERFMON) {
        return LoadError::NoPermission;
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    LoadError::Load(lines[lines.len().saturating_sub(4)..].join(" | "))
}

/// A program on an interface.
struct Linked {
    mode: XdpMode,
    program_id: u32,
    /// As [`Attachment::reason`].
    reason: Option<String>,
}

/// Replaces the program in the link that is there, or attaches it again.
fn link(ebpf: &mut Ebpf, folder: &Folder, interface: &Interface, mode: XdpMode) -> Result<Linked, LoadError> {
    let path = folder.fd_path().join(pins::LINK);
    let program = xdp(ebpf, program::REFLECT)?;
    let id = program.info().map_or(0, |info| info.id());
    if path.exists() {
        match replace(program, &path) {
            Ok(()) => {
                let state = xdp_state(interface.index).ok().flatten();
                let is_native = state.is_none_or(|state| state.is_native);
                let obtained = if is_native { XdpMode::Native } else { XdpMode::Skb };
                if mode != XdpMode::Auto && mode != obtained {
                    tracing::warn!(
                        interface = interface.name,
                        mode = obtained.name(),
                        "the program of the earlier start is kept in mode {}; `teaparty detach --iface {}` and a new \
                         start change it to {}",
                        obtained.name(),
                        interface.name,
                        mode.name()
                    );
                }
                return Ok(Linked { mode: obtained, program_id: id, reason: None });
            }
            Err(reason) => {
                // The link of an interface that has gone since.
                tracing::debug!(interface = interface.name, error = %reason, "the pinned link is dead");
                folder
                    .forget(pins::LINK)
                    .map_err(|source| PinError::Folder { path: folder.path().join(pins::LINK), source })?;
            }
        }
    }
    let is_veth = mode == XdpMode::Auto && interface.is_veth();
    let modes: &[XdpMode] = match mode {
        XdpMode::Skb => &[XdpMode::Skb],
        XdpMode::Native => &[XdpMode::Native],
        XdpMode::Auto | XdpMode::Off if is_veth => &[XdpMode::Skb],
        XdpMode::Auto | XdpMode::Off => &[XdpMode::Native, XdpMode::Skb],
    };
    let mut refusal = None;
    let mut reason = None;
    if is_veth {
        // Nothing tells us whether there is one: the far end may be in another namespace.
        tracing::info!(
            interface = interface.name,
            "generic mode (skb), because native replies leave a veth only if its far end runs an XDP program; if it \
             does: --xdp-mode native"
        );
        reason = Some("a veth; if its far end runs an XDP program: --xdp-mode native".to_owned());
    }
    for mode in modes {
        match attach_in(program, interface, *mode) {
            Ok(link) => {
                link.pin(&path).map_err(|error| PinError::pin(&folder.path().join(pins::LINK), &error))?;
                if let Some(LoadError::Attach { reason: refused, .. }) = refusal {
                    tracing::warn!(
                        interface = interface.name,
                        reason = refused,
                        "no native XDP, {refused}; the program runs in generic mode (skb), slower"
                    );
                    reason = Some(refused);
                }
                return Ok(Linked { mode: *mode, program_id: id, reason });
            }
            Err(error @ LoadError::Attach { .. }) => refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refusal.expect("at least one mode was tried"))
}

/// Puts our program into a pinned link, in one step.
fn replace(program: &mut Xdp, path: &Path) -> Result<(), String> {
    let pinned = PinnedLink::from_pin(path).map_err(|error| error.to_string())?;
    let link: XdpLink = FdLink::from(pinned).try_into().map_err(|error| format!("{error}"))?;
    let id = program.attach_to_link(link).map_err(|error| cause(&error))?;
    // The pin holds the link, whatever becomes of our descriptor.
    program.take_link(id).map(|_| ()).map_err(|error| error.to_string())
}

fn attach_in(program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<FdLink, LoadError> {
    let refused = |reason| LoadError::Attach { interface: interface.name.clone(), mode: mode.name(), reason };
    let flag = if mode == XdpMode::Skb { AyaMode::Skb } else { AyaMode::Driver };
    let id = match program.attach_to_if_index(interface.index, flag) {
        Ok(id) => id,
        Err(error) => {
            let is_busy = os_error(&error).is_some_and(|code| code == libc::EBUSY || code == libc::EEXIST);
            if is_busy && let Ok(Some(state)) = xdp_state(interface.index) {
                return Err(busy(&interface.name, state.program_id));
            }
            return Err(match os_error(&error) {
                Some(libc::EPERM) => LoadError::NoPermission,
                Some(libc::EOPNOTSUPP) => refused("its driver has no XDP".into()),
                _ => refused(cause(&error)),
            });
        }
    };
    let link = program.take_link(id).map_err(|error| refused(error.to_string()))?;
    link.try_into().map_err(|_| refused("this kernel has no BPF links for XDP".into()))
}

fn program_name(id: u32) -> String {
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    found.and_then(|program| program.name_as_str().map(str::to_owned)).unwrap_or_else(|| "of unknown name".into())
}

fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

fn take_ring(ebpf: &mut Ebpf) -> Result<RingBuf<MapData>, LoadError> {
    let failed = |source| LoadError::Maps(MapsError { name: name::PUNTS, source });
    let map: Map = ebpf.take_map(name::PUNTS).ok_or_else(|| LoadError::Load("the object has no punt ring".into()))?;
    RingBuf::try_from(map).map_err(failed)
}
