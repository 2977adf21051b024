//! Addresses as hosts use them, on each engine: of loopback and dummy interfaces, with labels, in great number; sources that
//! no host has, and damaged headers. Needs root.

use std::time::Duration;

use teaparty_testing::frame::{Checksum, Datagram};
use teaparty_testing::reflector::{Net, V4};
use teaparty_testing::skip::or_skip;
use teaparty_user::net::packet::{FrameBatch, PacketSocket};

const ENGINES: [&[&str]; 3] =
    [&["--xdp-mode", "native"], &["--xdp-mode", "off"], &["--xdp-mode", "off", "--link-layer"]];

/// An address of a dummy interface (where the kernel has them), one of loopback, and one of another interface.
const DUMMY: &str = "10.255.0.1";
const LOOPBACK: &str = "10.254.0.1";
const OTHER: &str = "10.253.0.1";

fn router() -> Result<Net, String> {
    let net = Net::new()?;
    net.near_ip(&["link", "add", "oth0", "type", "veth", "peer", "name", "oth1"]);
    // A kernel without dummy devices has the address on loopback: `cargo xtask kernels` has those that know them.
    let has_dummy = net.try_near_ip(&["link", "add", "dum0", "type", "dummy"]).is_ok();
    for (name, address) in [(if has_dummy { "dum0" } else { "lo" }, DUMMY), ("oth0", OTHER)] {
        net.near_ip(&["address", "add", &format!("{address}/32"), "dev", name]);
        net.near_ip(&["link", "set", name, "up"]);
    }
    net.near_ip(&["address", "add", &format!("{LOOPBACK}/32"), "dev", "lo"]);
    net.far_ip(&["route", "add", "10.0.0.0/8", "via", V4]);
    Ok(net)
}

#[test]
fn addresses_of_the_host_as_a_whole_are_answered_unless_told_otherwise() {
    let Some(net) = or_skip(router()) else { return };
    net.near_ip(&["address", "add", "192.0.2.50/24", "dev", "veth0", "label", "veth0:1"]);
    let asked = [V4, "192.0.2.50", DUMMY, LOOPBACK, OTHER];
    for engine in ENGINES {
        for (arguments, expected) in [
            (&[][..], [true, true, true, true, false]),
            (&["--strict-addresses"], [true, true, false, false, false]),
            (&["--address", OTHER, "--address", V4], [true, false, false, false, true]),
        ] {
            let reflector = net.reflector(&[engine, arguments].concat());
            let answered = asked.map(|address| {
                let mut client = net.client(address, 862);
                client.socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
                (0..2).any(|_| client.ask(&[]).is_some())
            });
            assert_eq!(answered, expected, "{engine:?} {arguments:?}");
            assert!(reflector.stop().status.success());
        }
    }
}

/// Sends frames out of the client's interface as they are.
fn send(net: &Net, frames: &[Vec<u8>]) {
    net.in_far(|| {
        let index = nix::net::if_::if_nametoindex("veth1").unwrap();
        let socket = PacketSocket::open(index).unwrap();
        let mut batch = FrameBatch::default();
        for frame in frames {
            batch.push(|out| {
                out.extend_from_slice(frame);
                Some(())
            });
        }
        socket.send(&mut batch, Duration::from_secs(1), |_, is_sent| assert!(is_sent));
    });
}

#[test]
fn spoofed_and_damaged_frames_are_counted_and_take_no_number() {
    let Some(net) = or_skip(router()) else { return };
    let mac = net.mac("veth0");
    let ours = |source: &str| Datagram {
        destination_mac: mac,
        source: source.parse().unwrap(),
        destination: V4.parse().unwrap(),
        ..Datagram::new(vec![0; 44])
    };
    let sources = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.255", V4, DUMMY, OTHER, "127.0.0.1"];
    let mut spoofed: Vec<Vec<u8>> = sources.iter().map(|source| ours(source).build()).collect();
    spoofed.push(Datagram { source_port: 0, ..ours("192.0.2.2") }.build());
    spoofed.push(Datagram { source_mac: [3, 0, 0, 0, 0, 1], ..ours("192.0.2.2") }.build());
    let mut damaged = ours("192.0.2.2").build();
    damaged[24] ^= 1;
    let wrong = Datagram { checksum: Checksum::Wrong(4), ..ours("192.0.2.2") }.build();
    let tagged = Datagram { tags: vec![(0x8100, 100)], ..ours("192.0.2.2") }.build();
    for engine in [ENGINES[0], ENGINES[2]] {
        let reflector = net.reflector(engine);
        let mut client = net.client_from(V4, 862, 49_200);
        assert!(client.ask(&[]).is_some(), "{engine:?}");
        send(&net, &spoofed);
        send(&net, &[damaged.clone(), wrong.clone(), tagged.clone()]);
        std::thread::sleep(Duration::from_millis(300));
        let reply = client.ask(&[]).expect("an answer");
        assert_eq!(teaparty_testing::reflector::sequence(&reply), 1, "{engine:?}: they took no number");
        let ended = reflector.stop();
        let count = |reason: &str| {
            let line = ended.out.lines().find(|line| line.contains(reason));
            line.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok()).unwrap_or(0)
        };
        assert_eq!(count("invalid-source"), spoofed.len() as u64, "{engine:?}\n{}", ended.out);
        assert_eq!((count("checksum-wrong"), count("not-our-vlan")), (2, 1), "{engine:?}\n{}", ended.out);
    }
}

#[test]
fn ten_thousand_addresses_are_answered_by_xdp_and_ten_of_them_shown() {
    let Some(net) = or_skip(Net::new()) else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String =
        (0..10_000).map(|n| format!("address add 10.1.{}.{}/8 dev veth0\n", n / 250, n % 250 + 1)).collect();
    std::fs::write(file.path(), lines).unwrap();
    net.near_ip(&["-batch", file.path().to_str().unwrap()]);
    net.far_ip(&["route", "add", "10.0.0.0/8", "via", V4]);
    let reflector = net.reflector(&["--xdp-mode", "native"]);
    assert!(reflector.ready.contains("more\n") && reflector.ready.len() < 2000, "{}", reflector.ready);
    for address in ["10.1.0.1", "10.1.39.250", V4] {
        assert!(net.client(address, 862).ask(&[]).is_some(), "{address}");
    }
    let ended = reflector.stop();
    let is_by_xdp = |line: &&str| line.contains("xdp") && line.contains("reflected") && line.trim_end().ends_with(" 3");
    assert!(ended.out.lines().any(|line| is_by_xdp(&line)), "{}{}", ended.out, ended.error);
}
