//! Where the HMAC TLV stands and what it covers (RFC 8972 §4.8). Computing it takes a key, which this crate never has.

use super::{HEADER_LEN, Kind};
use super::{TlvItem, next_tlv};
use crate::packet_buf::PacketBuf;
use crate::policy::Policy;
use crate::wire::Mode;

/// The integrity claim of a packet's TLVs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// No HMAC TLV, and none is needed.
    NotAsked,
    /// An HMAC TLV whose header is at this place, from the start of the payload. It covers the packet's Sequence Number
    /// and all octets from the end of the base packet to this place.
    At(usize),
    /// Verification must fail: it is missing where it must be, stands twice or in front of other TLVs than Extra
    /// Padding, has a wrong Length, or some TLV is malformed.
    Wrong,
}

impl Placement {
    /// Returns the offset of the value of an HMAC TLV at `at`.
    pub const fn value(at: usize) -> usize {
        at + HEADER_LEN
    }
}

/// Looks for the HMAC TLV in a payload of `len` octets.
///
/// An authenticated session must have one, unless a single Extra Padding is all it has (RFC 8972 §4.8).
pub fn find<B: PacketBuf>(payload: &B, len: usize, mode: Mode, policy: &Policy) -> Placement {
    let mut at = mode.base_len();
    let mut hmac = None;
    let mut is_wrong = false;
    let mut is_malformed = false;
    let mut others = 0usize;
    let mut paddings = 0usize;
    loop {
        match next_tlv(payload, at, len, policy) {
            TlvItem::End => break,
            TlvItem::Stray | TlvItem::Overrun(_) => {
                is_malformed = true;
                break;
            }
            TlvItem::Tlv(tlv) => {
                is_malformed |= !tlv.is_well_formed;
                if tlv.number == Kind::Hmac as u8 {
                    is_wrong |= hmac.is_some();
                    hmac = Some(tlv.at);
                } else if tlv.number == Kind::ExtraPadding as u8 {
                    paddings += 1;
                } else {
                    is_wrong |= hmac.is_some();
                    others += 1;
                }
                at = tlv.end();
            }
        }
    }
    match (hmac, mode) {
        (Some(_), _) if is_wrong || is_malformed => Placement::Wrong,
        (Some(at), _) => Placement::At(at),
        (None, Mode::Unauthenticated) => Placement::NotAsked,
        (None, Mode::Authenticated) if others == 0 && paddings <= 1 && !is_malformed => Placement::NotAsked,
        (None, Mode::Authenticated) => Placement::Wrong,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::packet_buf::SliceBuf;

    fn found(mode: Mode, tlvs: &[(u8, usize)]) -> Placement {
        let mut octets = std::vec![1; mode.base_len()];
        for (code, length) in tlvs {
            octets.extend([0x80, *code, 0, *length as u8]);
            octets.extend(std::iter::repeat_n(0x11, *length));
        }
        let len = octets.len();
        find(&SliceBuf(&mut octets), len, mode, &Policy::DEFAULT)
    }

    #[test]
    fn it_stands_behind_all_but_padding() {
        assert_eq!(found(Mode::Unauthenticated, &[(3, 4), (8, 16)]), Placement::At(52));
        assert_eq!(found(Mode::Unauthenticated, &[(1, 4), (8, 16), (1, 8)]), Placement::At(52));
        assert_eq!(found(Mode::Unauthenticated, &[(8, 16), (3, 4)]), Placement::Wrong);
        assert_eq!(found(Mode::Unauthenticated, &[(8, 16), (200, 0)]), Placement::Wrong);
        assert_eq!(found(Mode::Unauthenticated, &[(8, 16), (8, 16)]), Placement::Wrong);
        assert_eq!(found(Mode::Unauthenticated, &[(8, 15)]), Placement::Wrong);
        assert_eq!(found(Mode::Unauthenticated, &[(3, 5), (8, 16)]), Placement::Wrong);
        assert_eq!(found(Mode::Unauthenticated, &[(3, 5)]), Placement::NotAsked);
    }

    #[test]
    fn authenticated_sessions_need_one() {
        assert_eq!(found(Mode::Authenticated, &[]), Placement::NotAsked);
        assert_eq!(found(Mode::Authenticated, &[(1, 9)]), Placement::NotAsked);
        assert_eq!(found(Mode::Authenticated, &[(1, 9), (1, 9)]), Placement::Wrong);
        assert_eq!(found(Mode::Authenticated, &[(3, 4)]), Placement::Wrong);
        assert_eq!(found(Mode::Authenticated, &[(3, 4), (8, 16)]), Placement::At(120));
    }

    #[test]
    fn a_stray_tail_behind_it_counts_as_malformed() {
        let mut octets: Vec<u8> = std::vec![0; 44];
        octets.extend([0x80, 8, 0, 16]);
        octets.extend([0x11; 16]);
        octets.extend([1, 2]);
        let len = octets.len();
        assert_eq!(find(&SliceBuf(&mut octets), len, Mode::Unauthenticated, &Policy::DEFAULT), Placement::Wrong);
    }
}
