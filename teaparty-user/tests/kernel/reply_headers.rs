//! The headers of replies: sizes, TTL, traffic class.

use teaparty_common::maps::{Config, name};
use teaparty_common::reflect::{Policy, Reason};
use teaparty_testing::frame::{Checksum, Datagram, parse};
use teaparty_testing::kernel::{DROP, Kernel, TX};
use teaparty_testing::skip::or_skip;

use super::headers::{left_alone, payload, punted};

/// One request and what its reply must be, whatever its size.
fn check_size(kernel: &mut Kernel, datagram: &Datagram) {
    let frame = datagram.build();
    let len = datagram.payload.len();
    let is_unsummed_ipv6 = datagram.source.is_ipv6() && datagram.checksum == Checksum::None;
    let (outcome, reason) = kernel.run_counted(&frame);
    let said = format!("{len} octets, {:?}, {}", datagram.checksum, datagram.source);
    if is_unsummed_ipv6 {
        assert_eq!((outcome.action, reason), (DROP, Reason::ChecksumMissing), "{said}");
    } else if matches!(datagram.checksum, Checksum::Wrong(_)) && kernel.config.verifies() {
        assert_eq!((outcome.action, reason), (DROP, Reason::ChecksumWrong), "{said}");
    } else if len < 14 {
        assert_eq!((outcome.action, reason), (DROP, Reason::TooShort), "{said}");
    } else if len < 44 {
        assert_eq!((outcome.action, reason), (DROP, Reason::ShortPacket), "{said}");
        assert_eq!(kernel.punts().len(), 1, "{said}");
    } else {
        assert_eq!((outcome.action, reason), (TX, Reason::Reflected), "{said}");
    }
    if outcome.action != TX {
        assert_eq!(outcome.frame, frame, "{said}: edited");
        return;
    }
    assert_eq!(outcome.frame.len(), frame.len(), "{said}");
    let (request, reply) = (parse(&frame), parse(&outcome.frame));
    assert_eq!(reply.payload.len(), len, "{said}");
    assert_eq!(reply.payload.get(48..), request.payload.get(48..), "{said}: padding");
    assert_eq!(reply.payload[24..38], request.payload[..14], "{said}: echoed fields");
    assert_eq!(reply.payload[40], datagram.ttl, "{said}: TTL");
    assert_eq!(reply.tags, datagram.tags, "{said}: tags");
    assert_eq!(reply.header_checksum_error, 0, "{said}: header checksum");
    match datagram.checksum {
        Checksum::None => assert_eq!(reply.checksum, Checksum::None, "{said}"),
        Checksum::Right | Checksum::Partial => assert_eq!(reply.checksum, Checksum::Right, "{said}: UDP checksum"),
        Checksum::Wrong(_) => assert_ne!(reply.checksum, Checksum::Right, "{said}: a wrong UDP checksum became right"),
    }
}

#[test]
fn every_size_comes_back_in_its_size_with_its_checksum_c006_c282_c283() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let tags = [&[][..], &[(0x8100, 0x2064)], &[(0x88a8, 7), (0x8100, 0x0fff)]];
    kernel.config.flags |= Config::ANY_VLAN;
    for len in 0..=1472 {
        if len % 40 == 0 {
            // Damage that is not looked for stays damage.
            kernel.config.flags ^= Config::VERIFY_NONE;
            kernel.apply();
        }
        for checksum in [Checksum::Right, Checksum::None, Checksum::Partial, Checksum::Wrong(0x0100)] {
            let tags = tags[len % 3].to_vec();
            let ipv4 = Datagram { checksum, tags: tags.clone(), ttl: len as u8, ..Datagram::new(payload(len)) };
            check_size(&mut kernel, &ipv4);
            check_size(&mut kernel, &Datagram { checksum, tags, ..Datagram::new_ipv6(payload(len)) });
        }
    }
}

