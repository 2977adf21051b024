//! The TLV registry: one table from which codes, names, length rules, capability sets and documents derive.
//!
//! A TLV is one line here and one file in `tlv/`. [`Kind`] is what we know; the number on the wire is data
//! ([`CodePoints`]), because the experimental ones differ between implementations.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The part of a reflector that can finish a TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandledBy {
    /// The shared core in the XDP program, and so every other engine too.
    Kernel,
    /// The controller: it takes keys, memory or sockets that the kernel program has not.
    Controller,
    /// Nobody: reflectors only send it, and give it back as unrecognised.
    Sender,
}

/// The Lengths that a TLV may have. As data, so that the kernel checks all types by the same few instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthRule {
    first: u16,
    second: u16,
    from: u32,
    mask: u16,
}

impl LengthRule {
    /// Any Length, 0 included.
    pub const ANY: Self = Self::at_least(0);

    /// This Length alone.
    pub const fn exactly(length: u16) -> Self {
        Self::one_of(length, length)
    }

    /// One of two Lengths.
    pub const fn one_of(first: u16, second: u16) -> Self {
        Self { first, second, from: u32::MAX, mask: 0 }
    }

    /// This Length or any larger one.
    pub const fn at_least(length: u16) -> Self {
        Self { first: length, second: length, from: length as u32, mask: 0 }
    }

    /// Positive multiples of `unit`, a power of two.
    pub const fn multiple_of(unit: u16) -> Self {
        assert!(unit.is_power_of_two());
        Self { first: unit, second: unit, from: unit as u32, mask: unit - 1 }
    }

    /// Returns true if a Value of `length` octets is well formed.
    #[inline(always)]
    pub const fn allows(&self, length: u16) -> bool {
        length == self.first || length == self.second || (length as u32 >= self.from && length & self.mask == 0)
    }
}

/// One line of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// As the command line, metrics and JSON spell it.
    pub name: &'static str,
    /// As the specification spells it.
    pub title: &'static str,
    /// The section that specifies it.
    pub section: &'static str,
    /// Type on the wire in the current profile.
    pub code: u8,
    /// Type on the wire in the profile of older namesake releases, where it differs.
    pub earlier_code: Option<u8>,
    /// The Lengths that are well formed.
    pub length: LengthRule,
    /// The part of the reflector that may finish it.
    pub handled_by: HandledBy,
    /// The option of a reflector without which the TLV, or a part of what it asks for, comes back as unrecognised.
    pub allowed_by: Option<&'static str>,
}

impl HandledBy {
    /// Returns a name for people, of a word or two.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Controller => "controller",
            Self::Sender => "nobody: only sent",
        }
    }
}

impl Entry {
    /// Returns true if the code point is experimental or from nobody's registry, and can therefore be configured.
    pub const fn is_experimental(&self) -> bool {
        self.code > 12
    }
}

