//! One interface's folder of pinned objects, held by descriptor: whatever it is called by now, and whoever owns the folder
//! around it, the opened object is the one used. Symbolic links are never followed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fchown, getegid, geteuid, unlinkat};

use super::{LINK, PinError, path_of};
use crate::net::interface::xdp_state;
use crate::net::xdp_link::BpfLink;

/// Name of the map in an interface's folder that says which interface that is.
pub(crate) const IDENTITY: &str = "identity";

/// Flags for opening a folder: a symbolic link is an error.
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Mode of folders that we make: nobody else can open them, and so nobody else can hold their lock.
const OURS_ALONE: Mode = Mode::S_IRWXU;

/// The folder of all interfaces' folders.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    fd: Arc<OwnedFd>,
    owner: u32,
}

impl Root {
    /// Opens it; `None` where there is none.
    pub(crate) fn open() -> Result<Option<Self>, PinError> {
        let path = path_of("");
        let fd = match nix::fcntl::open(&path, FOLDER, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(refused(path, errno)),
        };
        let owner = owner(&fd).map_err(|source| PinError::Folder { path: path.clone(), source })?;
        // Root may have given it to a user of its own, as the unit does. What a third one owns is a trap for all others.
        let us = geteuid();
        if !us.is_root() && owner != 0 && owner != us.as_raw() {
            return Err(PinError::Foreign { path, owner });
        }
        Ok(Some(Self { fd: Arc::new(fd), owner }))
    }

    /// Opens it, and makes it where there is none.
    pub(crate) fn make() -> Result<Self, PinError> {
        loop {
            if let Some(root) = Self::open()? {
                return Ok(root);
            }
            let path = path_of("");
            match nix::unistd::mkdir(&path, OURS_ALONE) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(PinError::Folder { path, source: errno.into() }),
            }
        }
    }

    /// Lets root use the folder of another user, by its group, when it no longer has CAP_DAC_OVERRIDE.
    pub(crate) fn share_with_root(&self) -> io::Result<()> {
        if self.owner != 0 && geteuid().is_root() {
            let mode = Mode::from_bits_truncate(fstat(&*self.fd)?.st_mode);
            fchown(&*self.fd, None, Some(getegid()))?;
            fchmod(&*self.fd, mode | Mode::S_IRWXG)?;
        }
        Ok(())
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> Result<Vec<String>, PinError> {
        names(&self.fd).map_err(|source| PinError::Folder { path: path_of(""), source })
    }

    /// Opens an interface's folder; `None` where there is none.
    pub(crate) fn folder(&self, name: &str) -> Result<Option<Folder>, PinError> {
        let path = path_of(name);
        match openat(&*self.fd, name, FOLDER, Mode::empty()) {
            Ok(fd) => {
                let owner = owner(&fd).map_err(|source| PinError::Folder { path, source })?;
                Ok(Some(Folder { root: self.clone(), fd, owner }))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::EACCES) => {
                let state = fstatat(&*self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
                let source = io::Error::from(Errno::EACCES);
                Err(match state.map(|state| state.st_uid) {
                    Ok(owner) if owner != geteuid().as_raw() => PinError::Foreign { path, owner },
                    _ => PinError::Folder { path, source },
                })
            }
            Err(errno) => Err(refused(path, errno)),
        }
    }

    /// Makes an interface's folder and locks it; `None` where somebody else was faster.
    pub(crate) fn create(&self, name: &str) -> Result<Option<Folder>, PinError> {
        let failed = |source| PinError::Folder { path: path_of(name), source };
        match mkdirat(&*self.fd, name, OURS_ALONE) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Ok(None),
            Err(errno) => return Err(failed(errno.into())),
        }
        let Some(folder) = self.folder(name)? else { return Ok(None) };
        Ok(folder.lock().map_err(failed)?.then_some(folder))
    }
}

/// An interface's folder, which was opened.
#[derive(Debug)]
pub(crate) struct Folder {
    root: Root,
    fd: OwnedFd,
    owner: u32,
}

