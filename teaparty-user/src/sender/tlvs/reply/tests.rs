//! Judging the TLVs of hand-made replies (conformance rows C087 to C089, C173, C174).

use proptest::prelude::*;

use super::*;

const BASE: usize = 44;

fn reply(tlvs: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; BASE];
    octets[3] = 9;
    octets.extend_from_slice(tlvs);
    octets
}

fn outcomes(payload: &[u8], key: Option<&HmacKey>) -> Vec<(u8, TlvOutcome)> {
    let check = Check { policy: &Policy::DEFAULT, key, sent: &[] };
    reply_tlvs(payload, BASE, check).iter().map(|answer| (answer.code, answer.outcome)).collect()
}

fn signed(tlvs: &[u8], key: &HmacKey) -> Vec<u8> {
    let mut all = tlvs.to_vec();
    all.extend([0, 8, 0, 16]);
    all.extend(key.tlv_hmac([0, 0, 0, 9], tlvs));
    reply(&all)
}

const TIME: [u8; 8] = [0, 3, 0, 4, 1, 2, 1, 2];

#[test]
fn u_skips_that_tlv_alone_c087() {
    let payload = reply(&[&[0x80, 4, 0, 4, 1, 2, 3, 4][..], &TIME].concat());
    assert_eq!(outcomes(&payload, None), [(4, TlvOutcome::Unrecognized), (3, TlvOutcome::Answered)]);
}

#[test]
fn m_stops_processing_c088() {
    let payload = reply(&[&TIME[..], &[0x40, 4, 0, 4, 1, 2, 3, 4], &TIME].concat());
    assert_eq!(
        outcomes(&payload, None),
        [(3, TlvOutcome::Answered), (4, TlvOutcome::Malformed), (3, TlvOutcome::Skipped)]
    );
}

#[test]
fn a_length_that_is_wrong_for_the_type_counts_as_malformed_whatever_the_flags_say() {
    assert_eq!(outcomes(&reply(&[0, 4, 0, 2, 1, 2]), None), [(4, TlvOutcome::Malformed)]);
    assert_eq!(outcomes(&reply(&[0, 4, 0, 200, 1, 2]), None), [(4, TlvOutcome::Malformed)]);
}

#[test]
fn i_on_any_tlv_voids_all_of_them_c089() {
    let payload = reply(&[&TIME[..], &[0x20, 4, 0, 4, 1, 2, 3, 4]].concat());
    assert_eq!(outcomes(&payload, None), [(3, TlvOutcome::NotAuthentic), (4, TlvOutcome::NotAuthentic)]);
}

#[test]
fn a_wrong_or_missing_hmac_voids_all_of_them_c174() {
    let key = HmacKey::new(b"right").unwrap();
    let payload = signed(&TIME, &key);
    assert_eq!(outcomes(&payload, Some(&key)), [(3, TlvOutcome::Answered), (8, TlvOutcome::Answered)]);
    let other = HmacKey::new(b"wrong").unwrap();
    assert!(outcomes(&payload, Some(&other)).iter().all(|(_, outcome)| *outcome == TlvOutcome::NotAuthentic));
    assert!(outcomes(&reply(&TIME), Some(&key)).iter().all(|(_, outcome)| *outcome == TlvOutcome::NotAuthentic));
    for octet in [3, 44, 47, 51, 56, 71] {
        let mut changed = payload.clone();
        changed[octet] ^= 1;
        let outcomes = outcomes(&changed, Some(&key));
        assert!(outcomes.iter().all(|(_, outcome)| *outcome == TlvOutcome::NotAuthentic), "{octet} {outcomes:?}");
    }
}

#[test]
fn padding_may_stand_behind_the_hmac_and_nothing_else_may() {
    let key = HmacKey::new(b"key").unwrap();
    let mut payload = signed(&TIME, &key);
    payload.extend([0, 1, 0, 1, 7]);
    assert_eq!(outcomes(&payload, Some(&key))[0].1, TlvOutcome::Answered);
    payload.extend(TIME);
    assert_eq!(outcomes(&payload, Some(&key))[0].1, TlvOutcome::NotAuthentic);
    // The sole exception: one Extra Padding alone needs none.
    assert_eq!(outcomes(&reply(&[0, 1, 0, 1, 7]), Some(&key)), [(1, TlvOutcome::Answered)]);
}

#[test]
fn class_of_service_v2_is_legal_in_a_reply() {
    assert_eq!(outcomes(&reply(&[0, 248, 0, 4, 1, 2, 3, 4]), None), [(248, TlvOutcome::Answered)]);
}

#[test]
fn zeros_and_stray_octets_are_no_tlvs() {
    assert_eq!(outcomes(&reply(&[0; 30]), None), []);
    assert_eq!(outcomes(&reply(&[1, 2, 3]), None), []);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200), tail in prop::collection::vec((any::<u8>(), any::<u8>(), 0u8..20, prop::collection::vec(any::<u8>(), 0..24)), 0..8)) {
        let mut payload = payload;
        for (flags, code, length, value) in tail {
            payload.extend([flags, code, 0, length]);
            payload.extend(value);
        }
        let key = HmacKey::new(b"key").unwrap();
        for base_len in [44, 112] {
            for key in [None, Some(&key)] {
                let found = reply_tlvs(&payload, base_len, Check { policy: &Policy::DEFAULT, key, sent: &[] });
                for answer in found {
                    prop_assert!(answer.value.len() <= payload.len());
                    let _ = subs(answer.value).count();
                }
            }
        }
    }
}
