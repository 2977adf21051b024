//! The capture of frames: what the controller asks for, and what the program mirrors.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::TokenRate;
use crate::address::Address;

/// Captures at a time, each with a filter of its own.
pub const MAX_CAPTURES: usize = 4;

/// Most octets of a frame that are captured, a power of two.
pub const MAX_SNAPLEN: usize = 4096;

/// Fewest octets of a frame that the program mirrors: with them, headers and base packet are there, whatever precedes them.
pub const MIN_MIRRORED: usize = 512;

/// What is captured, for all captures.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct CaptureConfig {
    /// Most octets of a frame.
    pub snaplen: u32,
    /// Nothing.
    pub reserved: u32,
    /// The host of all captures; [`Address::UNSPECIFIED`] where they do not have one in common. Follows from the filters, see
    /// [`CaptureConfig::derived`].
    pub host: Address,
    /// The filter of each capture.
    pub filters: [CaptureFilter; MAX_CAPTURES],
}

impl CaptureConfig {
    /// Returns the same with what follows from the filters.
    #[must_use]
    pub fn derived(self) -> Self {
        let mut hosts = self.filters.iter().filter(|filter| filter.reasons != 0).map(|filter| filter.host);
        let first = hosts.next().unwrap_or_default();
        Self { host: if hosts.all(|host| host == first) { first } else { Address::UNSPECIFIED }, ..self }
    }

    /// Returns true if a packet with these addresses may match a filter.
    #[inline(always)]
    pub fn may_match(&self, source: &Address, destination: &Address) -> bool {
        self.host == Address::UNSPECIFIED || self.host == *source || self.host == *destination
    }
}

/// The packets of one capture, as far as the program tells them apart.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct CaptureFilter {
    /// Bits by the number of a [`crate::reason::Reason`]; 0 where there is no capture.
    pub reasons: u64,
    /// The most that it gets.
    pub rate: TokenRate,
    /// The sender's or our address; [`Address::UNSPECIFIED`] for any.
    pub host: Address,
    /// The sender's port; 0 for any.
    pub source_port: u16,
    /// Our port; 0 for any.
    pub destination_port: u16,
    /// Nothing.
    pub reserved: u32,
}

impl CaptureFilter {
    /// Returns true for packets with these addresses and ports.
    #[inline(always)]
    pub fn matches(&self, source: &Address, destination: &Address, ports: (u16, u16)) -> bool {
        self.reasons != 0
            && (self.host == Address::UNSPECIFIED || self.host == *source || self.host == *destination)
            && (self.source_port == 0 || self.source_port == ports.0)
            && (self.destination_port == 0 || self.destination_port == ports.1)
    }
}

/// The state of the rates of all captures.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct CaptureBuckets {
    /// The time at which each token bucket is full again.
    pub full_at_ns: [u64; MAX_CAPTURES],
}

/// Packets that were not mirrored, on one processor, by capture.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct CaptureCounts {
    /// Above the rate.
    pub above_rate: [u64; MAX_CAPTURES],
    /// For want of room in the ring.
    pub ring_full: [u64; MAX_CAPTURES],
}

/// Head of a mirrored packet. The frame as it arrived follows, and after it, at [`CapturedHeader::reply_at`], the reply.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct CapturedHeader {
    /// T2, in nanoseconds of CLOCK_TAI.
    pub received_ns: u64,
    /// The captures that it is for, as bits.
    pub captures: u32,
    /// [`crate::reason::Reason`] as a number.
    pub reason: u32,
    /// Octets of the frame, and of its reply.
    pub frame_len: u32,
    /// Octets of each that are here.
    pub captured_len: u32,
    /// Offset of the reply after this header; 0 where there is none.
    pub reply_at: u32,
    /// Nothing.
    pub reserved: u32,
}
