//! The folders of pinned objects: one for each interface, whose number it belongs to, whatever the interface is called.
//!
//! [`folder`] is one of them, [`identity`] says whose it is, and [`claim`] gives it to its one controller.

pub(crate) mod claim;
pub(crate) mod folder;
pub(crate) mod identity;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::folder::{Folder, Root};
use self::identity::InterfaceLocation;
use crate::net::interface::xdp_state;
use crate::net::namespace::interface_name;
use crate::net::xdp_link::BpfLink;

/// Mount point of the BPF file system.
const BPFFS: &str = "/sys/fs/bpf";
/// Its magic number, from linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Number of the initial network namespace, from linux/nsfs.h (Linux 6.18; earlier kernels gave it any number).
const INITIAL_NAMESPACE: u64 = 0xefff_fff9;
/// Name of the pinned link in an interface's folder.
pub(crate) const LINK: &str = "link";
/// Attempts on a folder that another process has locked, and the pause between them: it may just look.
const TRIES: (u32, Duration) = (25, Duration::from_millis(20));

/// Trouble with pinned objects.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Another controller serves this interface.
    #[error("another teaparty reflector is running on {interface}; stop it first")]
    Running {
        /// The interface.
        interface: String,
    },
    /// No BPF file system.
    #[error("the BPF file system is not mounted at {BPFFS} and cannot be: {0}; run: mount -t bpf bpf {BPFFS}")]
    NoFileSystem(io::Error),
    /// A folder or file.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// The session.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that leads elsewhere, where a folder belongs.
    #[error("{} is a symbolic link or a file, and not followed; see who put it there, and remove it", path.display())]
    NoFolder {
        /// The session.
        path: PathBuf,
    },
    /// A folder of another user, who could change what is pinned there.
    #[error(
        "{} belongs to the user with number {owner}, and is not used; `teaparty detach --all` as root removes it, if no \
         reflector runs there",
        path.display()
    )]
    Foreign {
        /// The session.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Something could not be removed.
    #[error("left in {}: {what}; `teaparty detach --all` as root removes it", path.display())]
    Left {
        /// Its path.
        path: PathBuf,
        /// The object, and the reason.
        what: String,
    },
    /// An object can't be pinned.
    #[error("cannot pin {}: {reason}", path.display())]
    Pin {
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl PinError {
    /// An object that can't be pinned at `path`.
    pub fn pin(path: &Path, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut last = error;
        while let Some(next) = last.source() {
            last = next;
        }
        Self::Pin { path: path.into(), reason: last.to_string() }
    }
}

/// Returns the path of the folder of this name, for people; of no name, the folder of all.
fn path_of(name: &str) -> PathBuf {
    let all = Path::new(BPFFS).join("teaparty");
    if name.is_empty() { all } else { all.join(name) }
}

/// The name of an interface's folder.
///
/// It is the interface's, with the network namespace's number after it where that is not the one of the system's first
/// process: two namespaces may use one name. The BPF file system takes no dot, and interfaces' names have no colon.
fn folder_name(interface: &str) -> String {
    let interface = interface.replace('.', ":");
    let namespace = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/net")).map(|m| m.ino()).ok();
    let Some(ours) = namespace("thread-self") else { return interface };
    let suffixed = format!("{interface}@{ours}");
    // Without access to the first process, the number decides, which kernels give the initial namespace; on those that
    // don't, an ordinary user's reflector has left the longer name.
    let is_initial = ours == INITIAL_NAMESPACE || Some(ours) == namespace("1");
    if is_initial && !path_of(&suffixed).exists() { interface } else { suffixed }
}

/// Prepares what needs all privileges: mounts the BPF file system where it is missing, and lets
/// root reach a folder that it has given to another user.
pub(crate) fn prepare() -> Result<(), PinError> {
    if !is_mounted() {
        mount()?;
    }
    if let Some(root) = Root::open()? {
        root.share_with_root().map_err(|source| PinError::Folder { path: path_of(""), source })?;
    }
    Ok(())
}

fn is_mounted() -> bool {
    // SAFETY: all-zero is a valid `statfs`.
    let mut state: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with zero, and the result outlives the call.
    let result = unsafe { libc::statfs(c"/sys/fs/bpf".as_ptr(), &raw mut state) };
    result == 0 && state.f_type as i64 == BPF_FS_MAGIC
}

fn mount() -> Result<(), PinError> {
    // SAFETY: all strings are constant and end with zero.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr(), c"bpf".as_ptr(), 0, c"mode=0700".as_ptr().cast())
    };
    if result != 0 {
        return Err(PinError::NoFileSystem(io::Error::last_os_error()));
    }
    tracing::info!(path = BPFFS, "mounted the BPF file system at {BPFFS}");
    Ok(())
}

/// A path in an interface's folder for an object that is to take the place of the one called `name`, see [`replace`].
pub(crate) fn free_name(folder: &Path, name: &str) -> PathBuf {
    // One that is there may be in use: a controller may have been killed before it replaced the other.
    (0u32..).map(|n| folder.join(format!("{name}-{n}"))).find(|path| !path.exists()).expect("numbers do not end")
}

/// Gives the object at `path` its name, which another one has had, and forgets those that were to replace that earlier. Without
/// that, what is pinned at `path` stays in use there.
pub(crate) fn replace(folder: &Path, path: &Path, name: &str) {
    let place = folder.join(name);
    if path == place {
        return;
    }
    if let Err(error) = std::fs::rename(path, &place) {
        tracing::warn!(file = %path.display(), %error, "can't be renamed to {name}");
        return;
    }
    let prefix = format!("{name}-");
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A folder as it was found.
struct FoundFolder {
    folder: Folder,
    name: String,
    place: InterfaceLocation,
    has_program: bool,
}

/// Looks at all folders. Those that can't be opened, links among them, are left out.
fn scan(root: &Root) -> Result<Vec<FoundFolder>, PinError> {
    let mut all = Vec::new();
    for name in root.names()? {
        match root.folder(&name) {
            Ok(Some(folder)) => {
                let (place, has_program) = folder.place();
                all.push(FoundFolder { folder, name, place, has_program });
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "left alone"),
        }
    }
    Ok(all)
}

/// Returns true if a program with this number is held by one of our links, or of a reflector of another user.
pub(crate) fn holds(program_id: u32) -> bool {
    let all = is_mounted().then(|| Root::open().ok().flatten()).flatten();
    let holds = |name: String| {
        let folder = all.as_ref()?.folder(&name).ok()??;
        let link = BpfLink::open(&folder.fd_path().join(LINK)).ok()?;
        Some(link.info().ok()?.program_id == program_id)
    };
    let names = all.as_ref().and_then(|all| all.names().ok()).unwrap_or_default();
    names.into_iter().any(|name| holds(name).unwrap_or(false))
}

/// Returns true if one of our programs is on the interface with this number, as far as we may see.
pub(crate) fn has_left(index: u32) -> bool {
    let state = xdp_state(index).ok().flatten();
    state.is_some_and(|state| holds(state.program_id))
}

/// The state of the folder of all interfaces, for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FolderState {
    /// True if we may pin in it.
    pub is_writable: bool,
    /// Interfaces on which a program answers without a controller.
    pub left: Vec<String>,
    /// Folders of interfaces that are gone.
    pub stale: Vec<String>,
}

/// There is no BPF file system, or something else in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the BPF file system is not mounted at {BPFFS}")]
pub(crate) struct NotMounted;

/// Looks at the folder of all interfaces.
pub(crate) fn state() -> Result<FolderState, NotMounted> {
    if !is_mounted() {
        return Err(NotMounted);
    }
    let all = path_of("");
    let place = if all.exists() { &*all } else { Path::new(BPFFS) };
    let is_writable = nix::unistd::eaccess(place, nix::unistd::AccessFlags::W_OK).is_ok();
    let found = Root::open().and_then(|root| root.as_ref().map_or_else(|| Ok(Vec::new()), scan));
    let (mut left, mut stale) = (Vec::new(), Vec::new());
    // A lock that can be had has no controller.
    for FoundFolder { folder, name, place, has_program } in found.unwrap_or_default() {
        match place {
            InterfaceLocation::Here(index) if has_program && folder.lock().unwrap_or(false) => {
                left.extend(interface_name(index))
            }
            InterfaceLocation::Gone if folder.lock().unwrap_or(false) => stale.push(name),
            _ => {}
        }
    }
    left.sort_unstable();
    stale.sort_unstable();
    Ok(FolderState { is_writable, left, stale })
}

/// Removes what a controller that no longer runs has left on an interface, for `teaparty detach --iface`, whoever has
/// made it. Returns true if there was anything. An interface that is gone, or was renamed, is found by its former name.
pub(crate) fn detach(interface: &str) -> Result<bool, PinError> {
    let Some(root) = is_mounted().then(Root::open).transpose()?.flatten() else { return Ok(false) };
    let index = nix::net::if_::if_nametoindex(interface).ok();
    let name = folder_name(interface);
    let is_meant = |found: &FoundFolder| match found.place {
        InterfaceLocation::Here(at) => index.map_or(found.name == name, |index| at == index),
        InterfaceLocation::Gone => found.name == name,
        InterfaceLocation::Elsewhere | InterfaceLocation::Unknown => false,
    };
    if index.is_none_or(|index| !has_left(index)) {
        // A symbolic link is reported.
        root.folder(&name)?;
    }
    let mut was_there = false;
    for FoundFolder { folder, .. } in scan(&root)?.into_iter().filter(is_meant) {
        if !lock_within(&folder)? {
            return Err(PinError::Running { interface: interface.into() });
        }
        folder.remove()?;
        was_there = true;
    }
    Ok(was_there)
}

/// The result for one folder in [`detach_all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detached {
    /// The program was taken off.
    Program,
    /// Pins of an interface that is gone were removed.
    Stale,
    /// A reflector runs there.
    Running,
    /// It is of another network namespace.
    Elsewhere,
}

