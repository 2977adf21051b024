//! Admission by rule and in order, and that state follows the packets.

use std::collections::HashMap;
use std::sync::Arc;

use teaparty_common::reflect::Address;

use super::*;
use crate::crypto::HmacKey;
use crate::net::interface::Interface;
use crate::reflector::config::{ReflectorConfig, ReflectorSettings};
use crate::reflector::keys::SessionKeys;
use crate::reflector::provisioned::Provisioned;

fn snapshot(change: impl FnOnce(&mut ReflectorSettings)) -> ConfigSnapshot {
    let mut settings = ReflectorSettings { iface: vec!["t0".into()], ..ReflectorSettings::default() };
    change(&mut settings);
    let interface = Interface {
        name: "t0".into(),
        index: 7,
        mac: [2; 6],
        mtu: 1500,
        link_type: libc::ARPHRD_ETHER,
        is_loopback: false,
        is_up: true,
        addresses: vec!["192.0.2.1".parse().unwrap()],
        broadcasts: vec!["192.0.2.255".parse().unwrap()],
    };
    ConfigSnapshot::new(Arc::new(ReflectorConfig::try_from(settings).unwrap()), interface, &Arc::default())
}

fn key(port: u16) -> SessionKey {
    SessionKey {
        source: Address::v4([198, 51, 100, 9]),
        destination: Address::v4([192, 0, 2, 1]),
        source_port: port,
        destination_port: 862,
        ssid: 0,
        reserved: 0,
    }
}

/// Admission of a packet without an SSID.
fn admit(table: &mut SessionTable, key: &SessionKey, snapshot: &ConfigSnapshot, now_ns: u64) -> Result<u32, Reason> {
    table.admit((&mut { *key }, Tags::NONE), 0, snapshot, now_ns)
}

#[test]
fn admission_names_the_first_reason_in_order() {
    let mut table = SessionTable::new(4);
    let open = snapshot(|_| {});
    assert_eq!(admit(&mut table, &key(5000), &open, 0), Ok(0));
    let elsewhere = SessionKey { destination: Address::v4([192, 0, 2, 2]), ..key(862) };
    assert_eq!(admit(&mut table, &elsewhere, &open, 0), Err(Reason::NotOurAddress));
    for source in [[192, 0, 2, 1], [192, 0, 2, 255], [224, 0, 0, 1], [255; 4], [0; 4], [127, 0, 0, 1]] {
        let spoofed = SessionKey { source: Address::v4(source), ..key(5000) };
        assert_eq!(admit(&mut table, &spoofed, &open, 0), Err(Reason::InvalidSource), "{source:?}");
    }
    assert_eq!(admit(&mut table, &key(0), &open, 0), Err(Reason::InvalidSource));
    assert_eq!(admit(&mut table, &key(862), &open, 0), Err(Reason::LoopGuard));
    let strict = snapshot(|s| {
        s.allow = vec!["203.0.113.0/24".parse().unwrap()];
        s.provisioned_only = true;
    });
    assert_eq!(admit(&mut table, &key(5000), &strict, 0), Err(Reason::NotAllowed));
    let provisioned = snapshot(|s| s.provisioned_only = true);
    assert_eq!(admit(&mut table, &key(5000), &provisioned, 0), Err(Reason::NotProvisioned));
    assert!(table.is_empty(), "admission makes no state");
}

#[test]
fn a_known_session_is_checked_again_after_a_change() {
    let mut table = SessionTable::new(4);
    let before = snapshot(|_| {});
    table.assign(&key(5000), 0, &before, &mut PacketMeta::default()).unwrap();
    let mut closed = snapshot(|s| s.provisioned_only = true);
    closed.generation = 2;
    assert_eq!(admit(&mut table, &key(5000), &before, 0), Ok(0));
    assert_eq!(admit(&mut table, &key(5000), &closed, 0), Err(Reason::NotProvisioned));
}

#[test]
fn a_session_that_is_provisioned_and_taken_back_is_moved_alone() {
    let mut table = SessionTable::new(10);
    let open = snapshot(|_| {});
    let mut meta = PacketMeta::default();
    for port in [5000, 5001] {
        table.assign(&key(port), 0, &open, &mut meta).unwrap();
    }
    let provisioned = open.with_provisioned(HashMap::from([(key(5000), Provisioned::default())]));
    table.keep_changed(&provisioned, &key(5000));
    assert_eq!((table.len(), table.get(&key(5000)).unwrap().replies), (2, 1));
    // It is not among those that go.
    assert_eq!((table.expire(u64::MAX), table.len()), (1, 1));
    table.keep_changed(&open, &key(5000));
    assert!(table.is_empty(), "a session that is undone is forgotten");
}

