//! What must hold of the sender for any reply whatever: the body of its fuzz target, which a test runs too.

use std::net::SocketAddr;

use serde_json::Value;
use teaparty_common::reflect::Policy;
use teaparty_common::tlv::{CodePoints, Profile};
use teaparty_common::wire::{ErrorEstimate, Mode, TimestampFormat, TrafficClass};
use teaparty_user::crypto::HmacKey;
use teaparty_user::net::batch::{HostTimestamp, Received, StampSource};
use teaparty_user::sender::config::SenderConfig;
use teaparty_user::sender::session::reply::Reply;
use teaparty_user::sender::session::sender_session::{SenderSession, Variant};
use teaparty_user::sender::session::transit::{Arrival, ClockMoment, SentPacket};
use teaparty_user::sender::target::Target;
use teaparty_user::sender::tlvs::chain::AccessReportRequest;
use teaparty_user::sender::tlvs::describe::{Marks, finding};
use teaparty_user::sender::tlvs::reply::{Check, ReplyTlv, TlvOutcome, reply_tlvs};
use teaparty_user::sender::tlvs::request::{AccessReportContent, RequestTlv};
use teaparty_user::sys::clock::ClockState;

/// Bits of the first octet: what kind of session it is.
const AUTHENTICATED: u8 = 1;
/// Replies must have a right HMAC TLV.
const KEYED: u8 = 2;
/// The earlier numbers of experimental TLVs.
const EARLIER: u8 = 4;
/// The base packet names one of our packets, and is signed where that matters, so that what follows is looked at.
const GENUINE: u8 = 8;
/// Three replies are asked for.
const BURST: u8 = 16;
/// An Access Report is sent, and a member link.
const REPORTS: u8 = 32;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 862);
const NOW_NS: u64 = 1_700_000_000_000_000_000;

/// The first octet says what kind of session; the rest are replies to it, each behind two octets with its length.
///
/// Nothing panics; anything after a malformed TLV is skipped; one I voids all; a Value is used only if it was
/// answered; counts stay within what was sent; and a reply has one record at most.
pub fn reply(data: &[u8]) {
    let Some((&kind, mut rest)) = data.split_first() else { return };
    let key = HmacKey::new(b"a key for replies").expect("it is long enough");
    let config = config(kind, &key);
    let Ok(mut session) = SenderSession::new(&config, 0, 0x1234, 0, 1) else { return };
    let mut replies = 0;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*length)).min(tail.len());
        let mut payload = tail[..len].to_vec();
        rest = &tail[len..];
        send(&mut session, &config, replies);
        if kind & GENUINE != 0 {
            make_genuine(&mut payload, &session, &config, &key);
        }
        tlvs(&payload, &config);
        receive(&mut session, &payload, &config);
        replies += 1;
        if replies == 16 {
            break;
        }
    }
    while session.matcher.close().is_some() {}
    let counts = session.matcher.counts();
    assert!(counts.received + counts.lost + counts.unsettled <= counts.sent, "{counts:?}");
    assert!(counts.further + counts.duplicates + counts.late + counts.received + counts.unmatched <= replies);
    assert_eq!(session.matcher.awaited(), 0);
    for tally in session.tlvs(&config).values() {
        assert!(serde_json::to_string(tally).is_ok());
    }
}

fn config(kind: u8, key: &HmacKey) -> SenderConfig {
    let mut config = SenderConfig::new(vec![Target { name: "peer".into(), address: PEER }]);
    if kind & AUTHENTICATED != 0 {
        (config.mode, config.key) = (Mode::Authenticated, Some(key.clone()));
    }
    config.tlv_key = (kind & KEYED != 0).then(|| key.clone());
    let profile = if kind & EARLIER == 0 { Profile::Current } else { Profile::Earlier };
    config.policy = Policy { code_points: CodePoints::new(profile), ..Policy::DEFAULT };
    config.tlvs = vec![RequestTlv::timestamp_information()];
    config.tlvs.extend(RequestTlv::bit_errors(&[0xff, 0], 8));
    config.traffic_class = TrafficClass(0x29);
    if kind & BURST != 0 {
        config.tlvs.push(RequestTlv::reflected_control(0, 3, 1_000));
        (config.replies_per_packet, config.reply_interval_ns) = (3, 1_000);
    }
    if kind & REPORTS != 0 {
        let access = AccessReportContent { id: 1, return_code: 1 };
        let timer = std::time::Duration::from_secs(3);
        config.access_report = Some(AccessReportRequest { access, timer, retransmissions: 4 });
        config.micro_session = Some((7, None));
        config.stop_on_zero_ssid = true;
    }
    config
}

