//! Whose pins are pinned in a folder: an interface is a number in a network namespace, not a name.
//!
//! The kernel's word counts first: the pinned link says on which interface its program is. Where there is no such link any
//! more, a map that is pinned beside it says for which interface the folder was made.

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};

use super::folder::{Folder, IDENTITY};
use super::{LINK, PinError};
use crate::net::interface::xdp_state;
use crate::net::namespace::{self, interface_name};
use crate::net::xdp_link::BpfLink;

/// Cookie of the network namespace, number of the interface.
type InterfaceIdentity = [u64; 2];

/// The place of a folder's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceLocation {
    /// In this network namespace, with this number.
    Here(u32),
    /// In another one, where one of our programs answers on it.
    Elsewhere,
    /// Nowhere any more: nothing answers by what is pinned.
    Gone,
    /// This process may not know.
    Unknown,
}

impl Folder {
    /// Finds out for which interface it was made, and whether a program is on it.
    pub(crate) fn place(&self) -> (InterfaceLocation, bool) {
        match BpfLink::open(&self.fd_path().join(LINK)).and_then(|link| link.info()) {
            Ok(link) if link.index != 0 => {
                // Numbers of programs are the system's: two interfaces with one number differ in the program on them.
                let state = xdp_state(link.index).ok().flatten();
                let is_here = state.is_some_and(|state| state.program_id == link.program_id);
                return (
                    if is_here { InterfaceLocation::Here(link.index) } else { InterfaceLocation::Elsewhere },
                    true,
                );
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => return (InterfaceLocation::Unknown, false),
        }
        let place = match (read(&self.fd_path()), namespace::cookie()) {
            (Ok([namespace, index]), Ok(ours)) if namespace == ours => u32::try_from(index)
                .ok()
                .filter(|index| interface_name(*index).is_some())
                .map_or(InterfaceLocation::Gone, InterfaceLocation::Here),
            (Ok(_), Err(_)) => InterfaceLocation::Unknown,
            // Without a program, nobody misses what another namespace, or an earlier version of this program, has left.
            _ => InterfaceLocation::Gone,
        };
        (place, false)
    }

    /// Writes down for which interface the folder is.
    pub(crate) fn sign(&self, index: u32) -> Result<(), PinError> {
        let path = self.fd_path().join(IDENTITY);
        let failed = |error: MapError| PinError::pin(&self.path().join(IDENTITY), &error);
        // SO_NETNS_COOKIE is older than the oldest kernel that we load a program on; 0 is no namespace's.
        let identity = [namespace::cookie().unwrap_or(0), u64::from(index)];
        if read(&self.fd_path()).is_ok_and(|known| known == identity) {
            return Ok(());
        }
        self.forget(IDENTITY).map_err(|source| PinError::Folder { path: self.path().join(IDENTITY), source })?;
        let mut map = Array::<MapData, InterfaceIdentity>::create(1, 0).map_err(failed)?;
        map.set(0, identity, 0).map_err(failed)?;
        map.pin(&path).map_err(|error| PinError::pin(&self.path().join(IDENTITY), &error))
    }
}

fn read(folder: &Path) -> Result<InterfaceIdentity, MapError> {
    let map = MapData::from_pin(folder.join(IDENTITY)).and_then(Map::from_map_data)?;
    Array::<_, InterfaceIdentity>::try_from(map)?.get(&0, 0)
}
