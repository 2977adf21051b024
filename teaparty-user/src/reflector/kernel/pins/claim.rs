//! Which folder is an interface's, and the right to be its one controller.

use std::io;

use super::folder::{Folder, Root};
use super::identity::InterfaceLocation;
use super::{FoundFolder, PinError, TRIES, folder_name, is_mounted, mount, path_of, scan};
use crate::net::namespace::interface_name;

/// Finds the folder of the interface with this name and number, or makes it, and locks it.
///
/// A folder of that number has the interface's name from now on; one that only has the name is another interface's, and gets
/// the one of that. What is pinned for interfaces that are gone is removed.
pub(crate) fn claim(interface: &str, index: u32) -> Result<Folder, PinError> {
    if !is_mounted() {
        mount()?;
    }
    let root = Root::make()?;
    let mut tries = TRIES.0;
    loop {
        match try_claim(&root, interface, index)? {
            Some(folder) => {
                folder.sign(index)?;
                return Ok(folder);
            }
            None if tries == 0 => return Err(PinError::Running { interface: interface.into() }),
            None => tries -= 1,
        }
        std::thread::sleep(TRIES.1);
    }
}

/// Gives the folder of an interface that was away to the one that has come back.
pub(crate) fn hand_over(folder: Folder, interface: &str, index: u32) -> Result<Folder, PinError> {
    folder.sign(index)?;
    rename_all(vec![(&folder, folder_name(interface))]);
    Ok(folder)
}

/// Gives folders the names that their interfaces have now.
pub(crate) fn follow<'a>(folders: impl Iterator<Item = (&'a Folder, &'a str)>) {
    rename_all(folders.map(|(folder, interface)| (folder, folder_name(interface))).collect());
}

/// `None` where another process is at it.
fn try_claim(root: &Root, interface: &str, index: u32) -> Result<Option<Folder>, PinError> {
    let wanted = folder_name(interface);
    // A symbolic link is reported only here.
    root.folder(&wanted)?;
    let mut own: Option<(Folder, bool)> = None;
    let mut others = Vec::new();
    for FoundFolder { folder, name, place, has_program } in scan(root)? {
        let (is_wanted, is_own) = (name == wanted, place == InterfaceLocation::Here(index));
        if !folder.is_ours() {
            if is_wanted || is_own && has_program {
                return Err(folder.foreign());
            }
            continue;
        }
        if !folder.lock().map_err(|source| PinError::Folder { path: folder.path(), source })? {
            if is_wanted || is_own {
                return Ok(None);
            }
            continue;
        }
        match place {
            InterfaceLocation::Here(_) if is_own && (own.is_none() || has_program) => {
                if let Some((double, _)) = own.replace((folder, has_program)) {
                    double.remove()?;
                }
            }
            InterfaceLocation::Here(_) if is_own => folder.remove()?,
            InterfaceLocation::Here(at) => {
                if is_wanted {
                    let other = interface_name(at).unwrap_or_default();
                    tracing::warn!(
                        interface,
                        other,
                        "what an earlier reflector has pinned under this name is of the interface with number {at}, {other} \
                         by now, and is not taken over; `teaparty detach --iface {other}` ends it"
                    );
                }
                others.push((folder, at));
            }
            InterfaceLocation::Gone => remove_stale(&folder, &name)?,
            InterfaceLocation::Unknown if is_wanted => {
                let source = io::Error::from(io::ErrorKind::PermissionDenied);
                return Err(PinError::Folder { path: folder.path(), source });
            }
            InterfaceLocation::Elsewhere if is_wanted => {
                tracing::warn!(
                    interface,
                    "what an earlier reflector has pinned under this name is of another network namespace, and \
                     is not taken over"
                );
                let aside = free_name(root, &wanted);
                folder.rename(&aside).map_err(|source| PinError::Folder { path: folder.path(), source })?;
            }
            InterfaceLocation::Elsewhere | InterfaceLocation::Unknown => {}
        }
    }
    let named = others.iter().filter_map(|(folder, at)| Some((folder, folder_name(&interface_name(*at)?))));
    rename_all(named.chain(own.iter().map(|(folder, _)| (folder, wanted.clone()))).collect());
    match own {
        Some((folder, _)) if folder.name() == wanted => Ok(Some(folder)),
        Some(_) => Ok(None),
        None => root.create(&wanted),
    }
}

fn remove_stale(folder: &Folder, name: &str) -> Result<(), PinError> {
    folder.remove()?;
    tracing::info!(folder = %path_of(name).display(), "removed the pins of an interface that is gone");
    Ok(())
}

/// A name that no folder has.
fn free_name(root: &Root, name: &str) -> String {
    let names = root.names().unwrap_or_default();
    (1u32..).map(|n| format!("{name}:{n}")).find(|name| !names.contains(name)).expect("numbers do not end")
}

/// Gives folders the names of their interfaces. Some may have exchanged them; whose name is another process's yet is left for
/// the next time.
fn rename_all(mut wanted: Vec<(&Folder, String)>) {
    let mut tries = 2 * wanted.len() + 1;
    wanted.retain(|(folder, name)| folder.name() != *name);
    while !wanted.is_empty() && tries > 0 {
        let before = wanted.len();
        wanted.retain(|(folder, name)| {
            let from = folder.path();
            match folder.rename(name) {
                Ok(()) => {
                    tracing::info!(folder = %from.display(), "called {name} now, as its interface is");
                    false
                }
                Err(error) => {
                    tracing::debug!(folder = %from.display(), %error, "can't be called {name} yet");
                    true
                }
            }
        });
        if wanted.len() == before
            && let Some((folder, name)) = wanted.get(tries % wanted.len())
        {
            // Out of the way of those that get its name.
            let _ = folder.rename(&free_name(folder.root(), name));
        }
        tries -= 1;
    }
}

/// Removes the pins of interfaces that are gone, if they are ours and no reflector runs there.
pub(crate) fn sweep() {
    if let Err(error) = try_sweep() {
        tracing::debug!(%error, "no look at the pins of interfaces that are gone");
    }
}

fn try_sweep() -> Result<(), PinError> {
    let Some(root) = is_mounted().then(Root::open).transpose()?.flatten() else { return Ok(()) };
    for FoundFolder { folder, name, place, .. } in scan(&root)? {
        if place == InterfaceLocation::Gone && folder.is_ours() && folder.lock().unwrap_or(false) {
            remove_stale(&folder, &name)?;
        }
    }
    Ok(())
}