#[test]
fn what_the_fast_path_can_not_reach_is_punted_and_what_the_ring_can_not_hold_is_passed() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for len in [2005, 2006, 2048, 4000, 8972, 9000, 10_198] {
        let datagram = Datagram::new(payload(len));
        let frame = datagram.build();
        if datagram.payload_at() + len <= 2047 {
            check_size(&mut kernel, &datagram);
        } else {
            assert_eq!(punted(&mut kernel, &frame), Reason::LongPacket, "{len} octets");
        }
    }
    let frame = Datagram::new(payload(10_199)).build();
    assert_eq!(left_alone(&mut kernel, &frame), Reason::PuntUnavailable);
}

#[test]
fn ttl_is_recorded_as_it_came_and_fresh_in_the_reply_c033_c260_c261() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for ttl in 0..=255 {
        for datagram in [Datagram::new(payload(44)), Datagram::new_ipv6(payload(44))] {
            let reply = parse(&kernel.run(&Datagram { ttl, ..datagram }.build()).frame);
            assert_eq!((reply.ttl, reply.payload[40]), (255, ttl));
            assert!(reply.header_checksum_error == 0 && reply.checksum == Checksum::Right, "TTL {ttl}");
        }
    }
}

#[test]
fn traffic_class_is_noted_and_followed_c122_c124_c251() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for traffic_class in 0..=255u8 {
        for ask in [None, Some((1u32, 0u32)), Some((63, 3)), Some((46, 2))] {
            let mut octets = payload(44);
            if let Some((dscp, ecn)) = ask {
                octets.extend([0x80, 4, 0, 4]);
                octets.extend((dscp << 26 | ecn << 14).to_be_bytes());
            }
            for datagram in [Datagram::new(octets.clone()), Datagram::new_ipv6(octets.clone())] {
                let reply = parse(&kernel.run(&Datagram { traffic_class, ..datagram }.build()).frame);
                assert!(reply.header_checksum_error == 0 && reply.checksum == Checksum::Right, "{traffic_class:02x}");
                let Some((dscp, ecn)) = ask else {
                    // No TLV asks: the DSCP as it came, ECN 00.
                    assert_eq!(reply.traffic_class, traffic_class & 0xfc);
                    continue;
                };
                assert_eq!(u32::from(reply.traffic_class), dscp << 2 | ecn);
                let came = u32::from(traffic_class);
                let word = dscp << 26 | (came >> 2) << 20 | (came & 3) << 18 | ecn << 14 | 3 << 12;
                assert_eq!(reply.payload[48..52], word.to_be_bytes(), "{traffic_class:02x}");
            }
        }
    }
}

#[test]
fn a_refused_dscp_leaves_the_reply_as_it_came_c123_c125_c127_c252() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.policy = Policy { dscp_allowed: !(1 << 46), ecn_allowed: 1, ..Policy::DEFAULT };
    kernel.apply();
    let mut octets = payload(44);
    octets.extend([0x80, 4, 0, 4]);
    octets.extend((46u32 << 26 | 2 << 14).to_be_bytes());
    let reply = parse(&kernel.run(&Datagram::new(octets).build()).frame);
    assert_eq!(reply.traffic_class, 10 << 2, "DSCP as received, ECN 00");
    let word = 46u32 << 26 | 10 << 20 | 1 << 18 | 1 << 16 | 2 << 14 | 2 << 12;
    assert_eq!(reply.payload[48..52], word.to_be_bytes());
}

#[test]
fn a_packet_from_a_listening_port_is_dropped_c280() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.listen(50000);
    for port in [862, 50000] {
        let frame = Datagram { source_port: port, ..Datagram::new(payload(44)) }.build();
        let (outcome, reason) = kernel.run_counted(&frame);
        assert_eq!((outcome.action, reason), (DROP, Reason::LoopGuard));
        assert_eq!(outcome.frame, frame);
    }
    assert!(kernel.sessions(name::SESSIONS).is_empty(), "no state is made before admission");
}
