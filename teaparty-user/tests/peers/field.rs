//! Senders and reflectors as they are in the field, on a veth pair and by every engine: TWAMP-Light senders whose padding is no
//! SSID, senders that start again, other reflectors that answer us, and equal ports. Needs root.

use std::time::Duration;

use teaparty_testing::random::Random;
use teaparty_testing::reflector::{Net, V4, V6, sequence};
use teaparty_testing::skip::or_skip;

/// The kernel in its two modes with the ring behind, sockets, and frames from a packet socket.
const ENGINES: [&[&str]; 4] =
    [&["--xdp-mode", "native"], &["--xdp-mode", "skb"], &["--xdp-mode", "off"], &["--xdp-mode", "off", "--link-layer"]];

/// A time of the sender's clock, in seconds, as T1.
fn t1(seconds: u64) -> [u8; 8] {
    ((0xebbd_0000 + seconds) << 32 | 0x4575_e93b).to_be_bytes()
}

/// A test packet of `len` octets with these fields and zeros after them.
fn packet(number: u32, t1: [u8; 8], len: usize) -> Vec<u8> {
    let mut packet = vec![0; len.max(14)];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    packet[4..12].copy_from_slice(&t1);
    packet[12..14].copy_from_slice(&[0x8a, 0x05]);
    packet
}

/// A TWAMP-Light sender's: pseudo-random from octet 14 on (RFC 4656 §4.1.2).
fn padded(random: &mut Random, number: u32, len: usize) -> Vec<u8> {
    let mut packet = packet(number, t1(u64::from(number)), len);
    for octet in &mut packet[14..] {
        *octet = random.octet();
    }
    packet
}

#[test]
fn twamp_light_senders_are_one_session_each_whatever_their_padding_is() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        let mut random = Random::new(11);
        let session = "source=192.0.2.2,no-tlv=true";
        let reflector = net.reflector(&[engine, &["--session", session, "--rate-limit", "0"]].concat());
        // perfSONAR's twping by default, from another address.
        let six = net.client(V6, 862);
        for number in 0..200 {
            let reply = six.exchange(&padded(&mut random, number, 41)).expect("a reply");
            assert_eq!((sequence(&reply), reply.len()), (number, 44), "{engine:?}");
        }
        // Longer ones, of the session that is known to have padding.
        let four = net.client(V4, 862);
        for number in 0..50 {
            let request = padded(&mut random, number, 60 + number as usize);
            let reply = four.exchange(&request).expect("a reply");
            assert_eq!(sequence(&reply), number, "{engine:?}: with padding after the base packet");
            assert_eq!(reply[44..], request[44..], "{engine:?}");
        }
        assert!(reflector.stop().status.success());
        let reflector = net.reflector(&[engine, &["--ignore-ssid"]].concat());
        let four = net.client(V4, 862);
        for number in 0..50 {
            let mut request = packet(number, t1(u64::from(number)), 44 + usize::from(random.octet()));
            request[14..16].copy_from_slice(&[random.octet(), random.octet()]);
            let reply = four.exchange(&request).expect("a reply");
            assert_eq!(sequence(&reply), number, "{engine:?}: --ignore-ssid");
            assert_eq!(reply[14..16], request[14..16], "{engine:?}: the octets come back all the same");
        }
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn a_sender_that_starts_again_is_counted_from_0() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        for (setting, is_on) in [("5", true), ("0", false)] {
            let reflector = net.reflector(&[engine, &["--session-restart", setting]].concat());
            // By the kernel, and by the controller for the kernel.
            for len in [44, 20] {
                let client = net.client(V4, 862);
                let mut numbers = Vec::new();
                let sent: [(u32, u64); 9] =
                    [(0, 0), (1, 1), (2, 2), (0, 3), (0, 8), (0, 14), (1, 15), (7, 90), (0, 20)];
                for (number, seconds) in sent {
                    let reply = client.exchange(&packet(number, t1(seconds), len)).expect("a reply");
                    numbers.push(sequence(&reply));
                }
                // Five seconds later is not more than five; one that is earlier never starts again.
                let expected = if is_on { [0, 1, 2, 3, 4, 0, 1, 2, 3] } else { [0, 1, 2, 3, 4, 5, 6, 7, 8] };
                assert_eq!(numbers, expected, "{engine:?} {len} {setting}");
            }
            assert!(reflector.stop().status.success());
        }
    }
}

