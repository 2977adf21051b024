//! Every wrong Length of every TLV and sub-TLV, in every position, through the loaded program, the core on the host and
//! the controller's slow path: always a reply by rule, never larger than its request.

use teaparty_common::maps::Config;
use teaparty_common::reflect::{PacketMeta, Reason};
use teaparty_testing::bad_input::{judge, tails, tlv};
use teaparty_testing::cases::BASE;
use teaparty_testing::frame::Datagram;
use teaparty_testing::kernel::Kernel;
use teaparty_testing::skip::or_skip;
use teaparty_testing::slow_path::Slow;

use super::differential::Pair;

/// Returns the metadata of a packet of the slow path's tests.
fn meta() -> PacketMeta {
    let octets = |ip: &str| teaparty_testing::vectors::address(ip.parse().expect("an address"));
    PacketMeta {
        source: octets("192.0.2.10"),
        destination: octets("198.51.100.20"),
        source_port: 49_200,
        destination_port: 862,
        flags: PacketMeta::STATEFUL,
        ..PacketMeta::default()
    }
}

#[test]
fn what_is_wrong_with_tlvs_gets_a_reply_by_rule_c076_c077_c084_c085_c091_c281() {
    let Some(kernel) = or_skip(Kernel::new()) else { return };
    let mut pair = Pair::new(kernel, 1);
    let slow = Slow::new(pair.policy(), true, pair.clock());
    let mut failures = Vec::new();
    let mut ends = std::collections::BTreeMap::<Reason, usize>::new();
    for tail in tails() {
        let request = [&BASE[..], &tail].concat();
        // By the program and by the core on the host, and where they answer, by the slow path too.
        let frame = Datagram::new(request.clone()).build();
        match pair.compare(&frame) {
            Ok(reason) => *ends.entry(reason).or_default() += 1,
            Err(found) => failures.push(format!("{tail:02x?}: {found}")),
        }
        // By the slow path alone, what the kernel punts as well as what it does not.
        match slow.reply(&request, &[], &meta(), 1 << 32) {
            Ok((reply, _)) => {
                if let Err(found) = judge(&tail, &reply[BASE.len()..]) {
                    failures.push(format!("{tail:02x?}: {found}"));
                }
            }
            // A Control Code of zeros asks for no reply.
            Err(Reason::NoReplyWanted) if tail.windows(2).any(|two| two == [0x80, 1]) => {}
            Err(reason) => failures.push(format!("{tail:02x?}: no reply, {reason:?}")),
        }
        failures.truncate(20);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{ends:?}");
    for reason in [Reason::Reflected, Reason::ControllerTlv, Reason::IntegrityTlv, Reason::ManyTlvs] {
        assert!(ends.get(&reason).is_some_and(|count| *count > 100), "{reason:?} is not among the ends: {ends:?}");
    }
}

#[test]
fn the_kernel_takes_eight_tlvs_and_the_controller_answers_more_alike() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.flags = Config::STATEFUL;
    kernel.apply();
    let slow = Slow::new(kernel.config.policy, true, kernel.control.clock);
    let (mut walked, mut before) = (0, Vec::new());
    for count in 1..=20 {
        let tail =
            [tlv(3, 4), tlv(4, 4), tlv(200, 3), tlv(5, 12)].iter().cycle().take(count).flatten().copied().collect();
        let request = [&BASE[..], &Vec::<u8>::clone(&tail)].concat();
        let (_, reason) = kernel.run_counted(&Datagram::new(request.clone()).build());
        kernel.punts();
        match reason {
            Reason::Reflected => walked = count,
            other => assert_eq!(other, Reason::ManyTlvs, "{count} TLVs"),
        }
        let (reply, _) = slow.reply(&request, &[], &meta(), 1 << 32).expect("a reply");
        judge(&tail, &reply[BASE.len()..]).unwrap();
        // Each one more leaves the others as they were.
        assert!(reply.starts_with(&before), "{count} TLVs");
        before = reply;
    }
    assert!(walked >= 8, "README says eight: {walked}");
    println!("the kernel takes {walked} TLVs");
}