macro_rules! registry {
    ($($(#[$doc:meta])* $kind:ident = $number:literal {
        $name:literal, $title:literal, $section:literal, code: $code:literal $(or $earlier:literal)?,
        length: $length:expr, by: $handled_by:ident $(if $option:literal)?
    })*) => {
        /// A TLV that we know, whatever its number on the wire. The values are ours: bits of a [`KindSet`], labels of counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $kind = $number),* }

        /// Every TLV that we know, in the order of their numbers.
        pub const REGISTRY: &[Entry] = &[$(Entry {
            kind: Kind::$kind, name: $name, title: $title, section: $section, code: $code,
            earlier_code: optional!($($earlier)?), length: $length, handled_by: HandledBy::$handled_by,
            allowed_by: optional!($($option)?),
        }),*];
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

registry! {
    /// Octets without a meaning.
    ExtraPadding = 1 { "padding", "Extra Padding", "RFC 8972 §4.1", code: 1, length: LengthRule::ANY, by: Kernel }
    /// Addresses and ports as the reflector saw them.
    Location = 2 { "location", "Location", "RFC 8972 §4.2", code: 2, length: LengthRule::at_least(4), by: Kernel }
    /// The source of the reflector's timestamps.
    TimestampInformation = 3 { "time", "Timestamp Information", "RFC 8972 §4.3", code: 3, length: LengthRule::exactly(4), by: Kernel }
    /// DSCP and ECN on the way there, and wanted on the way back.
    ClassOfService = 4 { "class-of-service", "Class of Service", "RFC 8972 §4.4, draft-ietf-ippm-stamp-cos-ecn-01", code: 4, length: LengthRule::exactly(4), by: Kernel }
    /// Packet counters of both ends.
    DirectMeasurement = 5 { "direct-measurement", "Direct Measurement", "RFC 8972 §4.5", code: 5, length: LengthRule::exactly(12), by: Kernel }
    /// The access network that the sender uses, and its state.
    AccessReport = 6 { "access-report", "Access Report", "RFC 8972 §4.6", code: 6, length: LengthRule::exactly(4), by: Kernel }
    /// The real transmit time of the previous reply.
    FollowUpTelemetry = 7 { "followup", "Follow-Up Telemetry", "RFC 8972 §4.7", code: 7, length: LengthRule::exactly(16), by: Kernel }
    /// Integrity of the TLVs before it.
    Hmac = 8 { "hmac", "HMAC", "RFC 8972 §4.8", code: 8, length: LengthRule::exactly(16), by: Controller if "--tlv-key-file" }
    /// The address of the node that the sender means.
    DestinationNodeAddress = 9 { "destination-address", "Destination Node Address", "RFC 9503 §3", code: 9, length: LengthRule::one_of(4, 16), by: Kernel }
    /// The destination of the reply; control codes in the kernel, the rest by the controller.
    ReturnPath = 10 { "return-path", "Return Path", "RFC 9503 §4", code: 10, length: LengthRule::at_least(4), by: Kernel if "--allow-return-address" }
    /// Member links of a LAG at both ends.
    MicroSessionId = 11 { "micro-session", "Micro-session ID", "RFC 9534 §3", code: 11, length: LengthRule::exactly(4), by: Kernel if "--micro-session-id" }
    /// Size, number and spacing of replies.
    ReflectedControl = 12 { "reflected-control", "Reflected Test Packet Control", "RFC 10052 §3", code: 12 or 180, length: LengthRule::at_least(12), by: Controller if "--allow-reflected-control" }
    /// The pattern that fills the padding.
    BitErrorPattern = 13 { "bit-error-rate", "Bit Error Pattern", "draft-gandhi-ippm-stamp-ber-07 §4", code: 240 or 182, length: LengthRule::ANY, by: Controller }
    /// The number of bits of the padding that arrived wrong.
    BitErrorCount = 14 { "bit-error-count", "Bit Error Count", "draft-gandhi-ippm-stamp-ber-07 §4", code: 241 or 181, length: LengthRule::exactly(4), by: Controller }
    /// The longest run of wrong bits. Shares its number with Heartbeat; the Length tells.
    BitErrorBurst = 15 { "bit-error-burst", "Bit Error Maximum Burst", "draft-gandhi-ippm-stamp-ber-07 §4", code: 242, length: LengthRule::exactly(4), by: Controller }
    /// A sign of life that a reflector sends unasked.
    Heartbeat = 16 { "heartbeat", "Heartbeat", "cerfcast/teaparty", code: 242 or 176, length: LengthRule::exactly(8), by: Sender }
    /// Another UDP port for the reply.
    DestinationPort = 17 { "destination-port", "Destination Port", "cerfcast/teaparty", code: 243 or 177, length: LengthRule::exactly(4), by: Kernel if "--allow-destination-port" }
    /// The session's last exchanges.
    History = 18 { "history", "History", "cerfcast/teaparty", code: 244 or 178, length: LengthRule::ANY, by: Controller }
    /// An IPv6 extension header as received.
    ReflectedExtensionHeader = 19 { "reflected-v6-extension-header-data", "Reflected IPv6 Extension Header Data", "draft-ietf-ippm-stamp-ext-hdr-15 §4", code: 246 or 183, length: LengthRule::multiple_of(8), by: Controller }
    /// The IPv4 or IPv6 header as received.
    ReflectedFixedHeader = 20 { "reflected-fixed-header-data", "Reflected Fixed Header Data", "draft-ietf-ippm-stamp-ext-hdr-15 §6", code: 247 or 184, length: LengthRule::one_of(20, 40), by: Kernel }
    /// Traffic class octets: sent, received, wanted, used.
    ClassOfServiceV2 = 21 { "class-of-service-v2", "Class of Service v2", "cerfcast/teaparty", code: 248 or 185, length: LengthRule::exactly(4), by: Kernel }
    /// The older request for a reply's DSCP and ECN.
    DscpEcn = 22 { "dscp-ecn", "DSCP ECN", "cerfcast/teaparty", code: 179, length: LengthRule::exactly(4), by: Kernel }
}

impl Kind {
    /// This TLV's line of the registry.
    pub const fn entry(self) -> &'static Entry {
        &REGISTRY[self as usize - 1]
    }

    /// The kind with this internal number; `None` for 0 and for other numbers.
    pub fn from_number(number: u8) -> Option<Self> {
        REGISTRY.get(usize::from(number).checked_sub(1)?).map(|entry| entry.kind)
    }

    /// The TLV as a set of one.
    #[inline(always)]
    pub const fn set(self) -> KindSet {
        KindSet(1 << self as u32)
    }
}

/// A set of [`Kind`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KindSet(pub u32);

impl KindSet {
    /// None of them.
    pub const EMPTY: Self = Self(0);

    /// All that `finisher` finishes.
    pub const fn handled_by(handled_by: HandledBy) -> Self {
        let mut set = 0;
        let mut i = 0;
        while i < REGISTRY.len() {
            if REGISTRY[i].handled_by as u8 == handled_by as u8 {
                set |= 1 << REGISTRY[i].kind as u32;
            }
            i += 1;
        }
        Self(set)
    }

    /// Returns true if the kind with this number is in the set; 0, the unknown kind, never is.
    #[inline(always)]
    pub const fn has(self, number: u8) -> bool {
        self.0 >> (number & 31) & 1 != 0
    }

    /// Both together.
    #[inline(always)]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[inline(always)]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns true if they share a kind.
    #[inline(always)]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Length rules by the number of the kind; [`LengthRule::ANY`] for the unknown one. A power of two long, for the verifier.
pub static LENGTH_RULES: [LengthRule; 32] = {
    let mut rules = [LengthRule::ANY; 32];
    let mut i = 0;
    while i < REGISTRY.len() {
        rules[REGISTRY[i].kind as usize] = REGISTRY[i].length;
        i += 1;
    }
    rules
};

/// The mapping of numbers on the wire to kinds: 256 numbers of kinds, 0 where a type is unknown.
///
/// Part of the configuration in a map, hence plain octets. The number that Bit Error Burst and Heartbeat share stands for
/// the burst; [`CodePoints::kind`] tells them apart by Length.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct CodePoints(pub [u8; 256]);

/// The named sets of code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The numbers that the namesake and stamp-suite use since 2026.
    Current,
    /// The numbers that the namesake used before.
    Earlier,
}

impl CodePoints {
    /// The table of a profile.
    pub const fn new(profile: Profile) -> Self {
        let mut table = [0; 256];
        // Backwards, so that of two kinds with one code the first one wins.
        let mut i = REGISTRY.len();
        while i > 0 {
            i -= 1;
            let entry = &REGISTRY[i];
            table[code_in(entry, profile) as usize] = entry.kind as u8;
        }
        Self(table)
    }

    /// Gives `kind` the type `code`, taking both from whatever had them.
    pub fn assign(&mut self, kind: Kind, code: u8) {
        for number in &mut self.0 {
            if *number == kind as u8 {
                *number = 0;
            }
        }
        self.0[usize::from(code)] = kind as u8;
    }

    /// The number of the kind that a header announces, 0 if unknown.
    #[inline(always)]
    pub const fn kind(&self, code: u8, length: u16) -> u8 {
        let number = self.0[code as usize];
        if number == Kind::BitErrorBurst as u8 && length == 8 { Kind::Heartbeat as u8 } else { number }
    }

    /// The type that stands for `kind`, if any does.
    pub fn code(&self, kind: Kind) -> Option<u8> {
        let kind = if kind == Kind::Heartbeat && !self.0.contains(&(kind as u8)) { Kind::BitErrorBurst } else { kind };
        self.0.iter().position(|number| *number == kind as u8).map(|code| code as u8)
    }
}

const fn code_in(entry: &Entry, profile: Profile) -> u8 {
    match (profile, entry.earlier_code) {
        (Profile::Earlier, Some(code)) => code,
        _ => entry.code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_in_the_order_of_kinds() {
        for (i, entry) in REGISTRY.iter().enumerate() {
            assert_eq!(entry.kind as usize, i + 1);
            assert_eq!(Kind::from_number(entry.kind as u8), Some(entry.kind));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(200), None);
    }

    #[test]
    fn names_are_unique() {
        for (i, a) in REGISTRY.iter().enumerate() {
            assert!(REGISTRY[..i].iter().all(|b| a.name != b.name), "{}", a.name);
        }
    }

    #[test]
    fn each_kind_has_its_code_in_each_profile() {
        for profile in [Profile::Current, Profile::Earlier] {
            let points = CodePoints::new(profile);
            for entry in REGISTRY {
                let code = points.code(entry.kind).unwrap();
                let length = (0..=40).find(|l| entry.length.allows(*l)).unwrap();
                assert_eq!(points.kind(code, length), entry.kind as u8, "{profile:?} {}", entry.name);
            }
        }
    }

    #[test]
    fn type_242_is_told_apart_by_length() {
        let points = CodePoints::new(Profile::Current);
        assert_eq!(points.kind(242, 4), Kind::BitErrorBurst as u8);
        assert_eq!(points.kind(242, 8), Kind::Heartbeat as u8);
    }

    #[test]
    fn length_rules_allow_what_the_texts_say() {
        extern crate std;
        let allowed = |kind: Kind| (0..=64).filter(|l| kind.entry().length.allows(*l)).collect::<std::vec::Vec<u16>>();
        assert_eq!(allowed(Kind::DestinationNodeAddress), [4, 16]);
        assert_eq!(allowed(Kind::ReflectedFixedHeader), [20, 40]);
        assert_eq!(allowed(Kind::ReflectedExtensionHeader), [8, 16, 24, 32, 40, 48, 56, 64]);
        assert_eq!(allowed(Kind::Hmac), [16]);
        assert_eq!(allowed(Kind::ReflectedControl).len(), 64 - 12 + 1);
    }
}
