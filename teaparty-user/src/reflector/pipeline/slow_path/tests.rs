//! The controller's half of the vectors, keys and memory included, and what must not change before a packet is known good.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use teaparty_common::maps::HistoryRing;
use teaparty_common::reflect::Disposition;
use teaparty_common::tlv::measurement::{HISTORY_DEPTH, HistoryEntry};
use teaparty_common::wire::Timestamp;
use teaparty_testing::vectors::{self, Vector, address, differences};

use super::*;
use crate::net::interface::Interface;
use crate::reflector::config::{ReflectorConfig, ReflectorSettings};
use crate::reflector::keys::SessionKeys;
use crate::reflector::provisioned::Provisioned;

/// A session store that gives the numbers that a vector states, and writes down what it was asked.
#[derive(Default)]
struct Stated {
    meta: PacketMeta,
    history: Vec<HistorySlot>,
    asked: RefCell<Vec<&'static str>>,
}

impl SessionStore for Stated {
    fn claim(
        &self,
        _: &SessionKey,
        _: u32,
        _: &ConfigSnapshot,
        _: &ReflectedFields,
        meta: &mut PacketMeta,
    ) -> Result<(), Reason> {
        self.asked.borrow_mut().push("claim");
        *meta = PacketMeta { flags: self.meta.flags & !PacketMeta::UNASSIGNED, ..self.meta };
        Ok(())
    }

    fn claim_again(&self, _: &SessionKey, meta: &mut PacketMeta) -> Result<(), Reason> {
        self.asked.borrow_mut().push("claim again");
        *meta = PacketMeta { flags: self.meta.flags & !PacketMeta::UNASSIGNED, ..self.meta };
        Ok(())
    }

    fn unanswered(&self, _: &SessionKey, _: &PacketMeta) {
        self.asked.borrow_mut().push("unanswered");
    }

    fn record_exchange(&self, _: &SessionKey, _: &PacketMeta, _: HistorySlot) {
        self.asked.borrow_mut().push("settle");
    }

    fn history_ring(&self, _: u32) -> Option<HistoryRing> {
        let mut ring = HistoryRing { slots: [HistorySlot::default(); HISTORY_DEPTH] };
        for slot in &self.history {
            ring.slots[slot.reflector_sequence as usize % HISTORY_DEPTH] = *slot;
        }
        Some(ring)
    }
}

/// The keys of `testing_data/vectors`: 0x00 to 0x1f for base packets.
fn base_key() -> HmacKey {
    HmacKey::new(&(0..0x20).collect::<Vec<u8>>()).unwrap()
}

/// A reflector configured as the vector says.
fn snapshot(vector: &Vector) -> ConfigSnapshot {
    let settings = ReflectorSettings {
        iface: vec!["t0".into()],
        stateless: !vector.ctx.is_stateful,
        ..ReflectorSettings::default()
    };
    let mut config = ReflectorConfig::try_from(settings).unwrap();
    config.policy = vector.ctx.policy;
    config.default_keys = SessionKeys {
        base: if vector.ctx.mode == Mode::Authenticated { vec![base_key()] } else { Vec::new() },
        tlv: vector.ctx.tlv_key.iter().map(|octets| HmacKey::new(octets).unwrap()).collect(),
    };
    let interface = Interface {
        name: "t0".into(),
        index: 1,
        mac: [2; 6],
        mtu: 1500,
        link_type: libc::ARPHRD_ETHER,
        is_loopback: false,
        is_up: true,
        addresses: vector.ctx.local.clone(),
        ..Interface::default()
    };
    ConfigSnapshot::new(Arc::new(config), interface, &Arc::default())
}

fn slots(vector: &Vector) -> Vec<HistorySlot> {
    let entries = vector.ctx.history.iter().map(|octets| HistoryEntry::read_from_bytes(octets).unwrap());
    let slots = entries.map(|entry| HistorySlot {
        tag: 1,
        reflector_sequence: entry.reflector_sequence_number.get(),
        sender_timestamp: entry.sender_timestamp.bits(),
        receive_timestamp: entry.receive_timestamp.bits(),
        timestamp: entry.timestamp.bits(),
        sender_sequence: entry.sender_sequence_number.get(),
        reserved: 0,
    });
    slots.collect()
}

fn packet<'a>(vector: &'a Vector, chain: &'a [u8], control: BurstStage<'a>) -> TestPacket<'a> {
    let ctx = &vector.ctx;
    let key = SessionKey {
        source: address(ctx.source),
        destination: address(ctx.destination),
        source_port: ctx.source_port,
        destination_port: ctx.destination_port,
        ..SessionKey::default()
    };
    let session_flags = if ctx.mode == Mode::Authenticated { Session::AUTHENTICATED } else { 0 };
    let meta = PacketMeta { history_tag: 1, ..ctx.meta() };
    let meta = PacketMeta { flags: meta.flags | PacketMeta::UNASSIGNED, ..meta };
    let fixed = (!ctx.ip_header.is_empty()).then_some(&*ctx.ip_header);
    TestPacket {
        key,
        session_flags,
        meta,
        headers: Headers { fixed, extensions: chain, ..Headers::default() },
        has_segments: &|| true,
        control,
    }
}

