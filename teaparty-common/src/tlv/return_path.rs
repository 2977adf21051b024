//! What a Return Path asks for (RFC 9503 §4.1); whether it is done is the reflector's policy.

use super::steering::ControlCode;
use super::steering::return_path::{CONTROL_CODE, RETURN_ADDRESS, SRV6};
use super::{HEADER_LEN, Header};
use crate::bytes::Bytes;
use crate::reflect::{Address, Tlv};

/// The wish in a Return Path TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No reply.
    NoReply,
    /// The reply on the link that the request came by.
    SameLink,
    /// The reply to this address.
    Address(Address),
    /// The reply along SRv6 segments, with an address or without.
    Segments(Segments),
    /// The reply along MPLS labels, or something that no text defines.
    Unsupported,
}

/// A list of SRv6 segments in a payload (RFC 9503 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Where the first one is, from the start of the UDP payload: the one that the reply passes first.
    pub at: usize,
    /// How many, at least one. Each is 16 octets.
    pub count: usize,
    /// Where the reply goes in the end, where that is not to the sender's address.
    pub address: Option<Address>,
}

/// Octets of a segment.
const SEGMENT: usize = size_of::<Address>();

/// Reads the Value of a Return Path that is well formed.
///
/// A Control Code excludes all else (RFC 9503 §4.1.1). An unknown, malformed or repeated sub-TLV makes the whole
/// unusable: half a path is no path.
pub fn read<B: Bytes>(payload: &B, tlv: &Tlv) -> Wish {
    let end = tlv.end();
    let mut at = tlv.value();
    let mut address = None;
    let mut segments = None;
    while at < end {
        let Some(octets) = payload.get::<HEADER_LEN>(at).filter(|_| at + HEADER_LEN <= end) else {
            return Wish::Unsupported;
        };
        let header: Header = zerocopy::transmute!(octets);
        let length = usize::from(header.length.get());
        let value = at + HEADER_LEN;
        if value + length > end {
            return Wish::Unsupported;
        }
        match (header.code, length) {
            (CONTROL_CODE, 4) => {
                let Some(octets) = payload.get::<{ size_of::<ControlCode>() }>(at) else { return Wish::Unsupported };
                let code: ControlCode = zerocopy::transmute!(octets);
                return if code.is_no_reply() { Wish::NoReply } else { Wish::SameLink };
            }
            (RETURN_ADDRESS, 4) if address.is_none() => address = payload.get::<4>(value).map(Address::v4),
            (RETURN_ADDRESS, 16) if address.is_none() => address = payload.get::<16>(value).map(Address),
            (SRV6, SEGMENT..) if segments.is_none() && length.is_multiple_of(SEGMENT) => {
                segments = Some((value, length / SEGMENT));
            }
            _ => return Wish::Unsupported,
        }
        at = value + length;
    }
    match (segments, address) {
        (Some((at, count)), address) => Wish::Segments(Segments { at, count, address }),
        (None, Some(address)) => Wish::Address(address),
        (None, None) => Wish::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::bytes::SliceBytes;

    fn wish(subs: &[&[u8]]) -> Wish {
        let mut octets: Vec<u8> = std::vec![0x80, 10, 0, 0];
        subs.iter().for_each(|sub| octets.extend_from_slice(sub));
        let length = (octets.len() - 4) as u16;
        octets.extend([0x80, 2, 0, 4, 1, 2, 3, 4]);
        read(&SliceBytes(&mut octets), &Tlv { at: 0, length, code: 10, number: 10, is_well_formed: true })
    }

    #[test]
    fn wishes_are_read() {
        assert_eq!(wish(&[&[0x80, 1, 0, 4, 0, 0, 0, 0]]), Wish::NoReply);
        assert_eq!(wish(&[&[0x80, 1, 0, 4, 0, 0, 0, 1]]), Wish::SameLink);
        assert_eq!(wish(&[&[0x80, 2, 0, 4, 192, 0, 2, 1]]), Wish::Address(Address::v4([192, 0, 2, 1])));
    }

    #[test]
    fn segments_are_read_alone_and_with_an_address() {
        let list = [&[0x80, 4, 0, 32][..], &[7; 32]].concat();
        let address = [0x80, 2, 0, 4, 192, 0, 2, 1];
        let segments = |at, address| Wish::Segments(Segments { at, count: 2, address });
        let v4 = Some(Address::v4([192, 0, 2, 1]));
        assert_eq!(wish(&[&list]), segments(8, None));
        assert_eq!(wish(&[&address, &list]), segments(16, v4));
        assert_eq!(wish(&[&list, &address]), segments(8, v4));
        assert_eq!(wish(&[&list, &list]), Wish::Unsupported);
    }

    #[test]
    fn lists_of_no_whole_segments_are_unsupported_c212() {
        for (code, unit) in [(3, 4), (4, 16)] {
            for length in (0..=64).filter(|length| *length == 0 || length % unit != 0) {
                let list = [&[0x80, code, 0, length][..], &std::vec![1; length.into()]].concat();
                assert_eq!(wish(&[&list]), Wish::Unsupported, "sub-TLV {code} of {length}");
            }
        }
    }

    #[test]
    fn what_is_not_defined_is_unsupported() {
        for subs in [
            &[][..],
            &[&[0x80, 2, 0, 5, 1, 2, 3, 4, 5][..]],
            &[&[0x80, 2, 0, 4, 1][..]],
            &[&[0x80, 2, 0, 4, 1, 1, 1, 1][..], &[0x80, 2, 0, 4, 1, 1, 1, 1]],
            &[&[0x80, 2, 0, 4, 1, 1, 1, 1][..], &[0x80, 4, 0, 0]],
            &[&[0x80, 9, 0, 0][..]],
        ] {
            assert_eq!(wish(subs), Wish::Unsupported, "{subs:?}");
        }
    }
}
