//! Network interfaces: what they are called, which addresses they have, and when any of that changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::c_int;

use super::ethtool;
use super::host::{Host, NetworkDevice};
use crate::sys::netlink::{self, attribute, exchange};

/// An interface as it was when somebody looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its MAC address; all zero where it has none (loopback, tunnels).
    pub mac: [u8; 6],
    /// Largest IP packet that leaves by it, in octets.
    pub mtu: u32,
    /// The kind of its link: `ARPHRD_…` of linux/if_arp.h.
    pub link_type: u16,
    /// True if it is the loopback interface.
    pub is_loopback: bool,
    /// True if it is administratively up.
    pub is_up: bool,
    /// Its unicast addresses, in no particular order.
    pub addresses: Vec<IpAddr>,
    /// The broadcast addresses of its subnets.
    pub broadcasts: Vec<Ipv4Addr>,
}

/// Failure to find out about an interface.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// There is none of that name.
    #[error("there is no interface {name}; `ip link` lists them")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The system does not tell.
    #[error("cannot read the state of interface {name}: {source}")]
    Unreadable {
        /// The interface.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// Changes can't be followed.
    #[error("cannot follow changes of addresses and links (netlink): {0}")]
    Netlink(io::Error),
}

/// Returns the speed of an interface in bits per second, where its driver knows it.
pub(crate) fn interface_speed(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?;
    // -1 where it is not known.
    Some(text.trim().parse::<u64>().ok().filter(|megabits| *megabits != u64::from(u32::MAX))? * 1_000_000)
}

impl Interface {
    /// Looks at the interface called `name`.
    pub fn find(name: &str) -> Result<Self, InterfaceError> {
        let host = Host::read().map_err(|source| InterfaceError::Unreadable { name: name.into(), source })?;
        Self::find_in(&host, name)
    }

    /// [`Interface::find`] in what was read of the host. By number: an address may have a name of its own, its label.
    pub fn find_in(host: &Host, name: &str) -> Result<Self, InterfaceError> {
        let unknown = || InterfaceError::Unknown { name: name.into() };
        let index = nix::net::if_::if_nametoindex(name).map_err(|_| unknown())?;
        let link = host.link(index).ok_or_else(unknown)?;
        Ok(Self { name: name.into(), ..Self::of(host, link) })
    }

    /// The device as an interface.
    pub fn of(host: &Host, link: &NetworkDevice) -> Self {
        let NetworkDevice { ref name, index, mac, mtu, link_type, is_loopback, is_up, .. } = *link;
        let mut broadcasts: Vec<Ipv4Addr> = host.addresses_of(index).filter_map(|address| address.broadcast).collect();
        broadcasts.sort_unstable();
        broadcasts.dedup();
        let addresses = host.addresses_of(index).map(|address| address.ip).collect();
        Self { name: name.clone(), index, mac, mtu, link_type, is_loopback, is_up, addresses, broadcasts }
    }

    /// Returns true if its frames have an Ethernet header, which those of tun, WireGuard and PPP do not.
    pub fn has_ethernet_header(&self) -> bool {
        matches!(self.link_type, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }

    /// Returns true if it is one end of a veth pair, as in every container.
    pub fn is_veth(&self) -> bool {
        ethtool::driver(&self.name).is_ok_and(|driver| driver == "veth")
    }

    /// Returns the interface with this number in the data of the host, under any name.
    pub fn numbered(host: &Host, index: u32) -> Result<Self, InterfaceError> {
        let link = host.link(index).ok_or_else(|| InterfaceError::Unknown { name: format!("number {index}") })?;
        Ok(Self::of(host, link))
    }

    /// Returns true if frames carry no MAC address that says whom they are for.
    pub fn has_no_mac(&self) -> bool {
        self.mac == [0; 6]
    }
}

/// The interfaces that are up and have an IP address besides that of their link, which every container's end of a pair has
/// too; in the order of their numbers.
pub fn all_up() -> Result<Vec<String>, InterfaceError> {
    let host = Host::read().map_err(|source| InterfaceError::Unreadable { name: "any".into(), source })?;
    let is_of_more = |ip: &IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let has_ip = |link: &&NetworkDevice| host.addresses_of(link.index).any(|address| is_of_more(&address.ip));
    Ok(host.links.iter().filter(|link| link.is_up).filter(has_ip).map(|link| link.name.clone()).collect())
}

/// The XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpState {
    /// True if it runs in the driver; else in the network stack ("generic").
    pub is_native: bool,
    /// The program's number.
    pub program_id: u32,
}