/// A finalized reply and its metadata, or the reason that there is none.
type Outcome = Result<(Vec<u8>, PendingReply), Reason>;

/// The reply to a vector's request, or the reason that there is none, and what the store was asked.
fn reflect(vector: &Vector, request: &[u8]) -> (Outcome, Vec<&'static str>) {
    reflect_again(vector, request, BurstStage::First(&Arc::default()))
}

/// Reflects a request that may already have a reply.
fn reflect_again(vector: &Vector, request: &[u8], control: BurstStage<'_>) -> (Outcome, Vec<&'static str>) {
    let chain = vector.ctx.extension_headers.concat();
    let packet = packet(vector, &chain, control);
    let store = Stated { meta: packet.meta, history: slots(vector), ..Stated::default() };
    let mut payload = request.to_vec();
    let snapshot = snapshot(vector);
    let outcome = process(packet, &mut payload, &snapshot, &store).map(|pending_reply| {
        // T3 as the vector has it.
        let near = 1_746_049_288_000_000_000;
        let t3 = Timestamp::from_bits(vector.ctx.timestamp).to_nanos(TimestampFormat::Ntp, near);
        pending_reply.finalize(&mut payload, || t3, &Clock::default());
        (payload, pending_reply)
    });
    (outcome, store.asked.into_inner())
}

