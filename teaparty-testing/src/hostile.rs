//! What must hold for any octets whatever: the bodies of the fuzz targets, which tests replay too.

use teaparty_common::frame;
use teaparty_common::packet_buf::{PacketBuf, SliceBuf};
use teaparty_common::reflect::{
    Address, PacketMeta, Policy, Reason, ReflectorEnv, ReplyOptions, TlvIntegrity, TlvItem, TlvScan, Verdict, apply,
    next_tlv, plan, stamp,
};
use teaparty_common::tlv::{CodePoints, HandledBy, KindSet, Profile};
use teaparty_common::wire::{Mode, checksum};

/// An environment like the kernel's, whose answers depend on what it is asked.
struct Anywhere;

impl ReflectorEnv for Anywhere {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;

    fn is_local(&self, address: &Address) -> bool {
        address.0[15] & 1 != 0
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        (N == 20).then_some([0x45; N])
    }
}

/// One that takes every packet and all kinds, as the controller does.
struct Everything;

impl ReflectorEnv for Everything {
    const KINDS: KindSet = KindSet(u32::MAX);
    const MAX_SUBS: usize = 400;
    const CAN_GROW: bool = true;

    fn is_local(&self, _: &Address) -> bool {
        true
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        (N == 40).then_some([0x60; N])
    }
}

/// A policy out of two octets.
fn policy(seed: [u8; 2]) -> Policy {
    Policy {
        flags: u32::from(seed[0]),
        min_payload: u16::from(seed[1] & 0x3f),
        micro_session_id: u16::from(seed[1] >> 7) * 34,
        location_hidden: seed[0] & 0xf,
        code_points: CodePoints::new(if seed[1] & 0x40 == 0 { Profile::Current } else { Profile::Earlier }),
        ..Policy::DEFAULT
    }
}

/// A walk moves on with every step, never past the end, and ends. The surveys of it say the same.
pub fn walk(data: &[u8]) {
    let Some((seed, octets)) = data.split_first_chunk::<2>() else { return };
    let policy = policy(*seed);
    let mut octets = octets.to_vec();
    let len = octets.len();
    let bytes = SliceBuf(&mut octets);
    let mut at = 0;
    while let TlvItem::Tlv(tlv) = next_tlv(&bytes, at, len, &policy) {
        assert!(tlv.end() > at && tlv.end() <= len, "from {at} to {} of {len}", tlv.end());
        assert_eq!(tlv.end() - at, 4 + usize::from(tlv.length));
        at = tlv.end();
    }
    let mut scan = TlvScan::new(Mode::Unauthenticated);
    let mut turns = 0;
    while scan.step(&bytes, len, &policy, &Anywhere) {
        turns += 1;
        assert!(turns <= len / 4, "a walk that does not end");
    }
    assert!(scan.is_over() || len <= 44);
}

/// Deciding reads only; a reply has its request's size; where it is not answered nothing has changed; flags are those
/// that are defined; and the same holds for every layout and environment.
pub fn plan_apply(data: &[u8]) {
    let Some((seed, octets)) = data.split_first_chunk::<2>() else { return };
    let policy = policy(*seed);
    for mode in [Mode::Unauthenticated, Mode::Authenticated] {
        reflect(octets, mode, TlvIntegrity::NotAsked, &policy, Anywhere);
        // Only an environment with keys can find integrity violated.
        for integrity in [TlvIntegrity::NotAsked, TlvIntegrity::Verified, TlvIntegrity::Failed] {
            reflect(octets, mode, integrity, &policy, Everything);
        }
    }
}

fn reflect<E: ReflectorEnv>(request: &[u8], mode: Mode, integrity: TlvIntegrity, policy: &Policy, mut env: E) {
    let len = request.len();
    let mut octets = request.to_vec();
    if E::CAN_GROW {
        octets.resize(len.max(mode.base_len()), 0);
    }
    let before = octets.clone();
    let verdict = plan(&SliceBuf(&mut octets), len, mode, policy, integrity, &env);
    assert_eq!(octets, before, "deciding wrote");
    let Verdict::Reflect(plan) = verdict else { return };
    assert!(plan.tlvs_end <= len.max(mode.base_len()));
    let meta =
        PacketMeta { flags: PacketMeta::STATEFUL | PacketMeta::HAS_MAC, traffic_class: 0x29, ..PacketMeta::default() };
    let mut reply_options = ReplyOptions::new(meta.traffic_class);
    apply(&mut SliceBuf(&mut octets), &plan, &meta, policy, &mut env, &mut reply_options);
    assert_eq!(octets[..mode.base_len()], before[..mode.base_len()], "TLVs wrote to the base packet");
    assert_eq!(
        octets[plan.tlvs_end.min(octets.len())..],
        before[plan.tlvs_end.min(before.len())..],
        "wrote to padding"
    );
    let base_len = mode.base_len();
    let unstamped = octets.clone();
    let stamped =
        stamp(&mut SliceBuf(&mut octets), mode, (&meta).into(), 0x0123_4567_89ab_cdef).expect("a base packet");
    // Something that is never zero beside them, as in a pseudo header: a sum of zeros alone is written in two ways.
    let sums = [&unstamped, &octets].map(|octets| 1 + checksum::sum(&octets[..base_len]));
    let told = checksum::update(!checksum::fold(sums[0]), stamped.delta.removed, stamped.delta.added);
    assert_eq!(told, checksum::update(!checksum::fold(sums[1]), 0, 0), "stamping told another difference than it made");
    assert_eq!(octets.len(), before.len(), "the size has changed");
    if integrity == TlvIntegrity::Failed && plan.has_tlvs {
        // Only flags may differ: both have the same TLVs.
        for (at, (new, old)) in octets.iter().zip(&before).enumerate().skip(mode.base_len()) {
            assert!(new == old || *new == 0x20, "octet {at}: {old:02x} became {new:02x} without integrity");
        }
    }
}

/// A datagram that is found lies within its frame; finding reads only; the fast parsers agree with the generic one.
pub fn locate(data: &[u8]) {
    let mut octets = data.to_vec();
    let len = octets.len();
    let view = SliceBuf(&mut octets);
    let found = frame::parse_headers(&view, len);
    let twice = [
        (frame::parse_plain_v4(&view, len), frame::reparse_plain_v4(&view)),
        (frame::parse_plain_v6(&view, len), frame::reparse_plain_v6(&view)),
    ];
    for (first, again) in twice {
        let Some(plain) = first else { continue };
        assert_eq!(again, first, "found otherwise once more");
        assert_eq!(Ok(plain.frame), found, "the fast path found something else");
        assert!(!plain.frame.has_extras);
        assert_eq!(Some((plain.source, plain.destination)), plain.frame.addresses(&view));
    }
    if frame::is_plain_non_udp_v4(&view, len) || frame::is_plain_non_udp_v6(&view, len) {
        assert_eq!(found, Err(Reason::NotUdp), "the fast path out is for something else");
    }
    let Ok(found) = found else { return };
    assert!(found.payload_at() + found.payload_len <= len, "{found:?} in {len} octets");
    assert!(found.ip_at < found.udp_at && found.udp_at + 8 == found.payload_at());
    assert!(found.addresses(&view).is_some() && view.holds(found.payload_at()));
}
