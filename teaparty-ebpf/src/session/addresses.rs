//! The addresses and VLANs of this host, and whether a frame is for us as far as they say.

use core::hint::black_box;

use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::Tags;
use teaparty_common::maps::{Config, LocalAddress, MacCheck, VlanEntry, VlanKey, check_macs};
use teaparty_common::reflect::admission::{self, AddressEntry, LocalAddresses};
use teaparty_common::reflect::{Address, Reason};

use crate::maps::{ADDRESSES, VLANS};
use crate::packet::Packet;
use crate::scratch::Scratch;

/// Checks what a session's key does not say: MAC addresses, and the VLAN with its address. Gives the frame's tags.
#[inline(always)]
pub(crate) fn check_link(ctx: &XdpContext, config: &Config, scratch: &Scratch) -> Result<Tags, Reason> {
    let frame = Packet::new(ctx, 0);
    let tags = scratch.frame.tags(&frame).ok_or(Reason::MalformedHeader)?;
    let mut mac = u64::from_ne_bytes(config.mac);
    if !tags.is_none() {
        let device = vlan(&Address::from_words([black_box(0), black_box(0)]), tags);
        if let Some(device) = device {
            mac = u64::from_ne_bytes(device.mac);
        }
        admission::check_destination(&KernelAddresses(config), &scratch.key.destination, tags, || device.is_some())?;
    }
    match check_macs(&frame, mac, config.has(Config::ANY_MAC)) {
        MacCheck::Right => Ok(tags),
        MacCheck::OtherDestination => Err(Reason::NotOurAddress),
        MacCheck::GroupSource => Err(Reason::InvalidSource),
    }
}

/// Returns true if a Destination Node Address in a frame with these tags may name this address.
#[inline(always)]
pub(crate) fn is_node(address: &Address, tags: Tags) -> bool {
    known(address).has(LocalAddress::NODE) || (!tags.is_none() && known_in_vlan(address, tags).has(LocalAddress::NODE))
}

/// The maps of addresses, under a configuration.
pub(super) struct KernelAddresses<'a>(pub(super) &'a Config);

impl LocalAddresses for KernelAddresses<'_> {
    #[inline(always)]
    fn untagged(&self, address: &Address) -> AddressEntry {
        known(address)
    }

    #[inline(always)]
    fn in_vlan(&self, address: &Address, tags: Tags) -> AddressEntry {
        known_in_vlan(address, tags)
    }

    #[inline(always)]
    fn is_loopback(&self) -> bool {
        self.0.has(Config::LOOPBACK)
    }

    #[inline(always)]
    fn is_any_vlan(&self) -> bool {
        self.0.has(Config::ANY_VLAN)
    }
}

#[inline(always)]
fn known(address: &Address) -> AddressEntry {
    // SAFETY: the value is copied.
    AddressEntry::new(unsafe { ADDRESSES.get(address) }.copied())
}

/// Returns the entry of an address on a VLAN of the interface.
#[inline(always)]
fn known_in_vlan(address: &Address, tags: Tags) -> AddressEntry {
    AddressEntry::new(vlan(address, tags).map(|entry| LocalAddress { flags: entry.flags }))
}

#[inline(always)]
fn vlan(address: &Address, tags: Tags) -> Option<&'static VlanEntry> {
    let key = VlanKey { address: *address, tags: tags.0 };
    // SAFETY: an entry stays readable until the program ends, and whole words of it are read.
    unsafe { VLANS.get(key) }
}
