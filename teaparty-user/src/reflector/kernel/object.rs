//! The object file with the XDP programs: found, its maps made, its programs loaded.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapError};
use aya::programs::{ProgramError, Xdp};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use teaparty_common::maps::session_table::TableLayout;
use teaparty_common::maps::{TailCall, name, program};

use super::address_maps::Room;
use super::kernel_log;
use super::load_error::{LoadError, OLDEST_KERNEL, VARIABLE, load_error};
use super::maps::{self, ALL, FRESH};
use super::pinned_map::MapsError;
use super::pins::PinError;
use super::pins::folder::Folder;
use crate::reflector::config::{HISTORY_RINGS, ReflectorSettings};
use crate::reflector::session::table_layout::new_layout;
use crate::reflector::snapshot::addresses::AddressBook;

/// Octets of the ring for punted frames, a power of two.
const PUNT_RING: u32 = 8 << 20;

/// Octets of a ring that nothing is written to: a multiple of any page.
const EMPTY_RING: u32 = 64 << 10;

/// Octets of the ring for captured packets: some 20 ms of the longest frames at the highest rate by default.
const CAPTURE_RING: u32 = 4 << 20;

pub(super) fn check_kernel() -> Result<(), LoadError> {
    let oldest = KernelVersion::new(OLDEST_KERNEL.0, OLDEST_KERNEL.1, 0);
    if KernelVersion::current().is_ok_and(|version| version < oldest) { Err(LoadError::OldKernel) } else { Ok(()) }
}

pub(super) fn layout(max_sessions: u32) -> Result<TableLayout, LoadError> {
    new_layout(max_sessions).map_err(|error| LoadError::Load(format!("no random number: {error}")))
}

/// Returns the object: named by the environment, or embedded.
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

/// Makes the maps of the object, or takes the pinned ones of an earlier controller if there are some to adopt. No program is
/// loaded yet.
///
/// `provisioned` is the size of that map where it is new: where there is none to adopt, or it `is_outgrown`. `room` is that of
/// the maps of addresses, which are always new.
pub(super) fn open_object(
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
        .map_max_entries(name::PUNTS, PUNT_RING)
        // Nothing writes there: the programs with capture are of another object.
        .map_max_entries(name::CAPTURED, EMPTY_RING);
    if is_adopted {
        // The others are no state. The programs of one start have working memory in common, and addresses may be more now.
        let is_kept = |name: &&str| !(FRESH.contains(name) || is_outgrown && *name == name::PROVISIONED);
        for name in ALL.into_iter().filter(is_kept) {
            loader.map_pin_path(name, folder.join(name));
        }
    }
    loader.load(object).map_err(|error| load_error(&error))
}

/// Makes the object with the programs with capture, for the maps of running programs, which are pinned in a folder.
pub(super) fn open_capture(object: &[u8], folder: &Path) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    let level = kernel_log::level();
    loader.override_global(kernel_log::LEVEL_VARIABLE, &level, false).map_max_entries(name::CAPTURED, CAPTURE_RING);
    for name in ALL.into_iter().filter(|name| *name != name::TAIL_CALLS) {
        loader.map_pin_path(name, folder.join(name));
    }
    loader.load(object).map_err(|error| load_error(&error))
}

/// Loads the programs that packets go through, and has them find each other.
pub(super) fn load_programs(object: &mut Ebpf) -> Result<(), LoadError> {
    for name in [program::REFLECT].into_iter().chain(TailCall::ALL.map(TailCall::program)) {
        xdp(object, name)?.load().map_err(|error| load_error(&error))?;
    }
    maps::connect(object, TailCall::program).map_err(|error| load_error(&error))
}

/// Returns a program of the object.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, LoadError> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| LoadError::Load(format!("the object has no program `{name}`")))?;
    program.try_into().map_err(|error: ProgramError| LoadError::Load(error.to_string()))
}

/// Pins a program in the place of an earlier one.
pub(super) fn pin_program(object: &mut Ebpf, pins: &Folder, name: &str) -> Result<(), LoadError> {
    let path = pins.fd_path().join(name);
    // The name moves on to the new program; the old one lives on in the link until that is updated.
    let _ = std::fs::remove_file(&path);
    let pinned = xdp(object, name)?.pin(&path);
    Ok(pinned.map_err(|error| PinError::pin(&pins.path().join(name), &error))?)
}

/// Takes a map out of the object.
pub(super) fn take_map<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or_else(|| LoadError::Load(format!("the object has no map `{name}`")))?;
    map.try_into().map_err(|source| LoadError::Maps(MapsError { name, source }))
}
