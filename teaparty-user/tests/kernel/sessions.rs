//! What the kernel keeps of a session: numbers, counters, times, history; and how the controller adds to it.

use teaparty_common::maps::{Config, HistoryKey, HistorySlot, SessionKey, SessionOp, SessionOpRequest, name};
use teaparty_common::reflect::{PacketMeta, Policy, Reason};
use teaparty_testing::frame::{Datagram, parse};
use teaparty_testing::kernel::{HISTORY_RINGS, Kernel, TX};
use teaparty_testing::skip::or_skip;
use teaparty_testing::vectors::session_key;

/// A packet with this Sequence Number and SSID, and these octets after the base packet.
fn packet(sequence: u32, ssid: u16, tail: &[u8]) -> Datagram {
    let mut octets = vec![0; 44];
    octets[..4].copy_from_slice(&sequence.to_be_bytes());
    octets[4..12].copy_from_slice(&(0x0102_0304_0000_0000 | u64::from(sequence)).to_be_bytes());
    octets[13] = 1;
    octets[14..16].copy_from_slice(&ssid.to_be_bytes());
    octets.extend(tail);
    Datagram::new(octets)
}

fn key(ssid: u16) -> SessionKey {
    let datagram = packet(0, ssid, &[]);
    session_key(&datagram, ssid)
}

/// The reply's payload.
fn reply(kernel: &mut Kernel, datagram: &Datagram) -> Vec<u8> {
    let outcome = kernel.run(&datagram.build());
    assert_eq!(outcome.action, TX);
    parse(&outcome.frame).payload
}

fn be32(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"))
}

fn be64(octets: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(octets[at..at + 8].try_into().expect("eight octets"))
}

/// Return Path: no reply.
const NO_REPLY: [u8; 12] = [0x80, 10, 0, 8, 0x80, 1, 0, 4, 0, 0, 0, 0];
/// Direct Measurement.
const DIRECT: [u8; 16] = [0x80, 5, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
/// Follow-Up Telemetry.
const FOLLOW_UP: [u8; 20] = [0x80, 7, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn each_session_counts_its_replies_from_zero_c002_c003_c064() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    for (turn, sequence) in [7, 9, 4, 0xffff_ffff].into_iter().enumerate() {
        for ssid in [0, 1, 0xffff] {
            for source_port in [49200, 50000] {
                let got = reply(&mut kernel, &Datagram { source_port, ..packet(sequence, ssid, &[]) });
                assert_eq!(be32(&got, 0), turn as u32, "SSID {ssid}, port {source_port}");
                assert_eq!(be32(&got, 24), sequence);
                assert_eq!(got[14..16], ssid.to_be_bytes());
            }
        }
    }
    let sessions = kernel.sessions(name::SESSIONS);
    assert_eq!(sessions.len(), 6);
    assert!(sessions.iter().all(|(_, session)| session.replies == 4 && session.sender_sequence == 0xffff_ffff));
}

#[test]
fn a_stateless_reflector_copies_the_number_and_keeps_nothing_c001_c144() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    kernel.config.flags = 0;
    kernel.apply();
    for sequence in [0, 7, 7, 0xffff_ffff] {
        let got = reply(&mut kernel, &packet(sequence, 1, &FOLLOW_UP));
        assert_eq!((be32(&got, 0), be32(&got, 24)), (sequence, sequence));
        assert_eq!(got[48..60], [0; 12], "Follow-Up Telemetry");
        // Nothing is counted, and the reply says so (RFC 8972 §4.5).
        let got = reply(&mut kernel, &packet(sequence, 1, &DIRECT));
        assert_eq!(got[44..], DIRECT, "Direct Measurement");
    }
    assert!(kernel.sessions(name::SESSIONS).is_empty());
}

