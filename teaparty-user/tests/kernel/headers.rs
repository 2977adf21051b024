//! Everything in front of the UDP payload: the frames that are answered, and those that are left alone.

use teaparty_common::maps::{Config, LocalAddress, name};
use teaparty_common::reflect::Reason;
use teaparty_testing::frame::{Checksum, Datagram, parse};
use teaparty_testing::kernel::{DROP, Kernel, OURS, PASS, TX};
use teaparty_testing::random::Random;
use teaparty_testing::skip::or_skip;

/// A base packet with this many octets of Extra Padding after it, or as many octets of it as fit into `len`.
pub(super) fn payload(len: usize) -> Vec<u8> {
    let mut octets = Random::new(len as u64).octets(len);
    if let Some(tlv) = octets.get_mut(44..48) {
        tlv.copy_from_slice(&[0x80, 1, 0, 0]);
        octets[46..48].copy_from_slice(&((len - 48) as u16).to_be_bytes());
    } else if len > 44 {
        octets[44..].fill(0);
    }
    octets
}

/// Runs a frame that must be left alone, and says why it was.
pub(super) fn left_alone(kernel: &mut Kernel, frame: &[u8]) -> Reason {
    let (outcome, reason) = kernel.run_counted(frame);
    assert_eq!(outcome.action, PASS, "{reason:?}");
    assert_eq!(outcome.frame, frame, "{reason:?}: edited");
    assert!(kernel.punts().is_empty(), "{reason:?}: recorded");
    reason
}

/// Runs a frame that must be punted, and says why it was.
pub(super) fn punted(kernel: &mut Kernel, frame: &[u8]) -> Reason {
    let (outcome, reason) = kernel.run_counted(frame);
    assert_eq!(outcome.action, DROP, "{reason:?}");
    assert_eq!(outcome.frame, frame, "{reason:?}: edited");
    let punts = kernel.punts();
    assert_eq!(punts.len(), 1, "{reason:?}: records");
    assert_eq!(punts[0].header.reason, reason as u32);
    assert_eq!(punts[0].frame, frame, "{reason:?}: recorded frame");
    reason
}

fn with_tags(datagram: Datagram, tags: &[(u16, u16)]) -> Datagram {
    Datagram { tags: tags.to_vec(), ..datagram }
}

#[test]
fn a_frame_cut_short_anywhere_is_left_alone_c027_c281() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let kinds = [
        Datagram::new(payload(80)),
        Datagram::new_ipv6(payload(80)),
        with_tags(Datagram::new(payload(80)), &[(0x8100, 5)]),
        with_tags(Datagram::new_ipv6(payload(80)), &[(0x88a8, 5), (0x8100, 6)]),
        Datagram { options: vec![1; 8], ..Datagram::new(payload(80)) },
        Datagram { extensions: vec![(0, vec![0; 8])], ..Datagram::new_ipv6(payload(80)) },
    ];
    for kind in kinds {
        let frame = kind.build();
        for len in 14..frame.len() {
            let reason = left_alone(&mut kernel, &frame[..len]);
            assert_eq!(reason, Reason::MalformedHeader, "{len} octets of {kind:?}");
        }
    }
}

#[test]
fn fragments_are_left_to_the_stack_c284() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for fragment in [0x2000, 0x2001, 0x0001, 0x1fff, 0x6000] {
        let frame = Datagram { fragment, ..Datagram::new(payload(60)) }.build();
        assert_eq!(left_alone(&mut kernel, &frame), Reason::Fragment, "{fragment:04x}");
    }
    let header = vec![0, 0, 0, 1, 0, 0, 0, 1];
    let frame = Datagram { extensions: vec![(44, header)], ..Datagram::new_ipv6(payload(60)) }.build();
    assert_eq!(left_alone(&mut kernel, &frame), Reason::Fragment);
    // Don't Fragment is no fragment.
    let (outcome, _) = kernel.run_counted(&Datagram { fragment: 0x4000, ..Datagram::new(payload(60)) }.build());
    assert_eq!(outcome.action, TX);
}

