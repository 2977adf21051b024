//! Reflected Test Packet Control (RFC 10052) on a veth pair, by either engine: count, length, spacing, limits, and to whom.
//! Needs root.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use teaparty_testing::reflector::{Client, Net, V4, V6, sender_sequence, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_user::crypto::HmacKey;

const ENGINES: [&str; 2] = ["native", "off"];
const ALLOWED: &str = "--allow-reflected-control";
const U: u8 = 0x80;
const C: u8 = 0x10;
/// Offset of the first TLV's flags in a reply.
const FLAGS: usize = 44;

/// The TLV, with sub-TLVs or with the four octets that stand in for them.
fn control(length: u16, count: u16, interval_ns: u32, subs: &[u8]) -> Vec<u8> {
    let subs = if subs.is_empty() { &[0; 4] } else { subs };
    let mut tlv = vec![0x80, 12, 0, 8 + subs.len() as u8];
    tlv.extend([length.to_be_bytes(), count.to_be_bytes()].concat());
    tlv.extend(interval_ns.to_be_bytes());
    tlv.extend_from_slice(subs);
    tlv
}

/// Everything that comes back to a packet with these octets behind its base packet, `count` replies being expected.
fn all(client: &mut Client, tail: &[u8], count: usize) -> Vec<Vec<u8>> {
    let packet = client.packet(tail);
    client.send(&packet);
    let mut replies: Vec<Vec<u8>> = (0..count).filter_map(|_| client.receive()).collect();
    client.socket.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    replies.extend(std::iter::from_fn(|| client.receive()));
    client.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    replies
}

/// T3 in nanoseconds, from an NTP timestamp.
fn t3_ns(reply: &[u8]) -> u128 {
    (u128::from(u64::from_be_bytes(reply[4..12].try_into().unwrap())) * 1_000_000_000) >> 32
}

#[test]
fn replies_are_as_many_as_long_and_as_far_apart_as_asked_c231_c232_c234_c235() {
    let Some(net) = or_skip(Net::new()) else { return };
    for (engine, address) in [("native", V4), ("off", V4), ("native", V6)] {
        let reflector = net.reflector(&[ALLOWED, "--xdp-mode", engine]);
        let mut client = net.client(address, 862);
        for (interval_ns, length) in [(1_000_000, 128), (20_000_000, 97)] {
            // C is set, and means nothing in a request. The padding does not come back.
            let mut tail = control(length, 5, interval_ns, &[]);
            tail[0] |= C;
            tail.extend([0x80, 1, 0, 2, 0xaa, 0xbb]);
            // How late a reply is says how busy the machine is: one burst of many has to be on time, all have to be whole.
            let is_on_time = (0..20).any(|_| {
                let replies = all(&mut client, &tail, 5);
                judge(&replies, usize::from(length));
                let left = replies.iter().map(|reply| t3_ns(reply) - t3_ns(&replies[0]));
                let mut off = left.zip((0..).step_by(interval_ns as usize)).map(|(left, due)| left.abs_diff(due));
                off.all(|off| off < u128::from(interval_ns) / 2)
            });
            assert!(is_on_time, "{engine} {address}: no burst at {interval_ns} ns was on time");
        }
        assert!(reflector.stop().status.success());
    }
}

/// Looks at the five replies to one request.
fn judge(replies: &[Vec<u8>], length: usize) {
    assert_eq!(replies.len(), 5);
    let first = &replies[0];
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.len(), length.next_multiple_of(4));
        assert_eq!(sequence(reply), sequence(first) + n as u32, "each takes a number");
        assert_eq!(sender_sequence(reply), sender_sequence(first));
        assert_eq!(reply[16..24], first[16..24], "T2 is that of the one request");
        assert_eq!(reply[FLAGS], 0);
        assert_eq!(reply[60..64], [0, 1, 0, (reply.len() - 64) as u8], "padding of ours fills up");
    }
}