#[test]
fn a_sender_that_starts_again_gets_numbers_from_0_and_no_history_of_before() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let at = |sequence, seconds: u64, tail: &[u8]| {
        let mut datagram = packet(sequence, 1, tail);
        datagram.payload[4..12].copy_from_slice(&((0xebbd_0000 + seconds) << 32 | 7).to_be_bytes());
        datagram
    };
    let number = |kernel: &mut Kernel, sequence, seconds| be32(&reply(kernel, &at(sequence, seconds, &[])), 0);
    let numbers: Vec<u32> = [(0, 0), (1, 1), (0, 2), (0, 32), (5, 33), (5, 99)]
        .map(|(sequence, seconds)| number(&mut kernel, sequence, seconds))
        .to_vec();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "nothing is more than 30 seconds later and has number 0");
    let before = kernel.session(&key(1)).expect("a session").history_tag;
    let got = reply(&mut kernel, &at(0, 130, &[FOLLOW_UP.as_slice(), &DIRECT].concat()));
    assert_eq!((be32(&got, 0), &got[48..60]), (0, &[0; 12][..]), "nothing was sent before in this run");
    assert_eq!((be32(&got, 72), be32(&got, 76)), (1, 0), "one received, none sent");
    let session = kernel.session(&key(1)).expect("a session");
    assert_ne!(session.history_tag, before);
    assert_eq!((session.replies, session.sender_timestamp >> 32), (1, 0xebbd_0000 + 130));
    // Likewise where the controller answers: by a number that the kernel assigns, and by one that it claims.
    let mut short = at(0, 200, &[]);
    short.payload.truncate(20);
    kernel.run(&short.build());
    assert_eq!(kernel.punts()[0].header.meta.sequence, 0);
    assert_eq!(number(&mut kernel, 1, 201), 1);
    let exchange = HistorySlot { sender_timestamp: (0xebbd_0000 + 300) << 32, ..HistorySlot::default() };
    let operation = SessionOp::Claim as u32;
    let claim = SessionOpRequest { key: key(1), operation, count: 1, exchange, ..SessionOpRequest::default() };
    let answer = kernel.session_op(claim);
    assert_eq!((answer.sequence, answer.received), (0, 1));
    // Off.
    kernel.config.session_restart_s = 0;
    kernel.apply();
    assert_eq!(number(&mut kernel, 0, 900), 1);
}

#[test]
fn a_packet_that_is_not_answered_takes_no_number_and_counts_as_received_c004_c129_c210() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    assert_eq!(be32(&reply(&mut kernel, &packet(0, 1, &[])), 0), 0);
    for code in [0u32, 0xffff_fffe] {
        let mut tail = NO_REPLY;
        tail[8..].copy_from_slice(&code.to_be_bytes());
        let (_, reason) = kernel.run_counted(&packet(1, 1, &tail).build());
        assert_eq!(reason, Reason::NoReplyWanted);
    }
    let got = reply(&mut kernel, &packet(3, 1, &DIRECT));
    assert_eq!(be32(&got, 0), 1);
    // S_TxC kept; four received, this one included; one sent, this one not.
    assert_eq!((be32(&got, 48), be32(&got, 52), be32(&got, 56)), (9, 4, 1));
    let session = kernel.session(&key(1)).expect("a session");
    assert_eq!((session.replies, session.unanswered, session.received()), (2, 2, 4));
}

#[test]
fn follow_up_says_when_the_reply_before_was_sent_c143() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let first = reply(&mut kernel, &packet(0, 1, &FOLLOW_UP));
    assert_eq!(first[48..64], [0; 16], "the first reply has none before it");
    let second = reply(&mut kernel, &packet(1, 1, &FOLLOW_UP));
    assert_eq!((be32(&second, 48), be64(&second, 52), second[60]), (0, be64(&first, 4), 2));
    let third = reply(&mut kernel, &packet(2, 1, &FOLLOW_UP));
    assert_eq!((be32(&third, 48), be64(&third, 52)), (1, be64(&second, 4)));
}

#[test]
fn numbers_go_on_across_punted_packets() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let mut numbers = Vec::new();
    for turn in 0..6 {
        if turn % 2 == 0 {
            numbers.push(be32(&reply(&mut kernel, &packet(turn, 0, &[])), 0));
            continue;
        }
        // Shorter than the base packet, hence for the controller, and sure to be answered.
        let mut datagram = packet(turn, 0, &[]);
        datagram.payload.truncate(14 + turn as usize);
        kernel.run(&datagram.build());
        let punts = kernel.punts();
        let meta = punts[0].header.meta;
        assert_eq!(
            meta.flags & (PacketMeta::STATEFUL | PacketMeta::UNASSIGNED),
            PacketMeta::STATEFUL,
            "assigned by the kernel"
        );
        numbers.push(meta.sequence);
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_packet_that_may_not_be_answered_is_punted_without_a_number() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    let hmac = [&[0x80, 8, 0, 16][..], &[0; 16]].concat();
    kernel.run(&packet(0, 1, &hmac).build());
    let meta = kernel.punts()[0].header.meta;
    assert_eq!(meta.flags & PacketMeta::UNASSIGNED, PacketMeta::UNASSIGNED);
    assert!(kernel.session(&key(1)).is_none_or(|session| session.replies == 0));
    assert_eq!(be32(&reply(&mut kernel, &packet(1, 1, &[])), 0), 0);
}