#[test]
fn options_extension_headers_and_surplus_go_to_the_controller_c284() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for words in 1..=10 {
        let frame = Datagram { options: vec![1; 4 * words], ..Datagram::new(payload(60)) }.build();
        assert_eq!(punted(&mut kernel, &frame), Reason::IpOptions, "{words} words");
    }
    for kinds in [&[0][..], &[43], &[60], &[0, 60, 43, 60]] {
        let extensions =
            kinds.iter().map(|kind| (*kind, vec![0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])).collect();
        let frame = Datagram { extensions, ..Datagram::new_ipv6(payload(60)) }.build();
        assert_eq!(punted(&mut kernel, &frame), Reason::IpOptions, "{kinds:?}");
    }
    // A routing header that is not used up: the packet is on its way to somebody else (RFC 8200 §4.4).
    let extensions = vec![(43, vec![0, 0, 0, 1, 0, 0, 0, 0])];
    let frame = Datagram { extensions, ..Datagram::new_ipv6(payload(60)) }.build();
    assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurAddress);
    for kind in [50, 51, 58, 6, 255] {
        let frame = Datagram { extensions: vec![(kind, vec![0; 8])], ..Datagram::new_ipv6(payload(60)) }.build();
        assert_eq!(left_alone(&mut kernel, &frame), Reason::NotUdp, "{kind}");
    }
    let surplus = vec![7; 5];
    let frame = Datagram { surplus: surplus.clone(), ..Datagram::new(payload(60)) }.build();
    assert_eq!(punted(&mut kernel, &frame), Reason::IpOptions);
    let frame = Datagram { surplus, ..Datagram::new_ipv6(payload(60)) }.build();
    assert_eq!(punted(&mut kernel, &frame), Reason::IpOptions);
}

#[test]
fn lengths_that_contradict_each_other_are_left_alone_c027() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for datagram in [Datagram::new(payload(80)), Datagram::new_ipv6(payload(80))] {
        let udp_length = datagram.payload_at() - 4;
        for len in (0u16..8).chain(89..120).chain([1000, 0x7fff, 0xffff]) {
            let mut frame = datagram.build();
            frame[udp_length..udp_length + 2].copy_from_slice(&len.to_be_bytes());
            assert_eq!(left_alone(&mut kernel, &frame), Reason::MalformedHeader, "UDP length {len}");
        }
    }
    for (at, lens) in [(16, [0u16, 19, 109, 0xffff]), (18, [89, 90, 0x7fff, 0xffff])] {
        for len in lens {
            let mut frame = if at == 16 { Datagram::new(payload(80)) } else { Datagram::new_ipv6(payload(80)) }.build();
            frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
            assert_eq!(left_alone(&mut kernel, &frame), Reason::MalformedHeader, "IP length {len}");
        }
    }
    for version_ihl in [0x40, 0x44, 0x55, 0x65, 0x05] {
        let mut frame = Datagram::new(payload(80)).build();
        frame[14] = version_ihl;
        assert_eq!(left_alone(&mut kernel, &frame), Reason::MalformedHeader, "{version_ihl:02x}");
    }
}

#[test]
fn only_what_is_addressed_to_us_is_answered_c010_c244() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let ours = Datagram::new(payload(60));
    for mac in [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1], [0x02, 0, 0x5e, 0x20, 0, 0x03], [0; 6]] {
        let frame = Datagram { destination_mac: mac, ..ours.clone() }.build();
        assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurAddress, "{mac:02x?}");
    }
    for ip in ["198.51.100.99", "224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0"] {
        let frame = Datagram { destination: ip.parse().expect("an address"), ..ours.clone() }.build();
        assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurAddress, "{ip}");
    }
    for ip in ["2001:db8:1::21", "ff02::1", "::", "::ffff:198.51.100.99"] {
        let destination = ip.parse().expect("an address");
        let frame = Datagram { destination, ..Datagram::new_ipv6(payload(60)) }.build();
        assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurAddress, "{ip}");
    }
    // Of another interface.
    kernel.answer("198.51.100.30".parse().expect("an address"), 0);
    let frame = Datagram { destination: "198.51.100.30".parse().expect("an address"), ..ours.clone() }.build();
    assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurAddress);
    for port in [0, 861, 863, 50000, 65535] {
        let frame = Datagram { destination_port: port, ..ours.clone() }.build();
        assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurPort, "{port}");
    }
    for port in [1024, 49151, 49152, 65535] {
        kernel.listen(port);
        let frame = Datagram { destination_port: port, source_port: 50001, ..ours.clone() }.build();
        assert_eq!(kernel.run(&frame).action, TX, "{port}");
    }
    kernel.config.flags |= Config::ANY_MAC;
    kernel.apply();
    assert_eq!(kernel.run(&Datagram { destination_mac: [0; 6], ..ours }.build()).action, TX);
}

