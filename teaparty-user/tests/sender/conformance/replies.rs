//! What the sender makes of replies and their TLVs (RFC 8762 §4.3, RFC 8972 §4, RFC 9534, stamp-ber-07).

use serde_json::{Value, json};

use super::fake::{Fake, tlv, tlvs};

const U: u8 = 0x80;
const M: u8 = 0x40;
const I: u8 = 0x20;

#[test]
fn what_must_be_zero_in_a_reply_is_ignored_c035() {
    let fake = Fake::editing(|reply| {
        reply[38..40].fill(0xff);
        reply[41..44].fill(0xff);
    });
    let (code, summary) = fake.measure("");
    assert_eq!((code, &summary["received"], &summary["samples"]["total"]), (0, &json!(3), &json!(3)));
    assert_eq!(summary["ttl"]["forward"]["seen"], json!({ "255": 3 }));
}

#[test]
fn a_tlv_that_comes_back_with_u_is_skipped_alone_c087() {
    let fake = Fake::editing(|reply| {
        let found = tlvs(reply, 44);
        reply[found[0]] = U;
        reply[found[0] + 4..found[0] + 8].fill(0xff);
        reply[found[1] + 4..found[1] + 8].copy_from_slice(&[1, 2, 1, 2]);
    });
    let (_, summary) = fake.measure("tlvs class-of-service -- time");
    let (skipped, used) = (tlv(&summary, "class-of-service"), tlv(&summary, "time"));
    assert_eq!(
        (&skipped["unrecognized"], &skipped["answered"], &skipped["value"]),
        (&json!(3), &json!(0), &Value::Null)
    );
    assert_eq!((&used["answered"], &used["value"]["sync_source_in"]), (&json!(3), &json!(1)));
    // Nor is the traffic class there taken from the junk.
    assert_eq!(summary["traffic_class"]["forward"]["seen"], json!({}));
}