impl Folder {
    /// Returns true if it belongs to the user that we are.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == geteuid().as_raw()
    }

    /// The error that says whose it is.
    pub(crate) fn foreign(&self) -> PinError {
        PinError::Foreign { path: self.path(), owner: self.owner }
    }

    /// Takes the right to be the one controller of the pins here, until this is dropped or the process ends, however
    /// that ends. Returns false if another process has it, or have removed the folder.
    ///
    /// The lock is the folder's own (flock(2)): only who may open it can hold it, and it goes along with a new name.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        // SAFETY: takes no pointers, and the descriptor is open.
        if unsafe { libc::flock(self.fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        }
        // It may have been removed between opening and locking.
        Ok(fstat(&self.fd)?.st_nlink > 0)
    }

    /// The folder that it is in.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Its name now.
    pub(crate) fn name(&self) -> String {
        let target = std::fs::read_link(self.fd_path()).unwrap_or_default();
        target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Returns its present path, for people.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.name())
    }

    /// Returns a path that reaches it under any name and whatever takes its name.
    pub(crate) fn fd_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd()).into()
    }

    /// Gives it another name. A folder that has the name already, and is not empty, keeps it:
    /// [`io::ErrorKind::DirectoryNotEmpty`].
    pub(crate) fn rename(&self, name: &str) -> io::Result<()> {
        Ok(renameat(&*self.root.fd, &*self.name(), &*self.root.fd, name)?)
    }

    /// Takes the program off its interface and removes the pin that holds it there. None is no error.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        let link = BpfLink::open(&self.fd_path().join(LINK)).ok();
        let before = link.as_ref().and_then(|link| link.info().ok()).filter(|info| info.index != 0);
        // Who may not do so has it done by the kernel, a little after the last pin is gone.
        let is_off = link.as_ref().is_some_and(|link| link.detach().is_ok());
        drop(link);
        self.forget(LINK)?;
        if let (false, Some(before)) = (is_off, before) {
            const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
            let is_on =
                || xdp_state(before.index).is_ok_and(|now| now.is_some_and(|now| now.program_id == before.program_id));
            let end = Instant::now() + LOCK_TIMEOUT;
            while is_on() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Removes the pin of this name. None is no error.
    pub(crate) fn forget(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes all pins that hold no program, for a new start; the identity stays.
    pub(crate) fn clear(&self) -> io::Result<()> {
        names(&self.fd)?.iter().filter(|name| *name != IDENTITY).try_for_each(|name| self.forget(name))
    }

    /// Removes the folder and all pins in it, the link first: that takes the program off. The folder of all interfaces goes
    /// with the last one. The error says what is left.
    pub(crate) fn remove(&self) -> Result<(), PinError> {
        let path = self.path();
        let mut left = Vec::new();
        let mut failed = |what: &str, error: io::Error| left.push(format!("{what}: {error}"));
        self.unlink().unwrap_or_else(|error| failed(LINK, error));
        for name in names(&self.fd).unwrap_or_default() {
            self.forget(&name).unwrap_or_else(|error| failed(&name, error));
        }
        if left.is_empty()
            && let Err(errno) = unlinkat(&*self.root.fd, &*self.name(), UnlinkatFlags::RemoveDir)
            && errno != Errno::ENOENT
        {
            left.push(format!("the empty folder: {}", errno.desc()));
        }
        if !left.is_empty() {
            return Err(PinError::Left { path, what: left.join(", ") });
        }
        if self.root.owner == geteuid().as_raw() {
            let _ = std::fs::remove_dir(path_of(""));
        }
        Ok(())
    }
}

/// Why something was not opened as a folder.
fn refused(path: PathBuf, errno: Errno) -> PinError {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => PinError::NoFolder { path },
        _ => PinError::Folder { path, source: errno.into() },
    }
}

fn owner(fd: &OwnedFd) -> io::Result<u32> {
    Ok(fstat(fd)?.st_uid)
}

fn names(fd: &OwnedFd) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
