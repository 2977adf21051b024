//! Whole IPv6 packets, routed by the kernel (raw(7), IPPROTO_RAW): the only way to give one packet alone a routing header.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket that IPv6 packets leave by as they are. It receives nothing.
pub(crate) struct RawV6(OwnedFd);

impl RawV6 {
    /// Opens it. Takes CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes no pointers; the descriptor is checked and then owned by us alone.
        let fd = unsafe { libc::socket(libc::AF_INET6, flags, libc::IPPROTO_RAW) };
        // SAFETY: as above.
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })) }
    }

    /// Sends a packet, its IPv6 header included, on the way to `to`; `interface` says which link a link-local one is on.
    pub(crate) fn send(&self, packet: &[u8], to: Ipv6Addr, interface: u32) -> io::Result<()> {
        // SAFETY: all-zero is a valid `sockaddr_in6`.
        let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        address.sin6_family = libc::AF_INET6 as u16;
        address.sin6_addr.s6_addr = to.octets();
        if to.is_unicast_link_local() {
            address.sin6_scope_id = interface;
        }
        let len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        // SAFETY: packet and address outlive the call and are as long as stated.
        let sent = unsafe {
            let (at, len_of_packet) = (packet.as_ptr().cast(), packet.len());
            libc::sendto(self.0.as_raw_fd(), at, len_of_packet, libc::MSG_DONTWAIT, (&raw const address).cast(), len)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
