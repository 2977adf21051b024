//! Residual bit errors: Extra Padding compared with the pattern that it was filled with (draft-gandhi-ippm-stamp-ber-07 §4).

use super::Kind;
use super::{Tlv, TlvItem, next_tlv};
use crate::packet_buf::PacketBuf;
use crate::policy::Policy;

/// The pattern of a sender that states none.
pub const DEFAULT_PATTERN: [u8; 2] = [0xff, 0x00];

/// The bit errors of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitErrorResult {
    /// It can't be measured: padding missing or more than one, a TLV of these twice, or a pattern that is empty or does
    /// not divide the padding. C on these TLVs.
    Unmeasurable,
    /// The padding was compared.
    Measured {
        /// Bits that arrived wrong.
        errors: u32,
        /// Longest run of wrong bits.
        burst: u32,
        /// Offset and length of the padding's Value.
        padding: (usize, usize),
        /// Offset and length of the pattern that the packet states; `None` where it states none.
        pattern: Option<(usize, usize)>,
    },
}

/// Compares the padding of a packet whose TLVs begin at `base_len`; `None` where no TLV of these asks for it.
///
/// `agreed` is the pattern of a packet that states none: [`DEFAULT_PATTERN`] unless the session has another one.
pub fn measure<B: PacketBuf>(
    payload: &B,
    base_len: usize,
    len: usize,
    policy: &Policy,
    agreed: &[u8],
) -> Option<BitErrorResult> {
    let mut padding: Option<Tlv> = None;
    let mut pattern: Option<Tlv> = None;
    let mut is_asked = false;
    let mut is_wrong = false;
    let mut seen = [false; 2];
    let mut at = base_len;
    while let TlvItem::Tlv(tlv) = next_tlv(payload, at, len, policy) {
        if !tlv.is_well_formed {
            break;
        }
        if tlv.number == Kind::ExtraPadding as u8 {
            is_wrong |= padding.replace(tlv).is_some();
        } else if tlv.number == Kind::BitErrorPattern as u8 {
            is_asked = true;
            is_wrong |= pattern.replace(tlv).is_some();
        } else if tlv.number == Kind::BitErrorCount as u8 || tlv.number == Kind::BitErrorBurst as u8 {
            is_asked = true;
            let seen = &mut seen[usize::from(tlv.number == Kind::BitErrorBurst as u8)];
            is_wrong |= core::mem::replace(seen, true);
        }
        at = tlv.end();
    }
    if !is_asked {
        return None;
    }
    let pattern = pattern.map(|tlv| (tlv.value(), usize::from(tlv.length)));
    let pattern_len = pattern.map_or(agreed.len(), |(_, len)| len);
    let Some(padding) = padding.map(|tlv| (tlv.value(), usize::from(tlv.length))) else {
        return Some(BitErrorResult::Unmeasurable);
    };
    if is_wrong || pattern_len == 0 || padding.1 % pattern_len != 0 {
        return Some(BitErrorResult::Unmeasurable);
    }
    let (errors, burst) = count(payload, padding, pattern, agreed);
    Some(BitErrorResult::Measured { errors, burst, padding, pattern })
}

/// Puts the pattern back into the padding, for the way back.
pub fn repair<B: PacketBuf>(payload: &mut B, padding: (usize, usize), pattern: Option<(usize, usize)>, agreed: &[u8]) {
    for i in 0..padding.1 {
        let clean = pattern_octet(payload, pattern, agreed, i);
        payload.put(padding.0 + i, [clean]);
    }
}

/// The octet that the pattern has for the padding's octet `i`.
fn pattern_octet<B: PacketBuf>(payload: &B, pattern: Option<(usize, usize)>, agreed: &[u8], i: usize) -> u8 {
    match pattern {
        None => agreed.get(i.checked_rem(agreed.len()).unwrap_or(0)).copied().unwrap_or(0),
        Some((at, len)) => payload.get::<1>(at + i % len).map_or(0, |[octet]| octet),
    }
}

/// Wrong bits, and the longest run of them.
fn count<B: PacketBuf>(
    payload: &B,
    padding: (usize, usize),
    pattern: Option<(usize, usize)>,
    agreed: &[u8],
) -> (u32, u32) {
    let (mut errors, mut burst, mut run) = (0, 0, 0);
    for i in 0..padding.1 {
        let octet = payload.get::<1>(padding.0 + i).map_or(0, |[octet]| octet);
        let wrong = octet ^ pattern_octet(payload, pattern, agreed, i);
        errors += wrong.count_ones();
        for bit in (0..8).rev() {
            run = if wrong >> bit & 1 != 0 { run + 1 } else { 0 };
            burst = if run > burst { run } else { burst };
        }
    }
    (errors, burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_buf::SliceBuf;

    fn measured(octets: &mut [u8]) -> Option<BitErrorResult> {
        let len = octets.len();
        measure(&SliceBuf(octets), 0, len, &Policy::DEFAULT, &DEFAULT_PATTERN)
    }

    #[test]
    fn runs_go_over_octets_and_repair_restores_the_pattern() {
        // Padding ff 00 ff 00 with the last bit of the first octet and the first two of the second one wrong.
        let mut octets = [0x80, 241, 0, 4, 0, 0, 0, 0, 0x80, 1, 0, 4, 0xfe, 0xc0, 0xff, 0x01];
        let Some(BitErrorResult::Measured { errors: 4, burst: 3, padding, pattern }) = measured(&mut octets) else {
            panic!("{:?}", measured(&mut octets));
        };
        repair(&mut SliceBuf(&mut octets), padding, pattern, &DEFAULT_PATTERN);
        assert_eq!(octets[12..], [0xff, 0, 0xff, 0]);
        assert_eq!(octets[..8], [0x80, 241, 0, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn what_cannot_be_compared_is_unmeasurable() {
        assert_eq!(measured(&mut [0x80, 1, 0, 0]), None);
        for octets in [
            &mut [0x80, 241, 0, 4, 0, 0, 0, 0][..],
            &mut [0x80, 240, 0, 0, 0x80, 1, 0, 1, 7],
            &mut [0x80, 240, 0, 2, 1, 2, 0x80, 1, 0, 1, 7],
            &mut [0x80, 240, 0, 1, 1, 0x80, 1, 0, 1, 7, 0x80, 1, 0, 1, 7],
        ] {
            assert_eq!(measured(octets), Some(BitErrorResult::Unmeasurable), "{octets:?}");
        }
    }
}
