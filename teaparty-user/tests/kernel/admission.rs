//! Admission: allow-list, rate limit, provisioned sessions, and what a change of configuration does to them.

use teaparty_common::maps::{Config, LocalAddress, RecordKind, Session, SessionKey, TokenRate, name};
use teaparty_common::reflect::{Address, PacketMeta, Policy, Reason};
use teaparty_testing::frame::{Checksum, Datagram, parse};
use teaparty_testing::kernel::{DROP, Kernel, PASS, TX};
use teaparty_testing::skip::or_skip;
use teaparty_testing::vectors::session_key;

/// A base packet with this SSID.
fn packet(ssid: u16) -> Datagram {
    let mut octets = vec![0; 44];
    octets[13] = 1;
    octets[14..16].copy_from_slice(&ssid.to_be_bytes());
    Datagram::new(octets)
}

fn key(datagram: &Datagram) -> SessionKey {
    session_key(datagram, u16::from_be_bytes([datagram.payload[14], datagram.payload[15]]))
}

/// Provisions a session with these flags; a zero port or the address `::` makes a wildcard of it.
fn provision(kernel: &mut Kernel, key: SessionKey, flags: u32) {
    let is_wild = key.source_port == 0 || key.destination == Address::UNSPECIFIED;
    let flags = flags | if is_wild { Session::WILDCARD } else { 0 };
    kernel.put_session(name::PROVISIONED, key, Session { flags, ..Session::default() });
    kernel.config.flags |= Config::HAS_PROVISIONED;
    for (flag, is_set) in
        [(Config::HAS_WILDCARDS, is_wild), (Config::HAS_AUTHENTICATED, flags & Session::AUTHENTICATED != 0)]
    {
        if is_set {
            kernel.config.flags |= flag;
        }
    }
    kernel.apply();
}

fn reason(kernel: &mut Kernel, datagram: &Datagram) -> Reason {
    let frame = datagram.build();
    let (outcome, reason) = kernel.run_counted(&frame);
    if outcome.action != TX {
        assert_eq!(outcome.frame, frame, "{reason:?}: edited");
    }
    reason
}

#[test]
fn sources_off_the_allow_list_are_dropped_without_state() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    kernel.config.flags |= Config::ALLOW_LIST;
    kernel.apply();
    kernel.allow("192.0.2.0".parse().expect("an address"), 96 + 28);
    kernel.allow("2001:db8::".parse().expect("an address"), 64);
    for (ip, expected) in [
        ("192.0.2.0", Reason::Reflected),
        ("192.0.2.15", Reason::Reflected),
        ("192.0.2.16", Reason::NotAllowed),
        ("10.0.0.1", Reason::NotAllowed),
        ("2001:db8::ffff", Reason::Reflected),
        ("2001:db8:0:1::1", Reason::NotAllowed),
    ] {
        let source: std::net::IpAddr = ip.parse().expect("an address");
        let octets = packet(1).payload;
        let datagram = if source.is_ipv4() { Datagram::new(octets) } else { Datagram::new_ipv6(octets) };
        assert_eq!(reason(&mut kernel, &Datagram { source, ..datagram }), expected, "{ip}");
    }
    assert_eq!(kernel.sessions(name::SESSIONS).len(), 3);
}

#[test]
fn a_source_above_its_rate_is_dropped_and_others_are_not() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    // One packet an hour and five saved up: no clock can tick fast enough to blur this.
    const HOUR: u64 = 3_600_000_000_000;
    kernel.config.source_rate = TokenRate { interval_ns: HOUR, burst_ns: 4 * HOUR };
    kernel.apply();
    let outcomes: Vec<Reason> = (0..8).map(|_| reason(&mut kernel, &packet(1))).collect();
    let answered = outcomes.iter().take_while(|reason| **reason == Reason::Reflected).count();
    assert_eq!(answered, 5, "{outcomes:?}");
    assert!(outcomes[answered..].iter().all(|reason| *reason == Reason::RateLimited), "{outcomes:?}");
    // The source is limited, not the session.
    assert_eq!(reason(&mut kernel, &packet(2)), Reason::RateLimited);
    let other = Datagram { source: "192.0.2.11".parse().expect("an address"), ..packet(1) };
    assert_eq!(reason(&mut kernel, &other), Reason::Reflected);
    // A dropped packet took no Sequence Number (C004).
    assert_eq!(kernel.session(&key(&packet(1))).expect("a session").replies, 5);
}

