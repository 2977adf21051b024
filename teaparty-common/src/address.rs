//! An IP address of either family as 16 octets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address mapped into one (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2).
///
/// Aligned, so that the kernel program copies and compares it in words.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The unspecified address `::`.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// An IPv4 address.
    #[inline(always)]
    pub const fn v4(a: [u8; 4]) -> Self {
        // In words, so that the kernel program stores two and not sixteen octets.
        Self::from_words([0, zerocopy::transmute!([u32::from_ne_bytes([0, 0, 0xff, 0xff]), u32::from_ne_bytes(a)])])
    }

    /// The address as two words in memory order: what the kernel program compares and moves.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        zerocopy::transmute!(self.0)
    }

    /// The address from two words in memory order.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(zerocopy::transmute!(words))
    }

    /// Returns true if it is an IPv4 address.
    #[inline(always)]
    pub const fn is_ipv4(&self) -> bool {
        const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        let [high, low] = self.words();
        let [first, _]: [u32; 2] = zerocopy::transmute!(low);
        high == 0 && first == MAPPED
    }

    /// Returns true for addresses that name no single host: unspecified, multicast, limited broadcast, "this network" of
    /// IPv4 (RFC 1122 §3.2.1.3) and IPv4-compatible IPv6 addresses (RFC 4291 §2.5.5.1). Loopback addresses do name one.
    #[inline(always)]
    pub const fn is_never_unicast(&self) -> bool {
        if self.is_ipv4() {
            let [first, ..] = self.v4_octets();
            return first == 0 || first & 0xf0 == 0xe0 || self.v4_word() == u32::MAX;
        }
        let [first, ..] = self.0;
        first == 0xff || (self.is_v4_compatible() && !self.is_loopback())
    }

    /// Returns true for 127.0.0.0/8 and `::1`.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        if self.is_ipv4() {
            let [first, ..] = self.v4_octets();
            return first == 127;
        }
        const ONE: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]);
        let [high, low] = self.words();
        high == 0 && low == ONE
    }

    /// Returns true for `fe80::/10` (RFC 4291 §2.5.6). IPv4 addresses have no such scope.
    #[inline(always)]
    pub const fn is_link_local(&self) -> bool {
        let [first, second, ..] = self.0;
        first == 0xfe && second & 0xc0 == 0x80
    }

    /// Returns true for `::/96`: 12 zero octets (RFC 4291 §2.5.5.1), `::` and `::1` included.
    #[inline(always)]
    const fn is_v4_compatible(&self) -> bool {
        let [high, low] = self.words();
        let [first, _]: [u32; 2] = zerocopy::transmute!(low);
        high == 0 && first == 0
    }

    /// The last four octets in memory order: the IPv4 address, where it is one.
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        let [_, last]: [u32; 2] = zerocopy::transmute!(self.words()[1]);
        last
    }

    /// The last four octets: the IPv4 address, where it is one.
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        self.v4_word().to_ne_bytes()
    }

    /// As Location's sub-TLVs carry it: IPv4 in front and 12 zero octets, or IPv6 (RFC 8972 §4.2.2).
    #[inline(always)]
    pub const fn location_octets(&self) -> [u8; 16] {
        if !self.is_ipv4() {
            return self.0;
        }
        let first: u64 = zerocopy::transmute!([self.v4_word(), 0]);
        zerocopy::transmute!([first, 0])
    }

    /// The unfolded internet checksum of the address as it stands in its header (see [`crate::wire::checksum`]).
    #[inline(always)]
    pub const fn sum(&self, is_ipv6: bool) -> u64 {
        if !is_ipv6 {
            return self.v4_word() as u64;
        }
        let [high, low] = self.words();
        (high & 0xffff_ffff) + (high >> 32) + (low & 0xffff_ffff) + (low >> 32)
    }
}

/// An address of this host, or the broadcast address of one of the interface's subnets.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct LocalAddress {
    /// [`LocalAddress::ANSWERED`] and its neighbours; 0 for one that is ours, but of another interface.
    pub flags: u32,
}

impl LocalAddress {
    /// Packets to it are answered on this interface.
    pub const ANSWERED: u32 = 1;
    /// No host's address: the broadcast address of a subnet of the interface.
    pub const BROADCAST: u32 = 2;
    /// A Destination Node Address may name it (RFC 9503 §3): replies may leave from it.
    pub const NODE: u32 = 4;
    /// Answered on every VLAN of the interface too: an address of the host rather than of one interface.
    pub const EVERYWHERE: u32 = 8;

    /// Returns true if a flag is set.
    #[inline(always)]
    pub const fn has(self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}