#[test]
fn what_goes_beyond_the_limits_is_answered_once_with_c_c233_c236() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        let reflector = net.reflector(&[ALLOWED, "--xdp-mode", engine, "--reflected-control-length", "9000"]);
        let mut client = net.client(V4, 862);
        // What is asked for, and the length of the one reply.
        for (tail, length) in [
            (control(9000, 1, 0, &[]), 1472),
            (control(9000, 3, 1_000_000, &[]), 1472),
            (control(200, 17, 1_000_000, &[]), 200),
            (control(200, 2, 99_999, &[]), 200),
        ] {
            let replies = all(&mut client, &tail, 1);
            assert_eq!(replies.len(), 1, "{engine}: {tail:?}");
            assert_eq!((replies[0].len(), replies[0][FLAGS]), (length, C), "{engine}: {tail:?}");
        }
        assert_eq!(all(&mut client, &control(200, 16, 100_000, &[]), 16).len(), 16, "{engine}: just within");
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn volume_is_limited_and_then_a_reply_is_no_longer_than_its_request_c236() {
    let Some(net) = or_skip(Net::new()) else { return };
    let limit = ["--reflected-control-session-rate", "2500", "--reflected-control-count", "2"];
    for engine in ENGINES {
        let reflector = net.reflector(&[&[ALLOWED, "--xdp-mode", engine], &limit[..]].concat());
        let mut client = net.client(V4, 862);
        let tail = control(1000, 2, 1_000_000, &[]);
        assert_eq!(all(&mut client, &tail, 2).len(), 2, "{engine}");
        let replies = all(&mut client, &tail, 1);
        assert_eq!((replies.len(), replies[0].len(), replies[0][FLAGS]), (1, 60, C), "{engine}");
        assert_eq!(all(&mut net.client(V4, 862), &tail, 2).len(), 2, "{engine}: another session has volume of its own");
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn repeated_numbers_and_contradictions_get_one_ordinary_reply_c241_c242() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        let reflector = net.reflector(&[ALLOWED, "--xdp-mode", engine]);
        let mut client = net.client(V4, 862);
        client.ask(&[]).expect("number 0 is answered");
        let tail = control(200, 2, 1_000_000, &[]);
        let packet = client.packet(&tail);
        client.send(&packet);
        assert!(client.receive().is_some_and(|reply| reply[FLAGS] == 0) && client.receive().is_some());
        // The same packet again, twice at once.
        client.send(&packet);
        client.send(&packet);
        for _ in 0..2 {
            let reply = client.receive().expect("a repeated packet is answered");
            assert_eq!((reply.len(), reply[FLAGS]), (packet.len(), U), "{engine}");
        }
        let both = [&[0x80, 10, 0, 8, 0x80, 1, 0, 4, 0, 0, 0, 0], &tail[..]].concat();
        let replies = all(&mut client, &both, 1);
        assert_eq!((replies.len(), replies[0][FLAGS], replies[0][FLAGS + 12]), (1, U, U), "{engine}");
        let ended = reflector.stop();
        // Said of the contradiction alone, with who it is.
        let said = ended.error.lines().filter(|line| line.contains("192.0.2.2") && line.contains("RFC 10052 §4.3"));
        assert_eq!((ended.status.success(), said.count()), (true, 1), "{engine}: {}", ended.error);
    }
}

#[test]
fn groups_that_miss_us_and_a_count_of_zero_get_silence_c237_c239_c240() {
    let Some(net) = or_skip(Net::new()) else { return };
    let mac = net.mac("veth0");
    let l2 = |octets: [u8; 6]| [&[0x80, 10, 0, 12][..], &[0xff; 6], &octets].concat();
    let mut other = mac;
    other[5] ^= 1;
    let l3 = |octets: [u8; 4]| [&[0x80, 11, 0, 8, 24, 0, 0, 0][..], &octets].concat();
    for engine in ENGINES {
        let reflector = net.reflector(&[ALLOWED, "--xdp-mode", engine]);
        let mut client = net.client(V4, 862);
        for (subs, count, expected) in [
            (l2(mac), 1, 1),
            (l2(other), 1, 0),
            (l3([192, 0, 2, 0]), 2, 2),
            (l3([203, 0, 113, 0]), 2, 0),
            // Several must all match (RFC 10052 §3.1).
            ([l2(mac), l3([192, 0, 2, 0])].concat(), 1, 1),
            ([l2(other), l3([192, 0, 2, 0])].concat(), 1, 0),
            ([l3([192, 0, 2, 0]), l2(other)].concat(), 1, 0),
            (Vec::new(), 0, 0),
        ] {
            let replies = all(&mut client, &control(0, count, 1_000_000, &subs), expected);
            assert_eq!(replies.len(), expected, "{engine}: {subs:?}");
        }
        // Silence leaves no gap: four replies before this one.
        assert_eq!(sequence(&client.ask(&[]).unwrap()), 4, "{engine}");
        let ended = reflector.stop();
        assert!(ended.out.contains("control-no-reply") && ended.out.contains("repeated"), "{}", ended.out);
    }
}