/// Asks the kernel (RTM_GETLINK) which XDP program is on the interface with this index, if one is.
pub fn xdp_state(index: u32) -> io::Result<Option<XdpState>> {
    const IFINFO_HEAD: usize = 16;
    let mut request = [0u8; IFINFO_HEAD];
    request[4..8].copy_from_slice(&index.to_ne_bytes());
    let reply = exchange(libc::NETLINK_ROUTE, libc::RTM_GETLINK, libc::RTM_NEWLINK, &request)?;
    Ok(attribute(reply.get(IFINFO_HEAD..).unwrap_or(&[]), IFLA_XDP).and_then(|xdp| {
        let attached = *attribute(xdp, IFLA_XDP_ATTACHED)?.first()?;
        let id = attribute(xdp, IFLA_XDP_PROG_ID)?.first_chunk().copied().map(u32::from_ne_bytes)?;
        (attached != 0).then_some(XdpState { is_native: attached == XDP_ATTACHED_DRV, program_id: id })
    }))
}

// linux/if_link.h.
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const XDP_ATTACHED_DRV: u8 = 1;

/// Becomes readable when a link or an address of this network namespace comes, goes or changes.
pub struct Watcher(OwnedFd);

impl Watcher {
    /// Begins to watch.
    pub fn new() -> Result<Self, InterfaceError> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        netlink::open(libc::NETLINK_ROUTE, groups as u32).map(Self).map_err(InterfaceError::Netlink)
    }

    /// Takes what has been announced since, without waiting; whether there was anything. What has changed is for
    /// [`Interface::find`] to say: announcements may get lost, the state does not.
    pub fn drain(&self) -> bool {
        let mut buffer = [0u8; 8192];
        let mut any = false;
        loop {
            // SAFETY: the buffer is as long as stated.
            let got = unsafe {
                libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT as c_int)
            };
            if got > 0 {
                any = true;
                continue;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                // Announcements were lost: something has happened.
                Some(libc::ENOBUFS) => any = true,
                _ => return any,
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Watcher {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_interfaces_that_are_up() {
        let all = all_up().unwrap();
        assert_eq!(all.iter().filter(|name| *name == "lo").count(), 1, "{all:?}");
    }

    #[test]
    fn loopback_is_found_with_its_address() {
        let lo = Interface::find("lo").unwrap();
        assert!(lo.is_loopback && lo.has_no_mac() && lo.has_ethernet_header() && !lo.is_veth());
        assert!(lo.addresses.contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(lo.mtu >= 1500);
    }

    #[test]
    fn loopback_without_a_program_says_so() {
        // Another test may have a program there at this moment; its number is then not 0.
        let state = xdp_state(Interface::find("lo").unwrap().index).unwrap();
        assert!(state.is_none_or(|state| state.program_id != 0));
        assert!(xdp_state(0x7fff_ffff).is_err());
    }

    #[test]
    fn an_unknown_interface_is_named_in_the_error() {
        let error = Interface::find("nosuch0").unwrap_err().to_string();
        assert!(error.contains("nosuch0"), "{error}");
        assert!(Interface::find("a-name-that-is-much-too-long").is_err());
    }

    #[test]
    fn a_quiet_host_announces_nothing() {
        let watcher = Watcher::new().unwrap();
        watcher.drain();
        assert!(!watcher.drain());
    }
}