#[test]
fn only_provisioned_sessions_are_answered_where_that_is_asked_c065_c066() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.flags |= Config::PROVISIONED_ONLY;
    provision(&mut kernel, key(&packet(7)), 0);
    assert_eq!(reason(&mut kernel, &packet(7)), Reason::Reflected);
    assert_eq!(reason(&mut kernel, &packet(8)), Reason::NotProvisioned, "another SSID");
    assert_eq!(reason(&mut kernel, &Datagram { source_port: 49201, ..packet(7) }), Reason::NotProvisioned);
    let source = "192.0.2.11".parse().expect("an address");
    assert_eq!(reason(&mut kernel, &Datagram { source, ..packet(7) }), Reason::NotProvisioned);
    assert!(kernel.sessions(name::SESSIONS).is_empty());
    let sessions = kernel.sessions(name::PROVISIONED);
    assert_eq!((sessions.len(), sessions[0].1.replies), (1, 1), "the provisioned entry itself keeps the state");
}

#[test]
fn wildcards_make_sessions_and_the_more_exact_one_wins() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    kernel.config.flags |= Config::PROVISIONED_ONLY;
    let exact = key(&packet(9));
    let any_port = SessionKey { source_port: 0, ..exact };
    let anywhere = SessionKey { destination: Address::UNSPECIFIED, source_port: 0, ..exact };
    provision(&mut kernel, any_port, Session::PTP);
    provision(&mut kernel, anywhere, Session::NTP);
    kernel.answer("198.51.100.21".parse().expect("an address"), LocalAddress::ANSWERED);
    let z_of = |frame: &[u8]| parse(frame).payload[12] & 0x40 != 0;
    let first = kernel.run(&packet(9).build());
    assert_eq!(first.action, TX);
    assert!(z_of(&first.frame), "the wildcard with our address says PTP");
    let destination = "198.51.100.21".parse().expect("an address");
    let second = kernel.run(&Datagram { destination, ..packet(9) }.build());
    assert_eq!(second.action, TX);
    assert!(!z_of(&second.frame), "the wildcard for any address says NTP");
    let sessions = kernel.sessions(name::SESSIONS);
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|(_, session)| session.has(Session::PROVISIONED) && !session.has(Session::WILDCARD)));
    assert!(
        kernel.sessions(name::PROVISIONED).iter().all(|(_, session)| session.replies == 0),
        "wildcards keep no state"
    );
}

#[test]
fn a_packet_from_port_0_does_not_write_to_the_wildcard() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    kernel.config.flags |= Config::PROVISIONED_ONLY;
    let datagram = Datagram { source_port: 0, ..packet(9) };
    provision(&mut kernel, key(&datagram), Session::NO_TLV);
    // No reply could reach it (RFC 768).
    for _ in 0..2 {
        assert_eq!(reason(&mut kernel, &datagram), Reason::InvalidSource);
    }
    assert_eq!(kernel.sessions(name::PROVISIONED)[0].1.replies, 0);
    assert!(kernel.sessions(name::SESSIONS).is_empty());
}

#[test]
fn authenticated_packets_are_punted_and_change_nothing_c041() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    provision(&mut kernel, key(&packet(3)), Session::AUTHENTICATED);
    let before = kernel.sessions(name::PROVISIONED);
    for _ in 0..3 {
        assert_eq!(reason(&mut kernel, &packet(3)), Reason::Authenticated);
    }
    let punts = kernel.punts();
    assert_eq!(punts.len(), 3);
    for punt in &punts {
        assert_eq!(punt.header.meta.flags & (PacketMeta::UNASSIGNED | PacketMeta::STATEFUL), PacketMeta::UNASSIGNED);
        assert_eq!(punt.header.session_flags & Session::AUTHENTICATED, Session::AUTHENTICATED);
    }
    let strip = |sessions: Vec<(SessionKey, Session)>| -> Vec<(SessionKey, Session)> {
        sessions.into_iter().map(|(key, session)| (key, Session { generation: 0, ..session })).collect()
    };
    assert_eq!(strip(kernel.sessions(name::PROVISIONED)), strip(before));
    // As the default for all sessions.
    kernel.config.flags |= Config::AUTHENTICATED;
    kernel.apply();
    assert_eq!(reason(&mut kernel, &packet(4)), Reason::Authenticated);
    assert!(kernel.sessions(name::SESSIONS).is_empty(), "nobody has verified anything yet");
}

