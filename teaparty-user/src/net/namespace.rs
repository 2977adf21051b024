//! The network namespace of this thread, by a number that no other one ever gets.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// From asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Returns the cookie of the network namespace (SO_NETNS_COOKIE). Unlike the inode number of `/proc/self/ns/net`, it is
/// not given again before the next boot.
pub fn cookie() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `len` octets, which is the size of the number.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, (&raw mut cookie).cast(), &raw mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

/// Returns the name that the interface with this number has now, if there is one in this network namespace.
pub fn interface_name(index: u32) -> Option<String> {
    // An empty name is how nix 0.31 tells that there is none: it takes a null pointer for success.
    nix::net::if_::if_indextoname(index).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_cookie_and_loopback_the_first_number() {
        let first = cookie().unwrap();
        assert_ne!(first, 0);
        assert_eq!(cookie().unwrap(), first);
        assert_eq!(interface_name(1).as_deref(), Some("lo"));
        assert_eq!(interface_name(0x7fff_ffff), None);
    }
}
