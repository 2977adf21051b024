//! Netlink: sockets and attributes (netlink(7), rtnetlink(7)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::c_int;

/// The value of the first netlink attribute of a type.
pub(super) fn attribute(mut octets: &[u8], wanted: u16) -> Option<&[u8]> {
    // The two upper bits of the type are flags.
    const TYPE: u16 = 0x3fff;
    while let Some(head) = octets.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = octets.get(4..len)?;
        if u16::from_ne_bytes([head[2], head[3]]) & TYPE == wanted {
            return Some(value);
        }
        octets = octets.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// A netlink socket that hears the announcements of these groups.
pub(super) fn netlink(protocol: c_int, groups: u32) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers; the descriptor is checked and then owned by us alone.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, flags, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero is a valid `sockaddr_nl`.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address outlives the call and is `len` octets long.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}
