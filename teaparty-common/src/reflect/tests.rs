//! The core on hand-made packets: order of decisions, bounds, and that `plan` and `apply` never panic.

extern crate std;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::packet_buf::SliceBuf;
use crate::tlv::HandledBy;

/// A kernel-like environment without addresses of its own.
struct Kernel;

impl ReflectorEnv for Kernel {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;
    fn is_local(&self, _: &Address) -> bool {
        false
    }
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        None
    }
}

fn decide(octets: &mut [u8], policy: &Policy) -> Verdict {
    let len = octets.len();
    plan(&SliceBuf(octets), len, Mode::Unauthenticated, policy, TlvIntegrity::NotAsked, &Kernel)
}

fn reflect(octets: &mut [u8]) -> Option<ReplyOptions> {
    let Verdict::Reflect(plan) = decide(octets, &Policy::DEFAULT) else { return None };
    let meta = PacketMeta { flags: PacketMeta::STATEFUL, ..PacketMeta::default() };
    let mut reply_options = ReplyOptions::new(meta.traffic_class);
    apply(&mut SliceBuf(octets), &plan, &meta, &Policy::DEFAULT, &mut Kernel, &mut reply_options);
    stamp(&mut SliceBuf(octets), Mode::Unauthenticated, ReplyFields::from(&meta), 7);
    Some(reply_options)
}

fn packet(tail: &[u8]) -> Vec<u8> {
    let mut octets = vec![0; 44];
    octets.extend_from_slice(tail);
    octets
}

#[test]
fn sizes_decide_before_contents() {
    let policy = Policy::DEFAULT;
    assert_eq!(decide(&mut [0; 13], &policy), Verdict::Drop(Reason::TooShort));
    assert_eq!(decide(&mut [0; 14], &policy), Verdict::Punt(Reason::ShortPacket));
    assert!(matches!(decide(&mut [0; 44], &policy), Verdict::Reflect(plan) if !plan.has_tlvs));
    let mut octets = [0; 44];
    let beyond = plan(&SliceBuf(&mut octets), 45, Mode::Unauthenticated, &policy, TlvIntegrity::NotAsked, &Kernel);
    assert_eq!(beyond, Verdict::Punt(Reason::LongPacket));
}

#[test]
fn hmac_behind_a_malformed_tlv_still_goes_to_the_controller() {
    let mut tail = vec![0x80, 4, 0, 2, 0, 0];
    tail.extend([0x80, 8, 0, 16]);
    tail.extend([0; 16]);
    assert_eq!(decide(&mut packet(&tail), &Policy::DEFAULT), Verdict::Punt(Reason::IntegrityTlv));
}

#[test]
fn no_reply_yields_to_an_hmac_that_may_void_it() {
    let no_reply = [0x80, 10, 0, 8, 0x80, 1, 0, 4, 0, 0, 0, 0];
    assert_eq!(decide(&mut packet(&no_reply), &Policy::DEFAULT), Verdict::Drop(Reason::NoReplyWanted));
    let mut tail = no_reply.to_vec();
    tail.extend([0x80, 8, 0, 16]);
    tail.extend([0; 16]);
    assert_eq!(decide(&mut packet(&tail), &Policy::DEFAULT), Verdict::Punt(Reason::IntegrityTlv));
}

#[test]
fn stray_octets_are_marked_and_zero_ones_are_not() {
    let mut octets = packet(&[0x80, 200, 0, 0, 1, 2, 3]);
    reflect(&mut octets);
    assert_eq!(octets[44..], [0x80, 200, 0, 0, 0x40, 2, 3]);
    let mut octets = packet(&[0x80, 200, 0, 0, 0, 0, 0]);
    reflect(&mut octets);
    assert_eq!(octets[44..], [0x80, 200, 0, 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn any_bytes_give_a_verdict_and_reflect_keeps_the_length(
        base in prop::collection::vec(any::<u8>(), 0..46),
        tlvs in prop::collection::vec((any::<u8>(), prop_oneof![0u8..13, 176u8..=255], 0u8..40, 0usize..44), 0..12),
    ) {
        let mut octets = base;
        for (flags, code, length, real) in tlvs {
            octets.extend([flags, code, 0, length]);
            octets.extend(std::iter::repeat_n(flags, real));
        }
        let before = octets.clone();
        let has_reply = reflect(&mut octets).is_some();
        prop_assert_eq!(octets.len(), before.len());
        if !has_reply {
            prop_assert_eq!(octets, before);
        }
    }
}
