//! The vectors, and the cases of `tlvs.toml`, against their reflector: whether a reply comes, how long it is, and the
//! flags of each TLV in it. Values that tell of the path differ with the path, and are not compared.

use std::net::UdpSocket;
use std::time::Duration;

use teaparty_common::wire::Mode;
use teaparty_testing::skip::or_skip;
use teaparty_testing::{cases, vectors};

use super::programs::{KEY, stamp_suite, their_reflector};
use super::table::{Between, Seen};

const BASE: usize = 44;
/// Types that only we know; to stamp-suite they are unknown ones.
const OURS_ALONE: [u8; 4] = [179, 243, 244, 248];
/// Vectors that assume of the reflector what theirs does not have here.
const ELSEWHERE: [(&str, &str); 3] = [
    ("V70", "the address 198.51.100.20"),
    ("V76", "that it sends replies to other addresses"),
    ("V80", "the address 198.51.100.20, and Reflected Test Packet Control switched on"),
];
/// Enough on loopback; what stays silent costs as much.
const PATIENCE: Duration = Duration::from_millis(700);

/// Length and flags of a reply. Flags are taken where the expected reply has TLVs, and masked as there.
fn describe(reply: Option<&[u8]>, layout: &[u8], mask: &[u8]) -> String {
    let Some(reply) = reply else { return "silence".into() };
    let mut text = format!("{} octets", reply.len());
    let mut at = BASE;
    let is_padding = |at: usize| layout[at..].iter().all(|octet| *octet == 0);
    while at + 4 <= layout.len() && !is_padding(at) {
        let flags = reply.get(at).map_or("none".into(), |flags| format!("{:02x}", flags & mask[at] & 0xf0));
        text += &format!(" {}:{flags}", layout[at + 1]);
        at += 4 + usize::from(u16::from_be_bytes([layout[at + 2], layout[at + 3]]));
    }
    text
}

fn exchange(port: u16, request: &[u8]) -> Option<Vec<u8>> {
    // A socket for each: their reflector knows sessions by it.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(request, ("127.0.0.1", port)).unwrap();
    let mut buffer = [0; 65_536];
    socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())
}

#[test]
fn the_vectors_with_their_reflector() {
    if or_skip(stamp_suite()).is_none() {
        return;
    }
    // The member link of the vectors.
    let plain = their_reflector(&["--reflector-member-link-id", "34"]);
    let keyed = their_reflector(&["--reflector-member-link-id", "34", "--hmac-key", KEY, "--verify-tlv-hmac"]);
    let mut seen = Seen::default();
    let is_known = |request: &[u8]| request.get(BASE + 1).is_none_or(|code| !OURS_ALONE.contains(code));
    // IPv6 and several replies to a request are for other tests.
    let is_portable = |vector: &vectors::Vector| {
        vector.ctx.mode == Mode::Unauthenticated
            && vector.ctx.source.is_ipv4()
            && vector.replies.len() <= 1
            && is_known(&vector.request)
            && ELSEWHERE.iter().all(|(id, _)| *id != vector.id)
    };
    for vector in vectors::all().into_iter().filter(is_portable) {
        let reflector = if vector.ctx.tlv_key.is_some() { &keyed } else { &plain };
        let reply = exchange(reflector.port, &vector.request);
        let layout = vector.replies.first().map_or(&[][..], Vec::as_slice);
        let expected = describe(vector.replies.first().map(Vec::as_slice), layout, &vector.mask);
        seen.note(&vector.id, expected, describe(reply.as_deref(), layout, &vector.mask));
    }
    for case in cases::all().into_iter().filter(|case| is_known(&case.request())) {
        let tail = case.reply_tail();
        let whole = tail.as_ref().map(|(tail, _)| [&[0; BASE][..], tail].concat());
        let mask = tail.as_ref().map_or_else(Vec::new, |(_, mask)| [&[0; BASE][..], mask].concat());
        let layout = whole.as_deref().unwrap_or_default();
        let reply = exchange(plain.port, &case.request());
        seen.note(&case.name, describe(whole.as_deref(), layout, &mask), describe(reply.as_deref(), layout, &mask));
    }
    seen.judge(Between::Vectors, "flags and lengths");
}
