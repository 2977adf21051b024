//! `--link-layer` without XDP on a veth pair: the same answers as the XDP program's, each once. Needs root.

use std::process::{Command, Stdio};
use std::time::Duration;

use teaparty_testing::frame::{Checksum, Datagram};
use teaparty_testing::random::Random;
use teaparty_testing::reflector::{Client, Net, V4, V6, sequence};
use teaparty_testing::skip::or_skip;
use teaparty_user::net::interface::Interface;
use teaparty_user::net::packet::{FrameBatch, PacketSocket};

const LINK: [&str; 3] = ["--xdp-mode", "off", "--link-layer"];

/// Behind the base packet, octets that may be TLVs: chains of known and unknown ones, whole and cut short.
fn tails() -> Vec<Vec<u8>> {
    let mut random = Random::new(3);
    let tail = |_| {
        let mut tail = Vec::new();
        for _ in 0..random.below(10) {
            let length = random.below(24) as u8;
            let code = random.pick(&[1, 2, 3, 4, 5, 6, 7, 9, 179, 200, 246, 247, 248]);
            // As long as it should be, more often than not.
            let length = match (code, random.below(4)) {
                (_, 0) => length,
                (3 | 4 | 6 | 9 | 179 | 248, _) => 4,
                (5, _) => 12,
                (7, _) => 16,
                (247, _) => 20,
                _ => length,
            };
            tail.extend([0x80, code, 0, length]);
            tail.extend((0..length).map(|_| if random.one_in(3) { random.octet() } else { 0 }));
        }
        if random.one_in(8) {
            tail.pop();
        }
        tail
    };
    // Source MAC address by Location, and the headers whole.
    let mac = [&[0x80, 2, 0, 16, 0, 0, 0, 0, 0x80, 1, 0, 8][..], &[0; 8]].concat();
    let fixed = |length: u8| [&[0x80, 247, 0, length][..], &vec![0; length.into()]].concat();
    [mac, fixed(20), fixed(40)].into_iter().chain((0..150).map(tail)).collect()
}

/// Returns the answers to each, without times and Error Estimate.
fn answers(net: &Net, arguments: &[&str], address: &str) -> Vec<Option<Vec<u8>>> {
    let reflector = net.reflector(arguments);
    let mut client = net.client_from(address, 862, 40_000);
    let answers = tails().into_iter().map(|tail| {
        client.ask(&tail).map(|mut reply| {
            reply[4..14].fill(0);
            reply[16..24].fill(0);
            mask(&mut reply);
            reply
        })
    });
    let answers = answers.collect();
    let ended = reflector.stop();
    assert!(ended.status.success(), "{}", ended.error);
    answers
}

/// Clears what is another one in each packet: the times of replies in Follow-Up Telemetry, the identification and checksum
/// of the IPv4 header, and the flow label of the IPv6 header.
fn mask(reply: &mut [u8]) {
    let mut at = 44;
    while let Some(&[flags, code, high, low]) = reply.get(at..at + 4).and_then(|header| header.first_chunk::<4>()) {
        let end = at + 4 + usize::from(u16::from_be_bytes([high, low]));
        // First octets and numbers of them.
        let places: &[(usize, usize)] = match (flags, code, end - at - 4) {
            (0, 7, _) => &[(8, 8)],
            (0, 247, 20) => &[(8, 2), (14, 2)],
            (0, 247, 40) => &[(5, 3)],
            _ => &[],
        };
        places.iter().for_each(|(first, len)| reply[at + first..at + first + len].fill(0));
        at = end;
    }
}

#[test]
fn frames_are_answered_as_by_the_xdp_program_c285() {
    let Some(net) = or_skip(Net::new()) else { return };
    for address in [V4, V6] {
        let (xdp, link) = (answers(&net, &["--xdp-mode", "native"], address), answers(&net, &LINK, address));
        assert!(xdp.iter().all(Option::is_some), "every packet has an answer");
        for ((xdp, link), tail) in xdp.iter().zip(&link).zip(tails()) {
            assert_eq!(xdp, link, "{address}: {tail:02x?}");
        }
        // Sockets do not see what a frame has in it.
        let sockets = answers(&net, &["--xdp-mode", "off"], address);
        assert!((0..3).any(|n| link[n] != sockets[n]), "the comparison tells nothing");
    }
}

#[test]
fn everything_is_answered_once_fragments_and_other_ports_too() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&[&LINK[..], &["--port", "862", "--port", "50000"]].concat());
    assert!(reflector.ready.contains("frames from a packet socket"), "{}", reflector.ready);
    for (address, port) in [(V4, 862), (V6, 862), (V4, 50_000)] {
        let mut client = net.client(address, port);
        // The longest that fits into 1500 octets, one that does not, and one in many fragments.
        let whole = if address == V4 { 1472 } else { 1452 };
        for (n, len) in [44, whole, whole + 1, 9000, 45].into_iter().enumerate() {
            let reply = client.ask(&vec![0; len - 44]).unwrap_or_else(|| panic!("{address}: {len} octets"));
            assert_eq!((reply.len(), sequence(&reply)), (len, n as u32), "{address}");
            client.socket.set_nonblocking(true).unwrap();
            assert!(client.receive().is_none(), "{address}: {len} octets are answered twice");
            client.socket.set_nonblocking(false).unwrap();
        }
    }
    let ended = reflector.stop();
    assert!(ended.out.starts_with("15 packets answered in 3 sessions"), "{}{}", ended.out, ended.error);
}