#[test]
fn a_session_that_is_reset_begins_anew() {
    let mut table = SessionTable::new(10);
    let open = snapshot(|_| {});
    let mut meta = PacketMeta { received_ns: 7, ..PacketMeta::default() };
    table.assign(&key(5000), Session::NO_TLV, &open, &mut meta).unwrap();
    table.record_exchange(&key(5000), HistorySlot { timestamp: 9, ..HistorySlot::default() });
    let before = *table.get(&key(5000)).unwrap();
    assert!(table.reset(&key(5000)) && !table.reset(&key(5001)));
    let after = *table.get(&key(5000)).unwrap();
    assert_ne!((after.history_tag, after.history_tag), (before.history_tag, 0));
    assert_eq!(after, Session { history_tag: after.history_tag, ..before.reset() });
    assert_eq!((after.replies, after.last_received_ns, after.flags), (0, 0, Session::NO_TLV));
}

#[test]
fn provisioned_wildcards_give_their_flags_to_sessions() {
    let mut table = SessionTable::new(4);
    let wildcard = SessionKey { source_port: 0, destination: Address::UNSPECIFIED, ..key(0) };
    let flags = Session::LOOP_EXEMPT | Session::PTP | Session::WILDCARD;
    let provisioned = HashMap::from([(wildcard, Provisioned { flags, ..Provisioned::default() })]);
    let snapshot = snapshot(|s| s.provisioned_only = true).with_provisioned(provisioned);
    let expected = Session::LOOP_EXEMPT | Session::PTP | Session::PROVISIONED;
    assert_eq!(admit(&mut table, &key(862), &snapshot, 0), Ok(expected));
}

#[test]
fn a_source_may_burst_and_then_keeps_its_rate() {
    let mut table = SessionTable::new(4);
    let snapshot = snapshot(|s| s.rate_limit = "1000:3".parse().unwrap());
    let ms = 1_000_000;
    for _ in 0..3 {
        assert!(admit(&mut table, &key(5000), &snapshot, ms).is_ok());
    }
    assert_eq!(admit(&mut table, &key(5001), &snapshot, ms), Err(Reason::RateLimited));
    assert!(admit(&mut table, &key(5000), &snapshot, 2 * ms).is_ok());
    assert_eq!(admit(&mut table, &key(5000), &snapshot, 2 * ms), Err(Reason::RateLimited));
}

#[test]
fn all_addresses_of_an_ipv6_network_are_one_source() {
    let snapshot = snapshot(|s| s.rate_limit = "1000:3".parse().unwrap());
    let mut table = SessionTable::new(4);
    let from = |network: u8, host: u8| SessionKey {
        source: Address([0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host]),
        ..key(5000)
    };
    let admitted = (0..100).filter(|host| admit(&mut table, &from(1, *host), &snapshot, 1_000_000).is_ok()).count();
    assert_eq!(admitted, 3);
    assert!(admit(&mut table, &from(2, 0), &snapshot, 1_000_000).is_ok(), "another network");
}

#[test]
fn a_flood_of_strangers_evicts_each_other_and_no_provisioned_session() {
    let snapshot = snapshot(|_| {});
    let mut table = SessionTable::new(8);
    let mut packet = |port: u16, flags: u32, at: u64| {
        let mut meta = PacketMeta { received_ns: at, ..PacketMeta::default() };
        table.assign(&key(port), flags, &snapshot, &mut meta).map(|()| meta.sequence)
    };
    for port in 1..=3 {
        assert_eq!(packet(port, Session::PROVISIONED, 1), Ok(0));
    }
    assert_eq!([packet(4, 0, 2), packet(4, 0, 3)], [Ok(0), Ok(1)]);
    for port in 1000..3000 {
        assert_eq!(packet(port, 0, u64::from(port)), Ok(0));
    }
    assert_eq!([1, 2, 3].map(|port| packet(port, Session::PROVISIONED, 5000)), [Ok(1); 3]);
    assert_eq!(packet(4, 0, 5000), Ok(2), "a stranger of several packets");
    for port in 10..=14 {
        assert_eq!(packet(port, Session::PROVISIONED, 6000), Ok(0), "strangers make room for provisioned ones");
    }
    assert_eq!(packet(4, 0, 7000), Err(Reason::TableFull));
}