#[test]
fn what_is_not_udp_over_ip_is_left_alone() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let arp = [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 1], &[8, 6], &[0; 46]].concat();
    assert_eq!(left_alone(&mut kernel, &arp), Reason::NotIp);
    let tags = [(0x8100, 1), (0x8100, 2), (0x8100, 3)];
    assert_eq!(left_alone(&mut kernel, &with_tags(Datagram::new(payload(60)), &tags).build()), Reason::NotIp);
    let mut tcp = Datagram::new(payload(60)).build();
    tcp[23] = 6;
    assert_eq!(left_alone(&mut kernel, &tcp), Reason::NotUdp);
    // The most common ones are recognised at once, with a payload of any length, and others by a closer look.
    for protocol in [1, 6, 47, 132] {
        for mut frame in [Datagram::new(payload(60)).build(), Datagram::new(Vec::new()).build()] {
            frame[23] = protocol;
            assert_eq!(left_alone(&mut kernel, &frame), Reason::NotUdp, "IPv4, protocol {protocol}");
        }
    }
    for protocol in [6, 58, 59, 132] {
        for mut frame in [Datagram::new_ipv6(payload(60)).build(), Datagram::new_ipv6(Vec::new()).build()] {
            frame[20] = protocol;
            assert_eq!(left_alone(&mut kernel, &frame), Reason::NotUdp, "IPv6, protocol {protocol}");
        }
    }
}

#[test]
fn what_goes_on_to_a_program_that_is_gone_is_left_to_the_stack() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let arp = [[0xff; 6].as_slice(), &[2, 0, 0, 0, 0, 1], &[8, 6], &[0; 46]].concat();
    let tagged = with_tags(Datagram::new(payload(60)), &[(0x8100, 1)]).build();
    let new_session = Datagram { source_port: 51234, ..Datagram::new(payload(60)) }.build();
    let frames = [arp, tagged, new_session.clone(), Datagram::new_ipv6(payload(60)).build()];
    kernel.without_steps(|kernel| {
        for frame in &frames {
            assert_eq!(left_alone(kernel, frame), Reason::StepMissing);
        }
    });
    assert_eq!(kernel.run(&new_session).action, TX);
}

