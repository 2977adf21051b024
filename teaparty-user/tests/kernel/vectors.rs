//! Every vector as a frame through the loaded program: answered as expected, or punted for the right reason.

use std::net::IpAddr;

use teaparty_common::maps::{Config, Session, SessionKey, name};
use teaparty_common::reflect::Reason;
use teaparty_common::wire::Mode;
use teaparty_testing::frame::{Checksum, Datagram, ip_header, parse};
use teaparty_testing::kernel::{CLOCK, DROP, Kernel, OURS, TX};
use teaparty_testing::skip::or_skip;
use teaparty_testing::vectors::{self, Vector, address, differences, session_key};

/// Returns the reason that the kernel ends a vector with.
fn expected_reason(vector: &Vector) -> Reason {
    match vector.id.as_str() {
        "V07" => Reason::ShortPacket,
        "V11" | "V12" | "V13" | "V15" | "V57" | "V58" => Reason::Authenticated,
        "V50" | "V51" | "V53" | "V55" => Reason::IntegrityTlv,
        "V76" | "V77" | "V80" | "V81" | "V83" | "V84" | "V90" | "V93" => Reason::ControllerTlv,
        "V96" => Reason::IpOptions,
        "V73" => Reason::NoReplyWanted,
        _ => Reason::Reflected,
    }
}

/// The vector's request as a frame.
fn frame(vector: &Vector) -> Datagram {
    let ctx = &vector.ctx;
    let mut datagram = Datagram {
        source_mac: ctx.source_mac,
        source: ctx.source,
        destination: ctx.destination,
        source_port: ctx.source_port,
        destination_port: ctx.destination_port,
        ttl: ctx.ttl,
        traffic_class: ctx.traffic_class,
        ..Datagram::new(vector.request.clone())
    };
    if let [header] = ctx.extension_headers.as_slice() {
        // The vector is about IPv6 alone there, whatever its addresses say.
        datagram.source = "2001:db8::10".parse::<IpAddr>().expect("an address");
        datagram.destination = "2001:db8:1::20".parse::<IpAddr>().expect("an address");
        datagram.extensions = vec![(0, header.clone())];
    }
    datagram
}

/// Returns the key of the vector's session.
fn key(vector: &Vector, datagram: &Datagram) -> SessionKey {
    let ssid = vector.request.get(14..16).map_or(0, |ssid| u16::from_be_bytes([ssid[0], ssid[1]]));
    session_key(datagram, ssid)
}

/// Gives the program the vector's context. Whether its counters forced a stateful session on a stateless vector.
fn prepare(kernel: &mut Kernel, vector: &Vector, datagram: &Datagram) -> bool {
    let ctx = &vector.ctx;
    kernel.forget();
    kernel.config.policy = ctx.policy;
    // A stateless reflector has nothing to count, so Direct Measurement is asked of a session with the vector's counts.
    let has_counts = vector.request.get(45) == Some(&5);
    kernel.config.flags = if ctx.is_stateful || has_counts { Config::STATEFUL } else { 0 };
    if ctx.mode == Mode::Authenticated {
        kernel.config.flags |= Config::AUTHENTICATED;
    }
    kernel.control.clock.error_estimate = ctx.error_estimate;
    kernel.control.clock.timestamp_information = ctx.timestamp_information;
    kernel.apply();
    for ip in &ctx.local {
        kernel.answer(*ip, OURS);
    }
    if kernel.config.has(Config::STATEFUL) && ctx.mode == Mode::Unauthenticated {
        let replies = if has_counts { u64::from(ctx.transmitted) } else { u64::from(ctx.next_sequence) };
        let (previous_sequence, previous_timestamp, _) = ctx.previous.unwrap_or_default();
        let session = Session {
            replies,
            unanswered: u64::from(ctx.received - 1 - ctx.transmitted),
            previous_timestamp,
            previous_sequence,
            flags: if ctx.previous.is_some() { Session::HAS_PREVIOUS } else { 0 },
            generation: kernel.control.generation,
            ..Session::default()
        };
        kernel.put_session(name::SESSIONS, key(vector, datagram), session);
    }
    has_counts && !ctx.is_stateful
}

