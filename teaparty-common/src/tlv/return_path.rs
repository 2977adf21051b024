//! What a Return Path asks for (RFC 9503 §4.1); whether it is done is the reflector's policy.

use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use self::sub::{CONTROL_CODE, RETURN_ADDRESS, SR_MPLS, SRV6};
use super::Tlv;
use super::{Flags, HEADER_LEN, Header};
use crate::address::Address;
use crate::packet_buf::PacketBuf;

/// Return Path sub-TLV types (RFC 9503 §4.1, a registry of their own).
pub mod sub {
    /// Control Code: whether to reply at all, and on which link.
    pub const CONTROL_CODE: u8 = 1;
    /// Return Address: another destination for the reply.
    pub const RETURN_ADDRESS: u8 = 2;
    /// SR-MPLS label stack.
    pub const SR_MPLS: u8 = 3;
    /// SRv6 segment list.
    pub const SRV6: u8 = 4;

    /// The types by the names that RFC 9503 §5 gives them.
    pub const NAMES: &[(u8, &str)] = &[
        (CONTROL_CODE, "Return Path Control Code"),
        (RETURN_ADDRESS, "Return Address"),
        (SR_MPLS, "SR-MPLS Label Stack of Return Path"),
        (SRV6, "SRv6 Segment List of Return Path"),
    ];
}

/// A Control Code sub-TLV whole, 8 octets (RFC 9503 §4.1.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct ControlCode {
    /// Type 1, Length 4.
    pub header: Header,
    /// Only the lowest bit counts: 0 no reply, 1 reply on the link of the request.
    pub flags: U32,
}

impl ControlCode {
    /// Returns true if the sender wants no reply.
    #[inline(always)]
    pub const fn is_no_reply(self) -> bool {
        self.flags.get() & 1 == 0
    }
}

/// The wish in a Return Path TLV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnPathRequest {
    /// No reply.
    NoReply,
    /// The reply on the link of the request.
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
    /// Offset of the first one, from the start of the UDP payload: the one that the reply passes first.
    pub at: usize,
    /// Their number, at least one. Each is 16 octets.
    pub count: usize,
    /// The final destination of the reply, where that is not the sender's address.
    pub address: Option<Address>,
}

/// Octets of a segment.
const SEGMENT: usize = size_of::<Address>();
/// Octets of a label stack entry.
const LABEL: usize = 4;

/// Looks for a Control Code among the sub-TLVs of a Return Path, wherever it stands (RFC 9503 §4.1.1).
///
/// Other sub-TLVs are ignored beside a Control Code. Returns `Some(None)` where there is
/// none before the end or before a sub-TLV that overruns it, and `None` where that takes more than `most` sub-TLVs.
#[inline(always)]
pub fn control_code<B: PacketBuf>(payload: &B, tlv: &Tlv, most: usize) -> Option<Option<ControlCode>> {
    let end = tlv.end();
    let mut at = tlv.value();
    for _ in 0..=most {
        if at + HEADER_LEN > end {
            return Some(None);
        }
        let header: Header = zerocopy::transmute!(payload.get::<HEADER_LEN>(at)?);
        let next = at + HEADER_LEN + usize::from(header.length.get());
        if next > end {
            return Some(None);
        }
        if header.code == CONTROL_CODE && next - at == size_of::<ControlCode>() {
            let code: ControlCode = zerocopy::transmute!(payload.get::<{ size_of::<ControlCode>() }>(at)?);
            return Some(Some(code));
        }
        at = next;
    }
    None
}