/// An authenticated packet has its SSID at octet 26, where an unauthenticated one has MBZ (RFC 8972 §3).
#[test]
fn an_authenticated_session_is_known_by_its_own_ssid_and_never_answered_in_the_open() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let mut octets = vec![0; 112];
    octets[24..28].copy_from_slice(&[0, 1, 0x12, 0x34]);
    let datagram = Datagram::new(octets);
    assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected, "nobody has said that it is authenticated");
    let session = SessionKey { ssid: 0x1234, ..key(&datagram) };
    kernel.control.generation += 1;
    provision(&mut kernel, session, Session::AUTHENTICATED);
    assert_eq!(reason(&mut kernel, &datagram), Reason::Authenticated);
    let elsewhere = Datagram { source_port: 50_000, ..datagram.clone() };
    assert_eq!(reason(&mut kernel, &elsewhere), Reason::Reflected);
    kernel.control.generation += 1;
    provision(&mut kernel, SessionKey { source_port: 0, ..session }, Session::AUTHENTICATED);
    let authenticated = Datagram { source_port: 50_001, ..datagram };
    assert_eq!(reason(&mut kernel, &authenticated), Reason::Authenticated);
    // Somebody who forges an unauthenticated packet of the same addresses and ports gets a session, and not this one.
    let open = Datagram { payload: vec![0; 44], ..authenticated.clone() };
    for _ in 0..2 {
        assert_eq!(reason(&mut kernel, &open), Reason::Reflected);
        assert_eq!(reason(&mut kernel, &authenticated), Reason::Authenticated);
    }
    let open = kernel.sessions(name::SESSIONS).into_iter().find(|(key, _)| key.source_port == 50_001);
    assert_eq!(open.map(|(_, session)| (session.replies, session.flags & Session::AUTHENTICATED)), Some((2, 0)));
}

#[test]
fn a_session_can_be_exempt_from_the_loop_guard_c280() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let datagram = Datagram { source_port: 862, ..packet(5) };
    assert_eq!(reason(&mut kernel, &datagram), Reason::LoopGuard);
    provision(&mut kernel, key(&datagram), Session::LOOP_EXEMPT);
    assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected);
}

/// A reply to our reply repeats our T3 as its T1, from whatever port it comes.
#[test]
fn a_reply_to_our_reply_is_dropped_and_takes_no_number() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let loops_back = |reply: &[u8], back_by: u32, len: usize| {
        let mut octets = vec![0; len];
        octets[28..36].copy_from_slice(&reply[4..12]);
        let seconds = u32::from_be_bytes(octets[28..32].try_into().expect("four octets")) - back_by;
        octets[28..32].copy_from_slice(&seconds.to_be_bytes());
        octets
    };
    for (is_stateful, is_ptp) in [(true, false), (true, true), (false, false), (false, true)] {
        kernel.config.flags = if is_stateful { Config::STATEFUL | Config::HISTORY } else { 0 };
        kernel.config.policy.flags = if is_ptp { Policy::PTP } else { 0 };
        kernel.apply();
        kernel.forget();
        let reply = parse(&kernel.run(&packet(0).build()).frame).payload;
        // In one buffer and in the plain form, shorter than a base packet, with a tail, with IP options.
        for len in [44, 36, 41, 100] {
            for options in [Vec::new(), vec![1; 4]] {
                let datagram = Datagram { options, source_port: 863, ..Datagram::new(loops_back(&reply, 0, len)) };
                assert_eq!(reason(&mut kernel, &datagram), Reason::ReplyLoop, "{len}");
                assert_eq!(
                    reason(&mut kernel, &Datagram { source_port: 49200, ..datagram }),
                    Reason::ReplyLoop,
                    "{len}"
                );
            }
        }
        let v6 = Datagram::new_ipv6(loops_back(&reply, 0, 44));
        assert_eq!(reason(&mut kernel, &v6), Reason::ReplyLoop);
        // Long ago, it is a sender's own affair what it puts there.
        let datagram = Datagram::new(loops_back(&reply, 20, 44));
        assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected);
        let next = parse(&kernel.run(&packet(0).build()).frame).payload;
        assert_eq!(next[..4], if is_stateful { [0, 0, 0, 2] } else { [0; 4] }, "no number was taken");
        assert_eq!(kernel.sessions(name::SESSIONS).len(), usize::from(is_stateful), "no session was made");
    }
}

