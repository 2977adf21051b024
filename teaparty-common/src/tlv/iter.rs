//! One step of a walk over TLVs: the only place that says where a TLV ends and when a walk stops (RFC 8972 §4).

use super::class_of_service::ClassOfServiceV2;
use super::header::{HEADER_LEN, Header};
use crate::packet_buf::PacketBuf;
use crate::policy::Policy;
use crate::registry::{Kind, LENGTH_RULES};

/// A TLV that lies whole within the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// Offset of its header, from the start of the UDP payload.
    pub at: usize,
    /// Octets of its Value.
    pub length: u16,
    /// Its Type on the wire.
    pub code: u8,
    /// The number of its [`Kind`], 0 where the type is unknown.
    pub number: u8,
    /// True if its Length, and what of its Value the type fixes, is as specified.
    pub is_well_formed: bool,
}

impl Tlv {
    /// Returns the offset of its Value.
    #[inline(always)]
    pub const fn value(&self) -> usize {
        self.at + HEADER_LEN
    }

    /// Offset of the next TLV.
    #[inline(always)]
    pub const fn end(&self) -> usize {
        self.at + HEADER_LEN + self.length as usize
    }
}

/// The item at a place where a TLV may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlvItem {
    /// Nothing more, or zeros to the end: padding of a TWAMP-Light sender, which is copied as it is. A real TLV has
    /// the U flag set and so never begins with four zero octets.
    End,
    /// One to three octets, not all zero: no header fits.
    Stray,
    /// A TLV whose Length goes past the end.
    Overrun(Header),
    /// A TLV.
    Tlv(Tlv),
}

/// Looks at what stands at `at` in a payload of `len` octets, all of which are there.
#[inline(always)]
pub fn next_tlv<B: PacketBuf>(payload: &B, at: usize, len: usize, policy: &Policy) -> TlvItem {
    if at >= len {
        return TlvItem::End;
    }
    let rest = len - at;
    if rest < HEADER_LEN {
        return if is_short_tail_zero(payload, at, rest) { TlvItem::End } else { TlvItem::Stray };
    }
    let Some(octets) = payload.get::<HEADER_LEN>(at) else {
        return TlvItem::End;
    };
    if u32::from_ne_bytes(octets) == 0 && payload.is_zero(at, len) {
        return TlvItem::End;
    }
    let header: Header = zerocopy::transmute!(octets);
    let length = header.length.get();
    if HEADER_LEN + length as usize > rest {
        return TlvItem::Overrun(header);
    }
    let number = known_number(header.code, length, policy);
    let mut is_well_formed = LENGTH_RULES[(number & 31) as usize].allows(length);
    if is_well_formed && number == Kind::ClassOfServiceV2 as u8 {
        is_well_formed = payload.get::<{ size_of::<ClassOfServiceV2>() }>(at + HEADER_LEN).is_some_and(|body| {
            let body: ClassOfServiceV2 = zerocopy::transmute!(body);
            body.is_request()
        });
    }
    TlvItem::Tlv(Tlv { at, length, code: header.code, number, is_well_formed })
}

/// The number of the kind, or 0 where the type is unknown to us or to our policy.
#[inline(always)]
fn known_number(code: u8, length: u16, policy: &Policy) -> u8 {
    policy.code_points.kind(code, length)
}

/// Returns true if one to three octets at the end are zero.
#[inline(always)]
fn is_short_tail_zero<B: PacketBuf>(payload: &B, at: usize, rest: usize) -> bool {
    let octet = |i: usize| i >= rest || payload.get::<1>(at + i) == Some([0]);
    octet(0) && octet(1) && octet(2)
}
