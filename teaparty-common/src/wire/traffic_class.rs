//! DSCP, ECN and the TOS / Traffic Class octet that they share (RFC 2474, RFC 3168).

/// A Differentiated Services Code Point, 0 to 63; all values are legal, named or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Dscp(u8);

/// An Explicit Congestion Notification field, 0 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ecn(u8);

/// The IPv4 TOS or IPv6 Traffic Class octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TrafficClass(pub u8);

impl Dscp {
    /// The code point in the low six bits; the others are dropped.
    #[inline(always)]
    pub const fn from_low6(bits: u8) -> Self {
        Self(bits & 0x3f)
    }

    /// 0 to 63.
    #[inline(always)]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The code points that have a name, as the command line spells them (RFC 2474, 2597, 3246, 5865).
    pub const NAMED: [(&'static str, Self); 22] = [
        ("cs0", Self(0)),
        ("cs1", Self(8)),
        ("cs2", Self(16)),
        ("cs3", Self(24)),
        ("cs4", Self(32)),
        ("cs5", Self(40)),
        ("cs6", Self(48)),
        ("cs7", Self(56)),
        ("af11", Self(10)),
        ("af12", Self(12)),
        ("af13", Self(14)),
        ("af21", Self(18)),
        ("af22", Self(20)),
        ("af23", Self(22)),
        ("af31", Self(26)),
        ("af32", Self(28)),
        ("af33", Self(30)),
        ("af41", Self(34)),
        ("af42", Self(36)),
        ("af43", Self(38)),
        ("ef", Self(46)),
        ("voiceadmit", Self(44)),
    ];

    /// The name of this code point, if it has one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(_, dscp)| *dscp == self).map(|(name, _)| *name)
    }
}

impl Ecn {
    /// The field in the low two bits; the others are dropped.
    #[inline(always)]
    pub const fn from_low2(bits: u8) -> Self {
        Self(bits & 0x3)
    }

    /// 0 to 3.
    #[inline(always)]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The four values by name, as the command line spells them (RFC 3168).
    pub const NAMED: [(&'static str, Self); 4] =
        [("not-ect", Self(0)), ("ect1", Self(1)), ("ect0", Self(2)), ("ce", Self(3))];

    /// The name of this value.
    pub fn name(self) -> &'static str {
        Self::NAMED[usize::from(self.0 & 3)].0
    }
}

impl TrafficClass {
    /// The octet made of the two.
    #[inline(always)]
    pub const fn new(dscp: Dscp, ecn: Ecn) -> Self {
        Self(dscp.0 << 2 | ecn.0)
    }

    /// The upper six bits.
    #[inline(always)]
    pub const fn dscp(self) -> Dscp {
        Dscp(self.0 >> 2)
    }

    /// The lower two bits.
    #[inline(always)]
    pub const fn ecn(self) -> Ecn {
        Ecn(self.0 & 3)
    }
}
