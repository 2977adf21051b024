//! Authenticated sessions and the HMAC TLV (RFC 8762 §4.4, RFC 8972 §4.8).

use serde_json::{Value, json};
use teaparty_user::crypto::HmacKey;

use super::fake::{Fake, open_reply, tlv, tlvs, unsigned_reply};

const KEY: &[u8] = b"0123456789abcdef";

fn key() -> HmacKey {
    HmacKey::new(KEY).unwrap()
}

/// A file with the key, and the option that names it.
fn key_file(option: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KEY).unwrap();
    let words = format!("{option} {}", file.path().display());
    (file, words)
}

/// Signs the TLVs behind `base` octets, if there is an HMAC TLV among them.
fn sign_tlvs(packet: &mut [u8], base: usize) {
    if let Some(at) = tlvs(packet, base).into_iter().find(|at| packet[at + 1] == 8) {
        let hmac = key().tlv_hmac(*packet.first_chunk().unwrap(), &packet[base..at]);
        packet[at + 4..at + 20].copy_from_slice(&hmac);
    }
}

/// A reflector whose signed replies `edit` changes before and `forge` after they are signed.
fn signing(edit: impl Fn(&mut Vec<u8>) + Send + 'static, forge: impl Fn(u32, &mut Vec<u8>) + Send + 'static) -> Fake {
    Fake::start(move |number, request| {
        let mut reply = unsigned_reply(request, number);
        edit(&mut reply);
        sign_tlvs(&mut reply, 112);
        key().sign_base(&mut reply);
        forge(number, &mut reply);
        vec![(Default::default(), reply)]
    })
}

#[test]
fn an_authenticated_packet_has_112_octets_zeros_and_its_hmac_c011_c024_c025_c039_c040_c060() {
    let (_file, option) = key_file("--auth-key-file");
    let fake = Fake::silent();
    fake.measure(&format!("-W 1ms --ssid 4660 {option}"));
    for (number, seen) in fake.stop().into_iter().enumerate() {
        let packet = seen.payload;
        assert_eq!((packet.len(), &packet[..4]), (112, &(number as u32).to_be_bytes()[..]));
        assert_eq!(packet[26..28], [0x12, 0x34]);
        assert!(packet[4..16].iter().chain(&packet[28..96]).all(|octet| *octet == 0), "C025");
        let seconds = u32::from_be_bytes(packet[16..20].try_into().unwrap());
        assert!(seconds > 3_900_000_000, "C024: T1 at 16 {seconds}");
        assert_ne!(packet[25], 0, "C021: Multiplier at 25");
        assert!(key().verify_base(&packet));
        // C040: each octet in front of it counts.
        for at in 0..96 {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert!(!key().verify_base(&changed), "{at}");
        }
    }
}

#[test]
fn zeros_of_an_authenticated_reply_are_ignored_but_hashed_c038() {
    const ZEROS: [std::ops::Range<usize>; 6] = [4..16, 28..32, 40..48, 52..64, 74..80, 81..96];
    let (_file, option) = key_file("--auth-key-file");
    let filled = signing(|reply| ZEROS.into_iter().for_each(|zeros| reply[zeros].fill(0xff)), |_, _| {});
    let (code, summary) = filled.measure(&option);
    assert_eq!((code, &summary["received"], &summary["samples"]["total"]), (0, &json!(3), &json!(3)));
    // Changed after the signature they spoil it.
    let forged = signing(|_| {}, |number, reply| reply[ZEROS[number as usize].start] ^= 1);
    let (code, summary) = forged.measure(&option);
    assert_eq!((code, &summary["ignored"]["unauthenticated"]), (4, &json!(3)));
}

#[test]
fn nothing_of_a_reply_is_used_unless_its_hmac_is_right_c042() {
    let (_file, option) = key_file("--auth-key-file");
    let fake = signing(|_| {}, |number, reply| reply[[0, 40, 111][number as usize]] ^= 0x80);
    let (code, summary) = fake.measure(&option);
    assert_eq!((code, &summary["received"], &summary["round_trip_ns"]), (4, &json!(0), &Value::Null));
    assert_eq!((&summary["ignored"]["unauthenticated"], &summary["unmatched"]), (&json!(3), &json!(0)));
    // A reply as short as an unauthenticated one has no HMAC to verify.
    let open = Fake::editing(|reply| reply.truncate(44));
    let (code, summary) = open.measure(&option);
    assert_eq!((code, &summary["ignored"]["malformed"]), (4, &json!(3)));
}

