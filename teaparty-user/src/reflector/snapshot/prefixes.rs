//! A set of address prefixes that can be asked whether it covers another one.

use std::collections::HashSet;

use teaparty_common::reflect::Address;

/// The set. Asking takes as many steps as there are lengths of prefixes in it, 129 at most.
#[derive(Clone, Debug, Default)]
pub struct PrefixSet {
    prefixes: HashSet<(Address, u8)>,
    /// The lengths that there are, ascending.
    lengths: Vec<u8>,
}

impl FromIterator<(Address, u8)> for PrefixSet {
    /// Of addresses and lengths in bits, 0 to 128; bits after the length mean nothing.
    fn from_iter<T: IntoIterator<Item = (Address, u8)>>(prefixes: T) -> Self {
        let prefixes: HashSet<(Address, u8)> =
            prefixes.into_iter().map(|(address, length)| (masked(&address, length), length)).collect();
        let mut lengths: Vec<u8> = prefixes.iter().map(|(_, length)| *length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { prefixes, lengths }
    }
}

impl PrefixSet {
    /// Returns true if a prefix of the set contains all addresses of this one. An address is a prefix of 128 bits.
    pub fn covers(&self, address: &Address, length: u8) -> bool {
        let shorter = self.lengths.iter().take_while(|own| **own <= length);
        shorter.into_iter().any(|own| self.prefixes.contains(&(masked(address, *own), *own)))
    }
}

/// The address with the bits after a length cleared.
fn masked(address: &Address, length: u8) -> Address {
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
    Address((u128::from_be_bytes(address.0) & mask).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_and_equal_prefixes_cover() {
        let net = Address::v4([192, 0, 2, 0]);
        let set: PrefixSet = [(net, 120), (Address::v4([198, 51, 100, 7]), 128)].into_iter().collect();
        assert!(set.covers(&net, 120) && set.covers(&net, 124) && set.covers(&Address::v4([192, 0, 2, 255]), 128));
        assert!(!set.covers(&net, 119) && !set.covers(&Address::v4([192, 0, 3, 0]), 128));
        assert!(set.covers(&Address::v4([198, 51, 100, 7]), 128) && !set.covers(&Address::v4([198, 51, 100, 6]), 128));
        assert!(!PrefixSet::default().covers(&net, 128));
        let everything: PrefixSet = [(Address([7; 16]), 0)].into_iter().collect();
        assert!(everything.covers(&net, 0));
    }
}
