//! The links and addresses of a network namespace, as rtnetlink lists them: by index, with VLANs and kinds of devices.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use teaparty_common::frame::Tags;

use crate::sys::netlink::{attribute, dump, messages};

/// All links and addresses at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// In the order of their numbers.
    pub links: Vec<NetworkDevice>,
    /// In the order in which the kernel lists them.
    pub addresses: Vec<HostAddress>,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkDevice {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; all zero where it has none.
    pub mac: [u8; 6],
    /// Largest IP packet that leaves by it, in octets.
    pub mtu: u32,
    /// The kind of its frames: `ARPHRD_…` of linux/if_arp.h.
    pub link_type: u16,
    /// True if it is administratively up.
    pub is_up: bool,
    /// True if it is the loopback interface.
    pub is_loopback: bool,
    /// Its kind, such as `vlan` or `dummy`; empty for hardware and loopback.
    pub kind: String,
    /// The device that it is stacked on, where that is in this namespace; else 0.
    pub lower: u32,
    /// Of a VLAN device: its EtherType and VLAN ID.
    pub vlan: Option<(u16, u16)>,
}

/// An address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The interface that it is of.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// The broadcast address of its subnet, if that has one.
    pub broadcast: Option<Ipv4Addr>,
    /// True if it means the same host from everywhere: scope "global".
    pub is_global: bool,
}

impl Host {
    /// Asks the kernel.
    pub fn read() -> io::Result<Self> {
        let mut links = links(&dump(libc::RTM_GETLINK, &[0; IFINFO_HEAD])?);
        links.sort_by_key(|link| link.index);
        Ok(Self { links, addresses: addresses(&dump(libc::RTM_GETADDR, &[0; IFADDR_HEAD])?) })
    }

    /// The device with this number.
    pub fn link(&self, index: u32) -> Option<&NetworkDevice> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The addresses of the device with this number.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = &HostAddress> {
        self.addresses.iter().filter(move |address| address.index == index)
    }

    /// The VLANs of the device with this number: the tags of their frames, and the devices that are up. Up to two tags.
    pub fn vlans_of(&self, index: u32) -> Vec<(Tags, &NetworkDevice)> {
        let is_up = |link: &&NetworkDevice| link.is_up && link.lower != 0;
        let tag = |link: &NetworkDevice| link.vlan.map(|(protocol, id)| octets_of(protocol, id));
        let mut found = Vec::new();
        for link in self.links.iter().filter(is_up) {
            let Some(inner) = tag(link) else { continue };
            if link.lower == index {
                found.push((Tags::NONE.and(inner), link));
            } else if let Some(lower) = self.link(link.lower).filter(is_up).filter(|lower| lower.lower == index)
                && let Some(outer) = tag(lower)
            {
                found.push((Tags::NONE.and(outer).and(inner), link));
            }
        }
        found
    }
}

/// A tag as it stands in a frame.
fn octets_of(protocol: u16, id: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), id.to_be_bytes());
    [a, b, c, d]
}

/// Octets of `ifinfomsg` and `ifaddrmsg`, which follow netlink's own header.
const IFINFO_HEAD: usize = 16;
const IFADDR_HEAD: usize = 8;

// linux/if_link.h.
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;

/// Reads RTM_NEWLINK messages.
fn links(list: &[u8]) -> Vec<NetworkDevice> {
    messages(list)
        .filter(|message| message.kind == libc::RTM_NEWLINK)
        .filter_map(|message| link(message.body))
        .collect()
}

fn link(body: &[u8]) -> Option<NetworkDevice> {
    let head: &[u8; IFINFO_HEAD] = body.first_chunk()?;
    let attributes = &body[IFINFO_HEAD..];
    let flags = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
    let info = attribute(attributes, libc::IFLA_LINKINFO).unwrap_or(&[]);
    let kind = attribute(info, libc::IFLA_INFO_KIND).map(text).unwrap_or_default();
    let data = attribute(info, libc::IFLA_INFO_DATA).unwrap_or(&[]);
    // A device of another namespace has a number of that one.
    let is_here = attribute(attributes, libc::IFLA_LINK_NETNSID).is_none();
    let lower = attribute(attributes, libc::IFLA_LINK).and_then(number).filter(|_| is_here).unwrap_or(0);
    let id = attribute(data, IFLA_VLAN_ID).and_then(|id| id.first_chunk().copied()).map(u16::from_ne_bytes);
    let protocol = attribute(data, IFLA_VLAN_PROTOCOL).and_then(|octets| octets.first_chunk().copied());
    // Kernels before 3.10 knew 802.1Q alone.
    let protocol = protocol.map_or(libc::ETH_P_8021Q as u16, u16::from_be_bytes);
    Some(NetworkDevice {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        name: attribute(attributes, libc::IFLA_IFNAME).map(text).unwrap_or_default(),
        // Others are no Ethernet addresses: of tunnels, of InfiniBand.
        mac: attribute(attributes, libc::IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()).unwrap_or_default(),
        link_type: u16::from_ne_bytes([head[2], head[3]]),
        mtu: attribute(attributes, libc::IFLA_MTU).and_then(number).unwrap_or(0),
        is_up: flags & libc::IFF_UP as u32 != 0,
        is_loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
        vlan: if kind == "vlan" { id.map(|id| (protocol, id)) } else { None },
        kind,
        lower,
    })
}

/// Reads RTM_NEWADDR messages.
fn addresses(list: &[u8]) -> Vec<HostAddress> {
    let all = messages(list).filter(|message| message.kind == libc::RTM_NEWADDR);
    all.filter_map(|message| address(message.body)).collect()
}

fn address(body: &[u8]) -> Option<HostAddress> {
    let [family, prefix_len, _, scope, a, b, c, d] = *body.first_chunk::<IFADDR_HEAD>()?;
    let attributes = &body[IFADDR_HEAD..];
    // Of a point-to-point link, IFA_ADDRESS is the other end.
    let octets = attribute(attributes, libc::IFA_LOCAL).or_else(|| attribute(attributes, libc::IFA_ADDRESS))?;
    let ip = match libc::c_int::from(family) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(*octets.first_chunk::<4>()?)),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(*octets.first_chunk::<16>()?)),
        _ => return None,
    };
    let stated = attribute(attributes, libc::IFA_BROADCAST).and_then(|octets| octets.first_chunk::<4>().copied());
    // Without one, the kernel takes the highest address of the subnet for it all the same.
    let broadcast = match ip {
        IpAddr::V4(v4) if prefix_len < 31 => Some(Ipv4Addr::from(u32::from(v4) | u32::MAX >> prefix_len)),
        _ => None,
    };
    Some(HostAddress {
        index: u32::from_ne_bytes([a, b, c, d]),
        ip,
        broadcast: stated.map(Ipv4Addr::from).or(broadcast),
        is_global: scope == libc::RT_SCOPE_UNIVERSE,
    })
}

fn number(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().copied().map(u32::from_ne_bytes)
}

/// A string with or without the zero at its end.
fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets.split(|octet| *octet == 0).next().unwrap_or(&[])).into_owned()
}

#[cfg(test)]
mod tests;
