//! An iterator over the TLVs of a packet in a slice.

use super::header::{Flags, HEADER_LEN, Header};
use super::iter::{Tlv, TlvItem, next_tlv};
use crate::packet_buf::ReadOnlyBuf;
use crate::policy::Policy;
use crate::registry::Kind;

/// A TLV with its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvView<'a> {
    /// Its place and its header.
    pub tlv: Tlv,
    /// Its flags (RFC 8972 §4.1).
    pub flags: Flags,
    /// Its Value.
    pub value: &'a [u8],
}

impl TlvView<'_> {
    /// Returns its kind, or `None` if the type is unknown.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.tlv.number)
    }
}

/// A TLV whose Length goes past the end of the packet. Nothing follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvOverrun<'a> {
    /// Offset of its header, from the start of the UDP payload.
    pub at: usize,
    /// Its header.
    pub header: Header,
    /// The octets of its Value that are in the packet.
    pub value: &'a [u8],
}

/// An iterator over the TLVs of a packet, in order. Made by [`tlvs`].
///
/// It ends at the end of the packet, at a tail of zeros (padding of TWAMP-Light senders), at one to three octets that
/// can hold no header, and after the first error.
#[derive(Clone)]
pub struct TlvIter<'a, 'p> {
    payload: &'a [u8],
    policy: &'p Policy,
    at: usize,
}

/// Returns the TLVs of the UDP payload `payload` that follow its first `base_len` octets (RFC 8972 §4).
///
/// `policy` maps types to kinds; [`Policy::DEFAULT`] has the numbers of the registry. A TLV that is complete but has the
/// wrong Length for its type is no error: [`Tlv::is_well_formed`] is false.
///
/// # Errors
///
/// An item is a [`TlvOverrun`] if its Length goes past the end of `payload`.
///
/// ```
/// use teaparty_common::policy::Policy;
/// use teaparty_common::tlv::{Kind, tlvs};
///
/// let mut packet = vec![0; 44];
/// packet.extend([0x80, 1, 0, 2, 0xab, 0xcd]);         // Extra Padding of two octets, U flag set
/// let tlv = tlvs(&packet, 44, &Policy::DEFAULT).next().unwrap().unwrap();
/// assert_eq!(tlv.kind(), Some(Kind::ExtraPadding));
/// assert_eq!(tlv.value, [0xab, 0xcd]);
/// ```
pub const fn tlvs<'a, 'p>(payload: &'a [u8], base_len: usize, policy: &'p Policy) -> TlvIter<'a, 'p> {
    TlvIter { payload, policy, at: base_len }
}

impl<'a> Iterator for TlvIter<'a, '_> {
    type Item = Result<TlvView<'a>, TlvOverrun<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        match next_tlv(&ReadOnlyBuf(self.payload), at, self.payload.len(), self.policy) {
            TlvItem::End | TlvItem::Stray => None,
            TlvItem::Overrun(header) => {
                self.at = self.payload.len();
                Some(Err(TlvOverrun { at, header, value: self.payload.get(at + HEADER_LEN..)? }))
            }
            TlvItem::Tlv(tlv) => {
                self.at = tlv.end();
                let value = self.payload.get(tlv.value()..tlv.end())?;
                Some(Ok(TlvView { tlv, flags: Flags(*self.payload.get(at)?), value }))
            }
        }
    }
}

impl core::iter::FusedIterator for TlvIter<'_, '_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base packet's octets, then these.
    fn packet<const N: usize>(tail: [u8; N]) -> [u8; 64] {
        let mut packet = [0; 64];
        packet[44..44 + N].copy_from_slice(&tail);
        packet
    }

    #[test]
    fn tlvs_come_in_order_and_a_tail_of_zeros_ends_them() {
        let packet = packet([0, 1, 0, 0, 0x80, 3, 0, 4, 1, 2, 3, 4]);
        let mut walk = tlvs(&packet, 44, &Policy::DEFAULT);
        let first = walk.next().unwrap().unwrap();
        assert_eq!((first.kind(), first.value.len()), (Some(Kind::ExtraPadding), 0));
        let second = walk.next().unwrap().unwrap();
        assert_eq!((second.tlv.at, second.flags, second.value), (48, Flags::UNRECOGNIZED, &[1, 2, 3, 4][..]));
        assert_eq!(walk.next(), None);
        assert_eq!(walk.next(), None);
    }

    #[test]
    fn a_length_past_the_end_is_an_error_and_the_last_item() {
        let packet = packet([0, 1, 0, 17]);
        let mut walk = tlvs(&packet, 44, &Policy::DEFAULT);
        let overrun = walk.next().unwrap().unwrap_err();
        assert_eq!((overrun.at, overrun.value.len()), (44, 16));
        assert_eq!(walk.next(), None);
    }

    #[test]
    fn octets_too_few_for_a_header_and_a_base_past_the_end_give_nothing() {
        assert_eq!(tlvs(&[1, 2, 3], 0, &Policy::DEFAULT).next(), None);
        assert_eq!(tlvs(&[1, 2, 3], 44, &Policy::DEFAULT).next(), None);
    }
}
