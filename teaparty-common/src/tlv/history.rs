//! History: the session's last exchanges, newest first (the namesake's; no specification).

use super::Tlv;
use super::measurement::{HISTORY_DEPTH, HistoryEntry};
use crate::packet_buf::PacketBuf;
use crate::packet_meta::PacketMeta;

/// Octets of an entry.
const ENTRY_LEN: usize = size_of::<HistoryEntry>();

/// Fills the Value: as many past exchanges as fit, the last one cut where its place is, and zeros after them. The
/// exchange that is under way is not in it, and a stateless session has none.
///
/// `remembered` gives the exchange with this Sequence Number in its reply, if it is remembered.
pub fn reflect<B: PacketBuf, T: Into<HistoryEntry>>(
    payload: &mut B,
    tlv: &Tlv,
    meta: &PacketMeta,
    remembered: impl Fn(u32) -> Option<T>,
) {
    let depth = if meta.is_stateful() && meta.history_tag != 0 { HISTORY_DEPTH as u32 } else { 0 };
    let mut entries = (1..=depth).filter_map(|back| remembered(meta.sequence.wrapping_sub(back)));
    let length = usize::from(tlv.length);
    let mut done = 0;
    while done < length {
        let octets: [u8; ENTRY_LEN] = match entries.next() {
            Some(entry) => zerocopy::transmute!(entry.into()),
            None => [0; ENTRY_LEN],
        };
        if done + ENTRY_LEN <= length {
            payload.put(tlv.value() + done, octets);
        } else {
            octets[..length - done].iter().enumerate().for_each(|(i, octet)| {
                payload.put(tlv.value() + done + i, [*octet]);
            });
        }
        done += ENTRY_LEN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_buf::SliceBuf;
    use crate::tlv::measurement::HistorySlot;

    fn slot(sequence: u32) -> HistorySlot {
        HistorySlot { tag: 1, reflector_sequence: sequence, sender_sequence: sequence + 100, ..HistorySlot::default() }
    }

    #[test]
    fn newest_comes_first_and_the_last_is_cut() {
        let mut octets = [0xa5; 4 + 32 + 6];
        let tlv = Tlv { at: 0, length: 38, code: 244, number: 18, is_well_formed: true };
        let meta = PacketMeta { flags: PacketMeta::STATEFUL, history_tag: 1, sequence: 9, ..PacketMeta::default() };
        reflect(&mut SliceBuf(&mut octets), &tlv, &meta, |n| (7..=8).contains(&n).then(|| slot(n)));
        assert_eq!(octets[4..12], [0, 0, 0, 8, 0, 0, 0, 108]);
        assert_eq!(octets[36..42], [0, 0, 0, 7, 0, 0]);
    }

    #[test]
    fn a_stateless_session_has_none() {
        let mut octets = [0xa5; 4 + 40];
        let tlv = Tlv { at: 0, length: 40, code: 244, number: 18, is_well_formed: true };
        reflect(&mut SliceBuf(&mut octets), &tlv, &PacketMeta::default(), |n| Some(slot(n)));
        assert_eq!(octets[4..], [0; 40]);
    }
}
