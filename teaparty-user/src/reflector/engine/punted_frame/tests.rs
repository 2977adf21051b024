//! Punted frames and their replies, with sums worked out by a function of the tests' own.

use teaparty_common::wire::TrafficClass;

use super::*;

/// RFC 1071, written for this test: big-endian words, folded as they are added.
fn sum(parts: &[&[u8]]) -> u16 {
    let octets: Vec<u8> = parts.concat();
    octets.chunks(2).fold(0u32, |total, word| {
        let total = total + (u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        (total & 0xffff) + (total >> 16)
    }) as u16
}

/// An IPv4 frame behind these tags, with these IP options, and a right checksum.
fn ipv4(tags: &[u8], options: &[u8], payload: &[u8]) -> Vec<u8> {
    let udp_len = (8 + payload.len()) as u16;
    let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], tags, &[8, 0]].concat();
    let words = 5 + options.len() as u8 / 4;
    let total = u16::from(words) * 4 + udp_len;
    frame.extend([0x40 | words, 0x29, (total >> 8) as u8, total as u8, 7, 7, 0x40, 0, 61, 17, 0, 0]);
    frame.extend([192, 0, 2, 10, 198, 51, 100, 20]);
    frame.extend(options);
    let ip = 14 + tags.len();
    let checksum = (!sum(&[&frame[ip..]])).to_be_bytes();
    frame[ip + 10..ip + 12].copy_from_slice(&checksum);
    let mut udp = [&[0xc0, 0x30, 0x03, 0x5e][..], &udp_len.to_be_bytes(), &[0, 0], payload].concat();
    let pseudo = [192, 0, 2, 10, 198, 51, 100, 20, 0, 17, udp[4], udp[5]];
    let checksum = (!sum(&[&pseudo, &udp])).to_be_bytes();
    udp[6..8].copy_from_slice(&checksum);
    frame.extend(udp);
    frame
}

fn reply_options() -> ReplyOptions {
    let mut reply_options = ReplyOptions::new(0);
    reply_options.traffic_class = TrafficClass(0xb8);
    reply_options
}

/// The reply's frame with its checksum.
fn reply(punted: &Punted<'_>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let reply = punted.reply(&reply_options(), payload, &mut out).unwrap();
    reply.payload_mut(&mut out)[0] ^= 0xff;
    reply.finish(&mut out);
    out
}

#[test]
fn options_go_and_tags_stay() {
    for tags in [&[][..], &[0x81, 0, 0, 5], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6]] {
        for len in [1usize, 44, 45] {
            let payload = vec![0xa5; len];
            let mut frame = ipv4(tags, &[0x94, 4, 0, 0], &payload);
            let punted = Punted::parse(&mut frame).unwrap();
            assert_eq!((punted.payload(), punted.fixed_header().len()), (&payload[..], 20));
            let reply = reply(&punted, &payload);
            assert_eq!(reply[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
            let ip = 14 + tags.len();
            assert_eq!(reply[12..ip - 2], *tags);
            assert_eq!(reply.len(), ip + 28 + len);
            assert_eq!(reply[ip..ip + 2], [0x45, 0xb8]);
            assert_eq!(reply[ip + 8..ip + 10], [255, 17]);
            assert_eq!(reply[ip + 12..ip + 20], [198, 51, 100, 20, 192, 0, 2, 10]);
            assert_eq!(sum(&[&reply[ip..ip + 20]]), 0xffff, "IPv4 header checksum");
            assert_eq!(reply[ip + 20..ip + 24], [0x03, 0x5e, 0xc0, 0x30]);
            let pseudo = [&reply[ip + 12..ip + 20], &[0, 17], &reply[ip + 24..ip + 26]].concat();
            assert_eq!(sum(&[&pseudo, &reply[ip + 20..]]), 0xffff, "UDP checksum, {len} octets");
        }
    }
}

#[test]
fn a_wrong_checksum_is_refused_an_absent_and_a_partial_one_taken() {
    let udp = 14 + 20;
    let mut frame = ipv4(&[], &[], &[1; 44]);
    // In the header of IPv4: identification, TTL, checksum.
    for at in [18, 22, 24, udp, udp + 6, udp + 8, frame.len() - 1] {
        let mut wrong = frame.clone();
        wrong[at] ^= 0x04;
        assert_eq!(Punted::parse(&mut wrong).err(), Some(Reason::ChecksumWrong), "octet {at}");
    }
    let pseudo = [192, 0, 2, 10, 198, 51, 100, 20, 0, 17, 0, 52];
    frame[udp + 6..udp + 8].copy_from_slice(&sum(&[&pseudo]).to_be_bytes());
    assert!(Punted::parse(&mut frame).is_ok(), "left to a device");
    frame[udp + 6..udp + 8].fill(0);
    let punted = Punted::parse(&mut frame).unwrap();
    assert_eq!(reply(&punted, &[1; 44])[udp + 6..udp + 8], [0, 0], "none in, none out");
}

#[test]
fn ipv6_extension_headers_are_in_sight_and_not_in_the_reply() {
    let payload = [3u8; 46];
    let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd][..]].concat();
    frame.extend([0x62, 0x91, 0x23, 0x45, 0, 8 + 8 + 46, 0, 64]);
    let addresses: Vec<u8> = (0..32).collect();
    frame.extend(&addresses);
    let hop_by_hop = [17, 0, 3, 4, 9, 9, 9, 9];
    frame.extend(hop_by_hop);
    let mut udp = [&[0xc0, 0x30, 0x03, 0x5e, 0, 54, 0, 0][..], &payload].concat();
    let checksum = !sum(&[&addresses, &[0, 17, 0, 54], &udp]);
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(udp);
    let punted = Punted::parse(&mut frame).unwrap();
    assert_eq!((punted.extension_headers(), punted.fixed_header().len()), (&hop_by_hop[..], 40));
    let reply = reply(&punted, &payload);
    assert_eq!(reply[14..22], [0x6b, 0x81, 0x23, 0x45, 0, 54, 17, 255]);
    assert_eq!(reply[22..54], [&addresses[16..], &addresses[..16]].concat());
    assert_eq!(sum(&[&reply[22..54], &[0, 17, 0, 54], &reply[54..]]), 0xffff);
}

#[test]
fn no_octets_panic() {
    let good = ipv4(&[0x81, 0, 0, 5], &[0x94, 4, 0, 0], &[1; 60]);
    for len in 0..good.len() {
        assert!(Punted::parse(&mut good[..len].to_vec()).is_err(), "{len}");
    }
}