#[test]
fn m_stops_the_processing_of_tlvs_c088_c176() {
    let fake = Fake::editing(|reply| {
        let found = tlvs(reply, 44);
        reply[found[1]] = M;
    });
    let (_, summary) = fake.measure("tlvs time -- class-of-service -- location");
    assert_eq!(tlv(&summary, "time")["answered"], json!(3));
    assert_eq!(
        (&tlv(&summary, "class-of-service")["malformed"], &tlv(&summary, "location")["skipped"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(tlv(&summary, "class-of-service")["value"], Value::Null);
    assert_eq!(tlv(&summary, "location")["value"], Value::Null);
    // The base packet stays usable.
    assert_eq!(summary["samples"]["total"], json!(3));
}

#[test]
fn a_length_that_is_wrong_in_the_reply_is_malformed_whatever_its_flags_say_c088_c131_c176() {
    for length in [0u16, 3, 5, 0x7fff, 0xffff] {
        let fake = Fake::editing(move |reply| reply[46..48].copy_from_slice(&length.to_be_bytes()));
        let (code, summary) = fake.measure("tlvs time");
        let time = tlv(&summary, "time");
        assert_eq!((code, &time["malformed"], &time["value"]), (0, &json!(3), &Value::Null), "{length}");
    }
}

#[test]
fn i_on_any_tlv_voids_all_of_them_c089_c173() {
    for at in 0..2 {
        let fake = Fake::editing(move |reply| {
            let found = tlvs(reply, 44);
            reply[found[at]] = I;
        });
        let (code, summary) = fake.measure("tlvs time -- class-of-service");
        for name in ["time", "class-of-service"] {
            let found = tlv(&summary, name);
            assert_eq!((&found["not_authentic"], &found["value"]), (&json!(3), &Value::Null), "{at} {name}");
        }
        assert_eq!((code, &summary["samples"]["total"]), (0, &json!(3)), "the base packet stays usable");
    }
}

#[test]
fn reserved_flags_of_a_reply_are_ignored_c080() {
    let fake = Fake::editing(|reply| reply[44] = 0x0f);
    let (_, summary) = fake.measure("tlvs time");
    assert_eq!(tlv(&summary, "time")["answered"], json!(3));
}

#[test]
fn replies_of_other_member_links_are_discarded_c223() {
    // Ours is 7. The reflector's is whatever the first reply says, or what the user says.
    for (ids, chain, received) in [
        ([[7, 4], [7, 4], [7, 4]], "micro-session --sender-id 7", 3),
        ([[7, 4], [7, 5], [7, 4]], "micro-session --sender-id 7", 2),
        ([[8, 4], [7, 4], [8, 4]], "micro-session --sender-id 7", 1),
        ([[7, 4], [7, 5], [7, 4]], "micro-session --sender-id 7 --reflector-id 5", 1),
    ] {
        let mut number = 0;
        let fake = Fake::editing(move |reply| {
            reply[48..52].copy_from_slice(&[0, ids[number][0], 0, ids[number][1]]);
            number += 1;
        });
        let (_, summary) = fake.measure(&format!("tlvs {chain}"));
        let ignored = &summary["targets"][0]["ignored"]["other_link"];
        assert_eq!((&summary["received"], ignored), (&json!(received), &json!(3 - received)), "{ids:?} {chain}");
    }
}

#[test]
fn bit_errors_are_not_asked_for_again_after_u_c272() {
    let fake = Fake::editing(|reply| {
        for at in tlvs(reply, 44) {
            reply[at] = if reply[at + 1] == 1 { 0 } else { U };
        }
    });
    let (_, summary) = fake.measure("-c 5 -i 50ms tlvs time -- bit-error-rate --size 8");
    let kinds: Vec<Vec<u8>> = fake
        .stop()
        .iter()
        .map(|seen| tlvs(&seen.payload, 44).into_iter().map(|at| seen.payload[at + 1]).collect())
        .collect();
    assert_eq!((&kinds[0], &kinds[4]), (&vec![3, 0xf0, 0xf1, 0xf2, 1], &vec![3, 1]));
    assert_eq!((&summary["received"], &tlv(&summary, "padding")["answered"]), (&json!(5), &json!(5)));
}

#[test]
fn a_burst_that_is_not_known_does_not_end_the_count_c272() {
    let fake = Fake::editing(|reply| {
        for at in tlvs(reply, 44) {
            reply[at] = if reply[at + 1] == 0xf2 { U } else { 0 };
        }
    });
    let (_, summary) = fake.measure("-c 5 -i 50ms tlvs bit-error-rate --size 8");
    let last = fake.stop().pop().unwrap().payload;
    let kinds: Vec<u8> = tlvs(&last, 44).into_iter().map(|at| last[at + 1]).collect();
    assert_eq!(kinds, [0xf0, 0xf1, 1]);
    assert_eq!(tlv(&summary, "bit-error-count")["answered"], json!(5));
}

#[test]
fn an_access_report_is_told_until_a_reply_holds_it_c133_c135_c136_c137_c138_c140() {
    let reports = |fake: Fake| -> Vec<std::time::Instant> {
        fake.stop().into_iter().filter(|seen| seen.payload.len() > 44).map(|seen| seen.at).collect()
    };
    // Nobody answers: once, and four times more.
    let silent = Fake::silent();
    silent.measure("-c 1 -W 1ms tlvs access-report --timer 200ms");
    let at = reports(silent);
    assert_eq!(at.len(), 5, "C138");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= std::time::Duration::from_millis(100)), "C137: {at:?}");
    let settable = Fake::silent();
    settable.measure("-c 1 -W 1ms tlvs access-report --timer 10ms --retransmissions 2");
    assert_eq!(reports(settable).len(), 3, "C140");
    // A reply that holds it ends that; one that holds another does not.
    let answering = Fake::editing(|_| {});
    answering.measure("-c 5 -i 30ms tlvs access-report --timer 60ms");
    assert_eq!(reports(answering).len(), 1, "C136");
    let other = Fake::editing(|reply| {
        if reply.len() > 44 {
            reply[48] = 0x30;
        }
    });
    other.measure("-c 1 tlvs access-report --timer 60ms");
    assert_eq!(reports(other).len(), 5, "C133");
}

#[test]
fn the_timer_of_an_access_report_is_three_seconds_c139() {
    let fake = Fake::silent();
    fake.measure("-c 1 -W 1ms tlvs access-report --retransmissions 1");
    let at: Vec<_> = fake.stop().into_iter().map(|seen| seen.at).collect();
    assert_eq!(at.len(), 2);
    assert!(at[1] - at[0] >= std::time::Duration::from_millis(2_900), "{:?}", at[1] - at[0]);
}

#[test]
fn the_longest_reply_that_there_is_comes_whole() {
    for octets in [9_216, 9_217, 65_507] {
        // One Extra Padding TLV: its Length has 16 bits.
        let fake = Fake::editing(move |reply| {
            reply.extend([0, 1]);
            reply.extend(((octets - reply.len() - 2) as u16).to_be_bytes());
            reply.resize(octets, 0xa5);
        });
        let (code, summary) = fake.measure("--size 60");
        assert_eq!(
            (code, &summary["received"], &summary["ignored"]["malformed"]),
            (0, &json!(3), &json!(0)),
            "{octets}"
        );
        let padding = tlv(&summary, "padding");
        assert_eq!((&padding["answered"], &padding["malformed"]), (&json!(6), &json!(0)), "{summary:#}");
    }
}
