//! Authenticated packets and HMAC TLVs as the texts lay them out, by both engines: sizes, what must be zero, and places.

use std::time::{SystemTime, UNIX_EPOCH};

use super::signed::{BASE, SharedKey, witness};
use teaparty_testing::reflector::{Net, V4};
use teaparty_testing::skip::or_skip;

/// Timestamp Information, as a sender sends it, and Extra Padding.
const TIME: [u8; 8] = [0x80, 3, 0, 4, 0, 0, 0, 0];
const PADDING: [u8; 9] = [0x80, 1, 0, 5, 1, 2, 3, 4, 5];

/// Calls `check` with a reflector that has one key for all, by either engine.
fn with_each_engine(check: impl Fn(&Net, &SharedKey, &str)) {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(11);
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode, "--auth-key-file", key.path()]);
        check(&net, &key, mode);
        reflector.stop();
    }
}

/// A signed packet of this number with these TLVs after it, as they are.
fn packet(key: &SharedKey, sequence: u32, tlvs: &[u8]) -> Vec<u8> {
    [key.packet(sequence, &[], key), tlvs.to_vec()].concat()
}

#[test]
fn what_must_be_zero_is_ignored_but_hashed_and_zero_in_the_reply_c026_c036_c037_c043() {
    with_each_engine(|net, key, mode| {
        let client = net.client(V4, 862);
        let mut request = key.packet(7, &[], key);
        request[4..16].fill(0xff);
        request[28..96].fill(0xff);
        // The old HMAC does not cover that.
        client.send(&request);
        key.sign(&mut request);
        let before = ntp_seconds();
        let reply = client.exchange(&request).unwrap_or_else(|| panic!("{mode}: no reply"));
        assert_eq!(reply.len(), BASE);
        assert_eq!(reply[..4], [0; 4], "{mode}: the first reply: there was none to the packet that was not signed");
        for zeros in [4..16, 28..32, 40..48, 52..64, 74..80, 81..96] {
            assert!(reply[zeros.clone()].iter().all(|octet| *octet == 0), "{mode}: C037 {zeros:?}");
        }
        assert_eq!(reply[26..28], request[26..28], "{mode}: SSID");
        let seconds = |at: usize| u64::from(u32::from_be_bytes(reply[at..at + 4].try_into().unwrap()));
        for at in [16, 32] {
            assert!((before..=ntp_seconds()).contains(&seconds(at)), "{mode}: C036 time at {at}");
        }
        assert_eq!(reply[48..52], request[..4], "{mode}: C036 sender's number");
        assert_eq!(reply[64..74], request[16..26], "{mode}: C036 sender's time and estimate");
        assert_eq!(reply[80], 64, "{mode}: C036 TTL, which the system's own sockets send with");
        assert!(key.has_signed(&reply), "{mode}: C043");
    });
}

fn ntp_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2_208_988_800
}

#[test]
fn an_authenticated_packet_under_112_octets_is_never_answered_c047() {
    with_each_engine(|net, key, mode| {
        let client = net.client(V4, 862);
        let good = key.packet(3, &[], key);
        for len in [0, 1, 14, 43, 44, 96, 111] {
            client.send(&good[..len]);
        }
        // Had one of them been answered, that reply would come first, or this one would have another number.
        let reply = client.exchange(&good).unwrap_or_else(|| panic!("{mode}: no reply"));
        assert_eq!((reply.len(), &reply[..4]), (BASE, &[0; 4][..]), "{mode}");
    });
}

#[test]
fn authenticated_tlvs_need_an_hmac_tlv_unless_they_are_one_padding_c160_c161_c163_c164_c168() {
    with_each_engine(|net, key, mode| {
        let client = net.client(V4, 862);
        let hmac = |tlvs: &[u8]| key.hmac_tlv(&packet(key, 5, tlvs), BASE);
        let long = {
            let mut long = hmac(&TIME);
            long[3] = 32;
            long.extend([0; 16]);
            long
        };
        let cases: [(&str, Vec<u8>, bool); 7] = [
            ("one padding alone, C161", PADDING.to_vec(), true),
            ("an HMAC TLV at the end", [&TIME[..], &hmac(&TIME)].concat(), true),
            ("padding behind it, C163", [&TIME[..], &hmac(&TIME), &PADDING].concat(), true),
            ("none, C160", TIME.to_vec(), false),
            ("two paddings, C161", [PADDING, PADDING].concat(), false),
            ("another TLV after it, C164", [&hmac(&[])[..], &TIME].concat(), false),
            ("one of 32 octets, C168", [&TIME[..], &long].concat(), false),
        ];
        for (what, tlvs, is_right) in cases {
            let request = packet(key, 5, &tlvs);
            let reply = client.exchange(&request).unwrap_or_else(|| panic!("{mode}, {what}: no reply"));
            assert_eq!(reply.len(), request.len(), "{mode}, {what}");
            let mut at = BASE;
            while at < reply.len() {
                let expected = if is_right { 0 } else { 0x20 };
                assert_eq!(reply[at] & 0x70, expected, "{mode}, {what}: I, and not M, at {at}");
                at += 4 + usize::from(u16::from_be_bytes([reply[at + 2], reply[at + 3]]));
            }
            assert!(key.has_signed(&reply), "{mode}, {what}: the base packet is unaffected");
        }
    });
}

