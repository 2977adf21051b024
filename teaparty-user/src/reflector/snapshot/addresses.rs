//! Which addresses an interface's reflector answers for, and what it knows of the others of its host.

use std::collections::{HashMap, HashSet};

use teaparty_common::frame::Tags;
use teaparty_common::maps::{Config as MapConfig, LocalAddress};
use teaparty_common::reflect::admission::{self, AddressEntry, LocalAddresses};
use teaparty_common::reflect::{Address, Reason};

use crate::net::address::address;
use crate::net::host::Host;
use crate::net::interface::Interface;
use crate::reflector::config::{DestinationNode, ReflectorConfig};

/// The addresses that matter on one interface, its VLANs included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressBook {
    /// Of untagged frames.
    pub untagged: HashMap<Address, LocalAddress>,
    /// Of tagged frames, beside those that are answered everywhere.
    pub vlans: HashMap<Tags, Vlan>,
    is_loopback: bool,
    is_any_vlan: bool,
}

/// A VLAN that the host has on the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// MAC address of its device.
    pub mac: [u8; 6],
    /// Addresses of its device and of its subnets.
    pub addresses: HashMap<Address, LocalAddress>,
}

impl AddressBook {
    /// Applies the configuration to the existing addresses.
    pub fn new(config: &ReflectorConfig, interface: &Interface, host: &Host) -> Self {
        let mut book = Self {
            untagged: of_interface(config, interface),
            vlans: HashMap::new(),
            is_loopback: interface.is_loopback,
            is_any_vlan: config.any_vlan,
        };
        book.add_others(config, interface, host);
        for (tags, link) in host.vlans_of(interface.index) {
            let device = Interface::of(host, link);
            book.vlans.insert(tags, Vlan { mac: device.mac, addresses: of_interface(config, &device) });
        }
        book
    }

    /// Adds the addresses of the host's other interfaces.
    fn add_others(&mut self, config: &ReflectorConfig, interface: &Interface, host: &Host) {
        let is_of_host = |index: u32| host.link(index).is_some_and(|link| link.is_loopback || link.kind == "dummy");
        for other in host.addresses.iter().filter(|other| other.index != interface.index) {
            let ip = address(other.ip);
            // They mean another host on this link.
            if ip.is_link_local() || ip.is_loopback() {
                continue;
            }
            let is_default = other.is_global && is_of_host(other.index);
            let is_listed = config.addresses.contains(&ip);
            let is_answered =
                !config.strict_addresses && if config.addresses.is_empty() { is_default } else { is_listed };
            let mut flags = if is_answered { LocalAddress::ANSWERED | LocalAddress::EVERYWHERE } else { 0 };
            let is_excluded = !config.addresses.is_empty() && !is_listed;
            if is_answered || (config.destination_node == DestinationNode::Any && !is_excluded) {
                flags |= LocalAddress::NODE;
            }
            let known = self.untagged.entry(ip).or_insert(LocalAddress { flags });
            // The same address on two interfaces, or another one's broadcast address here.
            known.flags = known.flags & !LocalAddress::BROADCAST | flags;
        }
    }

    /// Addresses that untagged packets are answered at.
    pub fn answered(&self) -> HashSet<Address> {
        let answered = self.untagged.iter().filter(|(_, known)| known.has(LocalAddress::ANSWERED));
        answered.map(|(address, _)| *address).collect()
    }

    /// Addresses of this host.
    pub fn own(&self) -> impl Iterator<Item = &Address> {
        let tagged = self.vlans.values().map(|vlan| &vlan.addresses);
        let all = std::iter::once(&self.untagged).chain(tagged).flatten();
        all.filter(|(_, known)| !known.has(LocalAddress::BROADCAST)).map(|(address, _)| address)
    }

    /// Returns the entry of an address in frames with these tags.
    fn get(&self, address: &Address, tags: Tags) -> Option<LocalAddress> {
        let tagged = self.vlans.get(&tags).and_then(|vlan| vlan.addresses.get(address));
        tagged.or_else(|| self.untagged.get(address)).copied()
    }

    /// Decides whether a packet may be answered, as far as its tags and addresses say.
    pub fn check(
        &self,
        (source, source_port): (&Address, u16),
        destination: &Address,
        tags: Tags,
    ) -> Result<(), Reason> {
        self.check_destination(destination, tags)?;
        admission::check_source(self, source, source_port, tags)
    }

    /// Returns an error unless packets to this address, in frames with these tags, are for us.
    pub fn check_destination(&self, destination: &Address, tags: Tags) -> Result<(), Reason> {
        admission::check_destination(self, destination, tags, || self.vlans.contains_key(&tags))
    }

    /// The MAC address that frames with these tags are sent to, as the kernel's configuration has it.
    pub fn mac(&self, tags: Tags, interface: &Interface) -> u64 {
        let mac = self.vlans.get(&tags).map_or(interface.mac, |vlan| vlan.mac);
        u64::from_ne_bytes(MapConfig::mac(mac))
    }

    /// Returns true if a Destination Node Address in a frame with these tags may name this address.
    pub fn is_node(&self, address: &Address, tags: Tags) -> bool {
        self.get(address, tags).is_some_and(|known| known.has(LocalAddress::NODE))
    }
}

impl LocalAddresses for AddressBook {
    fn untagged(&self, address: &Address) -> AddressEntry {
        AddressEntry::new(self.untagged.get(address).copied())
    }

    fn in_vlan(&self, address: &Address, tags: Tags) -> AddressEntry {
        AddressEntry::new(self.vlans.get(&tags).and_then(|vlan| vlan.addresses.get(address)).copied())
    }

    fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    fn is_any_vlan(&self) -> bool {
        self.is_any_vlan
    }
}

/// The addresses of one interface and the broadcast addresses of its subnets.
fn of_interface(config: &ReflectorConfig, interface: &Interface) -> HashMap<Address, LocalAddress> {
    let broadcasts = interface
        .broadcasts
        .iter()
        .map(|v4| (Address::v4(v4.octets()), LocalAddress { flags: LocalAddress::BROADCAST }));
    let own = interface.addresses.iter().map(|ip| {
        let ip = address(*ip);
        let is_answered = config.addresses.is_empty() || config.addresses.contains(&ip);
        let flags = if is_answered { LocalAddress::ANSWERED | LocalAddress::NODE } else { 0 };
        (ip, LocalAddress { flags })
    });
    broadcasts.chain(own).collect()
}

#[cfg(test)]
mod tests;
