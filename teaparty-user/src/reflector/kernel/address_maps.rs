//! The maps of addresses and VLANs: how large they are made, and the entries left out where they are too small.

use std::collections::{HashMap as StdHashMap, HashSet};
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};
use teaparty_common::frame::Tags;
use teaparty_common::maps::{Config, LocalAddress, VlanEntry, VlanKey, name};
use teaparty_common::reflect::Address;

use crate::net::address::ip;
use crate::reflector::kernel::pinned_map::MapsError;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::reflector::snapshot::addresses::AddressBook;

/// Entries that each map has room for at least. A map without entries takes 16 octets for each place.
const LEAST: usize = 4096;
/// Entries that each map has room for at most.
const MOST: usize = 1 << 20;

/// The maps, and the room in them.
pub struct AddressMaps {
    addresses: HashMap<MapData, Address, LocalAddress>,
    vlans: HashMap<MapData, VlanKey, VlanEntry>,
    room: Room,
    /// The entries that were left out at the last report.
    told: LeftOut,
}

/// Entries that the maps have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Of [`name::ADDRESSES`].
    pub addresses: u32,
    /// Of [`name::VLANS`].
    pub vlans: u32,
}

impl Room {
    /// Room for what there is now, and for as much again. Addresses that are neither answered for nor the interface's are
    /// not counted: where they do not fit they are left out.
    pub(crate) fn of(book: &AddressBook) -> Self {
        let needed = book.untagged.values().filter(|known| !is_optional(**known)).count();
        Self { addresses: room(needed), vlans: room(entries(book).len()) }
    }
}

fn room(needed: usize) -> u32 {
    (needed * 2).next_power_of_two().clamp(LEAST, MOST) as u32
}

/// Returns true for an address that is ours, but answered for nowhere.
fn is_optional(known: LocalAddress) -> bool {
    known.flags & !LocalAddress::NODE == 0
}

/// Counts of entries without room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LeftOut {
    answered: usize,
    others: usize,
    vlans: usize,
}

impl AddressMaps {
    /// Opens the maps that are pinned at these paths.
    pub fn open(addresses: &Path, vlans: &Path) -> Result<Self, MapsError> {
        let (addresses, room_for_addresses) = open(addresses, name::ADDRESSES)?;
        let (vlans, room_for_vlans) = open(vlans, name::VLANS)?;
        let room = Room { addresses: room_for_addresses, vlans: room_for_vlans };
        Ok(Self { addresses, vlans, room, told: LeftOut::default() })
    }

    /// Writes the addresses and VLANs of a version that is to hold, and says what there is no room for.
    pub fn set(&mut self, snapshot: &ConfigSnapshot) -> Result<(), MapsError> {
        let book = &*snapshot.book;
        let (wanted, addresses) = most_needed(book, self.room.addresses as usize);
        write(&mut self.addresses, &wanted).map_err(|source| MapsError { name: name::ADDRESSES, source })?;
        let mut vlans = entries(book);
        let surplus = vlans.len().saturating_sub(self.room.vlans as usize);
        vlans.truncate(self.room.vlans as usize);
        write(&mut self.vlans, &vlans).map_err(|source| MapsError { name: name::VLANS, source })?;
        self.warn_of_left_out(LeftOut { vlans: surplus, ..addresses }, snapshot);
        Ok(())
    }

    fn warn_of_left_out(&mut self, left: LeftOut, snapshot: &ConfigSnapshot) {
        if std::mem::replace(&mut self.told, left) == left {
            return;
        }
        let (interface, room) = (&snapshot.interface.name, self.room);
        if left.answered > 0 {
            tracing::warn!(
                %interface,
                count = left.answered,
                "{} addresses are answered by sockets, slower: the XDP program's map `addresses` holds {}; a \
                 restart of the reflector makes it larger, up to {MOST}",
                left.answered,
                room.addresses
            );
        }
        if left.vlans > 0 {
            tracing::warn!(
                %interface,
                count = left.vlans,
                "{} entries for VLANs and their addresses are left out: the XDP program's map `vlans` holds {}; a \
                 restart of the reflector makes it larger, up to {MOST}",
                left.vlans,
                room.vlans
            );
        }
        if left.others > 0 {
            tracing::info!(
                %interface,
                count = left.others,
                "{} addresses of other interfaces are not known to the XDP program, whose map `addresses` holds \
                 {}: a Destination Node Address that names one is unrecognized",
                left.others,
                room.addresses
            );
        }
    }
}

