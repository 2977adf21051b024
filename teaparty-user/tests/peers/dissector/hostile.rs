//! No octets make the dissector raise a Lua error.

use teaparty_common::tlv::{CodePoints, Profile};
use teaparty_testing::packets;
use teaparty_testing::random::Random;
use teaparty_testing::skip::or_skip;

use super::tshark;
use super::{START, reply, request, samples};

/// Packets for each combination of settings.
const PACKETS: usize = 4_000;

/// Changes octets, takes some out, puts some in, and cuts.
fn mutate(random: &mut Random, octets: &mut Vec<u8>) {
    for _ in 0..random.below(6) {
        let at = random.below(octets.len() + 1);
        match random.below(4) {
            0 => octets.splice(at..at, random.few_octets(1, 8)).for_each(drop),
            1 => octets.drain(at..octets.len().min(at + 1 + random.below(8))).for_each(drop),
            _ => {
                if let Some(octet) = octets.get_mut(at) {
                    *octet = if random.one_in(2) { random.octet() } else { *octet ^ 1 << random.below(8) };
                }
            }
        }
    }
    if random.one_in(3) {
        octets.truncate(random.below(octets.len() + 1));
    }
}

/// Returns a frame: with random octets, with a mutated vector, or as the tests of the kernel program are fed.
fn frame(random: &mut Random, vectors: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = match random.below(4) {
        0 => return packets::frame(random, &CodePoints::new(Profile::Current)),
        1 => random.few_octets(0, 300),
        _ => vectors[random.below(vectors.len())].clone(),
    };
    mutate(random, &mut octets);
    let port = random.pick(&[862, 49_200, 49_201]);
    if random.one_in(2) { request(octets, port).build() } else { reply(octets, port).build() }
}

#[test]
fn hostile_octets_raise_no_error() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let seed = std::env::var("TEAPARTY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20);
    println!("TEAPARTY_SEED={seed}");
    let mut random = Random::new(seed);
    let vectors: Vec<Vec<u8>> = samples().into_iter().map(|sample| sample.datagram.payload).collect();
    let settings: [(&[&str], usize); 5] = [
        (&[], 65_535),
        (&["-2"], 65_535),
        (&["-2", "-o", "stamp.ports:1-65535"], 100),
        (&["-o", "stamp.mode:authenticated", "-o", "stamp.timestamps:ptp"], 150),
        (&["-o", "stamp.mode:unauthenticated", "-o", "stamp.timestamps:ntp"], 60),
    ];
    for (arguments, snaplen) in settings {
        let frames: Vec<Vec<u8>> = (0..PACKETS).map(|_| frame(&mut random, &vectors)).collect();
        let capture = tshark::capture((START..).step_by(1000).zip(frames.iter().map(Vec::as_slice)), snaplen);
        let path = capture.path().to_str().unwrap();
        // In full, so that each field is made. `run` looks at stderr.
        let text = tshark::run(&[&["-r", path, "-V"], arguments].concat());
        let shown = text.matches("Simple Two-Way Active Measurement Protocol").count();
        assert!(shown > PACKETS / 2, "{shown} of {PACKETS} are shown");
        let error = text.lines().find(|line| line.contains("Lua Error"));
        assert_eq!(error, None, "{arguments:?}");
        // A field that reads past the end would be cut short by Wireshark, without an error of Lua's.
        let dissectors = text.lines().find(|line| line.contains("Malformed Packet: STAMP"));
        assert_eq!(dissectors, None, "{arguments:?}");
    }
}