/// Provisions a session that is found whatever the SSID of a packet is, as the controller does.
fn provision_any(kernel: &mut Kernel, key: SessionKey, flags: u32) {
    provision(kernel, key, flags);
    let any = Session { flags: flags | Session::WILDCARD | Session::PROVISIONED, ssid: key.ssid, ..Session::default() };
    kernel.put_session(name::PROVISIONED, key.any_ssid(), any);
    kernel.config.flags |= Config::HAS_ANY_SSID;
    kernel.control.generation += 1;
    kernel.apply();
}

#[test]
fn a_session_without_tlvs_is_one_whatever_stands_in_the_ssids_place() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for ssid in [1, 2] {
        assert_eq!(reason(&mut kernel, &packet(ssid)), Reason::Reflected);
    }
    let own = SessionKey { ssid: 5, ..key(&packet(0)) };
    provision_any(&mut kernel, own, Session::NO_TLV);
    for turn in 0..4_u8 {
        for ssid in [1, 2, 0, 0xffff] {
            let mut datagram = packet(ssid);
            datagram.payload.extend([0x80, 10, 0, 8, 0x80, 1, 0, 4, 0, 0, 0, turn & 0xfe]);
            assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected, "{ssid}");
        }
    }
    let provisioned = kernel.sessions(name::PROVISIONED);
    let of = |key: SessionKey| provisioned.iter().find(|(other, _)| *other == key).map(|(_, session)| session.replies);
    assert_eq!((of(own), of(own.any_ssid())), (Some(16), Some(0)));
    // By a wildcard: one session for each port, and one that says more goes before.
    let anywhere = SessionKey { destination: Address::UNSPECIFIED, source_port: 0, ..own };
    provision_any(&mut kernel, anywhere, Session::NO_TLV);
    let exact = SessionKey { source_port: 50_000, ssid: 9, ..own };
    provision(&mut kernel, exact, 0);
    for ssid in [3, 4, 9] {
        let datagram = Datagram { source_port: 50_000, ..packet(ssid) };
        assert_eq!(reason(&mut kernel, &datagram), Reason::Reflected);
    }
    let made = kernel.session(&SessionKey { source_port: 50_000, ..own }).expect("a session of the wildcard");
    assert_eq!((made.replies, made.has(Session::NO_TLV)), (2, true));
    let exact = kernel.sessions(name::PROVISIONED).into_iter().find(|(key, _)| *key == exact);
    assert_eq!(exact.map(|(_, session)| session.replies), Some(1));
}

