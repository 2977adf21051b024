//! What the controller tells the kernel: clock, policy, addresses, limits.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::packet_buf::PacketBuf;
use crate::policy::Policy;
use crate::reason::REASON_SLOTS;
use crate::wire::UNAUTHENTICATED_LEN;

use super::clock::Clock;
use super::rate_limit::SourcePrefix;
use super::session::Session;
use super::token_bucket::TokenRate;

/// All that the controller tells the program about every packet: one value, which the program finds by one look-up.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct KernelConfig {
    /// The part that changes often.
    pub control: ControlBlock,
    /// Two versions of the configuration, of which [`ControlBlock::active`] says the valid one.
    pub configs: [Config; 2],
    /// One bit for each UDP port that is listened on.
    pub ports: [u64; super::PORT_WORDS as usize],
}

impl KernelConfig {
    /// All zero: as the kernel makes it, before a controller has written anything.
    pub fn blank() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }

    /// One of the two versions of the configuration: the first for even numbers.
    #[inline(always)]
    pub const fn config(&self, number: u32) -> &Config {
        &self.configs[(number & 1) as usize]
    }

    /// Has a UDP port be listened on.
    pub const fn listen(&mut self, port: u16) {
        self.ports[(port >> 6) as usize] |= 1 << (port & 63);
    }

    /// Returns true if a UDP port is listened on.
    #[inline(always)]
    pub const fn listens(&self, port: u16) -> bool {
        self.ports[(port >> 6) as usize] >> (port & 63) & 1 != 0
    }
}

/// The part that changes often: the configuration in force, and the state of the clock.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct ControlBlock {
    /// [`super::ABI_VERSION`] of the controller that wrote this; 0 before it has.
    pub abi_version: u32,
    /// Index of the [`Config`] in force, of the two.
    pub active: u32,
    /// Counts changes of configuration, addresses and allow-list: a session admitted under another one is admitted
    /// again.
    pub generation: u32,
    /// Interface that the program is attached to.
    pub interface: u32,
    /// State of the clock.
    pub clock: Clock,
    /// Shape of the table of sessions; as long as that lives, the same.
    pub table: super::session_table::TableLayout,
}

/// One version of the configuration.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Config {
    /// Rules for reflection.
    pub policy: Policy,
    /// The rate limit of each source.
    pub source_rate: TokenRate,
    /// [`Config::STATEFUL`] and its neighbours.
    pub flags: u32,
    /// Rings in the history map, a power of two.
    pub history_rings: u32,
    /// MAC address of the interface, and two zeros; all zero on loopback. See [`Config::mac`].
    pub mac: [u8; 8],
    /// The part of a source address that the rate limit counts by.
    pub rate_prefix: SourcePrefix,
    /// Seconds for [`super::Session::is_restart`]; 0 for never.
    pub session_restart_s: u64,
    /// The rate limit of the punts of all strangers together. See [`Config::limits_punts`].
    pub punt_rate: TokenRate,
}

impl Config {
    /// Sessions count their replies themselves.
    pub const STATEFUL: u32 = 1;
    /// Only provisioned sessions are answered (RFC 8972 §3).
    pub const PROVISIONED_ONLY: u32 = 2;
    /// There are entries in the map of provisioned sessions.
    pub const HAS_PROVISIONED: u32 = 4;
    /// There are provisioned sessions with a wildcard: destination `::`, or source port 0.
    pub const HAS_WILDCARDS: u32 = 8;
    /// Sources must be on the allow-list.
    pub const ALLOW_LIST: u32 = 16;
    /// Sessions that are not provisioned are authenticated.
    pub const AUTHENTICATED: u32 = 32;
    /// Exchanges are remembered for the History TLV.
    pub const HISTORY: u32 = 64;
    /// Frames are answered whatever MAC address they were sent to (loopback, and devices without addresses).
    pub const ANY_MAC: u32 = 128;
    /// There are authenticated ones among the provisioned sessions.
    pub const HAS_AUTHENTICATED: u32 = 256;
    /// This is the second of the two versions.
    pub const SECOND: u32 = 512;
    /// The interface is the loopback interface, by which our own addresses may ask.
    pub const LOOPBACK: u32 = 2048;
    /// Frames are answered whatever VLAN tags they have.
    pub const ANY_VLAN: u32 = 4096;
    /// No UDP checksum is verified by the program.
    pub const VERIFY_NONE: u32 = 8192;
    /// UDP checksums are verified in stateless sessions too, where nothing is counted that damage could spoil.
    pub const VERIFY_ALL: u32 = 16384;

    /// There are provisioned sessions that are found whatever the SSID of a packet is.
    pub const HAS_ANY_SSID: u32 = 32768;

    /// Follows from the rest, see [`Config::derived`]: sessions are stateful, no provisioned one is authenticated, and a packet of
    /// the base length or more is never refused for its size or what is in its base packet, and may have TLVs.
    pub const PLAIN: u32 = 1024;

    /// Returns true if a flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns true if the punts of sessions with these flags have a budget: nobody has provisioned them, so that whoever
    /// forges packets could keep the controller from the others. Where none is provisioned and all are authenticated,
    /// there are no others.
    #[inline(always)]
    pub const fn limits_punts(&self, session_flags: u32) -> bool {
        let is_keyed = session_flags & Session::AUTHENTICATED != 0 && !self.has(Self::HAS_PROVISIONED);
        self.punt_rate.is_limited() && session_flags & Session::PROVISIONED == 0 && !is_keyed
    }