#[test]
fn t2_is_taken_on_arrival_and_t3_when_the_reply_leaves_c029_c030() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode]);
        let client = net.client(V4, 862);
        let mut request = vec![0; 44];
        request[13] = 1;
        for _ in 0..50 {
            let sent = ntp();
            let reply = client.exchange(&request).unwrap_or_else(|| panic!("{mode}: no reply"));
            let received = ntp();
            let time = |at: usize| u64::from_be_bytes(reply[at..at + 8].try_into().unwrap());
            let (t3, t2) = (time(4), time(16));
            // Both ends have one clock. A microsecond is for what conversions round away.
            assert!(sent <= t2 + 4_300 && t2 <= t3 && t3 <= received + 4_300, "{mode}: {sent} {t2} {t3} {received}");
        }
        reflector.stop();
    }
}

/// The clock as NTP has it, in units of 2^-32 seconds.
fn ntp() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    ((now.as_secs() + 2_208_988_800) << 32) | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000)
}

/// Calls `check` with what sends TLVs in an unauthenticated packet and returns those of the reply, for each of these engines.
fn with_open(modes: &[&str], check: impl Fn(&str, &mut dyn FnMut(&[u8]) -> Vec<u8>)) {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in modes {
        let reflector = net.reflector(&["--xdp-mode", mode]);
        let mut client = net.client(V4, 862);
        check(mode, &mut |tlvs| client.ask(tlvs).unwrap_or_else(|| panic!("{mode}: no reply"))[44..].to_vec());
        reflector.stop();
    }
}

#[test]
fn a_socket_has_no_mac_address_to_tell_c112() {
    let tlv = |flags: u8, sub: u8| [&[flags, 2, 0, 16, 0, 0, 0, 0, flags, sub, 0, 8][..], &[0; 8]].concat();
    with_open(&["off"], |_, reflect| {
        let reply = reflect(&tlv(0x80, 1));
        assert_eq!(reply[..4], [0, 2, 0, 16]);
        assert_eq!(reply[8..], tlv(0, 3)[8..], "Source EUI-64, all zero");
    });
}

#[test]
fn an_extension_header_ahead_of_a_fixed_one_spoils_all_of_them_c264() {
    let extension = [&[0x80, 246, 0, 8][..], &[0; 8]].concat();
    let fixed = [&[0x80, 247, 0, 20][..], &[0; 20]].concat();
    with_open(&["native", "off"], |mode, reflect| {
        let reply = reflect(&[&fixed[..], &extension, &fixed].concat());
        for at in [0, 24, 36] {
            assert_eq!(reply[at], 0x10, "{mode}: C at {at}");
        }
        assert!(reply[4..24].iter().chain(&reply[28..36]).chain(&reply[40..]).all(|octet| *octet == 0), "{mode}");
    });
}

#[test]
fn bit_errors_are_not_counted_where_padding_and_pattern_do_not_fit_c271() {
    let pattern = [0x80, 240, 0, 2, 0xff, 0];
    let count = [0x80, 241, 0, 4, 0, 0, 0, 0];
    // Not what the pattern would give: a count would not be zero.
    let padding = [0x80, 1, 0, 4, 0xff, 0, 0x0f, 0];
    with_open(&["native", "off"], |mode, reflect| {
        for (what, tlvs) in [
            ("no padding", [&pattern[..], &count].concat()),
            ("two paddings", [&pattern[..], &count, &padding, &padding].concat()),
            ("three octets of a pattern of two", [&pattern[..], &count, &[0x80, 1, 0, 3, 0xff, 0, 0x0f]].concat()),
            ("two counts", [&pattern[..], &count, &count, &padding].concat()),
            ("an empty pattern", [&[0x80, 240, 0, 0][..], &count, &padding].concat()),
        ] {
            let reply = reflect(&tlvs);
            let mut at = 0;
            while at < reply.len() {
                let is_padding = reply[at + 1] == 1;
                assert_eq!(reply[at], if is_padding { 0 } else { 0x10 }, "{mode}, {what}: flags of the TLV at {at}");
                let next = at + 4 + usize::from(reply[at + 3]);
                assert_eq!(reply[at + 1..next], tlvs[at + 1..next], "{mode}, {what}: nothing else has changed");
                at = next;
            }
        }
    });
}