#[test]
fn numbers_counters_and_history_follow_the_packets() {
    let mut table = SessionTable::new(4);
    let snapshot = snapshot(|_| {});
    for n in 0..40u32 {
        let mut meta = PacketMeta { received_ns: u64::from(n), ..PacketMeta::default() };
        table.assign(&key(5000), 0, &snapshot, &mut meta).unwrap();
        assert_eq!((meta.sequence, meta.transmitted, meta.received), (n, n, n + 1 + n / 10));
        assert_eq!(meta.flags & PacketMeta::HAS_PREVIOUS != 0, n > 0);
        let exchange = HistorySlot { reflector_sequence: n, sender_sequence: 100 + n, ..HistorySlot::default() };
        table.record_exchange(&key(5000), exchange);
        if n % 10 == 9 {
            table.unanswered(&key(5000));
        }
    }
    let tag = table.get(&key(5000)).unwrap().history_tag;
    let ring = table.history_ring(tag).unwrap();
    assert_eq!(ring.remembered(tag, 39).map(|slot| slot.sender_sequence), Some(139));
    assert_eq!((ring.remembered(tag, 7), ring.remembered(tag + 1, 39)), (None, None));
    assert_eq!(table.expire(39), 0);
    assert_eq!((table.expire(40), table.len()), (1, 0));
}

#[test]
fn an_authenticated_session_is_known_by_the_ssid_in_its_own_place() {
    let mut table = SessionTable::new(4);
    let session = SessionKey { ssid: 0x1234, ..key(5000) };
    let keys = SessionKeys { base: vec![HmacKey::new(b"key").unwrap()], tlv: Vec::new() };
    let provisioned = HashMap::from([(session, Provisioned::default().with_keys(keys))]);
    let snapshot = snapshot(|_| {}).with_provisioned(provisioned);
    let expected = Ok(Session::AUTHENTICATED | Session::PROVISIONED);
    // Where an unauthenticated packet has its SSID, an authenticated one has octets that must be zero, or were meant to mislead.
    for misleading in [0, 0x4321] {
        let mut found = SessionKey { ssid: misleading, ..session };
        assert_eq!((table.admit((&mut found, Tags::NONE), 0x1234, &snapshot, 0), found), (expected, session));
    }
    let mut other = SessionKey { ssid: 7, ..session };
    assert_eq!((table.admit((&mut other, Tags::NONE), 0, &snapshot, 0), other.ssid), (Ok(0), 7));
}

#[test]
fn what_becomes_authenticated_or_open_begins_anew() {
    let mut table = SessionTable::new(4);
    let open = snapshot(|_| {});
    for port in [5000, 5001] {
        table.assign(&key(port), 0, &open, &mut PacketMeta::default()).unwrap();
    }
    let keys = SessionKeys { base: vec![HmacKey::new(b"key").unwrap()], tlv: Vec::new() };
    let provisioned = HashMap::from([(key(5000), Provisioned::default().with_keys(keys))]);
    let closed = open.with_provisioned(provisioned);
    table.keep_configured(&closed);
    assert_eq!((table.get(&key(5000)), table.len()), (None, 1));
    let mut meta = PacketMeta::default();
    table.assign(&key(5000), Session::AUTHENTICATED, &closed, &mut meta).unwrap();
    assert_eq!(meta.sequence, 0);
    table.keep_configured(&closed);
    assert_eq!(table.len(), 2, "what stays authenticated stays");
    table.keep_configured(&open);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_packet_of_a_time_before_a_change_makes_no_session_of_the_wrong_kind() {
    let mut table = SessionTable::new(4);
    let open = snapshot(|_| {});
    let keys = SessionKeys { base: vec![HmacKey::new(b"key").unwrap()], tlv: Vec::new() };
    let provisioned = HashMap::from([(key(5000), Provisioned::default().with_keys(keys))]);
    let closed = open.with_provisioned(provisioned);
    table.keep_configured(&closed);
    assert_eq!(table.assign(&key(5000), 0, &open, &mut PacketMeta::default()), Err(Reason::NoKey));
    assert_eq!(
        table.assign(&key(5001), 0, &open, &mut PacketMeta::default()),
        Ok(()),
        "nothing has changed for this one"
    );
    let opened = closed.with_provisioned(HashMap::new());
    assert_eq!(table.assign(&key(5000), Session::AUTHENTICATED, &closed, &mut PacketMeta::default()), Ok(()));
    table.keep_configured(&opened);
    let late = table.assign(&key(5000), Session::AUTHENTICATED, &closed, &mut PacketMeta::default());
    assert_eq!((late, table.len()), (Err(Reason::NoKey), 1));
}
