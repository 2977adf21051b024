//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are kept unfolded in a `u64` over 16-bit words *in memory order*, which is what makes them the same on either
//! byte order: one's complement addition commutes with swapping the octets of each word.

/// The unfolded sums of octets that were overwritten, and of those that are there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumDelta {
    /// Of those that were overwritten.
    pub removed: u64,
    /// Of those that are there now.
    pub added: u64,
}

impl ChecksumDelta {
    /// Nothing was changed.
    pub const NONE: Self = Self { removed: 0, added: 0 };

    /// Adds what was changed elsewhere.
    #[inline(always)]
    pub const fn add(&mut self, other: Self) {
        self.removed += other.removed;
        self.added += other.added;
    }

    /// Returns the same for octets from `at` on. At an odd offset each octet changes its place in its word. A shift
    /// by eight bits does that, since sums are taken modulo 2^16 - 1.
    #[inline(always)]
    #[must_use]
    pub const fn at(self, at: usize) -> Self {
        Self { removed: self.removed << ((at & 1) * 8), added: self.added << ((at & 1) * 8) }
    }
}

/// Folds an unfolded sum to 16 bits: 0 for 0 alone.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    // A number plus itself with its halves exchanged has in the upper half the sum of both, with the carry added.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The unfolded sum of `octets`, an odd last one padded with zero.
pub fn sum(octets: &[u8]) -> u64 {
    let mut words = octets.chunks_exact(2);
    let mut total = 0u64;
    for word in &mut words {
        total += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

/// The unfolded sum of `N` octets that begin at an offset of parity `at`: for an odd one, each octet changes its place
/// in its word.
#[inline(always)]
pub fn sum_at<const N: usize>(octets: &[u8; N], at: usize) -> u64 {
    let mut total = 0u64;
    let mut i = 0;
    while i + 4 <= N {
        total += u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]) as u64;
        i += 4;
    }
    if i + 2 <= N {
        total += u16::from_ne_bytes([octets[i], octets[i + 1]]) as u64;
        i += 2;
    }
    if i < N {
        total += u16::from_ne_bytes([octets[i], 0]) as u64;
    }
    // A shift by eight bits is the swap, since the sum is taken modulo 2^16 − 1. 36 bits shifted by 8 still fit.
    total << ((at & 1) * 8)
}

/// The checksum field (as read from memory) after `removed` left the covered octets and `added` came in (RFC 1624, Eqn. 3).
///
/// Both are unfolded sums of less than 2^63. Never 0: a UDP checksum that computes to 0 is sent as 0xffff (RFC 768).
#[inline(always)]
pub const fn update(field: u16, removed: u64, added: u64) -> u16 {
    let field = update_ip(field, removed, added);
    if field == 0 { 0xffff } else { field }
}

/// [`update_ip`] where but one word has changed, and not to zero.
#[inline(always)]
pub const fn update_word(field: u16, removed: u16, added: u16) -> u16 {
    let sum = (!field) as u32 + (!removed) as u32 + added as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum + (sum >> 16)) as u16)
}

/// Updates the IPv4 header checksum in the same way; 0 is a value like any other there.
#[inline(always)]
pub const fn update_ip(field: u16, removed: u64, added: u64) -> u16 {
    // 2^48 − 1 is nothing modulo 2^16 − 1, and more than what is taken from it.
    let removed = (removed & 0xffff_ffff) + (removed >> 32);
    !fold((!field) as u64 + added + ((1 << 48) - 1 - removed))
}

/// The sum of the UDP pseudo header (RFC 768, RFC 8200 §8.1) for addresses in memory order and a UDP length in octets.
#[inline(always)]
pub const fn pseudo_header(addresses: u64, udp_len: u16) -> u64 {
    const UDP: u16 = 17;
    addresses + UDP.to_be() as u64 + udp_len.to_be() as u64
}

/// The unfolded sums of a UDP datagram in its IP packet, which reveal damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketSums {
    /// Of the IPv4 header; [`PacketSums::NO_HEADER`] for IPv6, which has no checksum there.
    pub header: u64,
    /// Of the pseudo header.
    pub pseudo: u64,
    /// Of the UDP datagram.
    pub datagram: u64,
}

impl PacketSums {
    /// The sum for a header without a checksum: that of a correct one.
    pub const NO_HEADER: u64 = 0xffff;

    /// Returns true if both checksums are right, `rest` being the sum of what of the datagram is not in these sums and
    /// `field` the UDP checksum as it lies in memory. A field of zero is none, over IPv4. One that holds the sum of the
    /// pseudo header alone was left for a device to compute, on this machine, and says nothing (CHECKSUM_PARTIAL).
    ///
    /// Each sum is compared alone: in one sum of both, an error of the header could cancel one of the datagram.
    #[inline(always)]
    pub const fn are_right(&self, field: u16, rest: u64) -> bool {
        self.is_header_right()
            && (field == 0 || fold(self.pseudo + self.datagram + rest) == 0xffff || field == fold(self.pseudo))
    }

    /// Returns true if the IPv4 header checksum is right, or there is none.
    #[inline(always)]
    pub const fn is_header_right(&self) -> bool {
        fold(self.header) == 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        // RFC 1071 §3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2.
        let sum = fold(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));
        assert_eq!(sum.to_ne_bytes(), [0xdd, 0xf2]);
    }

    proptest! {
        #[test]
        fn one_word_is_updated_as_many_are(field: u16, removed: u16, added in 1u16..) {
            prop_assert_eq!(update_word(field, removed, added), update_ip(field, removed.into(), added.into()));
        }

        #[test]
        fn incremental_update_equals_full_sum(mut data in prop::collection::vec(any::<u8>(), 16..64), at in 0usize..8, new in any::<[u8; 4]>()) {
            // A checksum field at the start, zero while summing, then an edit of four octets at any parity.
            data[0] = 0; data[1] = 0;
            // As in a pseudo header, something is never zero: all-zero data has two representations of its sum.
            data[15] = 17;
            let at = at + 2;
            let field = match !fold(sum(&data)) { 0 => 0xffff, other => other };
            let old: [u8; 4] = data[at..at + 4].try_into().unwrap();
            data[at..at + 4].copy_from_slice(&new);
            let expected = match !fold(sum(&data)) { 0 => 0xffff, other => other };
            prop_assert_eq!(update(field, sum_at(&old, at), sum_at(&new, at)), expected);
        }
    }
}