/// Sends the next packet; its T1 is its number.
fn send(session: &mut SenderSession, config: &SenderConfig, number: u64) {
    session.take_due(number);
    let template = session.template(Variant::Plain);
    let mut packet = template.octets().to_vec();
    let estimate = ErrorEstimate::new(false, TimestampFormat::Ntp, 1_000);
    template.write_base(
        &mut packet,
        number as u32,
        ClockState::UNKNOWN.timestamp(NOW_NS, TimestampFormat::Ntp),
        estimate,
    );
    assert!(packet.len() >= config.mode.base_len());
    let departure = SentPacket {
        wire_timestamp: number,
        realtime_ns: NOW_NS + number,
        monotonic_ns: number,
        ..SentPacket::default()
    };
    session.matcher.sent(departure);
}

/// Writes the last packet's number and T1 where a reply repeats them, and signs what is to be signed.
fn make_genuine(payload: &mut Vec<u8>, session: &SenderSession, config: &SenderConfig, key: &HmacKey) {
    let base = config.mode.base_len();
    payload.resize(payload.len().max(base), 0);
    let number = session.matcher.counts().sent - 1;
    let (number_at, time_at, ssid_at) = match config.mode {
        Mode::Unauthenticated => (24, 28, 14),
        Mode::Authenticated => (48, 64, 26),
    };
    payload[ssid_at] = 0x12;
    payload[number_at..number_at + 4].copy_from_slice(&(number as u32).to_be_bytes());
    payload[time_at..time_at + 8].copy_from_slice(&number.to_be_bytes());
    // An HMAC TLV at the end is made right, so that the TLVs before it are read.
    if let Some(at) = payload.len().checked_sub(20).filter(|at| *at >= base && payload[at + 1] == 8) {
        payload[at + 2..at + 4].copy_from_slice(&[0, 16]);
        let hmac = key.tlv_hmac(*payload.first_chunk().expect("a base packet"), &payload[base..at]);
        payload[at + 4..].copy_from_slice(&hmac);
    }
    if config.mode == Mode::Authenticated {
        key.sign_base(payload);
    }
}

fn tlvs(payload: &[u8], config: &SenderConfig) {
    let check = Check { policy: &config.policy, key: config.tlv_key.as_ref(), sent: &config.tlvs };
    let found: Vec<ReplyTlv<'_>> = reply_tlvs(payload, config.mode.base_len(), check);
    let is_void = |answer: &ReplyTlv<'_>| answer.outcome == TlvOutcome::NotAuthentic;
    assert!(found.iter().all(is_void) || !found.iter().any(is_void), "I on one and not on all");
    let malformed = found.iter().position(|answer| answer.outcome == TlvOutcome::Malformed);
    if let Some(at) = malformed {
        assert!(
            found[at + 1..].iter().all(|answer| answer.outcome == TlvOutcome::Skipped),
            "something behind M was used"
        );
    }
    let total: usize = found.iter().map(|answer| 4 + answer.value.len()).sum();
    assert!(found.is_empty() || config.mode.base_len() + total <= payload.len(), "more than there is");
    for answer in &found {
        let marks =
            Marks { sent: config.traffic_class, reply: Some(TrafficClass(0x2a)), has_key: config.tlv_key.is_some() };
        let finding = finding(answer, marks);
        assert!(answer.outcome == TlvOutcome::Answered || finding.value == Value::Null, "{finding:?}");
        assert!(!finding.words.is_empty());
    }
}

fn receive(session: &mut SenderSession, payload: &[u8], config: &SenderConfig) {
    let Ok(reply) = Reply::parse(payload, config.mode, config.key.as_ref()) else { return };
    let stamp = HostTimestamp { nanos: NOW_NS + 5_000, source: StampSource::Kernel };
    let arrival = Arrival { stamp, moment: ClockMoment { epoch: 0, monotonic_ns: 60 }, earlier: None };
    let received = Received::new(payload, PEER);
    let before = session.matcher.counts();
    let reaction = session.receive(&reply, &received, arrival, config, &ClockState::UNKNOWN, true);
    let after = session.matcher.counts();
    assert!(after.received - before.received <= 1);
    if let Some(record) = reaction.record {
        let findings = record.reply.expect("it is one of a reply").findings;
        assert!(serde_json::to_string(&findings).is_ok());
    }
    let _ = (session.due_ns(), session.is_over(), session.snapshot());
}
