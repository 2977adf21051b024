//! The dissector `dist/wireshark/stamp.lua`, as tshark runs it: each field against the parser of `teaparty-common`, what it
//! computes from several packets, what it warns about, and that no octets make it fail. Needs tshark, and no root.

mod bodies;
mod exchanges;
mod expected;
mod experts;
mod hostile;
mod live;
mod tshark;

use std::collections::BTreeSet;
use std::net::IpAddr;

use teaparty_common::wire::Mode;
use teaparty_testing::cases::BASE;
use teaparty_testing::frame::Datagram;
use teaparty_testing::skip::or_skip;
use teaparty_testing::{cases, vectors};

use self::expected::Origin;
use self::tshark::Fields;

/// The time at which the captures begin, in nanoseconds since 1970: that of the vectors.
const START: u64 = 1_746_049_288_271_330_430;

/// TLVs that no vector has, or not with these sub-TLVs.
const REST: [&[&[u8]]; 10] = [
    &[&[0x80, 179, 0, 4, 0x29, 0xb8, 0x40, 0]],
    &[&[0x80, 2, 0, 16, 3, 94, 192, 48], &[0, 3, 0, 8, 2, 0, 94, 0xff, 0xfe, 16, 0, 1]],
    &[&[0x80, 9, 0, 16, 0x20, 1, 0xd, 0xb8], &[0; 11], &[1]],
    &[&[0x80, 10, 0, 20, 0x80, 2, 0, 16, 0x20, 1, 0xd, 0xb8], &[0; 11], &[1]],
    &[&[0x80, 10, 0, 36, 0x80, 4, 0, 32, 0x20, 1, 0xd, 0xb8], &[0; 11], &[1], &[7; 16]],
    &[
        &[0x80, 12, 0, 36, 0, 200, 0, 3, 0, 1, 0x86, 0xa0],
        &[0x80, 10, 0, 4, 1, 2, 3, 4],
        &[0x80, 10, 0, 12],
        &[8; 12],
        &[0; 4],
    ],
    &[
        &[0x80, 12, 0, 40, 0, 200, 0, 3, 0, 1, 0x86, 0xa0],
        &[0x80, 11, 0, 20, 64, 0, 0, 0],
        &[9; 16],
        &[0x80, 240, 0, 4, 1, 2, 3, 4],
    ],
    &[&[0x80, 242, 0, 4, 0, 0, 0, 17], &[0x80, 242, 0, 8, 2, 0, 94, 16, 0, 1, 0, 0]],
    &[&[0x80, 247, 0, 40, 0x60, 0, 0, 0], &[0x11; 36]],
    &[&[0x80, 244, 0, 56], &[0x55; 56], &[0x80, 244, 0, 7], &[0x66; 7]],
];

/// A test packet in a capture, with what is to be seen of it.
struct Sample {
    title: String,
    time: u64,
    origin: Origin,
    mode: Mode,
    datagram: Datagram,
}

/// A reply's base packet, to be put in front of TLVs.
fn reply_base() -> Vec<u8> {
    let vector = vectors::all().into_iter().find(|vector| vector.id == "V01").expect("V01 is a plain exchange");
    vector.replies[0].clone()
}

/// Returns a datagram as the vectors' sender sends it, from this port.
fn request(payload: Vec<u8>, port: u16) -> Datagram {
    Datagram { source_port: port, ..Datagram::new(payload) }
}

/// Returns a datagram as the vectors' reflector sends it, to this port.
fn reply(payload: Vec<u8>, port: u16) -> Datagram {
    let request = request(payload, port);
    Datagram {
        source: request.destination,
        destination: request.source,
        source_port: request.destination_port,
        destination_port: request.source_port,
        ..request
    }
}

/// Returns the requests and replies of both tables of vectors, each vector with a conversation of its own.
fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |title: &str, origin, mode, datagram| {
        let time = START + samples.len() as u64 * 1_000_000;
        samples.push(Sample { title: title.to_owned(), time, origin, mode, datagram });
    };
    let mut port = 20_000;
    for vector in vectors::all() {
        port += 1;
        let (source, destination): (IpAddr, IpAddr) = (vector.ctx.source, vector.ctx.destination);
        let mode = vector.ctx.mode;
        let datagram = Datagram { source, destination, ..request(vector.request, port) };
        add(&format!("{}, request", vector.id), Origin::Sender, mode, datagram);
        for octets in vector.replies {
            let datagram = Datagram { source: destination, destination: source, ..reply(octets, port) };
            add(&format!("{}, reply", vector.id), Origin::Reflector, mode, datagram);
        }
    }
    for case in cases::all() {
        port += 1;
        add(&format!("{}, request", case.name), Origin::Sender, Mode::Unauthenticated, request(case.request(), port));
        if let Some((tail, _)) = case.reply_tail() {
            let octets = [reply_base(), tail].concat();
            add(&format!("{}, reply", case.name), Origin::Reflector, Mode::Unauthenticated, reply(octets, port));
        }
    }
    for tlv in REST {
        port += 1;
        let tlv: Vec<u8> = tlv.concat();
        add(
            "one of the rest, request",
            Origin::Sender,
            Mode::Unauthenticated,
            request([&BASE, tlv.as_slice()].concat(), port),
        );
        let octets = [reply_base(), tlv].concat();
        add("one of the rest, reply", Origin::Reflector, Mode::Unauthenticated, reply(octets, port));
    }
    samples
}

/// Returns true for fields that are computed, or that only hold others.
fn is_derived(name: &str) -> bool {
    const DERIVED: [&str; 8] =
        ["tlv", "sub", "history", "residence", "round_trip", "net_round_trip", "request_in", "reply_in"];
    let name = name.trim_start_matches("stamp.");
    DERIVED.contains(&name) || name.starts_with("loss.") || name.ends_with(".bound")
}

#[test]
fn each_field_of_the_vectors_is_what_the_parser_reads() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let samples = samples();
    let frames: Vec<Vec<u8>> = samples.iter().map(|sample| sample.datagram.build()).collect();
    let capture =
        tshark::capture(samples.iter().map(|sample| sample.time).zip(frames.iter().map(Vec::as_slice)), 65_535);
    let names = tshark::names();
    let shown = tshark::fields(capture.path(), &names, &[]);
    assert_eq!(shown.len(), samples.len());
    let mut seen = BTreeSet::new();
    for (sample, shown) in samples.iter().zip(&shown) {
        let payload = &sample.datagram.payload;
        let expected = expected::fields(payload, sample.origin, sample.mode, sample.time);
        let parsed: Fields =
            shown.iter().filter(|(name, _)| !is_derived(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        assert_eq!(parsed, expected, "{}: {}", sample.title, expected::hex(payload));
        bounds_are_right(shown);
        seen.extend(parsed.into_keys());
    }
    let unseen: Vec<&String> = names.iter().filter(|name| !is_derived(name) && !seen.contains(*name)).collect();
    assert!(unseen.is_empty(), "no packet has {unseen:?}");
}

/// Checks each error bound against Scale and Multiplier beside it.
fn bounds_are_right(fields: &Fields) {
    for name in ["stamp.error_estimate", "stamp.sender_error_estimate"] {
        let number = |part: &str| fields.get(&format!("{name}.{part}")).map(|values| values[0].parse::<f64>().unwrap());
        let Some(bound) = number("bound") else { continue };
        let right = number("multiplier").unwrap() * (number("scale").unwrap() - 32.0).exp2();
        assert!((bound - right).abs() <= right * 1e-9, "{name}: {bound}, and not {right}");
    }
}