/// Reads the Value of a Return Path that is well formed.
///
/// A Control Code excludes all else (RFC 9503 §4.1.1), and of several segment lists the first counts (§4.1.3). An unknown or
/// malformed sub-TLV, or a second address, makes the whole unusable: half a path is no path. A malformed one gets the M
/// flag, and what follows it is not touched (RFC 8972 §4.2.1, §4).
pub fn read<B: PacketBuf>(payload: &mut B, tlv: &Tlv) -> ReturnPathRequest {
    if let Some(Some(code)) = control_code(payload, tlv, usize::from(tlv.length)) {
        return if code.is_no_reply() { ReturnPathRequest::NoReply } else { ReturnPathRequest::SameLink };
    }
    let end = tlv.end();
    let mut at = tlv.value();
    let mut address = None;
    let mut list = None;
    while at < end {
        let Some((code, length)) = sub_tlv(payload, at, end, list.is_some()) else {
            payload.put(at, [Flags::MALFORMED.0]);
            return ReturnPathRequest::Unsupported;
        };
        let value = at + HEADER_LEN;
        match (code, length) {
            (SR_MPLS | SRV6, _) if list.is_some() => {}
            (SRV6, _) => list = Some((value, length / SEGMENT)),
            (RETURN_ADDRESS, 4) if address.is_none() => address = payload.get::<4>(value).map(Address::v4),
            (RETURN_ADDRESS, _) if address.is_none() => address = payload.get::<16>(value).map(Address),
            // Label stacks too, which nothing here can send.
            _ => return ReturnPathRequest::Unsupported,
        }
        at = value + length;
    }
    match (list, address) {
        (Some((at, count)), address) => ReturnPathRequest::Segments(Segments { at, count, address }),
        (None, Some(address)) => ReturnPathRequest::Address(address),
        (None, None) => ReturnPathRequest::Unsupported,
    }
}

