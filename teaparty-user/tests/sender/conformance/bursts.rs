//! Reflected Test Packet Control (RFC 10052): several replies to each packet.

use std::time::Duration;

use serde_json::{Value, json};

use super::fake::{Fake, Seen, open_reply, tlv};

/// A reflector that sends `count` replies to each packet, so far apart; `number` gives the number of the k-th to the n-th.
fn bursting(count: u32, apart: Duration, number: fn(u32, u32) -> u32) -> Fake {
    Fake::start(move |n, request| {
        let reply = |k: u32| {
            let mut reply = open_reply(request, number(n, k));
            // T3 is later in each of them.
            let t3 = u64::from_be_bytes(reply[4..12].try_into().unwrap());
            let after = ((apart * k).as_nanos() as u64 * (1 << 32)) / 1_000_000_000 + u64::from(k);
            reply[4..12].copy_from_slice(&(t3 + after).to_be_bytes());
            (apart * k, reply)
        };
        (0..count).map(reply).collect()
    })
}

fn counts(summary: &Value) -> [u64; 5] {
    ["sent", "received", "duplicates", "further_replies", "further_replies_lost"]
        .map(|key| summary[key].as_u64().unwrap())
}

fn gaps(seen: &[Seen]) -> Vec<Duration> {
    seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[test]
fn no_request_goes_out_before_the_burst_is_over_and_its_replies_are_no_duplicates_c243() {
    // Once a stateful reflector, once a stateless one, whose replies all have our number.
    for number in [(|n, k| n * 4 + k) as fn(u32, u32) -> u32, |n, _| n] {
        let fake = bursting(4, Duration::from_millis(40), number);
        let (code, summary) = fake.measure("-i 1ms -W 2s tlvs reflected-control --count 4 --interval 40ms");
        assert_eq!((code, counts(&summary)), (0, [3, 3, 0, 9, 0]));
        assert_eq!(tlv(&summary, "reflected-control")["value"]["count"], json!(4));
        let gaps = gaps(&fake.stop());
        assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(120)), "{gaps:?}");
    }
}

#[test]
fn a_length_of_eight_may_come_back_only_where_it_was_sent_c230() {
    let shorten = |reply: &mut Vec<u8>| {
        reply[47] = 8;
        reply.truncate(56);
    };
    let outcomes = |options: &str| {
        let (code, summary) = Fake::editing(shorten).measure(&format!("tlvs reflected-control {options}"));
        assert_eq!(code, 0);
        let found = tlv(&summary, "reflected-control");
        (found["answered"].clone(), found["malformed"].clone())
    };
    assert_eq!(outcomes("--short"), (json!(3), json!(0)));
    assert_eq!(outcomes(""), (json!(0), json!(3)));
}

#[test]
fn a_burst_that_is_declined_holds_nothing_up_c243() {
    for flag in [0x80, 0x10] {
        let fake = Fake::editing(move |reply| reply[44] = flag);
        let (code, summary) = fake.measure("-i 1ms -W 5s tlvs reflected-control --count 100 --interval 1s");
        assert_eq!((code, counts(&summary)), (0, [3, 3, 0, 0, 0]), "{flag:#x}");
        assert!(summary["duration_ns"].as_u64().unwrap() < 4_000_000_000, "{flag:#x}");
    }
}

#[test]
fn replies_that_are_missing_from_a_burst_are_counted_and_hold_up_only_as_long_as_they_may_c243() {
    let fake = Fake::start(|n, request| {
        [0, 2].map(|k| (Duration::from_millis(20 * u64::from(k)), open_reply(request, n * 3 + k))).into()
    });
    let (code, summary) = fake.measure("-i 1ms -W 300ms tlvs reflected-control --count 3 --interval 20ms");
    assert_eq!((code, counts(&summary)), (0, [3, 3, 0, 3, 3]));
    let words = tlv(&summary, "reflected-control")["words"].as_str().unwrap();
    assert!(words.ends_with("; 3 of them are missing") && !words.contains("as asked"), "{words}");
    let gaps = gaps(&fake.stop());
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(40)), "{gaps:?}");
}

#[test]
fn doubled_replies_of_a_burst_are_duplicates() {
    let fake = Fake::start(|n, request| {
        let burst = [0, 1].map(|k| (Duration::from_millis(10 * u64::from(k)), open_reply(request, n * 2 + k)));
        burst.iter().cloned().chain([burst[0].clone()]).collect()
    });
    let (_, summary) = fake.measure("-i 1ms tlvs reflected-control --count 2 --interval 10ms");
    assert_eq!(counts(&summary), [3, 3, 3, 3, 0]);
}

#[test]
fn where_no_reply_is_asked_for_none_is_missing() {
    for chain in ["return-path --no-reply", "reflected-control --count 0"] {
        let (code, summary) = Fake::silent().measure(&format!("-W 50ms tlvs {chain}"));
        assert_eq!(
            (code, &summary["sent"], &summary["lost"], &summary["loss"]),
            (0, &json!(3), &json!(0), &json!(0.0))
        );
    }
}