/// RFC 1122 §3.2.1.3, RFC 4291 §2.5 and §2.7, RFC 768, IEEE 802.3.
#[test]
fn packets_that_no_host_can_have_sent_are_dropped_whether_their_session_is_known_or_not() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.answer("198.51.100.255".parse().expect("an address"), LocalAddress::BROADCAST);
    kernel.answer("198.51.100.30".parse().expect("an address"), 0);
    let v4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "224.0.0.1", "239.1.1.1", "255.255.255.255"];
    let ours = ["198.51.100.20", "198.51.100.30", "198.51.100.255", "2001:db8:1::20"];
    let v6 = ["::", "::1", "ff02::1", "ff0e::9", "::ffff:192.0.2.10", "::192.0.2.10"];
    for ip in v4.into_iter().chain(ours).chain(v6) {
        let source: std::net::IpAddr = ip.parse().expect("an address");
        for len in [44, 60, 30] {
            let datagram =
                if source.is_ipv4() { Datagram::new(payload(len)) } else { Datagram::new_ipv6(payload(len)) };
            let frame = Datagram { source, ..datagram }.build();
            let (outcome, reason) = kernel.run_counted(&frame);
            assert_eq!((outcome.action, reason), (DROP, Reason::InvalidSource), "{ip}");
            assert_eq!(outcome.frame, frame, "{ip}: edited");
        }
    }
    assert!(kernel.sessions(name::SESSIONS).is_empty() && kernel.punts().is_empty());
    let known = Datagram::new(payload(44));
    assert_eq!(kernel.run_counted(&known.build()).1, Reason::Reflected);
    let group = Datagram { source_mac: [0x03, 0, 0x5e, 0x10, 0, 1], ..known.clone() };
    for damaged in [group, Datagram { source_port: 0, ..known.clone() }] {
        assert_eq!(kernel.run_counted(&damaged.build()).1, Reason::InvalidSource);
    }
    assert_eq!(kernel.run_counted(&known.build()).1, Reason::Reflected);
    assert_eq!(parse(&kernel.run(&known.build()).frame).payload[..4], [0, 0, 0, 2], "they took no number");
    // On loopback our own addresses may ask.
    kernel.config.flags |= Config::LOOPBACK | Config::ANY_MAC;
    kernel.control.generation += 1;
    kernel.apply();
    for (ip, expected) in [
        ("127.0.0.1", Reason::Reflected),
        ("198.51.100.20", Reason::Reflected),
        ("::1", Reason::Reflected),
        ("198.51.100.255", Reason::InvalidSource),
        ("224.0.0.1", Reason::InvalidSource),
        ("ff02::1", Reason::InvalidSource),
    ] {
        let source: std::net::IpAddr = ip.parse().expect("an address");
        let datagram = if source.is_ipv4() { Datagram::new(payload(44)) } else { Datagram::new_ipv6(payload(44)) };
        assert_eq!(kernel.run_counted(&Datagram { source, ..datagram }.build()).1, expected, "{ip}");
    }
}

/// RFC 4291 §2.5.5.2: such addresses are not sent. The session of the IPv4 address is another one.
#[test]
fn ipv4_addresses_in_ipv6_frames_are_not_those_of_ipv4() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    kernel.config.flags |= Config::ALLOW_LIST;
    kernel.apply();
    kernel.allow("192.0.2.0".parse().expect("an address"), 96 + 24);
    let known = Datagram::new(payload(44));
    assert_eq!(kernel.run_counted(&known.build()).1, Reason::Reflected);
    let source = "::ffff:192.0.2.10".parse().expect("an address");
    for destination in ["::ffff:198.51.100.20", "2001:db8:1::20"] {
        let destination = destination.parse().expect("an address");
        let frame = Datagram { source, destination, ..Datagram::new_ipv6(payload(44)) }.build();
        assert_eq!(kernel.run_counted(&frame).1, Reason::InvalidSource, "{destination}");
    }
    let destination = "::ffff:198.51.100.20".parse().expect("an address");
    let frame = Datagram { destination, ..Datagram::new_ipv6(payload(44)) }.build();
    assert_eq!(left_alone(&mut kernel, &frame), Reason::NotOurAddress);
    assert_eq!(parse(&kernel.run(&known.build()).frame).payload[..4], [0, 0, 0, 1], "they took no number");
}

