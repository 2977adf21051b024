//! IP addresses as the standard library, the maps and system calls have them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrLike};
use teaparty_common::reflect::Address;

/// Returns an IP address as the maps have it.
pub(crate) fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address(v6.octets()),
    }
}

/// Returns an address of the maps as an IP address.
pub(crate) fn ip(address: &Address) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::from(address.v4_octets()).into() } else { IpAddr::from(address.0) }
}

/// An address and a port in the form of the system calls.
#[derive(PartialEq)]
pub(super) enum SystemAddress {
    V4(SockaddrIn),
    V6(SockaddrIn6),
}

impl From<SocketAddr> for SystemAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(v4.into()),
            SocketAddr::V6(v6) => Self::V6(v6.into()),
        }
    }
}

impl SystemAddress {
    pub(super) fn as_sockaddr(&self) -> &dyn SockaddrLike {
        match self {
            Self::V4(v4) => v4,
            Self::V6(v6) => v6,
        }
    }
}
