//! The folder of pinned objects of an interface, and who may write there.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::net::interface::xdp_state;

/// Where the BPF file system is.
const BPFFS: &str = "/sys/fs/bpf";
/// Its magic number, from linux/magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Number of the initial network namespace, from linux/nsfs.h (Linux 6.18; earlier kernels gave it any number).
const INITIAL_NAMESPACE: u64 = 0xefff_fff9;
/// Name of the pinned link in an interface's folder.
pub const LINK: &str = "link";

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
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An object can't be pinned.
    #[error("cannot pin {}: {reason}", path.display())]
    Pin {
        /// Where.
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

/// The folder for an interface; mounts the BPF file system if that is missing.
///
/// `/sys/fs/bpf/teaparty/<iface>/`, with the network namespace's number behind the name where it is not that of the
/// system's first process: two namespaces may use one name.
pub fn folder(interface: &str) -> Result<PathBuf, PinError> {
    if !is_mounted() {
        mount()?;
    }
    Ok(Path::new(BPFFS).join("teaparty").join(folder_name(interface)))
}

fn folder_name(interface: &str) -> String {
    let namespace = |process: &str| std::fs::metadata(format!("/proc/{process}/ns/net")).map(|m| m.ino()).ok();
    let Some(ours) = namespace("thread-self") else { return interface.into() };
    let suffixed = format!("{interface}@{ours}");
    // Who may not look at the first process is told by the number, which kernels give the initial namespace; on those that
    // don't, an ordinary user's reflector has left the longer name.
    let is_initial = ours == INITIAL_NAMESPACE || Some(ours) == namespace("1");
    if is_initial && !Path::new(BPFFS).join("teaparty").join(&suffixed).exists() { interface.into() } else { suffixed }
}

fn is_mounted() -> bool {
    // SAFETY: all-zero is a valid `statfs`.
    let mut state: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with zero, and the result outlives the call.
    let result = unsafe { libc::statfs(c"/sys/fs/bpf".as_ptr(), &raw mut state) };
    result == 0 && state.f_type as i64 == BPF_FS_MAGIC
}

fn mount() -> Result<(), PinError> {
    // SAFETY: all strings are constant and end with zero; the file system takes no data.
    let result = unsafe { libc::mount(c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if result != 0 {
        return Err(PinError::NoFileSystem(io::Error::last_os_error()));
    }
    tracing::info!("mounted the BPF file system at {BPFFS}");
    Ok(())
}

/// Makes an interface's folder.
pub fn create(folder: &Path) -> Result<(), PinError> {
    std::fs::create_dir_all(folder).map_err(|source| PinError::Folder { path: folder.into(), source })
}

/// Removes an interface's folder and all pins in it, the link first: that detaches the program. None is no error.
pub fn remove(folder: &Path) -> Result<(), PinError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| PinError::Folder { path, source }
    };
    let link = folder.join(LINK);
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&link)(error)),
        _ => {}
    }
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(failed(folder))?.path();
        std::fs::remove_file(&path).map_err(failed(&path))?;
    }
    std::fs::remove_dir(folder).map_err(failed(folder))?;
    // The folder of all interfaces goes with the last one.
    if let Some(parent) = folder.parent() {
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}

/// A path in an interface's folder for an object that is to take the place of the one called `name`, see [`replace`].
pub fn free_name(folder: &Path, name: &str) -> PathBuf {
    // One that is there may be in use: a controller may have been killed before it replaced the other.
    (0u32..).map(|n| folder.join(format!("{name}-{n}"))).find(|path| !path.exists()).expect("numbers do not end")
}

/// Gives the object at `path` its name, which another one has had, and forgets those that were to replace that earlier. Without
/// that, what is pinned at `path` stays in use there.
pub fn replace(folder: &Path, path: &Path, name: &str) {
    let place = folder.join(name);
    if path == place {
        return;
    }
    if let Err(error) = std::fs::rename(path, &place) {
        tracing::warn!("{} can't be renamed to {name}: {error}", path.display());
        return;
    }
    let prefix = format!("{name}-");
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a controller that no longer runs, or runs elsewhere, has left something on an interface, as far as we may see.
pub fn has_left(interface: &str) -> bool {
    is_mounted() && Path::new(BPFFS).join("teaparty").join(folder_name(interface)).join(LINK).exists()
}

/// What the folder of all interfaces is like, for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderState {
    /// Whether we may pin in it.
    pub is_writable: bool,
    /// Interfaces on which a program answers without a controller.
    pub left: Vec<String>,
}

/// Looks at the folder of all interfaces. The error says that there is no BPF file system.
pub fn look() -> Result<FolderState, String> {
    if !is_mounted() {
        return Err(format!("the BPF file system is not mounted at {BPFFS}"));
    }
    let folder = Path::new(BPFFS).join("teaparty");
    let place = if folder.exists() { &folder } else { Path::new(BPFFS) };
    let is_writable = nix::unistd::eaccess(place, nix::unistd::AccessFlags::W_OK).is_ok();
    // The folder's name is the interface's, in our own network namespace; a lock that can be had has no controller.
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    let is_ours = |name: &String| folder_name(interface_of(name)) == *name;
    let is_left = |name: &String| {
        let interface = interface_of(name);
        has_left(interface) && Lock::take(interface).is_ok()
    };
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names = entries.filter_map(name).filter(is_ours).filter(is_left);
    let mut left: Vec<String> = names.map(|name| interface_of(&name).to_owned()).collect();
    left.sort_unstable();
    Ok(FolderState { is_writable, left })
}

/// The interface of a folder's name.
fn interface_of(folder: &str) -> &str {
    folder.rsplit_once('@').map_or(folder, |(interface, _)| interface)
}

/// What `teaparty detach` does: removes what a controller that no longer runs has left on an interface. Whether there
/// was anything.
pub fn detach(interface: &str) -> Result<bool, PinError> {
    let folder = folder(interface)?;
    let _lock = Lock::take(interface)?;
    let was_there = folder.exists();
    detach_from(interface, &folder)?;
    Ok(was_there)
}

/// Removes the pins and waits until the program is gone: the kernel takes it away a little after its last pin.
pub fn detach_from(interface: &str, folder: &Path) -> Result<(), PinError> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let has_link = folder.join(LINK).exists();
    let program = || nix::net::if_::if_nametoindex(interface).ok().and_then(|index| xdp_state(index).ok().flatten());
    let before = program();
    remove(folder)?;
    let end = Instant::now() + PATIENCE;
    while has_link && before.is_some() && program() == before && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The right to be the one controller of an interface. It ends with the process, however that ends.
pub struct Lock(#[expect(dead_code, reason = "held, not used")] UnixDatagram);

impl Lock {
    /// Takes it. Abstract socket names belong to a network namespace, as interface names do.
    pub fn take(interface: &str) -> Result<Self, PinError> {
        let failed = |source| PinError::Folder { path: format!("@teaparty/{interface}").into(), source };
        let address = SocketAddr::from_abstract_name(format!("teaparty/reflector/{interface}")).map_err(failed)?;
        match UnixDatagram::bind_addr(&address) {
            Ok(socket) => Ok(Self(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(PinError::Running { interface: interface.into() })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_one_controller() {
        let first = Lock::take("test-pins").unwrap();
        assert!(matches!(Lock::take("test-pins"), Err(PinError::Running { .. })));
        drop(first);
        assert!(Lock::take("test-pins").is_ok());
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        assert!(remove(Path::new("/nonexistent/teaparty-test")).is_ok());
    }
}