/// Types of the TLVs in the first packet that is sent with these options.
fn kinds(options: &str, base: usize) -> Vec<u8> {
    let fake = Fake::silent();
    fake.measure(&format!("-c 1 -W 1ms {options}"));
    let packet = fake.stop().remove(0).payload;
    tlvs(&packet, base).into_iter().map(|at| packet[at + 1]).collect()
}

#[test]
fn an_hmac_tlv_goes_along_where_it_must_and_stands_where_it_must_c160_c161_c162_c165_c166() {
    let (_file, auth) = key_file("--auth-key-file");
    let (_file, tlv_key) = key_file("--tlv-key-file");
    assert_eq!(kinds(&format!("{auth} tlvs time -- location"), 112), [3, 2, 8], "C160");
    assert_eq!(kinds(&format!("{auth} tlvs access-report"), 112), [6, 8], "C160");
    assert_eq!(kinds(&format!("{auth} --size 200"), 112), [1], "C161");
    assert_eq!(kinds(&format!("{auth} tlvs padding -- padding"), 112), [1, 1, 8], "C161: two are no exception");
    assert_eq!(kinds(&format!("{auth} --size 200 tlvs hmac -- time"), 112), [3, 8, 1], "C162");
    assert_eq!(kinds(&format!("{tlv_key} tlvs time"), 44), [3, 8], "C165");
    assert_eq!(kinds("tlvs time", 44), [3], "C166: nobody asked");
}

#[test]
fn the_hmac_covers_the_number_and_all_tlvs_in_front_c167_c168() {
    let (_file, option) = key_file("--tlv-key-file");
    let fake = Fake::silent();
    fake.measure(&format!("-W 1ms {option} tlvs padding -s 9 -- direct-measurement"));
    for seen in fake.stop() {
        let packet = seen.payload;
        let at = *tlvs(&packet, 44).last().unwrap();
        assert_eq!((at, &packet[at..at + 4]), (44 + 13 + 16, &[0x80, 8, 0, 16][..]));
        let is_right =
            |packet: &[u8]| key().verify_tlvs(*packet.first_chunk().unwrap(), &packet[44..at], &packet[at + 4..]);
        assert!(is_right(&packet));
        for covered in (0..4).chain(44..at) {
            let mut changed = packet.clone();
            changed[covered] ^= 1;
            assert!(!is_right(&changed), "{covered}");
        }
    }
}

#[test]
fn tlvs_are_used_only_if_their_hmac_is_right_c169_c174() {
    let (_file, option) = key_file("--tlv-key-file");
    let reply = |forge: fn(&mut Vec<u8>)| {
        let fake = Fake::start(move |number, request| {
            let mut reply = open_reply(request, number);
            sign_tlvs(&mut reply, 44);
            forge(&mut reply);
            vec![(Default::default(), reply)]
        });
        let (code, summary) = fake.measure(&format!("{option} tlvs time"));
        assert_eq!((code, &summary["received"]), (0, &json!(3)), "the base packet stays usable");
        tlv(&summary, "time").clone()
    };
    let right = reply(|_| {});
    assert_eq!((&right["answered"], right["value"].is_object()), (&json!(3), true));
    for (what, forge) in [
        ("a wrong HMAC", (|reply| reply[60] ^= 1) as fn(&mut Vec<u8>)),
        ("another value", |reply| reply[48] ^= 1),
        ("another number", |reply| reply[3] ^= 1),
        ("no HMAC TLV", |reply| reply.truncate(52)),
        ("an HMAC TLV too long", |reply| {
            reply[55] = 20;
            reply.extend([0; 4]);
        }),
        ("a TLV behind it", |reply| reply.extend([0, 3, 0, 4, 1, 1, 1, 1])),
    ] {
        let found = reply(forge);
        assert_eq!((&found["answered"], &found["value"]), (&json!(0), &Value::Null), "{what}");
        assert!(found["not_authentic"].as_u64().unwrap() >= 3, "{what}");
    }
}
