//! The hand-made TLV table of `testing_data/vectors/tlvs.toml` through the shared core on the host.

use teaparty_common::packet_buf::SliceBuf;
use teaparty_common::reflect::{
    Address, PacketMeta, ReflectorEnv, ReplyOptions, TlvIntegrity, Verdict, apply, plan, stamp,
};
use teaparty_common::tlv::{HandledBy, KindSet};
use teaparty_common::wire::Mode;
use teaparty_testing::cases::{self, Case};

/// The kernel's capabilities on the host, with an IPv4 header of its own.
struct Host;

impl ReflectorEnv for Host {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;

    fn is_local(&self, _: &Address) -> bool {
        false
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        let mut header = vec![0x11; 20];
        header[0] = 0x45;
        header.try_into().ok()
    }
}

/// Returns the contradictions to the table.
fn check(case: &Case) -> Vec<String> {
    let mut octets = case.request();
    let (len, policy) = (octets.len(), case.policy());
    let meta = PacketMeta {
        source: Address::v4([192, 0, 2, 10]),
        destination: Address::v4([198, 51, 100, 20]),
        received: 1,
        source_port: 49200,
        destination_port: 862,
        source_mac: [0x02, 0, 0x5e, 0x10, 0, 0x01],
        timestamp_information: [1, 2, 1, 2],
        traffic_class: 10 << 2 | 1,
        flags: PacketMeta::HAS_MAC | PacketMeta::STATEFUL,
        ..PacketMeta::default()
    };
    let verdict = plan(&SliceBuf(&mut octets), len, Mode::Unauthenticated, &policy, TlvIntegrity::NotAsked, &Host);
    let (plan, (expected, mask)) = match (verdict, case.reply_tail()) {
        (Verdict::Reflect(plan), Some(reply)) => (plan, reply),
        (Verdict::Drop(reason), None) if Some(reason.label()) == case.end.as_deref() => return Vec::new(),
        (verdict, _) => return vec![format!("{}: {verdict:?}", case.name)],
    };
    let mut reply_options = ReplyOptions::new(meta.traffic_class);
    apply(&mut SliceBuf(&mut octets), &plan, &meta, &policy, &mut Host, &mut reply_options);
    stamp(&mut SliceBuf(&mut octets), Mode::Unauthenticated, (&meta).into(), 9).expect("a base packet");
    let mut found = Vec::new();
    let tail = &octets[44..];
    let is_same = tail.len() == expected.len()
        && tail.iter().zip(&expected).zip(&mask).all(|((actual, expected), bits)| (actual ^ expected) & bits == 0);
    if !is_same {
        found.push(format!("{}: expected {expected:02x?}, actual {tail:02x?}", case.name));
    }
    if reply_options.traffic_class.0 != case.tos.unwrap_or(10 << 2) {
        found.push(format!("{}: TOS {:02x}", case.name, reply_options.traffic_class.0));
    }
    if usize::from(reply_options.access_report.is_some()) != case.reports {
        found.push(format!("{}: report {:?}", case.name, reply_options.access_report));
    }
    found
}

#[test]
fn every_tlv_of_the_table_comes_back_as_worked_out_by_hand() {
    let cases = cases::all();
    let failures: Vec<String> = cases.iter().flat_map(check).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(cases.len() >= 40, "cases have been lost: {}", cases.len());
}