/// Opens a pinned map as its type, with the number of its places.
fn open<T: TryFrom<Map, Error = MapError>>(path: &Path, name: &'static str) -> Result<(T, u32), MapsError> {
    let failed = |source| MapsError { name, source };
    let data = MapData::from_pin(path).map_err(failed)?;
    let places = data.info().map_err(failed)?.max_entries();
    let map = Map::from_map_data(data).and_then(T::try_from).map_err(failed)?;
    Ok((map, places))
}

/// The entries that fit into a map with this room, the most needed first: addresses that are answered for, the other ones of
/// the interface, its broadcast addresses, those of other interfaces.
fn most_needed(book: &AddressBook, room: usize) -> (Vec<(Address, LocalAddress)>, LeftOut) {
    let mut all: Vec<(Address, LocalAddress)> = book.untagged.iter().map(|(key, known)| (*key, *known)).collect();
    let mut left = LeftOut::default();
    if all.len() > room {
        all.sort_unstable_by_key(|(address, known)| {
            let is_answered = known.has(LocalAddress::ANSWERED);
            // In an order that stays, so that the same ones are left out each time.
            (!is_answered, is_optional(*known), ip(address))
        });
        left.answered = all[room..].iter().filter(|(_, known)| known.has(LocalAddress::ANSWERED)).count();
        left.others = all.len() - room - left.answered;
        all.truncate(room);
    }
    (all, left)
}

/// The entries for VLANs, each device before its addresses.
fn entries(book: &AddressBook) -> Vec<(VlanKey, VlanEntry)> {
    let mut vlans: Vec<_> = book.vlans.iter().collect();
    vlans.sort_unstable_by_key(|(tags, _)| tags.0);
    let entries = vlans.into_iter().flat_map(|(Tags(tags), vlan)| {
        let device = VlanKey { address: Address::UNSPECIFIED, tags: *tags };
        let mac = Config::mac(vlan.mac);
        let addresses = vlan.addresses.iter().map(|(address, known)| {
            (VlanKey { address: *address, tags: *tags }, VlanEntry { flags: known.flags, ..VlanEntry::default() })
        });
        std::iter::once((device, VlanEntry { mac, ..VlanEntry::default() })).chain(addresses)
    });
    entries.collect()
}

/// Makes a map hold these entries. What goes makes room first.
fn write<K, V>(map: &mut HashMap<MapData, K, V>, wanted: &[(K, V)]) -> Result<(), MapError>
where
    K: aya::Pod + Eq + std::hash::Hash,
    V: aya::Pod + PartialEq,
{
    let known: StdHashMap<K, V> = map.iter().filter_map(Result::ok).collect();
    let keys: HashSet<&K> = wanted.iter().map(|(key, _)| key).collect();
    for gone in known.keys().filter(|key| !keys.contains(key)) {
        map.remove(gone)?;
    }
    for (key, value) in wanted.iter().filter(|(key, value)| known.get(key) != Some(value)) {
        map.insert(key, value, 0)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(answered: u32, others: u32) -> AddressBook {
        let entry = |n: u32, flags| (Address::v4(n.to_be_bytes()), LocalAddress { flags });
        let answered = (0..answered).map(|n| entry(0x0a00_0000 + n, LocalAddress::ANSWERED | LocalAddress::NODE));
        let others = (0..others).map(|n| entry(0x0b00_0000 + n, 0));
        let mut book = AddressBook::default();
        book.untagged = answered.chain(others).collect();
        book
    }

    #[test]
    fn maps_are_made_for_what_is_answered_and_as_much_again() {
        for (answered, others, expected) in
            [(1, 0, 4096), (2048, 0, 4096), (2049, 0, 8192), (10_000, 0, 32_768), (1, 10_000, 4096)]
        {
            assert_eq!(Room::of(&book(answered, others)).addresses, expected, "{answered} and {others}");
        }
        assert_eq!(room(3 << 20), 1 << 20);
    }

    #[test]
    fn what_is_answered_is_left_out_last() {
        let (kept, left) = most_needed(&book(100, 50), 120);
        assert_eq!((kept.len(), left), (120, LeftOut { others: 30, ..LeftOut::default() }));
        assert_eq!(kept.iter().filter(|(_, known)| known.has(LocalAddress::ANSWERED)).count(), 100);
        let (kept, left) = most_needed(&book(100, 50), 80);
        assert_eq!((kept.len(), left), (80, LeftOut { answered: 20, others: 50, vlans: 0 }));
    }
}
