//! Return Path (RFC 9503 §4) along SRv6 segments on a veth pair, with an outside witness and Linux as the segments' node.
//! Needs root.

use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use teaparty_testing::reflector::{Net, V4, V6};
use teaparty_testing::skip::or_skip;

const U: u8 = 0x80;
/// Offset of the Return Path's flags in a reply.
const FLAGS: usize = 44;
/// The client's address.
const OURS: &str = "2001:db8::2";
/// Nodes on the way, both of them the client's host.
const SEGMENTS: [&str; 2] = ["2001:db8::53", "2001:db8::54"];

/// Sub-TLVs: their types and Values.
type Subs<'a> = &'a [(u8, &'a [u8])];

/// A Return Path with these sub-TLVs.
fn path(subs: Subs<'_>) -> Vec<u8> {
    let sub = |(code, value): &(u8, &[u8])| [&[0x80, *code, 0, value.len() as u8], *value].concat();
    let subs: Vec<u8> = subs.iter().flat_map(sub).collect();
    [&[0x80, 10, 0, subs.len() as u8][..], &subs].concat()
}

fn octets(addresses: &[&str]) -> Vec<u8> {
    addresses.iter().flat_map(|address| address.parse::<Ipv6Addr>().unwrap().octets()).collect()
}

/// A namespace whose host is a node of the segments, if there can be one here.
fn segment_net() -> Result<Net, String> {
    let net = Net::new()?;
    for segment in SEGMENTS {
        net.far_ip(&["address", "add", &format!("{segment}/64"), "dev", "veth1", "nodad"]);
    }
    let enable = |device: &str| std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/seg6_enabled"), "1");
    net.in_far(|| ["all", "veth1"].iter().try_for_each(|device| enable(device)))
        .map_err(|error| format!("this kernel has no SRv6: {error}"))?;
    Ok(net)
}

/// The witness at the client's end.
struct Witness(Child, BufReader<ChildStdout>);

impl Witness {
    fn new(net: &Net, python: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/witness/srh.py");
        let mut child = net.in_far(|| {
            let mut command = Command::new(python);
            command.arg(script).arg("veth1").stdout(Stdio::piped()).spawn().unwrap()
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self(child, out)
    }

    fn says(mut self) -> Value {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        self.0.wait().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{line}`: {error}"))
    }
}

#[test]
fn replies_take_the_segments_and_arrive_c206() {
    let python = std::env::var_os("TEAPARTY_SCAPY_PYTHON").map(PathBuf::from);
    let python = python.ok_or("TEAPARTY_SCAPY_PYTHON does not name a Python".to_owned());
    let Some(python) = or_skip(python) else { return };
    let Some(net) = or_skip(segment_net()) else { return };
    for engine in [&["--xdp-mode", "native"][..], &["--xdp-mode", "off"], &["--xdp-mode", "off", "--link-layer"]] {
        let reflector = net.reflector(&[&["--allow-return-address"], engine].concat());
        let mut client = net.client(V6, 862);
        // As a sender has it: one address of several, so that the kernel chooses no other.
        client.socket = net.in_far(|| UdpSocket::bind(format!("[{OURS}]:0"))).unwrap();
        client.socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        let back = octets(&[OURS]);
        let list = octets(&SEGMENTS);
        let whole = [&list[..], &back].concat();
        // With the sender's address after the list, at its end, and as a Return Address: the same way.
        let asked: [Subs<'_>; 3] = [&[(4, &list)], &[(4, &whole)], &[(4, &list), (2, &back)]];
        for subs in asked {
            let witness = Witness::new(&net, &python);
            let reply = client.ask(&path(subs)).unwrap_or_else(|| panic!("{engine:?}: no reply by {subs:02x?}"));
            assert_eq!(reply[FLAGS], 0, "{engine:?}");
            let expected = json!({
                "destination": SEGMENTS[0],
                "hop_limit": 255,
                "routing_type": 4,
                "segments_left": 2,
                "length": 8 + 3 * 16,
                "next_header": 17,
                "segments": [OURS, SEGMENTS[1], SEGMENTS[0]],
                "checksum_right": true,
                "payload_length_right": true,
            });
            assert_eq!(witness.says(), expected, "{engine:?}: {subs:02x?}");
        }
        assert!(reflector.stop().status.success());
    }
}

#[test]
fn paths_that_cannot_be_taken_come_back_unrecognised_c207_c212() {
    let Some(net) = or_skip(segment_net()) else { return };
    for engine in ["native", "off"] {
        let list = octets(&SEGMENTS);
        let reflector = net.reflector(&["--xdp-mode", engine]);
        let reply = net.client(V6, 862).ask(&path(&[(4, &list)])).expect("an ordinary reply");
        assert_eq!(reply[FLAGS], U, "{engine}: nobody has allowed it");
        assert!(reflector.stop().status.success());
        let reflector = net.reflector(&["--xdp-mode", engine, "--allow-return-address"]);
        let mut client = net.client(V6, 862);
        let multicast = octets(&["ff02::1", SEGMENTS[0]]);
        let many = octets(&[SEGMENTS[0]; 15]);
        let far_away = [(4, &list[..]), (2, &[192, 0, 2, 2][..])];
        let refused: [(&str, Subs<'_>); 8] = [
            ("no segment", &[(4, &[])]),
            ("17 octets", &[(4, &list[..17])]),
            ("multicast", &[(4, &multicast)]),
            ("labels before segments", &[(3, &[0, 6, 0x41, 0xff]), (4, &list)]),
            ("another family's address", &far_away),
            ("no label", &[(3, &[])]),
            ("5 octets of labels", &[(3, &[0, 6, 0x41, 0xff, 0])]),
            ("labels, which Linux has no way to send", &[(3, &[0, 6, 0x41, 0xff])]),
        ];
        for (what, subs) in refused {
            let reply = client.ask(&path(subs)).unwrap_or_else(|| panic!("{engine}: {what}"));
            assert_eq!(reply[FLAGS], U, "{engine}: {what}");
        }
        assert_eq!(client.ask(&path(&[(4, &many)])).map(|reply| reply[FLAGS]), Some(0), "{engine}: many are fine");
        // Of several lists the first one counts, whatever the others are (RFC 9503 §4.1.3).
        for other in [(4, &many[..48]), (4, &list[..17]), (3, &[0, 6, 0x41, 0xff][..])] {
            let reply = client.ask(&path(&[(4, &list), other])).expect("a reply");
            assert_eq!(reply[FLAGS], 0, "{engine}: {other:02x?} after a list");
        }
        // A Control Code counts wherever it stands (RFC 9503 §4.1.1).
        let code = |last| [0, 0, 0, last];
        let others: [Subs<'_>; 3] = [&[(4, &list[..17]), (2, &[1, 2, 3])], &[(99, &[]), (4, &list)], &[(3, &[])]];
        for others in others {
            let with = |last| path(&[others, &[(1, &code(last)[..])]].concat());
            assert_eq!(client.ask(&with(1)).map(|reply| reply[FLAGS]), Some(0), "{engine}: {others:02x?}");
            let packet = client.packet(&with(0));
            client.send(&packet);
            assert!(client.receive().is_none(), "{engine}: a reply to a packet that asks for none, {others:02x?}");
        }
        let reply = net.client(V4, 862).ask(&path(&[(4, &list)])).expect("an ordinary reply");
        assert_eq!(reply[FLAGS], U, "{engine}: IPv4 has no segments");
        assert!(reflector.stop().status.success());
    }
}