#[test]
fn every_vector_comes_out_as_expected() {
    let mut failures = Vec::new();
    for vector in vectors::all() {
        let (outcome, _) = reflect(&vector, &vector.request);
        let found = match (outcome, vector.replies.as_slice()) {
            (Ok((payload, pending_reply)), [reply, others @ ..]) => {
                let mut found = differences(reply, &payload, &vector.mask);
                if pending_reply.mode == Mode::Authenticated && !base_key().verify_base(&payload) {
                    found.push("the base HMAC is wrong".into());
                }
                if let Some(ip) = &vector.reply_ip {
                    let to = match pending_reply.path_request {
                        Some(ReturnPathRequest::Address(address)) => crate::net::address::ip(&address),
                        _ => vector.ctx.source,
                    };
                    if to != ip.destination {
                        found.push(format!("sent to {to}, not {}", ip.destination));
                    }
                }
                let count = pending_reply.grant.as_ref().map_or(1, |grant| usize::from(grant.replies.count));
                if count != vector.replies.len() {
                    found.push(format!("{count} replies"));
                }
                for (reply, grant) in others.iter().zip(pending_reply.grant.iter().cycle()) {
                    let (outcome, _) = reflect_again(&vector, &vector.request, BurstStage::Again(grant.replies));
                    let (payload, pending_reply) = outcome.expect("another reply");
                    found.extend(differences(reply, &payload, &vector.mask));
                    assert!(pending_reply.grant.is_none(), "a further reply has none of its own");
                }
                found
            }
            (Err(reason), []) if reason.disposition() == Disposition::Drop => Vec::new(),
            (outcome, _) => vec![format!("unexpected outcome {:?}", outcome.err())],
        };
        failures.extend(found.into_iter().map(|line| format!("{} ({}): {line}", vector.id, vector.title)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn vector(id: &str) -> Vector {
    vectors::all().into_iter().find(|vector| vector.id == id).unwrap()
}

#[test]
fn every_flipped_bit_of_an_authenticated_base_is_refused_before_any_state() {
    let vector = vector("V11");
    for at in 0..vector.request.len() {
        let mut request = vector.request.clone();
        request[at] ^= 0x40;
        let (outcome, asked) = reflect(&vector, &request);
        assert_eq!(outcome.err(), Some(Reason::AuthenticationFailed), "octet {at}");
        assert!(asked.is_empty(), "octet {at}: {asked:?}");
    }
}

#[test]
fn every_flipped_octet_under_the_tlv_hmac_gives_i_and_changes_nothing() {
    let vector = vector("V50");
    let covered = (0..4).chain(Mode::Unauthenticated.base_len()..vector.request.len());
    for at in covered {
        let mut request = vector.request.clone();
        // The lower bits of the flags octets are reserved and covered all the same.
        request[at] ^= 0x01;
        let (outcome, _) = reflect(&vector, &request);
        let (reply, _) = outcome.unwrap();
        if at >= Mode::Unauthenticated.base_len() && (at - Mode::Unauthenticated.base_len()) % 8 < 4 {
            // Types and Lengths: what counts as a TLV has changed with them.
            continue;
        }
        for (i, octet) in request.iter().enumerate().skip(Mode::Unauthenticated.base_len()) {
            let is_flags = i == 44 || i == 52;
            let expected = if is_flags { 0x20 } else { *octet };
            assert_eq!(reply[i], expected, "octet {at} flipped, octet {i} of the reply");
        }
    }
}

#[test]
fn an_authenticated_session_without_a_key_is_never_answered_in_the_open() {
    let vector = vector("V11");
    let mut snapshot = snapshot(&vector);
    let mut config = (*snapshot.config).clone();
    config.default_keys = SessionKeys::default();
    snapshot.config = Arc::new(config);
    let bursts = Arc::default();
    let packet = packet(&vector, &[], BurstStage::First(&bursts));
    let outcome = process(packet, &mut vector.request.clone(), &snapshot, &Stated::default());
    assert_eq!(outcome.err(), Some(Reason::NoKey));
}

#[test]
fn both_keys_of_a_change_over_are_taken_and_the_reply_uses_the_one_that_was() {
    let vector = vector("V11");
    let new = HmacKey::new(b"the new key").unwrap();
    let keys = SessionKeys { base: vec![new.clone(), base_key()], tlv: Vec::new() };
    let bursts = Arc::default();
    let packet = packet(&vector, &[], BurstStage::First(&bursts));
    // The SSID of an authenticated packet is elsewhere than the kernel looks.
    let session = SessionKey { ssid: 0x1234, ..packet.key };
    let provisioned = Provisioned { flags: Session::AUTHENTICATED, keys: Arc::new(keys), ..Provisioned::default() };
    let snapshot = snapshot(&vector).with_provisioned(HashMap::from([(session, provisioned)]));
    for (key, other) in [(&new, &base_key()), (&base_key(), &new)] {
        let mut payload = vector.request.clone();
        key.sign_base(&mut payload);
        let packet = TestPacket { key: packet.key, meta: packet.meta, ..packet };
        let pending_reply = process(packet, &mut payload, &snapshot, &Stated::default()).unwrap();
        assert_eq!(pending_reply.key().ssid, 0x1234);
        pending_reply.finalize(&mut payload, || 0, &Clock::default());
        assert!(key.verify_base(&payload) && !other.verify_base(&payload));
    }
}

/// A reflector that obeys Reflected Test Packet Control.
fn allowing() -> ConfigSnapshot {
    let settings =
        ReflectorSettings { iface: vec!["t0".into()], allow_reflected_control: true, ..ReflectorSettings::default() };
    let mut snapshot = snapshot(&vector("V01"));
    snapshot.config = Arc::new(ReflectorConfig::try_from(settings).unwrap());
    snapshot
}

proptest! {
    #[test]
    fn whatever_control_asks_for_the_reply_is_within_the_limits(
        control in (any::<u16>(), 1u16..20, any::<u32>()),
        tlvs in prop::collection::vec((prop_oneof![0u8..13, 240u8..=248], 0u8..40, 0usize..44), 0..8),
        place in 0usize..8,
    ) {
        let vector = vector("V01");
        let mut tail = Vec::new();
        for (n, (code, length, real)) in tlvs.iter().enumerate() {
            if n == place {
                tail.extend([0x80, 12, 0, 12]);
                tail.extend([control.0.to_be_bytes(), control.1.to_be_bytes()].concat());
                tail.extend([control.2.to_be_bytes(), [0; 4]].concat());
            }
            tail.extend([0x80, *code, 0, *length]);
            tail.extend(std::iter::repeat_n(*code, *real));
        }
        let request = [&vector.request[..44], &tail].concat();
        let (snapshot, bursts) = (allowing(), Arc::default());
        let store = Stated { meta: vector.ctx.meta(), ..Stated::default() };
        let mut payload = request.clone();
        let first = process(packet(&vector, &[], BurstStage::First(&bursts)), &mut payload, &snapshot, &store);
        let Ok(first) = first else { return Ok(()) };
        prop_assert!(payload.len() <= request.len().max(1472), "{} octets", payload.len());
        let Some(grant) = &first.grant else { return Ok(()) };
        prop_assert!((2..=16).contains(&grant.replies.count) && grant.replies.interval_ns >= 100_000);
        // The others are like it, and go to the same place.
        let mut again = request;
        let next = process(packet(&vector, &[], BurstStage::Again(grant.replies)), &mut again, &snapshot, &store).ok().unwrap();
        prop_assert!(next.is_again && next.grant.is_none());
        prop_assert_eq!((again.len(), next.reply_options), (payload.len(), first.reply_options));
        prop_assert_eq!(&again[44..], &payload[44..]);
    }
}
