//! The program `teaparty reflector` on a veth pair: engines, addresses, keys, and one session over all of them. Takes root.

use std::time::Duration;

use teaparty_testing::reflector::{Net, V4, V6, sender_sequence, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_user::crypto::HmacKey;

/// An empty History for one entry: only the controller can finish it.
const HISTORY: [u8; 36] = {
    let mut tlv = [0; 36];
    tlv[0] = 0x80;
    tlv[1] = 244;
    tlv[3] = 32;
    tlv
};

#[test]
fn a_session_counts_on_over_kernel_ring_and_socket() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&["--xdp-mode", "native"]);
    assert!(reflector.ready.contains("native (in the driver)"), "{}", reflector.ready);
    for address in [V4, V6] {
        let mut client = net.client(address, 862);
        // Longer than the MTU: fragments go to the stack, and come to the socket engine whole.
        let fragmented = vec![0u8; 4000];
        let tails: [&[u8]; 6] = [&[], &HISTORY, &[], &fragmented, &HISTORY, &[]];
        for (n, tail) in tails.iter().enumerate() {
            let reply = client.ask(tail).unwrap_or_else(|| panic!("{address}: no reply to packet {n}"));
            assert_eq!(reply.len(), 44 + tail.len());
            assert_eq!((sequence(&reply), sender_sequence(&reply)), (n as u32, n as u32), "{address}");
            if *tail == HISTORY {
                // U is clear, and the newest exchange is the one before.
                assert_eq!(reply[44], 0);
                assert_eq!(reply[48..56], [(n as u32 - 1).to_be_bytes(), (n as u32 - 1).to_be_bytes()].concat());
            }
        }
    }
    let ended = reflector.stop();
    assert!(ended.status.success(), "{}", ended.error);
    assert!(ended.out.starts_with("12 packets answered in 2 sessions"), "{}", ended.out);
    for line in ["xdp     reflect  reflected", "ring    reflect  reflected", "socket  reflect  reflected"] {
        assert!(ended.out.contains(line), "no `{line}` in {}", ended.out);
    }
    assert!(!net.pins().exists(), "{} is left behind", net.pins().display());
}

#[test]
fn sockets_alone_answer_the_same() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&["--xdp-mode", "off", "--port", "862", "--port", "50000"]);
    for (address, port) in [(V4, 862), (V6, 862), (V4, 50000)] {
        let mut client = net.client(address, port);
        let fragmented = vec![0u8; 4000];
        let tails: [&[u8]; 4] = [&[], &HISTORY, &fragmented, &[0x80, 3, 0, 4, 0, 0, 0, 0]];
        for (n, tail) in tails.iter().enumerate() {
            let reply = client.ask(tail).expect("a reply");
            assert_eq!((reply.len(), sequence(&reply)), (44 + tail.len(), n as u32));
            // The TTL that Linux sends by default.
            assert_eq!(reply[40], 64);
        }
        let short = client.exchange(&[0; 14]).expect("a TWAMP-Light packet is answered");
        assert_eq!(short.len(), 44);
    }
    let ended = reflector.stop();
    assert!(ended.out.starts_with("15 packets answered in 3 sessions"), "{}{}{}", ended.status, ended.out, ended.error);
}

#[test]
fn punted_packets_of_other_sizes_come_back_right() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.reflector(&["--xdp-mode", "native"]);
    let mut client = net.client(V4, 862);
    assert_eq!(client.exchange(&[0; 14]).expect("a short packet is answered").len(), 44);
    // Nine TLVs of unknown type are more than the kernel walks.
    let many = [0x80, 200, 0, 0].repeat(20);
    let reply = client.ask(&many).expect("many TLVs are answered");
    assert_eq!(reply[44..], many);
    // Random-looking padding that begins like zeros.
    let mut padding = vec![0u8; 40];
    padding[39] = 7;
    assert_eq!(client.ask(&padding).expect("unclear padding is answered").len(), 84);
    assert_eq!(client.exchange(&[0; 13]), None, "below the minimum");
}

#[test]
fn authenticated_sessions_are_verified_by_either_engine() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, b"a key for tests").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    let key = HmacKey::new(b"a key for tests").unwrap();
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode, "--auth-key-file", path.to_str().unwrap()]);
        let client = net.client(V4, 862);
        let mut answered = 0;
        for n in 0..6u8 {
            let mut packet = vec![0u8; 112];
            packet[3] = n;
            packet[26..28].copy_from_slice(&[0x12, 0x34]);
            key.sign_base(&mut packet);
            let is_forged = n % 3 == 1;
            if is_forged {
                packet[20] ^= 1;
            }
            let reply = client.exchange(&packet);
            assert_eq!(reply.is_none(), is_forged, "{mode}: packet {n}");
            if let Some(reply) = reply {
                assert!(key.verify_base(&reply), "{mode}: packet {n}");
                assert_eq!((sequence(&reply), reply[51]), (answered, n), "{mode}: forged packets take no number");
                answered += 1;
            }
        }
        assert!(client.exchange(&[0; 44]).is_none(), "{mode}: nothing is answered without a key");
        let ended = reflector.stop();
        assert!(ended.out.contains("authentication-failed"), "{}", ended.out);
    }
}

#[test]
fn a_packet_from_a_reflectors_port_is_not_answered() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode]);
        let mut client = net.client_from(V4, 862, 862);
        assert_eq!(client.ask(&[]), None, "{mode}");
        let ended = reflector.stop();
        assert!(ended.out.contains("loop-guard"), "{}", ended.out);
    }
}

#[test]
fn addresses_follow_within_a_second() {
    let Some(net) = or_skip(Net::new()) else { return };
    for mode in ["native", "off"] {
        let reflector = net.reflector(&["--xdp-mode", mode]);
        let mut client = net.client("192.0.2.77", 862);
        assert!(!client.ask_within(Duration::from_millis(300)), "{mode}: nobody has this address yet");
        net.near_ip(&["address", "add", "192.0.2.77/24", "dev", "veth0"]);
        // The neighbour table of the client remembers the failure for a while.
        net.in_far(|| std::process::Command::new("ip").args(["neigh", "flush", "all"]).output().unwrap());
        assert!(client.ask_within(Duration::from_secs(3)), "{mode}");
        net.near_ip(&["address", "delete", "192.0.2.77/24", "dev", "veth0"]);
        std::thread::sleep(Duration::from_millis(1000));
        assert!(!client.ask_within(Duration::from_millis(300)), "{mode}: it is gone");
        reflector.stop();
    }
}
