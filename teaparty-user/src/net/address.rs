//! IP addresses as the standard library has them and as the maps have them.

use std::net::{IpAddr, Ipv4Addr};

use teaparty_common::reflect::Address;

/// Returns an IP address as the maps have it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address(v6.octets()),
    }
}

/// Returns an address of the maps as an IP address.
pub fn ip(address: &Address) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::from(address.v4_octets()).into() } else { IpAddr::from(address.0) }
}