#[test]
fn a_tag_must_be_of_a_vlan_that_the_host_has_there_with_that_address() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let (untagged, on_vlan) = ("198.51.100.20", "198.51.100.40");
    kernel.vlan(0x8100_0064, on_vlan.parse().expect("an address"));
    kernel.vlan(0x88a8_0007_8100_0064, "198.51.100.50".parse().expect("an address"));
    kernel.answer("198.51.100.60".parse().expect("an address"), OURS | LocalAddress::EVERYWHERE);
    let to = |ip: &str, tags: &[(u16, u16)]| {
        let destination = ip.parse().expect("an address");
        with_tags(Datagram { destination, ..Datagram::new(payload(44)) }, tags).build()
    };
    type Row = (&'static str, &'static [(u16, u16)], Reason);
    let rows: [Row; 15] = [
        (untagged, &[(0x8100, 100)], Reason::NotOurVlan),
        (untagged, &[(0x8100, 101)], Reason::NotOurVlan),
        (untagged, &[(0x8100, 0)], Reason::Reflected),
        (untagged, &[(0x8100, 0xe000)], Reason::Reflected),
        (untagged, &[(0x88a8, 0)], Reason::Reflected),
        // Priority and DEI bits do not matter.
        (on_vlan, &[(0x8100, 0xf064)], Reason::Reflected),
        (on_vlan, &[(0x88a8, 100)], Reason::NotOurVlan),
        (on_vlan, &[(0x8100, 0), (0x8100, 100)], Reason::Reflected),
        (on_vlan, &[], Reason::NotOurAddress),
        (on_vlan, &[(0x8100, 100), (0x8100, 100)], Reason::NotOurVlan),
        ("198.51.100.50", &[(0x88a8, 7), (0x8100, 100)], Reason::Reflected),
        ("198.51.100.50", &[(0x8100, 100)], Reason::NotOurVlan),
        ("198.51.100.50", &[(0x88a8, 7)], Reason::NotOurVlan),
        ("198.51.100.60", &[(0x8100, 100)], Reason::Reflected),
        ("198.51.100.60", &[(0x8100, 101)], Reason::NotOurVlan),
    ];
    // Twice: a session that is known by another tag is no way in.
    for round in 0..2 {
        for (ip, tags, expected) in rows {
            let frame = to(ip, tags);
            let (outcome, reason) = kernel.run_counted(&frame);
            assert_eq!(reason, expected, "{ip} {tags:04x?}, round {round}");
            if reason == Reason::Reflected {
                assert_eq!(parse(&outcome.frame).tags, tags, "a reply stays on its VLAN");
            } else {
                assert_eq!((outcome.action, outcome.frame), (PASS, frame), "{ip} {tags:04x?}");
            }
        }
    }
    kernel.config.flags |= Config::ANY_VLAN;
    kernel.apply();
    for tags in [&[(0x8100, 4000)][..], &[(0x88a8, 1), (0x8100, 2)], &[]] {
        assert_eq!(kernel.run_counted(&to(untagged, tags)).1, Reason::Reflected, "{tags:04x?}");
    }
}

#[test]
fn damaged_packets_take_no_number_and_get_no_reply() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let mut numbers = [0u8; 2];
    for len in [44, 48, 52, 61, 112, 300, 1472] {
        let mut octets = payload(len);
        // One session for all sizes.
        octets[14..16].fill(0);
        for (family, good) in [Datagram::new(octets.clone()), Datagram::new_ipv6(octets)].into_iter().enumerate() {
            for checksum in [Checksum::Right, Checksum::Partial, Checksum::Wrong(1), Checksum::Wrong(0x8000)] {
                let frame = Datagram { checksum, ..good.clone() }.build();
                let is_damaged = matches!(checksum, Checksum::Wrong(_));
                let (outcome, reason) = kernel.run_counted(&frame);
                let expected = if is_damaged { Reason::ChecksumWrong } else { Reason::Reflected };
                assert_eq!(reason, expected, "{len} octets, {checksum:?}, {}", good.source);
                if !is_damaged {
                    assert_eq!(parse(&outcome.frame).payload[3], numbers[family], "{len} octets: a number was lost");
                    numbers[family] += 1;
                }
            }
            // Octets anywhere: in the payload, and in the header of IPv4.
            let header: &[usize] = if family == 0 { &[18, 24, 25] } else { &[] };
            for at in header.iter().copied().chain([good.payload_at() + 20, good.payload_at() + len - 1]) {
                let mut frame = good.build();
                frame[at] ^= 0x10;
                assert_eq!(kernel.run_counted(&frame).1, Reason::ChecksumWrong, "{len} octets, octet {at}");
            }
        }
    }
    // What a stateless reflector repeats, it does not count.
    kernel.config.flags &= !Config::STATEFUL;
    for (flags, len, expected) in [
        (0, 44, Reason::Reflected),
        (0, 60, Reason::Reflected),
        (Config::VERIFY_ALL, 44, Reason::ChecksumWrong),
        (Config::VERIFY_ALL, 60, Reason::ChecksumWrong),
        (Config::VERIFY_NONE, 44, Reason::Reflected),
    ] {
        kernel.config.flags &= !(Config::VERIFY_ALL | Config::VERIFY_NONE);
        kernel.config.flags |= flags;
        kernel.apply();
        let frame = Datagram { checksum: Checksum::Wrong(4), ..Datagram::new(payload(len)) }.build();
        assert_eq!(kernel.run_counted(&frame).1, expected, "{flags}, {len} octets");
    }
}
