//! Files with settings and secrets, which somebody else may have put there: opened without waiting, and only where they are
//! what they should be.
//!
//! A named pipe in the place of a configuration would keep its reader waiting forever, and a file of another user is
//! one that this user changes at will.

pub(crate) mod limit;
pub(crate) mod stamp;
pub(crate) mod watch;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// The uid of users without a number in this user namespace, by default (/proc/sys/kernel/overflowuid).
const NOBODY: u32 = 65_534;

/// Opens a file that says what to do or holds a secret. It must be a regular file of root's or ours; behind `sudo`, also of
/// the user who has typed that. The file of an inherited descriptor (`/dev/stdin`, `/dev/fd/N`) may be anything.
///
/// Returns without waiting for a writer, whatever is there. The error says what is wrong and what to do.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = open_regular(path)?;
    let owner = file.metadata()?.uid();
    if is_trusted(owner) || is_descriptor(path) {
        return Ok(file);
    }
    let what = format!(
        "it belongs to the user with number {owner}, neither to root nor to the one who runs this; run: chown root {}",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// Like [`open`], whoever's the file is.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    if is_descriptor(path) {
        // Whoever hands us a pipe writes to it in his own time.
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?) - OFlag::O_NONBLOCK;
        fcntl(&file, FcntlArg::F_SETFL(flags))?;
        return Ok(file);
    }
    let what = match kind {
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_dir() => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
}

/// Returns true if a path names a descriptor of this process.
pub(crate) fn is_descriptor(path: &Path) -> bool {
    let folders = ["/dev/fd", "/proc/self/fd"].map(Path::new);
    path == Path::new("/dev/stdin") || path.parent().is_some_and(|parent| folders.contains(&parent))
}

/// Returns true if what this path names can be read again from its beginning.
pub(crate) fn is_repeatable(path: &Path) -> bool {
    !is_descriptor(path) || path.metadata().is_ok_and(|found| found.is_file())
}

fn is_trusted(owner: u32) -> bool {
    let us = nix::unistd::geteuid().as_raw();
    let caller = || std::env::var("SUDO_UID").ok().and_then(|number| number.parse().ok());
    owner == 0 || owner == us || us == 0 && caller() == Some(owner) || owner == NOBODY && is_confined()
}

/// Returns true if this user namespace does not know all users: then the owner of a file, root among them, may be none of its own.
fn is_confined() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (&*pipe, "a named pipe"),
            (&link, "a named pipe"),
            (folder.path(), "Is a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = open(path).unwrap_err().to_string();
            assert!(error.contains(what), "{}: {error}", path.display());
        }
        assert!(open(&socket).is_err());
    }

    #[test]
    fn a_pipe_behind_a_descriptor_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        let mut file = open(Path::new(&path)).unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            writer.write_all(b"port = 1862\n").unwrap();
        });
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        late.join().unwrap();
        assert_eq!(text, "port = 1862\n");
        assert!(!is_repeatable(Path::new(&path)) && is_repeatable(Path::new("/etc/passwd")));
    }

    #[test]
    fn files_of_root_and_of_ours_are_trusted() {
        let us = nix::unistd::geteuid().as_raw();
        assert!(is_trusted(0) && is_trusted(us));
        assert!(!is_trusted(us + 12_345));
    }
}
