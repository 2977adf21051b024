//! Real exchanges, captured on a veth pair: a sender and a reflector with sockets. Needs root.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_testing::reflector::{Net, V4, V6};
use teaparty_testing::skip::or_skip;

use super::tshark::{self, Fields};

/// Packets of each exchange.
const COUNT: usize = 5;

/// A capture that is being taken.
struct Recording {
    tshark: Child,
    file: tempfile::NamedTempFile,
}

impl Recording {
    /// Starts tshark in the sender's namespace, and returns when it captures.
    fn start(net: &Net) -> Self {
        let file = tempfile::Builder::new().suffix(".pcapng").tempfile().unwrap();
        let path = file.path().to_str().unwrap();
        let mut tshark = net.in_far(|| {
            let mut command = Command::new("tshark");
            command.args(["-i", "veth1", "-f", "udp port 862", "-w", path]).stdout(Stdio::null());
            command.stderr(Stdio::piped()).spawn().unwrap()
        });
        let mut lines = BufReader::new(tshark.stderr.take().unwrap()).lines();
        // "Capturing on" comes too early: before the interface is open. The file's name comes after that.
        assert!(lines.by_ref().any(|line| line.unwrap().contains("File: ")), "tshark does not capture");
        // Reads on, so that tshark can write until it ends.
        std::thread::spawn(move || lines.for_each(drop));
        Self { tshark, file }
    }

    /// Waits until the capture has this many packets, ends it, and returns their fields.
    fn finish(mut self, packets: usize, names: &[String], more: &[&str]) -> Vec<Fields> {
        let end = Instant::now() + Duration::from_secs(30);
        while count(self.file.path()) < packets && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(200));
        }
        kill(Pid::from_raw(self.tshark.id() as i32), Signal::SIGINT).unwrap();
        self.tshark.wait().unwrap();
        tshark::fields(self.file.path(), names, more)
    }
}

/// Returns how many packets a capture has, which may still be growing.
fn count(path: &Path) -> usize {
    let output = Command::new("tshark").args(["-r", path.to_str().unwrap()]).output().unwrap();
    output.stdout.iter().filter(|octet| **octet == b'\n').count()
}

/// Returns the fields that these packets have, of those that are asked for.
fn exchange(reflector: &[&str], sender: &[&str]) -> Option<Vec<Fields>> {
    or_skip(tshark::installed())?;
    let net = or_skip(Net::new())?;
    let running = net.reflector(&[&["--xdp-mode", "off"], reflector].concat());
    let recording = Recording::start(&net);
    let count = COUNT.to_string();
    let output =
        net.far_teaparty(&[&["sender", "--count", &count, "--interval", "20ms"], sender].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = tshark::names();
    let fields = recording.finish(2 * COUNT, &names, &[]);
    assert!(running.stop().status.success());
    Some(fields)
}

/// Returns the value of a field that a packet has.
fn value<'a>(fields: &'a Fields, name: &str) -> &'a str {
    let values = fields.get(&format!("stamp.{name}"));
    &values.unwrap_or_else(|| panic!("no {name}: {fields:?}"))[0]
}

/// Returns requests and replies in turn, each with its frame number. In the capture a request may overtake a reply.
fn in_turn(shown: &[Fields]) -> Vec<(usize, &Fields)> {
    let mut packets: Vec<(usize, &Fields)> = shown.iter().enumerate().map(|(at, fields)| (at + 1, fields)).collect();
    packets.sort_by_key(|(_, fields)| (value(fields, "seq").parse::<u32>().unwrap(), value(fields, "role")));
    packets
}

/// Checks numbers, links and times of an exchange.
fn is_an_exchange(shown: &[Fields], mode: &str) {
    assert_eq!(shown.len(), 2 * COUNT);
    for (number, pair) in in_turn(shown).chunks_exact(2).enumerate() {
        let [(request_frame, request), (reply_frame, reply)] = *pair else { unreachable!("pairs") };
        assert_eq!([request, reply].map(|packet| value(packet, "role")), ["1", "2"]);
        assert_eq!([request, reply].map(|packet| value(packet, "mode")), [mode; 2]);
        assert_eq!(value(request, "reply_in"), reply_frame.to_string());
        assert_eq!(value(reply, "request_in"), request_frame.to_string());
        assert_eq!([value(request, "seq"), value(reply, "seq")], [number.to_string(), number.to_string()]);
        assert_eq!(value(reply, "sender_seq"), number.to_string());
        assert_eq!(value(request, "t1"), value(reply, "t1"));
        assert_eq!(value(request, "ssid"), value(reply, "ssid"));
        let seconds = |name: &str| value(reply, name).parse::<f64>().unwrap();
        let (round_trip, residence) = (seconds("round_trip"), seconds("residence"));
        assert!(residence > 0.0 && residence < round_trip, "{residence} of {round_trip}");
        assert!((seconds("net_round_trip") - (round_trip - residence)).abs() < 2e-9);
        let is_zero = |mbz: &String| mbz.bytes().all(|digit| digit == b'0');
        assert!([request, reply].iter().all(|packet| packet["stamp.mbz"].iter().all(is_zero)));
    }
}

#[test]
fn an_exchange_with_tlvs_is_shown_as_it_was() {
    let tlvs = ["tlvs", "location", "--", "time", "--", "direct-measurement", "--", "followup"];
    for address in [V4, V6] {
        let sender = [&[address, "862", "--ssid", "4660"], tlvs.as_slice()].concat();
        let Some(shown) = exchange(&[], &sender) else { return };
        is_an_exchange(&shown, "0");
        for (number, (_, fields)) in in_turn(&shown).into_iter().enumerate() {
            assert_eq!(fields["stamp.ssid"], ["4660"]);
            assert_eq!(fields["stamp.tlv.type"], ["2", "3", "5", "7"]);
            assert_eq!(fields["stamp.tlv.flags"], [["128"; 4], ["0"; 4]][number % 2]);
            assert_eq!(fields["stamp.direct.sender_tx"], [(number / 2 + 1).to_string()]);
        }
        let location = if address == V4 { "stamp.location.ipv4" } else { "stamp.location.ipv6" };
        let (_, reply) = in_turn(&shown)[1];
        let client = if address == V4 { "192.0.2.2" } else { "2001:db8::2" };
        assert!(reply[location].iter().any(|one| one == client), "{:?}", reply[location]);
        assert_eq!(reply["stamp.location.destination_port"], ["862"]);
    }
}

#[test]
fn an_authenticated_exchange_is_known_as_one() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n").unwrap();
    let keys = ["--auth-key-file", key.path().to_str().unwrap()];
    let Some(shown) = exchange(&keys, &[&keys, [V4].as_slice(), &["--timestamp-format", "ptp"]].concat()) else {
        return;
    };
    is_an_exchange(&shown, "1");
    for (number, (_, fields)) in in_turn(&shown).into_iter().enumerate() {
        assert_eq!(fields["stamp.hmac"][0].len(), 32);
        // The sender's clock is PTPv2, the reflector's is not.
        let z = if number % 2 == 0 { "stamp.error_estimate.z" } else { "stamp.sender_error_estimate.z" };
        assert_eq!(fields[z], ["1"]);
        assert_eq!(fields.contains_key("stamp.time.fraction"), number % 2 == 1);
    }
}
