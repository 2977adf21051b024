//! Random frames: mostly test packets with TLVs of every kind, right and wrong, and some that lie about their lengths.

use nix::time::{ClockId, clock_gettime};
use teaparty_common::tlv::{CodePoints, REGISTRY};
use teaparty_common::wire::{Timestamp, TimestampFormat};

use crate::frame::{Checksum, Datagram};
use crate::random::Random;

/// A random frame, and whether its headers were left as they were built.
pub fn frame(random: &mut Random, points: &CodePoints) -> Vec<u8> {
    let datagram = datagram(random, points);
    let mut frame = datagram.build();
    if random.one_in(12) {
        lie(random, &datagram, &mut frame);
    }
    frame
}

fn datagram(random: &mut Random, points: &CodePoints) -> Datagram {
    let payload = payload(random, points);
    let mut datagram = if random.one_in(3) { Datagram::new_ipv6(payload) } else { Datagram::new(payload) };
    datagram.source_port = if random.one_in(200) { 862 } else { 49200 + random.below(2) as u16 };
    datagram.ttl = random.octet();
    datagram.traffic_class = random.octet();
    datagram.identification = random.next() as u16;
    datagram.checksum = match random.below(12) {
        0 => Checksum::None,
        1 => Checksum::Partial,
        2 => Checksum::Wrong(1 << random.below(16)),
        3 => Checksum::Wrong(random.next() as u16),
        _ => Checksum::Right,
    };
    match random.below(40) {
        0 => datagram.destination_port = 863,
        1 => datagram.destination_mac[5] ^= 1,
        2 => datagram.destination = datagram.source,
        3 => datagram.fragment = random.pick(&[0x2000, 1, 0x1fff, 0x8000]),
        4 => datagram.options = vec![1; 4 * (1 + random.below(10))],
        5 => datagram.extensions = vec![(random.pick(&[0, 43, 60, 44, 51, 6]), vec![0; 8])],
        6 => datagram.surplus = random.few_octets(1, 8),
        7 | 8 => datagram.trailer = random.few_octets(1, 20),
        _ => {}
    }
    let tags = if random.one_in(4) { random.below(4) } else { 0 };
    datagram.tags = (0..tags).map(|_| (random.pick(&[0x8100, 0x88a8]), random.next() as u16)).collect();
    datagram
}

/// Changes the frame without its headers, or its headers.
fn lie(random: &mut Random, datagram: &Datagram, frame: &mut Vec<u8>) {
    let payload_at = datagram.payload_at();
    match random.below(6) {
        0 => frame.truncate(14 + random.below(frame.len() - 13)),
        // The UDP length.
        1 => nudge(random, frame, payload_at - 4),
        // The IP length.
        2 if datagram.source.is_ipv4() => nudge(random, frame, payload_at - 28 - datagram.options.len() + 2),
        2 => nudge(random, frame, 14 + 4 * datagram.tags.len() + 4),
        // Any header octet.
        3 => {
            let at = 12 + random.below(payload_at - 12);
            frame[at] ^= 1 << random.below(8);
        }
        4 => frame.extend(random.few_octets(0, 29)),
        // UDP and IP lengths that agree with each other and not with the frame.
        _ => {
            let by = 1 + random.below(40) as u16;
            let ip_length = if datagram.source.is_ipv4() { payload_at - 26 - datagram.options.len() } else { 18 };
            for at in [payload_at - 4, ip_length + if datagram.source.is_ipv4() { 0 } else { 4 * datagram.tags.len() }]
            {
                let value = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_add(by);
                frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
            }
        }
    }
    if frame.len() < 14 {
        frame.resize(14, 0);
    }
}

fn nudge(random: &mut Random, frame: &mut [u8], at: usize) {
    let value = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let new = match random.below(4) {
        0 => random.next() as u16,
        1 => value.wrapping_add(1 + random.below(30) as u16),
        2 => value.wrapping_sub(1 + random.below(30) as u16),
        _ => random.below(16) as u16,
    };
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
}

fn payload(random: &mut Random, points: &CodePoints) -> Vec<u8> {
    let mut payload = random.octets(44);
    // Few sessions, so that each is met often.
    payload[14..16].copy_from_slice(&[0, random.below(6) as u8]);
    if random.one_in(8) {
        payload[13] = 0;
    }
    if random.one_in(6) {
        // Perhaps of a sender that has started again.
        payload[..4].fill(0);
        payload[4..8].copy_from_slice(&(0xebbd_0000 + random.below(120) as u32).to_be_bytes());
    }
    if random.one_in(20) {
        payload[28..36].copy_from_slice(&recent_time(random));
    } else if random.one_in(2) {
        payload[28..36].fill(0);
    }
    match random.below(24) {
        0 => {
            payload.truncate(random.below(45));
            return payload;
        }
        1 | 2 => return payload,
        3 => {
            let len = random.below(1430);
            payload.resize(44 + len, 0);
            return payload;
        }
        4 => {
            let len = random.below(200);
            payload.extend(random.octets(len));
            return payload;
        }
        5 if random.one_in(8) => {
            for _ in 0..300 {
                payload.extend([0x80, random.pick(&[1, 200]), 0, 0]);
            }
            return payload;
        }
        _ => {}
    }
    let count = if random.one_in(10) { random.below(14) } else { random.below(5) };
    for _ in 0..count {
        tlv(random, points, &mut payload);
    }
    match random.below(10) {
        0 => payload.extend(random.few_octets(0, 3)),
        1 => payload.extend(vec![0; random.below(70)]),
        2 => {
            // Zeros, and then something.
            payload.extend(vec![0; 1 + random.below(70)]);
            payload.push(random.octet());
        }
        _ => {}
    }
    payload.truncate(1472);
    payload
}