#[test]
fn a_reply_to_our_reply_gets_none_whatever_the_ports_are() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        for mode in [&[][..], &["--stateless"], &["--timestamp-format", "ptp"]] {
            let reflector = net.reflector(&[engine, mode].concat());
            for to in [V4, V6] {
                let first = net.client(to, 862);
                let reply = first.exchange(&packet(0, t1(0), 44)).expect("a reply");
                // What another reflector makes of it, on another port, of several lengths.
                let second = net.client(to, 862);
                for len in [44, 41, 36, 120] {
                    let mut answer = packet(0, t1(1), len);
                    answer[28..36].copy_from_slice(&reply[4..12]);
                    for client in [&first, &second] {
                        client.send(&answer);
                    }
                }
                let next = first.exchange(&packet(1, t1(1), 44)).expect("a reply");
                assert_eq!((sequence(&next), next[27]), (1, 1), "{engine:?} {mode:?}: no number is gone");
                assert!(second.receive_now().is_none(), "{engine:?} {mode:?}");
            }
            let ended = reflector.stop();
            assert!(ended.out.contains("reply-loop"), "{engine:?} {mode:?}: {}", ended.out);
        }
    }
}

#[test]
fn equal_ports_are_named_once_and_exempt_whatever_the_ssid_is() {
    let Some(net) = or_skip(Net::new()) else { return };
    let with_ssid = |number, ssid| {
        let mut packet = packet(number, t1(0), 44);
        packet[14..16].copy_from_slice(&[0, ssid]);
        packet
    };
    let mut heartbeat = packet(0x22, t1(0), 44);
    heartbeat.extend([0x80, 242, 0, 8, 2, 0, 0, 0, 0, 1, 0, 0]);
    for engine in ENGINES {
        let reflector = net.reflector(engine);
        let client = net.client_from(V4, 862, 862);
        client.send(&heartbeat);
        for ssid in 0..5 {
            client.send(&with_ssid(0, ssid));
        }
        // Behind those, so that they have been dealt with; the log is another thread's.
        assert!(net.client(V4, 862).ask(&[]).is_some(), "{engine:?}");
        std::thread::sleep(Duration::from_millis(300));
        assert!(client.receive_now().is_none(), "{engine:?}");
        let ended = reflector.stop();
        let lines: Vec<&str> = ended.error.lines().filter(|line| line.contains("192.0.2.2 port 862")).collect();
        assert_eq!(lines.len(), 1, "{engine:?}: {}", ended.error);
        let remedy = "--session source=192.0.2.2,source-port=862,destination-port=862,loop-exempt=true";
        assert!(lines[0].contains(remedy), "{engine:?}: {}", lines[0]);
        for (label, count) in [("loop-guard", 5), ("heartbeat", 1)] {
            let line = ended.out.lines().find(|line| line.contains(label)).unwrap_or_default();
            assert!(line.split_whitespace().any(|word| word == count.to_string()), "{engine:?}: {}", ended.out);
        }
        let session = "source=192.0.2.2,source-port=862,loop-exempt=true";
        let reflector = net.reflector(&[engine, &["--session", session, "--provisioned-only"]].concat());
        // Each SSID is a session of its own.
        for number in 0..3 {
            for ssid in 0..3 {
                let reply = client.exchange(&with_ssid(number, ssid)).expect("a reply");
                assert_eq!((sequence(&reply), reply[15]), (number, ssid), "{engine:?}");
            }
        }
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn a_stateless_reflector_says_that_it_counts_nothing() {
    let Some(net) = or_skip(Net::new()) else { return };
    let measurement = [0x80, 5, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    for engine in ENGINES {
        let reflector = net.reflector(&[engine, &["--stateless"]].concat());
        let mut client = net.client(V4, 862);
        for tail in [&measurement[..], &[&[0x80, 244, 0, 32][..], &[0; 32], &measurement].concat()] {
            let reply = client.ask(tail).expect("a reply");
            assert_eq!(reply[reply.len() - 16..], measurement, "{engine:?}: U, and no numbers (RFC 8972 §4.5)");
        }
        assert!(reflector.stop().status.success());
    }
}
