//! Location and its sub-TLVs: ports, addresses and source MAC as the reflector saw them (RFC 8972 §4.2).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Flags, HEADER_LEN, Header};
use crate::packet_buf::PacketBuf;
use crate::packet_meta::PacketMeta;
use crate::policy::{LocationFields, Policy};

/// The fixed head of a Location body, 4 octets; sub-TLVs follow (RFC 8972 §4.2.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct Location {
    /// UDP destination port of the received packet: the reflector's.
    pub destination_port: U16,
    /// UDP source port of the received packet: the sender's, as seen here.
    pub source_port: U16,
}

/// Octets of the fixed head.
pub const FIXED_LEN: usize = size_of::<Location>();

/// STAMP Sub-TLV types of Location (RFC 8972 §5.2).
pub mod sub {
    /// Asks for the source MAC address; Length 8.
    pub const SOURCE_MAC: u8 = 1;
    /// The source MAC address, 6 octets, then two zero octets.
    pub const SOURCE_EUI48: u8 = 2;
    /// The source MAC address as EUI-64; zeros where there is none.
    pub const SOURCE_EUI64: u8 = 3;
    /// Asks for the destination address; Length 16.
    pub const DESTINATION_IP: u8 = 4;
    /// The IPv4 destination address, then 12 zero octets.
    pub const DESTINATION_IPV4: u8 = 5;
    /// The IPv6 destination address.
    pub const DESTINATION_IPV6: u8 = 6;
    /// Asks for the source address; Length 16.
    pub const SOURCE_IP: u8 = 7;
    /// The IPv4 source address, then 12 zero octets.
    pub const SOURCE_IPV4: u8 = 8;
    /// The IPv6 source address.
    pub const SOURCE_IPV6: u8 = 9;

    /// The types by the names that RFC 8972 §5.2 gives them.
    pub const NAMES: &[(u8, &str)] = &[
        (SOURCE_MAC, "Source MAC Address"),
        (SOURCE_EUI48, "Source EUI-48 Address"),
        (SOURCE_EUI64, "Source EUI-64 Address"),
        (DESTINATION_IP, "Destination IP Address"),
        (DESTINATION_IPV4, "Destination IPv4 Address"),
        (DESTINATION_IPV6, "Destination IPv6 Address"),
        (SOURCE_IP, "Source IP Address"),
        (SOURCE_IPV4, "Source IPv4 Address"),
        (SOURCE_IPV6, "Source IPv6 Address"),
    ];
}

/// Returns the number of sub-TLVs in `len` octets at `at`, an overrunning one included; `None` above `most`.
#[inline(always)]
pub fn count_subs<B: PacketBuf>(payload: &B, mut at: usize, end: usize, most: usize) -> Option<usize> {
    for count in 0..=most {
        if at + HEADER_LEN > end {
            return Some(count);
        }
        let header: Header = zerocopy::transmute!(payload.get::<HEADER_LEN>(at)?);
        at += HEADER_LEN + usize::from(header.length.get());
    }
    None
}

/// Fills the fixed head of the Location body that lies at `at`. Sub-TLVs follow by [`step`].
#[inline(always)]
pub fn reflect_head<B: PacketBuf>(payload: &mut B, at: usize, meta: &PacketMeta, policy: &Policy) {
    let ports = if policy.location_hides(LocationFields::PORTS) {
        [0; FIXED_LEN]
    } else {
        zerocopy::transmute!(Location {
            destination_port: U16::new(meta.destination_port),
            source_port: U16::new(meta.source_port),
        })
    };
    payload.put(at, ports);
}

/// Answers the sub-TLV at `sub` of a Location body that ends at `end`, in place; its Length does not change (RFC 8972
/// §4.2.2). Gives where the next one begins, or `None` when nothing more is touched.
#[inline(always)]
pub fn step<B: PacketBuf>(
    payload: &mut B,
    sub: usize,
    end: usize,
    meta: &PacketMeta,
    policy: &Policy,
) -> Option<usize> {
    if sub >= end {
        return None;
    }
    if sub + HEADER_LEN > end {
        // One to three octets that can't hold a header: marked like a stray tail of the packet.
        payload.put(sub, [Flags::MALFORMED.0]);
        return None;
    }
    let header: Header = zerocopy::transmute!(payload.get::<HEADER_LEN>(sub)?);
    let value_len = usize::from(header.length.get());
    let value = sub + HEADER_LEN;
    if value + value_len > end {
        payload.put(sub, [Flags::MALFORMED.0]);
        return None;
    }
    if fill_sub(payload, sub, header.code, value_len, meta, policy) { Some(value + value_len) } else { None }
}

/// Answers one sub-TLV whose octets are all there: type, value and flags change, its Length does not. Returns false for a
/// malformed one: what follows it is not touched, as after a malformed TLV (RFC 8972 §4.2.1, §4).
#[inline(always)]
fn fill_sub<B: PacketBuf>(
    payload: &mut B,
    sub: usize,
    code: u8,
    value_len: usize,
    meta: &PacketMeta,
    policy: &Policy,
) -> bool {
    let value = sub + HEADER_LEN;
    let (wanted_len, field) = match code {
        sub::SOURCE_MAC => (8, LocationFields::SOURCE_MAC),
        sub::DESTINATION_IP => (16, LocationFields::DESTINATION),
        sub::SOURCE_IP => (16, LocationFields::SOURCE),
        _ => {
            payload.put(sub, [Flags::UNRECOGNIZED.0]);
            return true;
        }
    };
    if value_len != wanted_len {
        payload.put(sub, [Flags::MALFORMED.0]);
        return false;
    }
    let hidden = policy.location_hides(field);
    let code = if code == sub::SOURCE_MAC {
        let mac = if hidden { [0; 6] } else { meta.source_mac };
        payload.put::<8>(value, [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0]);
        if meta.has_source_mac() { sub::SOURCE_EUI48 } else { sub::SOURCE_EUI64 }
    } else {
        let is_source = code == sub::SOURCE_IP;
        let address = if is_source { &meta.source } else { &meta.destination };
        let octets = if hidden { [0; 16] } else { address.location_octets() };
        payload.put::<16>(value, octets);
        match (is_source, address.is_ipv4()) {
            (true, true) => sub::SOURCE_IPV4,
            (true, false) => sub::SOURCE_IPV6,
            (false, true) => sub::DESTINATION_IPV4,
            (false, false) => sub::DESTINATION_IPV6,
        }
    };
    payload.put(sub, [Flags::NONE.0, code]);
    true
}