#[test]
fn session_operations_take_numbers_and_remember_what_the_controller_sent() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    let claim = |count| SessionOpRequest {
        key: key(1),
        operation: SessionOp::Claim as u32,
        count,
        received_ns: 77,
        ..SessionOpRequest::default()
    };
    let unknown = kernel.session_op(claim(0));
    assert_eq!(unknown.is_found, 0, "noting a packet makes no session");
    let first = kernel.session_op(claim(3));
    assert_eq!((first.is_found, first.sequence, first.received), (1, 0, 1));
    assert_eq!(be32(&reply(&mut kernel, &packet(0, 1, &[])), 0), 3, "the kernel goes on after them");
    let noted = kernel.session_op(claim(0));
    assert_eq!((noted.is_found, noted.sequence), (1, 4));
    // One that got three replies, one that got one, one that got none.
    assert_eq!(kernel.session(&key(1)).expect("a session").received(), 3);
    let next = kernel.session_op(claim(1));
    assert_eq!(next.sequence, 4);
    let exchange = HistorySlot {
        reflector_sequence: 4,
        sender_timestamp: 11,
        receive_timestamp: 22,
        timestamp: 0x33_0000_0044,
        sender_sequence: 55,
        ..HistorySlot::default()
    };
    let record = SessionOpRequest { operation: SessionOp::Record as u32, exchange, ..claim(0) };
    assert_eq!(kernel.session_op(record).is_found, 1);
    let got = reply(&mut kernel, &packet(9, 1, &FOLLOW_UP));
    assert_eq!((be32(&got, 0), be32(&got, 48), be64(&got, 52)), (5, 4, 0x33_0000_0044));
    let ring = kernel.history(HistoryKey::ring(next.history_tag, HISTORY_RINGS));
    assert_eq!(ring.slots[4], HistorySlot { tag: next.history_tag, ..exchange });
}

#[test]
fn history_holds_the_last_exchanges_as_they_were_on_the_wire() {
    let Some(mut kernel) = or_skip(Kernel::new()) else {
        return;
    };
    let mut replies = Vec::new();
    for sequence in 100..140 {
        replies.push(reply(&mut kernel, &packet(sequence, 1, &[])));
        reply(&mut kernel, &packet(sequence, 2, &[]));
    }
    let tag = kernel.session(&key(1)).expect("a session").history_tag;
    assert_ne!(tag, 0);
    let ring = kernel.history(HistoryKey::ring(tag, HISTORY_RINGS));
    for (number, reply) in replies.iter().enumerate().skip(8) {
        let slot = ring.slots[HistoryKey::slot(number as u32)];
        let expected = HistorySlot {
            tag,
            reflector_sequence: number as u32,
            sender_timestamp: be64(reply, 28),
            receive_timestamp: be64(reply, 16),
            timestamp: be64(reply, 4),
            sender_sequence: 100 + number as u32,
            reserved: 0,
        };
        assert_eq!(slot, expected);
    }
    kernel.config.flags &= !Config::HISTORY;
    kernel.apply();
    reply(&mut kernel, &packet(0, 3, &[]));
    assert_eq!(kernel.session(&key(3)).expect("a session").history_tag, 0);
}

#[test]
fn timestamps_are_utc_in_ntp_and_tai_in_ptp_c014_c015_c016_c031() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let offset = 37;
    kernel.control.clock.tai_offset_ns = offset * 1_000_000_000;
    kernel.apply();
    let tai = || {
        let clock = nix::time::ClockId::from_raw(nix::libc::CLOCK_TAI);
        nix::time::clock_gettime(clock).expect("CLOCK_TAI").tv_sec() as u64
    };
    let before = tai();
    let got = reply(&mut kernel, &packet(0, 1, &[]));
    assert_eq!(got[12] & 0x40, 0, "Z");
    for at in [4, 16] {
        let seconds = u64::from(be32(&got, at)) - 2_208_988_800 + offset;
        assert!((before..=tai()).contains(&seconds), "NTP at {at}");
    }
    kernel.config.policy = Policy { flags: Policy::PTP, ..Policy::DEFAULT };
    kernel.apply();
    let got = reply(&mut kernel, &packet(0, 1, &[]));
    assert_eq!(got[12] & 0x40, 0x40, "Z");
    for at in [4, 16] {
        assert!((before..=tai()).contains(&u64::from(be32(&got, at))), "PTP at {at}");
        assert!(be32(&got, at + 4) < 1_000_000_000, "nanoseconds at {at}");
    }
}

#[test]
fn a_full_ring_is_a_counted_drop_and_no_stall() {
    let Some(mut kernel) = or_skip(Kernel::new()) else { return };
    let hmac = [&[0x80, 8, 0, 16][..], &[0; 16], &[0x80, 1, 0x04, 0x00], &[7; 1024]].concat();
    let frame = packet(0, 1, &hmac).build();
    let fits = (0..20_000).position(|_| kernel.run_counted(&frame).1 == Reason::RingFull).expect("the ring gets full");
    assert!(fits > 100, "{fits}");
    assert_eq!(be32(&reply(&mut kernel, &packet(0, 1, &[])), 0), 0, "the fast path goes on, and no number was taken");
    assert_eq!(kernel.punts().len(), fits);
    assert_eq!(kernel.run_counted(&frame).1, Reason::IntegrityTlv, "and so does the ring once it was read");
}