#[test]
fn replies_go_to_where_the_request_came_from_and_nowhere_else_c244() {
    let Some(net) = or_skip(Net::new()) else { return };
    net.far_ip(&["address", "add", "192.0.2.3/24", "dev", "veth1"]);
    let elsewhere = |at: &'static str| {
        let socket = net.in_far(move || UdpSocket::bind(at)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    for engine in ENGINES {
        let policy = [ALLOWED, "--allow-return-address", "--allow-destination-port", "--xdp-mode", engine];
        let reflector = net.reflector(&policy);
        let mut client = net.client(V4, 862);
        // At one address, so that the other one's port is free.
        client.socket = net.in_far(|| UdpSocket::bind("192.0.2.2:0")).unwrap();
        client.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        let port = client.socket.local_addr().unwrap().port();
        let at: &'static str = format!("192.0.2.3:{port}").leak();
        let (address, other_port) = (elsewhere(at), elsewhere("0.0.0.0:4321"));
        let several = control(0, 3, 1_000_000, &[]);
        let path = [0x80, 10, 0, 8, 0x80, 2, 0, 4, 192, 0, 2, 3];
        let destination_port = [0x80, 243, 0, 4, 0x10, 0xe1, 0, 0];
        let tail = [&several[..], &path, &destination_port].concat();
        let replies = all(&mut client, &tail, 3);
        assert_eq!(replies.len(), 3, "{engine}");
        for reply in replies {
            assert_eq!((reply[FLAGS], reply[FLAGS + 16], reply[FLAGS + 28]), (0, U, U), "{engine}");
        }
        for socket in [&address, &other_port] {
            assert!(socket.recv_from(&mut [0; 2048]).is_err(), "{engine}: something went elsewhere");
        }
        // Without the TLV both are obeyed.
        let packet = client.packet(&path);
        client.send(&packet);
        address.set_nonblocking(false).unwrap();
        address.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        assert!(address.recv_from(&mut [0; 2048]).is_ok(), "{engine}");
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn every_reply_is_signed_by_itself() {
    let Some(net) = or_skip(Net::new()) else { return };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a key for tests").unwrap();
    let key = HmacKey::new(b"a key for tests").unwrap();
    for engine in ENGINES {
        let path = file.path().to_str().unwrap();
        let reflector = net.reflector(&[ALLOWED, "--xdp-mode", engine, "--auth-key-file", path]);
        let client = net.client(V4, 862);
        let mut packet = vec![0u8; 112];
        packet[3] = 1;
        packet.extend(control(400, 3, 1_000_000, &[]));
        let value = key.tlv_hmac([0, 0, 0, 1], &packet[112..]);
        packet.extend([0x80, 8, 0, 16]);
        packet.extend(value);
        key.sign_base(&mut packet);
        client.send(&packet);
        for n in 0..3 {
            let reply = client.receive().unwrap_or_else(|| panic!("{engine}: reply {n}"));
            assert_eq!((reply.len(), sequence(&reply), reply[112]), (400, n, 0), "{engine}");
            assert!(key.verify_base(&reply), "{engine}: reply {n}");
            // The HMAC TLV keeps its place, and the padding comes after it.
            assert_eq!(reply[128..132], [0, 8, 0, 16], "{engine}");
            assert!(key.verify_tlvs(n.to_be_bytes(), &reply[112..128], &reply[132..148]), "{engine}: reply {n}");
            assert_eq!(reply[148..150], [0, 1], "{engine}");
        }
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn a_slow_burst_holds_up_nobody_and_counts_one_packet() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in ENGINES {
        let reflector = net.reflector(&[ALLOWED, "--xdp-mode", engine]);
        let mut slow = net.client(V4, 862);
        let packet = slow.packet(&control(0, 16, 4_000_000_000, &[]));
        slow.send(&packet);
        slow.receive().expect("the first reply comes at once");
        let begun = Instant::now();
        // In the same session as in another one: packets received, packets sent.
        let measurement = [&[0x80, 5, 0, 12][..], &[0; 12]].concat();
        let reply = slow.ask(&measurement).expect("the session goes on");
        assert_eq!(reply[FLAGS + 8..FLAGS + 16], [0, 0, 0, 2, 0, 0, 0, 1], "{engine}");
        assert_eq!(all(&mut net.client(V4, 862), &control(0, 3, 1_000_000, &[]), 3).len(), 3, "{engine}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{engine}: the next one of the slow burst is not even due");
        // A burst of three in the session: one more packet received, three sent.
        assert_eq!(all(&mut slow, &control(0, 3, 1_000_000, &[]), 3).len(), 3, "{engine}");
        let reply = slow.ask(&measurement).expect("the session goes on");
        assert_eq!(reply[FLAGS + 8..FLAGS + 16], [0, 0, 0, 4, 0, 0, 0, 5], "{engine}");
        let ended = reflector.stop();
        assert!(ended.status.success(), "{}", ended.error);
    }
}