#[test]
fn exempt_from_the_loop_guard_is_a_sender_whatever_its_ssids_are() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    // Another test may have been told of a loop in this second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    kernel.config.flags |= Config::PROVISIONED_ONLY;
    let from_862 = |ssid| Datagram { source_port: 862, ..packet(ssid) };
    assert_eq!(reason(&mut kernel, &from_862(1)), Reason::LoopGuard);
    let told = kernel.punts();
    assert_eq!(
        (told.len(), told[0].header.kind, told[0].header.key),
        (1, RecordKind::LoopGuard as u32, key(&from_862(1)))
    );
    assert_eq!(reason(&mut kernel, &from_862(2)), Reason::LoopGuard);
    assert!(kernel.punts().is_empty(), "one in a second is told");
    let mut heartbeat = from_862(0);
    heartbeat.payload[3] = 0x22;
    heartbeat.payload.extend([0x80, 242, 0, 8, 2, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(reason(&mut kernel, &heartbeat), Reason::Heartbeat);
    provision_any(&mut kernel, SessionKey { ssid: 7, ..key(&from_862(0)) }, Session::LOOP_EXEMPT);
    for ssid in [0, 7, 8, 9, 8] {
        assert_eq!(reason(&mut kernel, &from_862(ssid)), Reason::Reflected, "{ssid}");
    }
    // Each is a session of its own.
    let replies = |session: Option<Session>| session.map(|session| session.replies);
    assert_eq!([0, 8, 9].map(|ssid| replies(kernel.session(&key(&from_862(ssid))))), [Some(1), Some(2), Some(1)]);
}

#[test]
fn ssids_are_ignored_where_that_is_asked() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.policy.flags = Policy::IGNORE_SSID;
    kernel.apply();
    for ssid in [7, 0, 9, 0xffff] {
        assert_eq!(reason(&mut kernel, &packet(ssid)), Reason::Reflected);
    }
    let sessions = kernel.sessions(name::SESSIONS);
    assert_eq!((sessions.len(), sessions[0].0.ssid, sessions[0].1.replies), (1, 0, 4));
    let own = SessionKey { ssid: 7, ..key(&packet(0)) };
    provision_any(&mut kernel, own, 0);
    for ssid in [7, 0, 9] {
        assert_eq!(reason(&mut kernel, &packet(ssid)), Reason::Reflected);
    }
    let provisioned = kernel.sessions(name::PROVISIONED).into_iter().find(|(key, _)| *key == own);
    assert_eq!(provisioned.map(|(_, session)| session.replies), Some(3));
}

#[test]
fn padding_of_a_short_packet_is_no_ssid() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    for sequence in 0..20_u8 {
        let mut octets = vec![0; 41];
        octets[3] = sequence;
        octets[13] = 1;
        for (i, octet) in octets[14..].iter_mut().enumerate() {
            *octet = (i as u8 + 1).wrapping_mul(sequence.wrapping_mul(37).wrapping_add(11));
        }
        assert_eq!(reason(&mut kernel, &Datagram::new(octets)), Reason::ShortPacket);
        let punts = kernel.punts();
        assert_eq!((punts[0].header.key.ssid, punts[0].header.meta.sequence), (0, sequence.into()));
    }
    assert_eq!(kernel.sessions(name::SESSIONS).len(), 1);
}

#[test]
fn a_session_without_tlvs_gets_its_tail_back_as_it_is_c046() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    let mut datagram = packet(6);
    // An unknown TLV, and one that would be dropped: no reply wanted.
    datagram.payload.extend([0x80, 200, 0, 0, 0x80, 10, 0, 8, 0x80, 1, 0, 4, 0, 0, 0, 0]);
    assert_eq!(reason(&mut kernel, &datagram), Reason::NoReplyWanted);
    provision(&mut kernel, key(&datagram), Session::NO_TLV);
    let reply = parse(&kernel.run(&datagram.build()).frame);
    assert_eq!(reply.payload[44..], datagram.payload[44..]);
    assert_eq!(reply.checksum, Checksum::Right);
}

#[test]
fn a_new_generation_admits_sessions_anew() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    assert_eq!(reason(&mut kernel, &packet(1)), Reason::Reflected);
    kernel.answer("198.51.100.20".parse().expect("an address"), 0);
    kernel.control.generation += 1;
    kernel.apply();
    let frame = packet(1).build();
    let (outcome, reason) = kernel.run_counted(&frame);
    assert_eq!((outcome.action, reason), (PASS, Reason::NotOurAddress), "the address has gone");
    kernel.answer("198.51.100.20".parse().expect("an address"), LocalAddress::ANSWERED);
    assert_eq!(parse(&kernel.run(&frame).frame).payload[..4], [0, 0, 0, 1], "the session has kept its count");
    kernel.config.flags |= Config::ALLOW_LIST;
    kernel.control.generation += 1;
    kernel.apply();
    let (outcome, reason) = kernel.run_counted(&frame);
    assert_eq!((outcome.action, reason), (DROP, Reason::NotAllowed));
}
