//! The hand-made TLV table of `testing_data/vectors/tlvs.toml` through the loaded program.

use teaparty_common::maps::LocalAddress;
use teaparty_common::reflect::Reason;
use teaparty_testing::cases;
use teaparty_testing::frame::{Checksum, Datagram, parse};
use teaparty_testing::kernel::{DROP, Kernel, OURS, TX};
use teaparty_testing::skip::or_skip;
use teaparty_testing::vectors::differences;

#[test]
fn every_tlv_of_the_table_comes_back_as_worked_out_by_hand() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let mut failures = Vec::new();
    for case in cases::all() {
        kernel.forget();
        kernel.config.policy = case.policy();
        kernel.apply();
        let frame = Datagram::new(case.request()).build();
        let (outcome, reason) = kernel.run_counted(&frame);
        let told = kernel.punts().len();
        let Some((expected, mask)) = case.reply_tail() else {
            let is_right = outcome.action == DROP && Some(reason.label()) == case.end.as_deref() && told == 0;
            if !is_right || outcome.frame != frame {
                failures.push(format!("{}: {reason:?}", case.name));
            }
            continue;
        };
        if (outcome.action, reason) != (TX, Reason::Reflected) {
            failures.push(format!("{}: {reason:?}", case.name));
            continue;
        }
        let reply = parse(&outcome.frame);
        let found = differences(&expected, &reply.payload[44..], &mask);
        failures.extend(found.into_iter().map(|line| format!("{}: {line}", case.name)));
        let is_sent_right = reply.traffic_class == case.tos.unwrap_or(10 << 2) && reply.checksum == Checksum::Right;
        if !is_sent_right || told != case.reports {
            failures.push(format!("{}: {told} reports, {reply:02x?}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn must_be_zero_is_ignored_and_comes_back_zero_c023_c034() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    let mut octets = cases::BASE;
    octets[16..].fill(0xff);
    let reply = parse(&kernel.run(&Datagram::new(octets.to_vec()).build()).frame);
    assert_eq!(reply.payload[24..38], octets[..14], "the sender's own fields");
    assert_eq!(reply.payload[14..16], [0, 5], "SSID");
    assert_eq!(reply.payload[38..44], [0, 0, 61, 0, 0, 0], "MBZ and TTL");
}

#[test]
fn an_address_of_ours_that_was_asked_for_is_the_reply_s_source_c203() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let other = "198.51.100.21".parse().expect("an address");
    kernel.answer(other, OURS);
    let octets = [cases::BASE.as_slice(), &[0x80, 9, 0, 4, 198, 51, 100, 21]].concat();
    let reply = parse(&kernel.run(&Datagram::new(octets).build()).frame);
    assert_eq!(reply.source, other);
    assert_eq!(reply.payload[44], 0, "flags");
    assert_eq!((reply.header_checksum_error, reply.checksum), (0, Checksum::Right));
}

#[test]
fn a_destination_port_that_is_allowed_is_where_the_reply_goes_c275() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.policy.flags |= teaparty_common::reflect::Policy::DESTINATION_PORT;
    kernel.apply();
    for (port, expected, flags) in [(5000u16, 5000, 0), (0, 49200, 0x80)] {
        let [high, low] = port.to_be_bytes();
        let octets = [cases::BASE.as_slice(), &[0x80, 243, 0, 4, high, low, 0, 0]].concat();
        let reply = parse(&kernel.run(&Datagram::new(octets).build()).frame);
        assert_eq!((reply.destination_port, reply.payload[44]), (expected, flags));
        assert_eq!(reply.destination, Datagram::new(Vec::new()).source, "the sender's own address");
        assert_eq!(reply.checksum, Checksum::Right);
    }
}

/// RFC 9503 §3, and that the U flag tells nothing of what else this host has.
#[test]
fn only_addresses_that_replies_may_leave_from_can_be_asked_for() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    // Of another interface, excluded, or a subnet's broadcast address.
    kernel.answer("198.51.100.30".parse().expect("an address"), 0);
    kernel.answer("198.51.100.31".parse().expect("an address"), LocalAddress::ANSWERED);
    kernel.answer("198.51.100.255".parse().expect("an address"), LocalAddress::BROADCAST);
    let mapped = [&[0; 10][..], &[0xff, 0xff, 198, 51, 100, 20]].concat();
    let loopback = [&[0; 15][..], &[1]].concat();
    let refused: [&[u8]; 8] = [
        &[198, 51, 100, 30],
        &[198, 51, 100, 31],
        &[198, 51, 100, 255],
        &[198, 51, 100, 99],
        &[127, 0, 0, 1],
        &[0; 4],
        &mapped,
        &loopback,
    ];
    for named in refused {
        let header = [0x80, 9, 0, named.len() as u8];
        let octets = [cases::BASE.as_slice(), &header, named].concat();
        let reply = parse(&kernel.run(&Datagram::new(octets).build()).frame);
        assert_eq!((reply.payload[44], reply.source), (0x80, Datagram::new(Vec::new()).destination), "{named:?}");
    }
    // Not even the destination address of the packet, where none may be.
    let octets = [cases::BASE.as_slice(), &[0x80, 9, 0, 4, 198, 51, 100, 20]].concat();
    for (flags, expected) in [(0, 0), (teaparty_common::reflect::Policy::NO_DESTINATION_NODE, 0x80)] {
        kernel.config.policy.flags = flags;
        kernel.apply();
        assert_eq!(parse(&kernel.run(&Datagram::new(octets.clone()).build()).frame).payload[44], expected);
    }
}
