//! What the dissector computes from several packets: links, times, losses, and who sent what.

use teaparty_common::wire::reflector::{Stamp, UnauthenticatedReply};
use teaparty_common::wire::sender::{ReflectedFields, UnauthenticatedPacket};
use teaparty_common::wire::{ErrorEstimate, Timestamp, TimestampFormat};
use teaparty_testing::frame::Datagram;
use teaparty_testing::skip::or_skip;
use zerocopy::{FromZeros, IntoBytes};

use super::tshark::{self, Fields};
use super::{START, reply, request};

/// The sender's port.
const PORT: u16 = 49_200;

/// A test packet with these numbers, sent `t1` nanoseconds after the start.
fn packet(number: u32, ssid: u16, t1: u64) -> UnauthenticatedPacket {
    UnauthenticatedPacket {
        sequence_number: number.into(),
        timestamp: Timestamp::from_nanos(START + t1, TimestampFormat::Ntp),
        error_estimate: ErrorEstimate::new(true, TimestampFormat::Ntp, 1000),
        ssid: ssid.into(),
        ..FromZeros::new_zeroed()
    }
}

/// The reply with Sequence Number `number` by a reflector that got the request at `t2` and answered `residence` nanoseconds
/// later.
fn answer(to: &UnauthenticatedPacket, number: u32, t2: u64, residence: i64) -> UnauthenticatedReply {
    let t3 = (START + t2).checked_add_signed(residence).unwrap();
    let stamp = Stamp {
        sequence_number: number.into(),
        timestamp: Timestamp::from_nanos(t3, TimestampFormat::Ptp),
        receive_timestamp: Timestamp::from_nanos(START + t2, TimestampFormat::Ptp),
        error_estimate: ErrorEstimate::new(true, TimestampFormat::Ptp, 1000),
        sender_ttl: 64,
    };
    UnauthenticatedReply::new(stamp, ReflectedFields::from(*to))
}

/// A capture under construction. Frames are numbered from 1.
#[derive(Default)]
struct Trace(Vec<(u64, Vec<u8>)>);

impl Trace {
    fn request(&mut self, at: u64, packet: &UnauthenticatedPacket) {
        self.frame(at, &request(packet.as_bytes().to_vec(), PORT));
    }

    fn reply(&mut self, at: u64, answer: &UnauthenticatedReply) {
        self.frame(at, &reply(answer.as_bytes().to_vec(), PORT));
    }

    fn frame(&mut self, at: u64, datagram: &Datagram) {
        self.0.push((START + at, datagram.build()));
    }

    fn fields(&self, names: &[&str], more: &[&str]) -> Vec<Fields> {
        let names: Vec<String> = names.iter().map(|name| format!("stamp.{name}")).collect();
        let capture = tshark::capture(self.0.iter().map(|(time, frame)| (*time, frame.as_slice())), 65_535);
        tshark::fields(capture.path(), &names, more)
    }
}

/// Returns the value of a field of the frame with this number, if it has one.
fn value<'a>(shown: &'a [Fields], frame: usize, name: &str) -> Option<&'a str> {
    let values = shown[frame - 1].get(&format!("stamp.{name}"))?;
    assert_eq!(values.len(), 1, "frame {frame} has {name} once");
    Some(&values[0])
}

#[test]
fn replies_are_linked_to_their_requests_by_number_and_t1() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let mut trace = Trace::default();
    // The same number twice, by a sender that starts again; their replies come in the other order. The third has none.
    let (first, second, third) = (packet(7, 1, 0), packet(7, 1, 1_000), packet(8, 1, 2_000));
    trace.request(0, &first);
    trace.request(1_000, &second);
    trace.request(2_000, &third);
    trace.reply(901_000, &answer(&second, 7, 500_000, 61));
    trace.reply(1_002_345, &answer(&first, 7, 400_000, 1_234));
    // Another reply to the first, by a reflector whose clock went back.
    trace.reply(1_500_000, &answer(&first, 7, 400_000, -5));
    let names = ["request_in", "reply_in", "residence", "round_trip", "net_round_trip"];
    let shown = trace.fields(&names, &[]);
    let links: Vec<_> =
        (1..=6).map(|frame| (value(&shown, frame, "request_in"), value(&shown, frame, "reply_in"))).collect();
    assert_eq!(
        links,
        [(None, Some("5")), (None, Some("4")), (None, None), (Some("2"), None), (Some("1"), None), (Some("1"), None)]
    );
    let times = |frame| ["residence", "round_trip", "net_round_trip"].map(|name| value(&shown, frame, name).unwrap());
    assert_eq!(times(4), ["0.000000061", "0.000900000", "0.000899939"]);
    assert_eq!(times(5), ["0.000001234", "0.001002345", "0.001001111"]);
    assert_eq!(times(6), ["-0.000000005", "0.001500000", "0.001500005"]);
}

#[test]
fn losses_have_a_direction_where_the_reflector_counts() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let mut trace = Trace::default();
    // Sender's numbers, and the reflector's: it misses 2 and 3, and its reply to 4 is lost. Then one that comes late.
    for (at, (number, own)) in [(0, 10), (1, 11), (5, 13), (6, 14), (4, 12), (8, 15)].into_iter().enumerate() {
        trace.reply(at as u64 * 1_000_000, &answer(&packet(number, 1, 0), own, 0, 10));
    }
    let shown = trace.fields(&["loss.forward", "loss.backward", "loss.unknown"], &[]);
    let losses: Vec<_> = (1..=6)
        .map(|frame| ["forward", "backward", "unknown"].map(|name| value(&shown, frame, &format!("loss.{name}"))))
        .collect();
    let none = [None; 3];
    assert_eq!(losses, [none, none, [Some("2"), Some("1"), None], none, none, [Some("1"), None, None]]);

    // One that copies the sender's numbers.
    let mut trace = Trace::default();
    for number in [0, 1, 4] {
        trace.reply(u64::from(number), &answer(&packet(number, 1, 0), number, 0, 10));
    }
    let shown = trace.fields(&["loss.forward", "loss.backward", "loss.unknown"], &[]);
    assert_eq!(value(&shown, 3, "loss.unknown"), Some("2"));
    assert!(shown[0].is_empty() && shown[1].is_empty() && shown[2].len() == 1, "{shown:?}");
}