/// Returns type and Length of the sub-TLV at `at` in a Value that ends at `end`; `None` if it is malformed. Of a segment list
/// that is ignored, since one `has_list` already, no Length is wrong that stays within the Value.
fn sub_tlv<B: PacketBuf>(payload: &B, at: usize, end: usize, has_list: bool) -> Option<(u8, usize)> {
    let octets = payload.get::<HEADER_LEN>(at).filter(|_| at + HEADER_LEN <= end)?;
    let header: Header = zerocopy::transmute!(octets);
    let (code, length) = (header.code, usize::from(header.length.get()));
    let is_right = match code {
        CONTROL_CODE => length == 4,
        RETURN_ADDRESS => matches!(length, 4 | 16),
        SR_MPLS | SRV6 if has_list => true,
        SR_MPLS => length > 0 && length.is_multiple_of(LABEL),
        SRV6 => length > 0 && length.is_multiple_of(SEGMENT),
        _ => true,
    };
    (is_right && at + HEADER_LEN + length <= end).then_some((code, length))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::packet_buf::SliceBuf;

    fn path_request(subs: &[&[u8]]) -> ReturnPathRequest {
        let mut octets: Vec<u8> = std::vec![0x80, 10, 0, 0];
        subs.iter().for_each(|sub| octets.extend_from_slice(sub));
        let length = (octets.len() - 4) as u16;
        octets.extend([0x80, 2, 0, 4, 1, 2, 3, 4]);
        read(&mut SliceBuf(&mut octets), &Tlv { at: 0, length, code: 10, number: 10, is_well_formed: true })
    }

    #[test]
    fn wishes_are_read() {
        assert_eq!(path_request(&[&[0x80, 1, 0, 4, 0, 0, 0, 0]]), ReturnPathRequest::NoReply);
        assert_eq!(path_request(&[&[0x80, 1, 0, 4, 0, 0, 0, 1]]), ReturnPathRequest::SameLink);
        assert_eq!(
            path_request(&[&[0x80, 2, 0, 4, 192, 0, 2, 1]]),
            ReturnPathRequest::Address(Address::v4([192, 0, 2, 1]))
        );
    }

    #[test]
    fn a_control_code_counts_wherever_it_stands_c209_c210_c211() {
        let code = |last| [0x80, 1, 0, 4, 0, 0, 0, last];
        let others: [&[u8]; 6] = [
            &[0x80, 2, 0, 4, 192, 0, 2, 1],
            &[0x80, 2, 0, 1, 9],
            &[0x80, 3, 0, 0],
            &[0x80, 1, 0, 3, 0, 0, 0],
            &[0x80, 99, 0, 2, 1, 1],
            &code(1),
        ];
        for other in others {
            assert_eq!(path_request(&[other, &code(1)]), ReturnPathRequest::SameLink, "{other:02x?}");
            assert_eq!(path_request(&[&code(0), other]), ReturnPathRequest::NoReply, "{other:02x?}");
        }
        for other in &others[..5] {
            assert_eq!(path_request(&[other, &code(0)]), ReturnPathRequest::NoReply, "{other:02x?}");
            assert_eq!(
                path_request(&[other, other, other, other, other, &code(0)]),
                ReturnPathRequest::NoReply,
                "{other:02x?}"
            );
        }
        assert_eq!(path_request(&[&code(1), &code(0)]), ReturnPathRequest::SameLink, "the first one");
        assert_eq!(
            path_request(&[&[0x80, 99, 0, 9], &code(0)]),
            ReturnPathRequest::Unsupported,
            "it lies in what overruns the TLV"
        );
    }

    #[test]
    fn a_walk_says_when_there_are_too_many() {
        let mut octets = [&[0x80, 10, 0, 0][..], &[0x80, 99, 0, 0].repeat(4), &[0x80, 1, 0, 4, 0, 0, 0, 1]].concat();
        let tlv = Tlv { at: 0, length: 24, code: 10, number: 10, is_well_formed: true };
        let payload = SliceBuf(&mut octets);
        assert_eq!(control_code(&payload, &tlv, 3), None);
        assert!(control_code(&payload, &tlv, 4).is_some_and(|found| found.is_some_and(|code| !code.is_no_reply())));
        assert_eq!(control_code(&payload, &Tlv { length: 16, ..tlv }, 4), Some(None));
    }

    #[test]
    fn segments_are_read_alone_and_with_an_address() {
        let list = [&[0x80, 4, 0, 32][..], &[7; 32]].concat();
        let address = [0x80, 2, 0, 4, 192, 0, 2, 1];
        let segments = |at, address| ReturnPathRequest::Segments(Segments { at, count: 2, address });
        let v4 = Some(Address::v4([192, 0, 2, 1]));
        assert_eq!(path_request(&[&list]), segments(8, None));
        assert_eq!(path_request(&[&address, &list]), segments(16, v4));
        assert_eq!(path_request(&[&list, &address]), segments(8, v4));
        // Of several lists the first one counts (RFC 9503 §4.1.3), and no later one makes it unusable.
        let labels = [0x80, 3, 0, 4, 0, 6, 0x41, 0xff];
        assert_eq!(path_request(&[&list, &[&[0x80, 4, 0, 16][..], &[8; 16]].concat()]), segments(8, None));
        assert_eq!(path_request(&[&list, &labels, &list, &address]), segments(8, v4));
        assert_eq!(path_request(&[&list, &[&[0x80, 4, 0, 17][..], &[8; 17]].concat(), &address]), segments(8, v4));
        assert_eq!(path_request(&[&labels, &list]), ReturnPathRequest::Unsupported);
    }

    #[test]
    fn malformed_sub_tlvs_get_m_and_what_follows_is_untouched() {
        let good = [0x80, 2, 0, 4, 192, 0, 2, 1];
        for bad in
            [&[0x80, 2, 0, 5, 1, 2, 3, 4, 5][..], &[0x80, 4, 0, 17], &[0x80, 3, 0, 0], &[0x80, 99, 1, 0], &[0x80]]
        {
            let subs = [&good, bad].concat();
            let mut octets = [&[0x80, 10, 0, 0][..], &subs].concat();
            let tlv = Tlv { at: 0, length: subs.len() as u16, code: 10, number: 10, is_well_formed: true };
            assert_eq!(read(&mut SliceBuf(&mut octets), &tlv), ReturnPathRequest::Unsupported, "{bad:02x?}");
            assert_eq!(octets[12], 0x40, "{bad:02x?}");
            assert_eq!((&octets[4..12], &octets[13..]), (&good[..], &bad[1..]), "{bad:02x?}");
        }
    }

    #[test]
    fn lists_of_no_whole_segments_are_unsupported_c212() {
        for (code, unit) in [(3, 4), (4, 16)] {
            for length in (0..=64).filter(|length| *length == 0 || length % unit != 0) {
                let list = [&[0x80, code, 0, length][..], &std::vec![1; length.into()]].concat();
                assert_eq!(path_request(&[&list]), ReturnPathRequest::Unsupported, "sub-TLV {code} of {length}");
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
            assert_eq!(path_request(subs), ReturnPathRequest::Unsupported, "{subs:?}");
        }
    }
}
