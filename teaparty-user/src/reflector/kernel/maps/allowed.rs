//! The allow-list in the kernel: two versions in one map, told apart by a bit.

use std::collections::{HashMap, HashSet};

use aya::maps::lpm_trie::Key as Prefix;
use teaparty_common::maps::name;
use teaparty_common::reflect::Address;

use super::{GRACE, Maps};
use crate::reflector::kernel::pinned_map::MapsError;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::reflector::snapshot::prefixes::PrefixSet;

impl Maps {
    /// Adds the allow-list of a version that is to hold, whose bit is `bit`, to the one that holds.
    ///
    /// A look-up finds the longest prefix, whichever list it is from; so each one's value says of both lists whether they
    /// cover it. What holds is not changed by any of the steps.
    pub(super) fn set_allowed(&mut self, snapshot: &ConfigSnapshot, bit: u32) -> Result<(), MapsError> {
        let failed = |source| MapsError { name: name::ALLOWED, source };
        let known: Vec<(Address, u8, u32)> = self.prefixes().collect();
        let wanted = &snapshot.config.allowed;
        let (old, new): (PrefixSet, PrefixSet) = (
            known.iter().filter(|(.., bits)| bits & !bit != 0).map(|(prefix, length, _)| (*prefix, *length)).collect(),
            wanted.iter().copied().collect(),
        );
        let known_bits: HashMap<(Address, u8), u32> =
            known.iter().map(|(prefix, length, bits)| ((*prefix, *length), *bits)).collect();
        let both = known.iter().map(|(prefix, length, _)| (*prefix, *length)).chain(wanted.iter().copied());
        for (prefix, length) in both {
            let mut bits = if old.covers(&prefix, length) { !bit & 3 } else { 0 };
            bits |= if new.covers(&prefix, length) { bit } else { 0 };
            if known_bits.get(&(prefix, length)) != Some(&bits) {
                self.allowed.insert(&Prefix::new(u32::from(length), prefix), bits, 0).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Takes out the prefixes that only the version before had. A packet that is being judged by that one is given the
    /// time to end: from when it has looked which version holds, that takes microseconds.
    pub(super) fn forget_disallowed(&mut self, snapshot: &ConfigSnapshot) -> Result<(), MapsError> {
        let wanted: HashSet<&(Address, u8)> = snapshot.config.allowed.iter().collect();
        let gone: Vec<(Address, u8, u32)> =
            self.prefixes().filter(|(prefix, length, _)| !wanted.contains(&(*prefix, *length))).collect();
        if !gone.is_empty() {
            std::thread::sleep(GRACE);
        }
        gone.iter().try_for_each(|(prefix, length, _)| {
            let removed = self.allowed.remove(&Prefix::new(u32::from(*length), *prefix));
            removed.map_err(|source| MapsError { name: name::ALLOWED, source })
        })
    }

    /// The prefixes in the map, with their lengths and values.
    fn prefixes(&self) -> impl Iterator<Item = (Address, u8, u32)> {
        let entries = self.allowed.iter().filter_map(Result::ok);
        entries.map(|(key, bits)| (key.data(), key.prefix_len() as u8, bits))
    }
}