/// A folder's name, or that of its interface, and what became of it.
pub(crate) type DetachOutcome = (String, Result<Detached, PinError>);

/// Removes all that controllers that no longer run have left in this network namespace, for `teaparty detach --all`,
/// and the pins of interfaces and namespaces that are gone.
pub(crate) fn detach_all() -> Result<Vec<DetachOutcome>, PinError> {
    let Some(root) = is_mounted().then(Root::open).transpose()?.flatten() else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for entry in root.names()? {
        if let Err(error) = root.folder(&entry) {
            all.push((entry, Err(error)));
        }
    }
    for FoundFolder { folder, name, place, has_program } in scan(&root)? {
        let shown = match place {
            InterfaceLocation::Here(index) => interface_name(index).unwrap_or(name),
            _ => name,
        };
        let outcome = lock_within(&folder).and_then(|is_ours| match place {
            _ if !is_ours => Ok(Detached::Running),
            InterfaceLocation::Elsewhere | InterfaceLocation::Unknown => Ok(Detached::Elsewhere),
            _ => folder.remove().map(|()| if has_program { Detached::Program } else { Detached::Stale }),
        });
        all.push((shown, outcome));
    }
    Ok(all)
}

/// Locks a folder; whether that could be done before patience ended.
fn lock_within(folder: &Folder) -> Result<bool, PinError> {
    for _ in 0..TRIES.0 {
        if folder.lock().map_err(|source| PinError::Folder { path: folder.path(), source })? {
            return Ok(true);
        }
        std::thread::sleep(TRIES.1);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_vlan_devices_have_a_folder() {
        assert_eq!(folder_name("eth0.100").split('@').next(), Some("eth0:100"));
        assert_eq!(folder_name("lo").split('@').next(), Some("lo"));
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_told_from_a_folder_of_others() {
        let path = PathBuf::from("/sys/fs/bpf/teaparty/eth0");
        let text = PinError::NoFolder { path: path.clone() }.to_string();
        assert!(text.contains("symbolic link") && text.contains("/teaparty/eth0"), "{text}");
        let text = PinError::Foreign { path, owner: 1000 }.to_string();
        assert!(text.contains("1000") && text.contains("teaparty detach --all"), "{text}");
    }
}
