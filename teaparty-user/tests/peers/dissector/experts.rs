//! Expert infos: what a reflector rejects, marks or ignores is shown as that, and an ordinary packet is shown without any.

use teaparty_testing::cases::BASE;
use teaparty_testing::frame::Datagram;
use teaparty_testing::skip::or_skip;

use super::tshark;
use super::{START, reply, reply_base, request};

/// Returns the expert infos of each frame, by their names, sorted and each once.
fn experts(datagrams: &[Datagram]) -> Vec<Vec<String>> {
    let frames: Vec<Vec<u8>> = datagrams.iter().map(Datagram::build).collect();
    let times = (0..).map(|number| START + number * 1_000_000);
    let capture = tshark::capture(times.zip(frames.iter().map(Vec::as_slice)), 65_535);
    let path = capture.path().to_str().unwrap();
    // Read once, so that requests without a reply get none.
    let text = tshark::run(&["-r", path, "-T", "pdml"]);
    let name = |line: &str| Some(line.split_once("<field name=\"stamp.expert.")?.1.split_once('"')?.0.to_owned());
    let packets = text.split("<packet>").skip(1);
    packets
        .map(|packet| {
            let mut names: Vec<String> = packet.lines().filter_map(name).collect();
            names.sort();
            names.dedup();
            names
        })
        .collect()
}

/// Returns a base packet with octets changed.
fn changed(base: &[u8], at: usize, octets: &[u8]) -> Vec<u8> {
    let mut packet = base.to_vec();
    packet[at..at + octets.len()].copy_from_slice(octets);
    packet
}

#[test]
fn what_a_reflector_rejects_is_an_expert_info() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let base = reply_base();
    let sent = |tail: &[u8]| [BASE.as_slice(), tail].concat();
    let back = |tail: &[u8]| [base.as_slice(), tail].concat();
    let requests = [
        (BASE.to_vec(), ""),
        (sent(&[0x80, 3, 0, 4, 0, 0, 0, 0]), ""),
        (BASE[..13].to_vec(), "short"),
        (BASE[..30].to_vec(), "no_ssid"),
        (changed(&BASE, 20, &[1]), "mbz"),
        (changed(&BASE, 12, &[0x8a, 0]), "multiplier"),
        (changed(&BASE, 8, &[0xff, 0xff, 0xff, 0xff, 0xca, 5]), "nanoseconds"),
        (sent(&[0x80, 3, 0, 3, 0, 0, 0]), "tlv_length"),
        (sent(&[0x80, 3, 0, 5, 0, 0, 0, 0]), "tlv_overrun"),
        (sent(&[1, 2, 3]), "tlv_stray"),
        (sent(&[0x80, 200, 0, 0]), "tlv_unknown"),
        (sent(&[0x00, 1, 0, 0]), "flag_u_clear"),
        (sent(&[0xc0, 1, 0, 0]), "flag_sent"),
        (sent(&[0x81, 1, 0, 0]), "reserved"),
        (sent(&[0x80, 248, 0, 4, 0, 1, 0, 0]), "tlv_filled"),
        (sent(&[0x80, 6, 0, 4, 0x30, 1, 0, 0]), "access_id"),
        (sent(&[0x80, 10, 0, 8, 0x80, 1, 0, 4, 0, 0, 0, 0]), "no_reply_wanted"),
        (sent(&[0x80, 2, 0, 12, 0, 0, 0, 0, 0x80, 1, 0, 4, 0, 0, 0, 0]), "tlv_length"),
        (sent(&[0x80, 2, 0, 12, 0, 0, 0, 0, 0x80, 1, 0, 8, 0, 0, 0, 0]), "tlv_overrun"),
        (sent(&[[0x80, 8, 0, 16].as_slice(), &[7; 16], &[0x80, 5, 0, 12], &[0; 12]].concat()), "tlv_after_hmac"),
        (sent(&[[0x80, 8, 0, 16].as_slice(), &[7; 16], &[0x80, 1, 0, 0]].concat()), ""),
    ];
    let replies = [
        (base.clone(), ""),
        (base[..40].to_vec(), "short"),
        (changed(&base, 38, &[1]), "mbz"),
        (changed(&base, 36, &[0, 0]), "multiplier"),
        (changed(&base, 4, &[0xea]), "residence"),
        (back(&[0x80, 3, 0, 4, 0, 0, 0, 0]), "flag_u"),
        (back(&[0x40, 3, 0, 3, 0, 0, 0]), "flag_m,tlv_length"),
        (back(&[0x20, 3, 0, 4, 1, 2, 1, 2]), "flag_i"),
        (back(&[0x10, 12, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "flag_c"),
        (back(&[0x00, 248, 0, 4, 0, 1, 0, 1]), ""),
    ];
    let mut port = 20_000;
    let mut next = || {
        port += 1;
        port
    };
    let mut datagrams: Vec<Datagram> = requests.iter().map(|(octets, _)| request(octets.clone(), next())).collect();
    datagrams.extend(replies.iter().map(|(octets, _)| reply(octets.clone(), next())));
    let found = experts(&datagrams);
    assert_eq!(found.len(), requests.len() + replies.len());
    for ((octets, wanted), found) in requests.iter().chain(&replies).zip(found) {
        assert_eq!(found.join(","), *wanted, "{octets:02x?}");
    }
}

#[test]
fn an_ssid_that_changes_in_a_conversation_is_an_expert_info() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let ssid = |base: &[u8], ssid: u8| changed(base, 14, &[0, ssid]);
    // The reply to this base packet: it repeats number and T1.
    let mut answer = reply_base();
    answer[24..28].copy_from_slice(&BASE[..4]);
    answer[28..36].copy_from_slice(&BASE[4..12]);
    let found = experts(&[
        request(ssid(&BASE, 5), 20_000),
        reply(ssid(&answer, 5), 20_000),
        request(ssid(&BASE, 5), 20_000),
        request(ssid(&BASE, 6), 20_000),
        reply(ssid(&answer, 0), 20_000),
        reply(ssid(&answer, 5), 20_000),
        request(ssid(&BASE, 7), 20_001),
    ]);
    let found: Vec<String> = found.iter().map(|names| names.join(",")).collect();
    assert_eq!(found, ["", "", "", "ssid_changed", "ssid_unknown", "another_reply,ssid_differs", ""]);
}
