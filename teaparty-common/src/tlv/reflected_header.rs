//! Reflected IPv6 Extension Header Data: an extension header of the request, given back as it was received
//! (draft-ietf-ippm-stamp-ext-hdr-15 §4). Its sibling for fixed headers needs no file: one header, one comparison.

use super::Tlv;
use super::header::Flags;
use crate::packet_buf::PacketBuf;

/// Octets of the selector at the head of the Value: zero for the first header of the right size.
const SELECTOR: usize = 8;

/// The extension headers that have been returned already, as bits by their place in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used(u32);

/// Copies the header that the selector means into the Value; C and the Value unchanged where there is none.
///
/// `chain` is the received extension headers, from the end of the IPv6 header up to the UDP header.
pub fn reflect<B: PacketBuf>(payload: &mut B, tlv: &Tlv, chain: &[u8], used: &mut Used) -> Flags {
    let Some(selector) = payload.get::<SELECTOR>(tlv.value()) else {
        return Flags::CONFORMANT;
    };
    let mut rest = chain;
    // RFC 8200 knows no packet with more than a handful; the bits of `Used` are the bound.
    for place in 0..u32::BITS {
        let Some((head, header, tail)) = split_header(rest) else { break };
        let is_free = used.0 >> place & 1 == 0;
        let is_meant = selector == [0; SELECTOR] || selector == head;
        if is_free && is_meant && header.len() == usize::from(tlv.length) {
            for (i, octet) in header.iter().enumerate() {
                payload.put(tlv.value() + i, [*octet]);
            }
            used.0 |= 1 << place;
            return Flags::NONE;
        }
        rest = tail;
    }
    Flags::CONFORMANT
}

/// The first extension header: its first eight octets, all of it, and what is after it.
fn split_header(chain: &[u8]) -> Option<([u8; SELECTOR], &[u8], &[u8])> {
    let head: [u8; SELECTOR] = chain.get(..SELECTOR)?.try_into().ok()?;
    let len = 8 + usize::from(head[1]) * 8;
    Some((head, chain.get(..len)?, chain.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_buf::SliceBuf;

    const CHAIN: [u8; 24] = [
        60, 0, 1, 2, 3, 4, 5, 6, // hop-by-hop, 8 octets
        17, 1, 9, 9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 8, 8, 8, // destination options, 16 octets
    ];

    fn ask(length: u16, selector: [u8; 8], used: &mut Used) -> (Flags, [u8; 16]) {
        let mut octets = [0u8; 20];
        octets[4..12].copy_from_slice(&selector);
        let tlv = Tlv { at: 0, length, code: 246, number: 19, is_well_formed: true };
        let flags = reflect(&mut SliceBuf(&mut octets), &tlv, &CHAIN, used);
        (flags, octets[4..].try_into().unwrap())
    }

    #[test]
    fn zero_selector_takes_the_first_unused_header_of_that_size_c262() {
        let mut used = Used::default();
        let (flags, value) = ask(16, [0; 8], &mut used);
        assert_eq!((flags, &value[..]), (Flags::NONE, &CHAIN[8..]));
        let (flags, value) = ask(8, [0; 8], &mut used);
        assert_eq!((flags, &value[..8]), (Flags::NONE, &CHAIN[..8]));
        assert_eq!(ask(8, [0; 8], &mut used).0, Flags::CONFORMANT);
    }

    #[test]
    fn selector_must_equal_the_head_of_a_header_c262_c263() {
        let head: [u8; 8] = CHAIN[8..16].try_into().unwrap();
        assert_eq!(ask(16, head, &mut Used::default()), (Flags::NONE, CHAIN[8..].try_into().unwrap()));
        assert_eq!(ask(8, head, &mut Used::default()).0, Flags::CONFORMANT);
        let (flags, value) = ask(16, [1; 8], &mut Used::default());
        assert_eq!((flags, &value[..8]), (Flags::CONFORMANT, &[1; 8][..]));
    }
}
