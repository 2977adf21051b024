//! The ioctls of a network interface (netdevice(7)).

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Has the kernel carry out an ioctl of the interface called `name`, whose argument is at `data`.
///
/// # Safety
///
/// At `data` is the structure that `code` reads and writes, with all that the kernel appends to it.
pub(super) unsafe fn interface_ioctl(name: &str, code: libc::c_ulong, data: *mut libc::c_char) -> io::Result<()> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One octet less than there are: a zero ends it.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (place, octet) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_data = data;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request outlives the call; the caller answers for what it points at.
    if unsafe { libc::ioctl(socket.as_raw_fd(), code as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