    /// Returns true if the program verifies UDP checksums: where a session counts packets, unless told otherwise.
    #[inline(always)]
    pub const fn verifies(&self) -> bool {
        self.flags & (Self::VERIFY_NONE | Self::STATEFUL) == Self::STATEFUL || self.has(Self::VERIFY_ALL)
    }

    /// A MAC address as [`Config::mac`] has it.
    pub const fn mac([a, b, c, d, e, f]: [u8; 6]) -> [u8; 8] {
        [a, b, c, d, e, f, 0, 0]
    }

    /// Returns the same with the flag that follows from the others and from the policy: the form that a program is
    /// given.
    #[must_use]
    pub const fn derived(self) -> Self {
        let is_plain = self.flags & (Self::STATEFUL | Self::HAS_AUTHENTICATED) == Self::STATEFUL
            && !self.policy.has(Policy::NO_TLV | Policy::STRICT)
            && self.policy.min_payload as usize <= UNAUTHENTICATED_LEN;
        let plain = if is_plain { Self::PLAIN } else { 0 };
        Self { flags: self.flags & !Self::PLAIN | plain, ..self }
    }

    /// Returns true if a frame is to a MAC address that is answered, and from one that is no group's (IEEE 802.3).
    #[inline(always)]
    pub fn is_addressed_by<B: PacketBuf>(&self, frame: &B) -> bool {
        check_macs(frame, u64::from_ne_bytes(self.mac), self.has(Self::ANY_MAC)) == MacCheck::Right
    }

    /// The bit that prefixes of [`super::name::ALLOWED`] have in their value where they are allowed by this version.
    #[inline(always)]
    pub const fn allowed_bit(&self) -> u32 {
        if self.has(Self::SECOND) { 2 } else { 1 }
    }
}

/// Compares the MAC addresses of a frame with `mac`, which has the form of [`Config::mac`]. In one word: as six octets they
/// would be six comparisons. `takes_all` says that frames are ours whatever address they are to.
#[inline(always)]
pub fn check_macs<B: PacketBuf>(frame: &B, mac: u64, takes_all: bool) -> MacCheck {
    const ADDRESS: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    // The first octet of the source, which follows the destination.
    const GROUP: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 1, 0]);
    let Some(front) = frame.get::<8>(0) else { return MacCheck::OtherDestination };
    let front = u64::from_ne_bytes(front);
    // One comparison for what nearly every frame is.
    if (front ^ mac) & (ADDRESS | GROUP) == 0 {
        return MacCheck::Right;
    }
    if (front ^ mac) & ADDRESS != 0 && !takes_all {
        return MacCheck::OtherDestination;
    }
    if front & GROUP == 0 { MacCheck::Right } else { MacCheck::GroupSource }
}

/// The verdict on the MAC addresses of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacCheck {
    /// To us, and from a station.
    Right,
    /// To somebody else.
    OtherDestination,
    /// From a group address, which no frame can come from (IEEE 802.3 §3.2.3).
    GroupSource,
}

/// Counts of packets by the way they ended, on one processor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Counters {
    /// By the number of their [`crate::reason::Reason`].
    pub packets: [u64; REASON_SLOTS],
    /// The sources of the last packets that were dropped, by the same numbers.
    pub sources: [DropSource; REASON_SLOTS],
}

/// The source of the last packet that was dropped for a reason, on one processor.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct DropSource {
    /// Its source address.
    pub address: Address,
    /// Its arrival, in nanoseconds of CLOCK_TAI; 0 where there was none.
    pub received_ns: u64,
}

impl Counters {
    /// Returns the last source of each reason, on any processor.
    pub fn last_sources<'a>(each: impl IntoIterator<Item = &'a Self>) -> [DropSource; REASON_SLOTS] {
        let mut last = [DropSource::default(); REASON_SLOTS];
        for counters in each {
            for (last, source) in last.iter_mut().zip(&counters.sources) {
                if source.received_ns > last.received_ns {
                    *last = *source;
                }
            }
        }
        last
    }

    /// Those of all processors together.
    pub fn total<'a>(each: impl IntoIterator<Item = &'a Self>) -> [u64; REASON_SLOTS] {
        let mut total = [0u64; REASON_SLOTS];
        for counters in each {
            for (sum, count) in total.iter_mut().zip(&counters.packets) {
                *sum = sum.wrapping_add(*count);
            }
        }
        total
    }
}

/// The key of an address on a VLAN: tags and address. With the address `::` it represents the VLAN itself.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct VlanKey {
    /// The address.
    pub address: Address,
    /// [`crate::frame::Tags`] as a number.
    pub tags: u64,
}

/// A VLAN device of the host on this interface, or one of its addresses.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct VlanEntry {
    /// Of an address: [`super::LocalAddress::flags`].
    pub flags: u32,
    /// Nothing.
    pub reserved: u32,
    /// Of a device: its MAC address, as [`Config::mac`] has it.
    pub mac: [u8; 8],
}