#[test]
fn ports_and_conversations_tell_who_sent_a_packet() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let mut trace = Trace::default();
    let first = packet(1, 1, 0);
    let exchange = |trace: &mut Trace, sender: u16, reflector: u16| {
        let ports = |source_port, destination_port, datagram| Datagram { source_port, destination_port, ..datagram };
        trace.frame(1, &ports(sender, reflector, request(first.as_bytes().to_vec(), 0)));
        trace.frame(2, &ports(reflector, sender, reply(answer(&first, 0, 100, 10).as_bytes().to_vec(), 0)));
    };
    exchange(&mut trace, PORT, 862);
    exchange(&mut trace, 862, 862);
    exchange(&mut trace, PORT, 8_620);
    exchange(&mut trace, 862, 8_620);
    exchange(&mut trace, PORT, 5_000);
    let roles = |more: &[&str]| -> Vec<String> {
        let shown = trace.fields(&["role"], more);
        (1..=10).map(|frame| value(&shown, frame, "role").unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(roles(&[])[..6], ["1", "2", "1", "2", "-", "-"]);
    let more = ["-o", "stamp.ports:862,8600-8630", "-d", "udp.port==5000,stamp"];
    assert_eq!(roles(&more), ["1", "2", "1", "2", "1", "2", "1", "2", "1", "2"]);
}

#[test]
fn a_heartbeat_is_no_reply() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let mut trace = Trace::default();
    let heartbeat = [packet(0x22, 0, 0).as_bytes(), &[0x80, 242, 0, 8, 2, 0, 94, 16, 0, 1, 0, 0]].concat();
    trace.frame(0, &reply(heartbeat.clone(), PORT));
    trace.frame(1, &request(heartbeat, PORT));
    let shown = trace.fields(&["role", "heartbeat.mac"], &[]);
    let seen = [1, 2].map(|frame| (value(&shown, frame, "role"), value(&shown, frame, "heartbeat.mac")));
    assert_eq!(seen, [(Some("3"), Some("02:00:5e:10:00:01")), (Some("1"), Some("02:00:5e:10:00:01"))]);
}

#[test]
fn fields_are_filters_and_columns() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let mut trace = Trace::default();
    let with_tlv = |packet: &UnauthenticatedPacket, code| [packet.as_bytes(), &[0x80, code, 0, 4, 0, 0, 0, 0]].concat();
    trace.frame(0, &request(with_tlv(&packet(1, 0x1234, 0), 3), PORT));
    trace.frame(1, &request(with_tlv(&packet(2, 0x1234, 1), 4), PORT));
    trace.frame(2, &request(with_tlv(&packet(3, 0x4321, 2), 3), PORT));
    let capture = tshark::capture(trace.0.iter().map(|(time, frame)| (*time, frame.as_slice())), 65_535);
    let path = capture.path().to_str().unwrap();
    let columns =
        "gui.column.format:\"Number\",\"%m\",\"SSID\",\"%Cus:stamp.ssid:0:R\",\"TLV\",\"%Cus:stamp.tlv.type:0:R\"";
    for (filter, lines) in [
        ("stamp.ssid == 0x1234", vec!["1 0x1234 Timestamp Information", "2 0x1234 Class of Service"]),
        ("stamp.seq > 2", vec!["3 0x4321 Timestamp Information"]),
        ("stamp.tlv.type == 4 && stamp.tlv.flags.u == 1", vec!["2 0x1234 Class of Service"]),
        ("stamp.t1 >= \"2026-01-01\"", vec![]),
    ] {
        let text = tshark::run(&["-r", path, "-Y", filter, "-o", columns]);
        let shown: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(shown, lines, "{filter}");
    }
}

#[test]
fn settings_force_mode_format_and_padding() {
    if or_skip(tshark::installed()).is_none() {
        return;
    }
    let mut trace = Trace::default();
    let octets = [packet(1, 1, 0).as_bytes(), &[0x5a; 100]].concat();
    trace.frame(0, &request(octets, PORT));
    let names = ["mode", "time.nanoseconds", "time.fraction", "tlv.type", "padding"];
    let with = |more: &[&str]| trace.fields(&names, more).remove(0);
    let fields = |names: &[&str], shown: &Fields| names.iter().all(|name| shown.contains_key(&format!("stamp.{name}")));
    assert!(fields(&["time.fraction", "tlv.type"], &with(&[])));
    assert_eq!(value(&[with(&["-o", "stamp.mode:authenticated"])], 1, "mode"), Some("1"));
    let shown = with(&["-o", "stamp.timestamps:ptp"]);
    assert!(fields(&["time.nanoseconds"], &shown) && !fields(&["time.fraction"], &shown), "{shown:?}");
    let shown = with(&["-o", "stamp.tlvs:FALSE"]);
    assert!(fields(&["padding"], &shown) && !fields(&["tlv.type"], &shown), "{shown:?}");
}
