//! What is measured: packets, the configuration they meet, and how each must end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use teaparty_common::maps::Config;
use teaparty_common::reflect::Reason;
use teaparty_common::tlv::{Kind, REGISTRY};

use super::frames::{OUR_PORT, Shape, TCP, UDP, tlv};

/// The program that gets a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A floor, by the name of its program.
    Floor(&'static str),
    /// The reflector, and the reason with which it must end every run.
    Reflector(Reason),
}

/// The limit of a source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Off,
    /// So that no packet is refused.
    Wide,
    /// So that only the first packet of a source passes.
    Tight,
}

/// The state of capture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Capture {
    /// The program without it.
    Off,
    /// The program with it, and a filter that matches no packet.
    OfOthers,
    /// The program with it, and a filter that matches all.
    OfAll,
}

/// One row of the table.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) subject: Subject,
    /// Bits of [`Config::flags`].
    pub(super) flags: u32,
    /// The rate limit.
    pub(super) limit: Limit,
    pub(super) capture: Capture,
    pub(super) shape: Shape,
}

pub(super) const OUR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(super) const OUR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const PEER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const PEER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

/// The name of the case that others are measured against, and of the floor with clocks.
pub(super) const BASE: &str = "base, stateful";
pub(super) const CLOCKS: &str = "floor: swap, two clocks";
pub(super) const SESSION: &str = "floor: that and a hash map";
pub(super) const ARRAY: &str = "floor: that and an array";
pub(super) const PASS: &str = "floor: pass at once";
pub(super) const NOT_OURS: &str = "not ours (other port)";
pub(super) const UNCAPTURED: &str = "base, capture of others";
pub(super) const THREE_TLVS: &str = "3 TLVs";
pub(super) const LONGEST: &str = "1472 octets, padding";
/// A case with no octet to pad: the difference is the cost of length.
pub(super) const SHORTEST: &str = "48 octets, padding";

pub(super) fn all() -> Vec<Case> {
    let reflected = Subject::Reflector(Reason::Reflected);
    let base = Shape {
        source: PEER_V4,
        destination: OUR_V4,
        destination_port: OUR_PORT,
        protocol: UDP,
        tags: &[],
        tlvs: Vec::new(),
    };
    let stateful = |name, shape: Shape| Case {
        name,
        subject: reflected,
        flags: Config::STATEFUL,
        limit: Limit::Off,
        capture: Capture::Off,
        shape,
    };
    let with = |tlvs: Vec<u8>| Shape { tlvs, ..base.clone() };
    let floor = |name, program| Case { subject: Subject::Floor(program), ..stateful(name, base.clone()) };
    let ended = |name, reason, shape| Case { subject: Subject::Reflector(reason), ..stateful(name, shape) };
    // Sources of their own, so that no session of another case lets them in.
    let from = |last: u8| Shape { source: [198, 51, 100, last].into(), ..base.clone() };
    vec![
        floor(PASS, "floor_pass"),
        floor("floor: swap", "floor_swap"),
        floor(CLOCKS, "floor_clocks"),
        floor(ARRAY, "floor_array"),
        floor(SESSION, "floor_session"),
        Case {
            flags: Config::STATEFUL | Config::HISTORY,
            limit: Limit::Wide,
            ..stateful("base, history, rate limit", from(9))
        },
        Case { flags: 0, ..stateful("base, stateless", base.clone()) },
        stateful(BASE, base.clone()),
        Case {
            flags: Config::STATEFUL | Config::VERIFY_NONE,
            ..stateful("base, stateful, checksum not verified", base.clone())
        },
        Case { capture: Capture::OfOthers, ..stateful(UNCAPTURED, base.clone()) },
        Case { capture: Capture::OfAll, ..stateful("base, captured", base.clone()) },
        stateful("1 TLV", with(tlvs(1))),
        stateful(THREE_TLVS, with(tlvs(3))),
        stateful("8 TLVs", with(tlvs(8))),
        stateful(SHORTEST, with(tlv(code(Kind::ExtraPadding), &[]))),
        stateful(LONGEST, with(tlv(code(Kind::ExtraPadding), &[0; 1472 - 44 - 4]))),
        stateful("base, IPv6", Shape { source: PEER_V6, destination: OUR_V6, ..base.clone() }),
        Case {
            flags: Config::STATEFUL | Config::ANY_VLAN,
            ..stateful("base, QinQ", Shape { tags: &[0x88a8, 0x8100], ..base.clone() })
        },
        ended("punted (HMAC TLV)", Reason::IntegrityTlv, with(tlv(code(Kind::Hmac), &[0; 16]))),
        Case {
            flags: Config::STATEFUL | Config::ALLOW_LIST,
            ..ended("refused by allow-list", Reason::NotAllowed, from(7))
        },
        Case { limit: Limit::Tight, ..ended("refused by rate limit", Reason::RateLimited, from(8)) },
        ended(NOT_OURS, Reason::NotOurPort, Shape { destination_port: 53, ..base.clone() }),
        ended(
            "not ours (other port, IPv6)",
            Reason::NotOurPort,
            Shape { source: PEER_V6, destination: OUR_V6, destination_port: 53, ..base.clone() },
        ),
        ended("not ours (TCP)", Reason::NotUdp, Shape { protocol: TCP, ..base.clone() }),
        ended(
            "not ours (TCP, IPv6)",
            Reason::NotUdp,
            Shape { source: PEER_V6, destination: OUR_V6, protocol: TCP, ..base },
        ),
    ]
}

/// The packet of `bench sessions`, for a program that does nothing, the floors with clocks, with an array and with a map,
/// and the reflector.
pub(super) fn of_many_sessions() -> [Case; 5] {
    let mut cases = all();
    cases.retain(|case| [PASS, CLOCKS, ARRAY, SESSION, BASE].contains(&case.name));
    cases.try_into().unwrap_or_else(|_| unreachable!("each is among all cases, once, and in this order"))
}

/// The first this many of eight ordinary TLVs.
fn tlvs(count: usize) -> Vec<u8> {
    let IpAddr::V4(ours) = OUR_V4 else { unreachable!("a constant of this file") };
    let values: [(Kind, Vec<u8>); 8] = [
        (Kind::ClassOfService, vec![0; 4]),
        (Kind::TimestampInformation, vec![0; 4]),
        (Kind::DirectMeasurement, vec![0; 12]),
        (Kind::FollowUpTelemetry, vec![0; 16]),
        (Kind::DestinationNodeAddress, ours.octets().to_vec()),
        (Kind::ReflectedFixedHeader, vec![0; 20]),
        (Kind::ClassOfServiceV2, vec![0; 4]),
        (Kind::ExtraPadding, vec![0; 16]),
    ];
    values[..count].iter().flat_map(|(kind, value)| tlv(code(*kind), value)).collect()
}

fn code(kind: Kind) -> u8 {
    REGISTRY.iter().find(|entry| entry.kind == kind).expect("the registry has every kind").code
}