#[test]
fn every_vector_is_answered_as_expected_or_punted_for_the_right_reason() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let mut failures = Vec::new();
    for vector in vectors::all() {
        let datagram = frame(&vector);
        let is_forced = prepare(&mut kernel, &vector, &datagram);
        let sent = datagram.build();
        let (outcome, reason) = kernel.run_counted(&sent);
        let expected = expected_reason(&vector);
        let mut found = Vec::new();
        if reason != expected {
            found.push(format!("expected {expected:?}, got {reason:?}"));
        } else if reason == Reason::Reflected {
            assert_eq!(outcome.action, TX);
            found = judge(&vector, &datagram, &outcome.frame, is_forced);
        } else {
            assert_eq!(outcome.action, DROP);
            if outcome.frame != sent {
                found.push("the frame was edited".to_owned());
            }
        }
        if reason == Reason::Reflected || reason == Reason::NoReplyWanted {
            let punts = kernel.punts();
            // V41 is an Access Report, which the controller gets.
            let told = usize::from(vector.id == "V41");
            assert_eq!(punts.len(), told, "{}: records", vector.id);
        } else {
            found.extend(judge_punt(&vector, &datagram, &sent, &mut kernel));
        }
        failures.extend(found.into_iter().map(|line| format!("{} ({}): {line}", vector.id, vector.title)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Returns the faults of a reply.
fn judge(vector: &Vector, datagram: &Datagram, reply: &[u8], is_forced: bool) -> Vec<String> {
    let got = parse(reply);
    let mut mask = vector.mask.clone();
    let mut expected = vector.replies[0].clone();
    if is_forced {
        mask[..4].fill(0);
    } else {
        // State is the vector's own, so the Sequence Number is not free.
        mask[..4].fill(0xff);
    }
    // The error estimate is configured, hence known.
    mask[12..14].fill(0xff);
    if !vector.ctx.ip_header.is_empty() {
        // The frame has a header of its own, not the vector's.
        let at = expected.windows(20).position(|w| w == vector.ctx.ip_header).expect("the vector shows its header");
        expected[at..at + 20].copy_from_slice(ip_header(&datagram.build()));
    }
    let mut found = differences(&expected, &got.payload, &mask);
    let ip = vector.reply_ip.as_ref().expect("a reply has an address");
    let mut same = |what: &str, is: bool| {
        if !is {
            found.push(format!("{what} is wrong: {got:02x?}"));
        }
    };
    same("source", got.source == datagram.destination && got.source == ip.source);
    same("destination", got.destination == ip.destination);
    same("source port", got.source_port == datagram.destination_port);
    same("destination port", got.destination_port == ip.destination_port);
    same("MAC", got.source_mac == datagram.destination_mac && got.destination_mac == datagram.source_mac);
    same("TTL", got.ttl == 255);
    same("header checksum", got.header_checksum_error == 0);
    same("UDP checksum", got.checksum == Checksum::Right);
    let class = ip.dscp << 2 | ip.ecn;
    let free = datagram.traffic_class & 0xfc;
    same("traffic class", got.traffic_class == if class == 0 { free } else { class });
    let time = |at: usize| u64::from_be_bytes(got.payload[at..at + 8].try_into().expect("eight octets"));
    same("order of T2 and T3", time(16) <= time(4));
    found
}

/// Returns the faults in the record of a punted vector.
fn judge_punt(vector: &Vector, datagram: &Datagram, sent: &[u8], kernel: &mut Kernel) -> Vec<String> {
    let punts = kernel.punts();
    let [punt] = punts.as_slice() else { return vec![format!("{} records instead of one", punts.len())] };
    let mut found = Vec::new();
    let mut same = |what: &str, is: bool| {
        if !is {
            found.push(format!("{what} of the record is wrong: {:?}", punt.header));
        }
    };
    let (header, meta) = (&punt.header, &punt.header.meta);
    same("frame", punt.frame == sent);
    same("reason", header.reason == expected_reason(vector) as u32);
    same("payload length", header.payload_len as usize == vector.request.len());
    same("payload offset", usize::from(header.payload_at) == datagram.payload_at());
    same("IP offset", header.ip_at == 14);
    same("key", header.key == key(vector, datagram));
    same("source", meta.source == address(datagram.source) && meta.source_port == datagram.source_port);
    same("destination", meta.destination == address(datagram.destination) && meta.destination_port == 862);
    same("TTL", meta.ttl == vector.ctx.ttl && meta.traffic_class == vector.ctx.traffic_class);
    same("MAC", meta.has_source_mac() && meta.source_mac == vector.ctx.source_mac);
    same("clock", meta.error_estimate == CLOCK.error_estimate && meta.receive_timestamp != 0);
    found
}