/// A test packet from the client's namespace, with Class of Service after the base packet and padding up to 1400
/// octets.
fn long_packet(net: &Net, address: &str, number: u32) -> Datagram {
    let mut payload = vec![0; 1400];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload[13] = 1;
    payload[44..52].copy_from_slice(&[0x80, 4, 0, 4, 46 << 2, 0, 0, 0]);
    payload[52..56].copy_from_slice(&[0x80, 1, 5, 64]);
    payload[56..].iter_mut().enumerate().for_each(|(n, octet)| *octet = (n * 7 + n / 256) as u8);
    let new = if address == V4 { Datagram::new } else { Datagram::new_ipv6 };
    let source = if address == V4 { "192.0.2.2" } else { "2001:db8::2" };
    Datagram {
        // The reply goes back there.
        source_mac: net.in_far(|| Interface::find("veth1").unwrap().mac),
        destination_mac: net.mac("veth0"),
        source: source.parse().unwrap(),
        destination: address.parse().unwrap(),
        source_port: 40_000,
        traffic_class: 34 << 2,
        ..new(payload)
    }
}

/// Cuts a frame into fragments of this Identification: each from one offset to another in the IP packet's content.
fn cut(frame: &[u8], identification: u16, parts: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let is_v4 = frame[12] == 8;
    let head = if is_v4 { 34 } else { 54 };
    let (header, content) = frame.split_at(head);
    let part = |(start, end): &(usize, usize)| {
        let end = (*end).min(content.len());
        let has_more = u16::from(end < content.len());
        let mut fragment = header.to_vec();
        if is_v4 {
            fragment[16..18].copy_from_slice(&((20 + end - start) as u16).to_be_bytes());
            fragment[20..22].copy_from_slice(&((start / 8) as u16 | has_more << 13).to_be_bytes());
            fragment[18..20].copy_from_slice(&identification.to_be_bytes());
            fragment[24..26].fill(0);
            let sum = fragment[14..].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            fragment[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            fragment[18..20].copy_from_slice(&((8 + end - start) as u16).to_be_bytes());
            fragment[20] = 44;
            fragment.extend([17, 0]);
            fragment.extend((*start as u16 | has_more).to_be_bytes());
            fragment.extend(u32::from(identification).to_be_bytes());
        }
        fragment.extend(&content[*start..end]);
        fragment
    };
    parts.iter().map(part).collect()
}

/// Sends frames out of the client's interface.
fn send(net: &Net, frames: &[Vec<u8>]) {
    net.in_far(|| {
        let socket = PacketSocket::open(Interface::find("veth1").unwrap().index).unwrap();
        let mut batch = FrameBatch::default();
        for frame in frames {
            batch
                .push(|out| {
                    out.extend(frame);
                    Some(())
                })
                .unwrap();
        }
        socket.send(&mut batch, Duration::from_secs(1), |index, is_sent| assert!(is_sent, "frame {index}"));
    });
}

#[test]
fn fragments_of_what_fits_are_answered_as_by_a_socket() {
    const IN_ORDER: [(usize, usize); 3] = [(0, 512), (512, 1024), (1024, 2000)];
    // Duplicates, also of the first and of the last one, are ignored (RFC 8200 §4.5); the kernel does so in both families.
    const TWICE: [(usize, usize); 5] = [(0, 512), (0, 512), (1024, 2000), (1024, 2000), (512, 1024)];
    const REVERSED: [(usize, usize); 4] = [(1024, 2000), (512, 1024), (512, 1024), (0, 512)];
    const OVERLAP: [(usize, usize); 4] = [(0, 512), (504, 1024), (512, 1024), (1024, 2000)];
    let Some(net) = or_skip(Net::new()) else { return };
    let receive = |client: &Client| {
        client.receive().map(|mut reply| {
            // Times and Error Estimate.
            reply[4..14].fill(0);
            reply[16..24].fill(0);
            reply
        })
    };
    for address in [V4, V6] {
        // The kernel keeps what comes after an overlap for up to a minute and adds to it what has the same Identification.
        let answers = |arguments: &[&str], first: u16| {
            let reflector = net.reflector(arguments);
            let send = |packet: Datagram, parts: &[(usize, usize)]| {
                let number = u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
                send(&net, &cut(&packet.build(), first + number, parts));
            };
            let client = net.client_from(address, 862, 40_000);
            // The neighbour's address is known before.
            assert_eq!(client.exchange(&[0; 44]).map(|reply| reply.len()), Some(44));
            let mut replies = Vec::new();
            for (number, parts) in [(1, &IN_ORDER[..]), (2, &REVERSED), (3, &TWICE)] {
                send(long_packet(&net, address, number), parts);
                let reply = receive(&client).unwrap_or_else(|| panic!("{arguments:?} {address}: no reply to {number}"));
                assert_eq!((reply.len(), sequence(&reply)), (1400, number), "{arguments:?} {address}");
                assert!(client.receive_now().is_none(), "{arguments:?} {address}: answered twice");
                replies.push(reply);
            }
            let damaged = Datagram { checksum: Checksum::Wrong(0x10), ..long_packet(&net, address, 4) };
            send(damaged, &IN_ORDER);
            send(long_packet(&net, address, 5), &OVERLAP);
            send(long_packet(&net, address, 6), &IN_ORDER);
            // What is damaged or overlaps has no reply, and takes no number.
            let reply = receive(&client).unwrap_or_else(|| panic!("{arguments:?} {address}: no reply to the last"));
            assert_eq!(sequence(&reply), 4, "{arguments:?} {address}");
            assert_eq!(reply[24..28], 6u32.to_be_bytes(), "{arguments:?} {address}");
            replies.push(reply);
            let ended = reflector.stop();
            assert!(ended.status.success(), "{}", ended.error);
            (replies, ended.out)
        };
        let (link, out) = answers(&LINK, 0x100);
        // The TTL of the request, and its DSCP in the reply's Class of Service.
        assert_eq!(
            (link[0][40], link[0][49] >> 4 | (link[0][48] & 3) << 4),
            (61, 34),
            "{address}: {:02x?}",
            &link[0][36..56]
        );
        assert!(out.contains("fragment-discarded") && out.contains("checksum-wrong"), "{address}: {out}");
        assert_eq!(link, answers(&["--xdp-mode", "off"], 0x200).0, "{address}: sockets");
        assert_eq!(link, answers(&["--xdp-mode", "native"], 0x300).0, "{address}: XDP");
    }
}

#[test]
fn a_reply_that_is_too_long_to_leave_is_counted_as_failed_and_not_as_reflected() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&[&LINK[..], &["--any-vlan"]].concat());
    // The longest payload whose IP packet fits, and one that leaves room for the tags: a packet socket sends no more octets
    // than the MTU, the Ethernet header and one tag of 802.1Q have.
    for (number, len) in [(1, 1472), (2, 1464), (3, 1472)] {
        let mut request = long_packet(&net, V4, number);
        request.payload.resize(len, 0);
        let parts = cut(&request.build(), number as u16, &[(0, 512), (512, 1024), (1024, 2000)]);
        let tag = |mut frame: Vec<u8>| {
            frame.splice(12..12, [0x88, 0xa8, 0, 20, 0x81, 0, 0, 10]);
            frame
        };
        send(&net, &parts.into_iter().map(tag).collect::<Vec<_>>());
    }
    // Sent by the same thread after the others; its reply says that they are through.
    assert!(net.client(V4, 862).ask(&[]).is_some());
    let ended = reflector.stop();
    let count = |reason: &str| {
        let line = ended.out.lines().find(|line| line.split_whitespace().any(|word| word == reason));
        line.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert_eq!((count("send-failed"), count("reflected")), (2, 2), "{}{}", ended.out, ended.error);
    assert!(ended.out.starts_with("2 packets answered"), "{}", ended.out);
}

