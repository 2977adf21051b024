//! What is configured about reflection, in a form that the kernel's map holds as it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::registry::{CodePoints, Profile};
use crate::wire::{Dscp, Ecn, TimestampFormat};

/// Rules for reflection. Changes at run time; a packet sees one version of it.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Policy {
    /// One bit for each DSCP that a sender may ask for in a reply.
    pub dscp_allowed: u64,
    /// [`Policy::PTP`] and its neighbours.
    pub flags: u32,
    /// UDP payloads shorter than this are dropped. 14 is a TWAMP-Test packet without padding; RFC 8762 §4.6 knows no bound.
    pub min_payload: u16,
    /// Our member link; 0 where we are no micro reflector (RFC 9534).
    pub micro_session_id: u16,
    /// One bit for each ECN value that a sender may ask for in a reply.
    pub ecn_allowed: u8,
    /// Fields of Location that stay zero: [`LocationFields`].
    pub location_hidden: u8,
    /// Nothing.
    pub reserved: [u8; 6],
    /// The mapping of types to TLVs.
    pub code_points: CodePoints,
}

/// Groups of fields in a Location TLV, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocationFields(pub u8);

impl LocationFields {
    /// Both ports.
    pub const PORTS: Self = Self(1);
    /// The source MAC address.
    pub const SOURCE_MAC: Self = Self(2);
    /// The destination address.
    pub const DESTINATION: Self = Self(4);
    /// The source address.
    pub const SOURCE: Self = Self(8);
    /// The groups by the names that the command line gives them.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("ports", Self::PORTS),
        ("source-mac", Self::SOURCE_MAC),
        ("destination", Self::DESTINATION),
        ("source", Self::SOURCE),
    ];
}

impl Policy {
    /// Timestamps are PTPv2, not NTP.
    pub const PTP: u32 = 1;
    /// Packets whose Error Estimate has Multiplier 0 are dropped (RFC 4656 §4.1.2 calls them corrupt).
    pub const STRICT: u32 = 2;
    /// Class of Service as in RFC 8972 alone, without the ECN update.
    pub const COS_LEGACY: u32 = 4;
    /// Destination Port is obeyed.
    pub const DESTINATION_PORT: u32 = 8;
    /// Return Path with addresses and segment lists is obeyed.
    pub const RETURN_ADDRESS: u32 = 16;
    /// Reflected Test Packet Control is obeyed.
    pub const REFLECTED_CONTROL: u32 = 32;
    /// The octets after the base packet are padding, never TLVs (for TWAMP-Light senders with random padding).
    pub const NO_TLV: u32 = 64;
    /// Sessions are distinguished without the SSID of packets.
    pub const IGNORE_SSID: u32 = 1024;

    /// Destination Node Address is refused, whatever it names.
    pub const NO_DESTINATION_NODE: u32 = 512;

    /// The default: everything a sender may ask for about its reply's marking, nothing that sends packets elsewhere.
    pub const DEFAULT: Self = Self {
        dscp_allowed: u64::MAX,
        flags: 0,
        min_payload: 14,
        micro_session_id: 0,
        ecn_allowed: 0xf,
        location_hidden: 0,
        reserved: [0; 6],
        code_points: CodePoints::new(Profile::Current),
    };

    /// Returns true if a flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns true if a reply may be given this DSCP.
    #[inline(always)]
    pub const fn allows_dscp(&self, dscp: Dscp) -> bool {
        self.dscp_allowed >> dscp.value() & 1 != 0
    }

    /// Returns true if a reply may be given this ECN field.
    #[inline(always)]
    pub const fn allows_ecn(&self, ecn: Ecn) -> bool {
        self.ecn_allowed >> ecn.value() & 1 != 0
    }

    /// Returns true if Class of Service is as in RFC 8972 alone.
    #[inline(always)]
    pub const fn is_cos_legacy(&self) -> bool {
        self.has(Self::COS_LEGACY)
    }

    /// Returns true if these fields of Location stay zero.
    #[inline(always)]
    pub const fn location_hides(&self, fields: LocationFields) -> bool {
        self.location_hidden & fields.0 != 0
    }

    /// The format of our timestamps.
    #[inline(always)]
    pub const fn format(&self) -> TimestampFormat {
        if self.has(Self::PTP) { TimestampFormat::Ptp } else { TimestampFormat::Ntp }
    }
}