/// A recent time of the reflector, or from some before, in one of the formats and timescales that the clock may have.
fn recent_time(random: &mut Random) -> [u8; 8] {
    let age = random.pick(&[0, 1, 5, 20]) + random.pick(&[0, 37]);
    let format = random.pick(&[TimestampFormat::Ntp, TimestampFormat::Ptp]);
    Timestamp::from_nanos(now_tai() - age * 1_000_000_000, format).bits().to_be_bytes()
}

/// CLOCK_TAI in nanoseconds.
pub fn now_tai() -> u64 {
    let now = clock_gettime(ClockId::from_raw(nix::libc::CLOCK_TAI)).expect("CLOCK_TAI");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// One TLV, mostly of a type that is known and mostly of a Length that is right.
fn tlv(random: &mut Random, points: &CodePoints, payload: &mut Vec<u8>) {
    let entry = &REGISTRY[random.below(REGISTRY.len())];
    // Half of what needs the controller would leave little for the kernel to answer.
    let is_rare = matches!(entry.kind as u8, 8 | 12) && !random.one_in(6);
    let known = if is_rare { 1 } else { points.code(entry.kind).unwrap_or(entry.code) };
    let code = if random.one_in(8) { random.octet() } else { known };
    let kind = points.0[usize::from(code)];
    let rule = REGISTRY.iter().find(|entry| entry.kind as u8 == kind).map(|entry| entry.length);
    let length = match rule {
        Some(rule) if !random.one_in(6) => {
            let allowed: Vec<u16> = (0..=64).filter(|length| rule.allows(*length)).collect();
            random.pick(&allowed)
        }
        _ => random.below(65) as u16,
    };
    let flags = if random.one_in(4) { random.octet() } else { 0x80 };
    let said = if random.one_in(25) { length.wrapping_add(random.pick(&[1, 2, 0xff00, 0xffff, 400])) } else { length };
    payload.extend([flags, code]);
    payload.extend(said.to_be_bytes());
    let value = value(random, kind, usize::from(length));
    payload.extend(value);
}

/// Types of sub-TLVs, each with Lengths that are right for it.
type Subs = [(u8, &'static [usize])];

const LOCATION_SUBS: [(u8, &[usize]); 6] = [(1, &[8]), (4, &[16]), (7, &[16]), (2, &[8]), (9, &[16]), (99, &[0, 5])];
const RETURN_PATH_SUBS: [(u8, &[usize]); 5] = [(1, &[4]), (2, &[4, 16]), (3, &[4, 8]), (4, &[16, 32]), (99, &[0, 5])];
const CONTROL_SUBS: [(u8, &[usize]); 4] = [(10, &[4, 12, 16]), (11, &[8, 20]), (240, &[0, 4]), (99, &[0, 5])];

/// Fills a Value with sub-TLVs from `from` on, mostly of a Length that is right. The last one may be cut.
fn sub_tlvs(random: &mut Random, value: &mut Vec<u8>, from: usize, subs: &Subs) {
    let length = value.len();
    value.truncate(from);
    while value.len() < length {
        let (sub, right) = random.pick(subs);
        let len = if random.one_in(6) { random.below(24) } else { random.pick(right) };
        value.extend([if random.one_in(4) { random.octet() } else { 0x80 }, sub, 0, len as u8]);
        value.extend(random.octets(len));
    }
    value.truncate(length);
}

fn value(random: &mut Random, kind: u8, length: usize) -> Vec<u8> {
    let mut value = if random.one_in(4) { vec![0; length] } else { random.octets(length) };
    match kind {
        // Location: MAC, destination, source; an answer where a question belongs; an unknown one.
        2 if length > 4 => sub_tlvs(random, &mut value, 4, &LOCATION_SUBS),
        // Access Report: an ID that is one.
        6 if length > 0 && !random.one_in(3) => value[0] = random.pick(&[0x10, 0x20, 0x1f]),
        // Destination Node Address: the one of the packet, or another local one.
        9 if length == 4 && !random.one_in(3) => value = vec![198, 51, 100, 20 + random.below(3) as u8],
        9 if length == 16 && !random.one_in(3) => {
            value = vec![0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20 + random.below(3) as u8];
        }
        // Return Path: a Control Code in front, mostly; else addresses, label stacks, segment lists.
        10 if length >= 8 => match random.below(4) {
            0 => sub_tlvs(random, &mut value, 0, &RETURN_PATH_SUBS),
            1 => {}
            _ => value[..4].copy_from_slice(&[0x80, 1, 0, 4]),
        },
        // Reflected Test Packet Control: few replies, and groups.
        12 if length >= 12 && !random.one_in(4) => {
            value[2] = 0;
            sub_tlvs(random, &mut value, 8, &CONTROL_SUBS);
        }
        // Micro-session ID: a reflector ID that fits.
        11 if length == 4 && !random.one_in(3) => value[2..].copy_from_slice(&[0, random.pick(&[0, 34])]),
        // Class of Service v2: B and D are to be zero.
        21 if length == 4 && !random.one_in(3) => (value[1], value[3]) = (0, 0),
        // Reflected Fixed Header: no selector, mostly.
        20 if length >= 4 && !random.one_in(3) => value[..4].fill(0),
        _ => {}
    }
    value
}