#[test]
fn another_mtu_moves_the_line_between_frames_and_sockets() {
    let Some(net) = or_skip(Net::new()) else { return };
    let reflector = net.reflector(&LINK);
    net.near_ip(&["link", "set", "veth0", "mtu", "1400"]);
    net.far_ip(&["link", "set", "veth1", "mtu", "1400"]);
    let mut client = net.client(V4, 862);
    for len in [1372, 1373, 1472, 44] {
        let mut reply = None;
        // The reflector follows a change within a second.
        for _ in 0..4 {
            reply = reply.or_else(|| client.ask(&vec![0; len - 44]));
        }
        assert_eq!(reply.map(|reply| reply.len()), Some(len));
    }
    assert!(reflector.stop().status.success());
}

#[test]
fn what_link_layer_takes_is_said_where_it_is_not_to_be_had() {
    let Some(net) = or_skip(Net::new()) else { return };
    // A tunnel, whose frames are bare IP packets.
    let made = net.try_near_ip(&["tuntap", "add", "dev", "tun9", "mode", "tun"]);
    if or_skip(made).is_none() {
        return;
    }
    let mut command: Command = net.teaparty(&["reflector", "--api", "none", "--iface", "tun9"]);
    let output = command.args(LINK).stdout(Stdio::piped()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("tun9") && error.contains("--link-layer takes Ethernet frames"), "{error}");
}
