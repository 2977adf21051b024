//! Outside witnesses on a veth pair, as root: the vectors as raw frames judged by a script that shares nothing with us,
//! scapy's STAMP layer as a client, and tshark on the UDP checksums of every size.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_testing::reflector::{Net, V4, V6};
use teaparty_testing::skip::or_skip;

/// The variable for the tests' Python, which has scapy: `cargo xtask test` installs it and sets this.
const PYTHON: &str = "TEAPARTY_SCAPY_PYTHON";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn python() -> Result<PathBuf, String> {
    std::env::var_os(PYTHON).map(PathBuf::from).ok_or(format!("{PYTHON} does not name a Python with scapy"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A pair of namespaces in which the reflector has the addresses of the vectors.
fn vector_net() -> Result<Net, String> {
    let net = Net::new()?;
    net.near_ip(&["address", "add", "198.51.100.20/24", "dev", "veth0"]);
    net.near_ip(&["address", "add", "2001:db8:1::20/64", "dev", "veth0", "nodad"]);
    // The senders of the vectors, and where V76 wants its reply.
    for sender in ["192.0.2.10", "203.0.113.5", "2001:db8::10"] {
        net.near_ip(&["neigh", "add", sender, "lladdr", "02:00:5e:10:00:01", "dev", "veth0"]);
    }
    net.near_ip(&["route", "add", "203.0.113.0/24", "dev", "veth0"]);
    Ok(net)
}

fn show(device: &str) -> Output {
    Command::new("ip").args(["-o", "link", "show", device]).output().unwrap()
}

fn mac(link: &Output) -> String {
    let text = said(link);
    text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("a MAC address").to_owned()
}

/// Runs the vectors with these ids against a reflector with these arguments.
fn check(arguments: &[&str], ids: &[&str]) {
    check_tagged("-", arguments, ids);
}

/// Checks frames with these VLAN tags, in hex.
fn check_tagged(tags: &str, arguments: &[&str], ids: &[&str]) {
    let Some(python) = or_skip(python()) else { return };
    let Some(net) = or_skip(vector_net()) else { return };
    let running = net.reflector(arguments);
    let mac = &mac(&net.in_near(|| show("veth0")));
    let output = net.in_far(|| {
        let vectors = file("../testing_data/vectors/vectors.json");
        let mut command = Command::new(python);
        command.arg(file("tests/witness/live_vectors.py")).arg(vectors).args(["veth1", mac, tags]).args(ids);
        command.output().unwrap()
    });
    let ended = running.stop();
    assert!(output.status.success(), "{arguments:?}\n{}\n{}{}", said(&output), ended.out, ended.error);
    let fine = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with(" ok")).count();
    assert_eq!(fine, ids.len(), "{}", said(&output));
}

/// A key file as operators have it.
fn key_file(hex: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, format!("hex:{hex}\n").as_bytes()).unwrap();
    file
}

const BASE_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TLV_KEY: &str = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf";

#[test]
fn no_vector_is_left_out() {
    let text = std::fs::read_to_string(file("../testing_data/vectors/vectors.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ids = all["vectors"].as_array().unwrap().iter().map(|vector| vector["id"].as_str().unwrap());
    let missing: Vec<&str> = ids.filter(|id| !include_str!("witnesses.rs").contains(&format!("\"{id}\""))).collect();
    assert!(missing.is_empty(), "not sent over a veth pair: {missing:?}");
}

#[test]
fn stateless_vectors_live() {
    let ids = [
        "V01", "V05", "V07", "V09", "V10", "V20", "V21", "V22", "V23", "V25", "V26", "V30", "V33", "V35", "V37", "V41",
        "V44", "V55", "V70", "V71", "V73", "V74", "V77", "V85", "V90", "V92", "V94", "V95", "V31", "V96",
    ];
    check(&["--stateless", "--allow-destination-port"], &ids);
    check(&["--stateless", "--allow-destination-port", "--xdp-mode", "skb"], &ids);
    check(&["--stateless", "--allow-destination-port", "--xdp-mode", "off", "--link-layer"], &ids);
}

#[test]
fn vectors_that_ask_for_a_policy_live() {
    check(&["--stateless", "--cos-legacy"], &["V36"]);
    check(&["--stateless", "--deny-ecn", "all"], &["V39"]);
    check(&["--stateless", "--micro-session-id", "34"], &["V78"]);
    check(&["--stateless", "--allow-return-address"], &["V76"]);
}

#[test]
fn vectors_that_ask_for_several_replies_live() {
    for engine in [&["--xdp-mode", "native"][..], &["--xdp-mode", "skb"], &["--xdp-mode", "off", "--link-layer"]] {
        let allowed = [&["--allow-reflected-control"], engine].concat();
        check(&[&["--stateless"], &allowed[..]].concat(), &["V80", "V83", "V84"]);
        check(&allowed, &["V81"]);
    }
}

#[test]
fn stateful_vectors_live() {
    check(&[], &["V02", "V03"]);
    check(&["--xdp-mode", "off", "--link-layer"], &["V02", "V03"]);
}

/// The script has the exchanges happen that the reflector is to remember.
#[test]
fn vectors_with_a_past_live() {
    for engine in [&["--xdp-mode", "native"][..], &["--xdp-mode", "skb"], &["--xdp-mode", "off", "--link-layer"]] {
        // V40 and V43 are of one session, which is to have another past.
        check(engine, &["V40"]);
        check(engine, &["V43", "V93"]);
    }
}

#[test]
fn vectors_with_keys_live() {
    let (base, tlv) = (key_file(BASE_KEY), key_file(TLV_KEY));
    let (base, tlv) = (base.path().to_str().unwrap(), tlv.path().to_str().unwrap());
    check(&["--stateless", "--auth-key-file", base], &["V11", "V12", "V13"]);
    check(&["--auth-key-file", base], &["V15"]);
    check(&["--stateless", "--tlv-key-file", tlv], &["V50", "V51", "V53"]);
    check(&["--stateless", "--auth-key-file", base, "--tlv-key-file", tlv], &["V57", "V58"]);
    let link = ["--stateless", "--xdp-mode", "off", "--link-layer", "--auth-key-file", base];
    check(&link, &["V11", "V12", "V13"]);
}

#[test]
fn vectors_in_tagged_frames_live() {
    let ids = ["V01", "V07", "V20", "V30", "V37", "V31", "V55"];
    check_tagged("8100000a", &["--stateless", "--any-vlan"], &ids);
    check_tagged("88a800148100000a", &["--stateless", "--any-vlan"], &ids);
    check_tagged("8100000a", &["--stateless", "--any-vlan", "--xdp-mode", "off", "--link-layer"], &ids);
    check_tagged("88a800148100000a", &["--stateless", "--any-vlan", "--xdp-mode", "off", "--link-layer"], &ids);
}

#[test]
fn two_reflectors_and_one_forged_packet_do_not_loop_c280() {
    let Some(python) = or_skip(python()) else { return };
    let Some(net) = or_skip(Net::new()) else { return };
    let _near = net.reflector(&[]);
    // The other one answers by sockets: its end of the pair has a program on its hook already.
    let _far = net.far_reflector(&["--xdp-mode", "off"]);
    let (near, far) = (mac(&net.in_near(|| show("veth0"))), mac(&net.in_far(|| show("veth1"))));
    let output = net.in_far(|| {
        let forged = ["veth1", &far, &near, "192.0.2.2", V4];
        Command::new(&python).arg(file("tests/witness/forge.py")).args(forged).output().unwrap()
    });
    assert_eq!(said(&output).trim(), "1", "the forged packet and nothing after it");
    // Both are alive, and would have answered anything else.
    assert!(net.client(V4, 862).ask(&[]).is_some());
}

#[test]
fn the_sender_measures_against_the_reflector() {
    let Some(net) = or_skip(Net::new()) else { return };
    let running = net.reflector(&[]);
    for address in [V4, V6] {
        let output = net.in_far(|| {
            let mut sender = Command::new(env!("CARGO_BIN_EXE_teaparty"));
            sender.args(["sender", address, "--count", "50", "--interval", "2ms", "--format", "json"]).output().unwrap()
        });
        assert!(output.status.success(), "{address}: {}", said(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["sent"], &report["received"]), (&50.into(), &50.into()), "{report}");
        assert_eq!((&report["duplicates"], &report["reordered"]), (&0.into(), &0.into()), "{report}");
        for (delay, limit) in [("round_trip_ns", 1e9), ("residence_ns", 1e9)] {
            let mean = report[delay]["mean"].as_f64().unwrap();
            assert!(mean > 0.0 && mean < limit, "{delay}: {mean}");
        }
    }
    let ended = running.stop();
    assert!(ended.out.contains("100 packets answered in 2 sessions"), "{}", ended.out);
}

#[test]
fn scapy_is_answered_in_its_own_terms() {
    let Some(python) = or_skip(python()) else { return };
    let Some(net) = or_skip(Net::new()) else { return };
    let _running = net.reflector(&[]);
    for address in [V4, V6] {
        let output = net.in_far(|| {
            Command::new(&python).arg(file("tests/witness/scapy_client.py")).args([address, "862"]).output().unwrap()
        });
        assert!(output.status.success(), "{address}: {}", said(&output));
    }
}

#[test]
fn tshark_finds_the_checksums_of_all_sizes_right_c282() {
    let probe = Command::new("tshark").arg("--version").output().map(drop).map_err(|error| format!("tshark: {error}"));
    if or_skip(probe).is_none() {
        return;
    }
    let Some(net) = or_skip(Net::new()) else { return };
    let _running = net.reflector(&[]);
    for address in [V4, V6] {
        let capture = tempfile::Builder::new().suffix(".pcapng").tempfile().unwrap();
        let path = capture.path().to_str().unwrap();
        let mut tshark = net.in_far(|| {
            let mut command = Command::new("tshark");
            command.args(["-i", "veth1", "-f", "udp src port 862", "-w", path]).stdout(Stdio::null());
            command.stderr(Stdio::piped()).spawn().unwrap()
        });
        // It says so when it has begun.
        let mut lines = BufReader::new(tshark.stderr.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().contains("Capturing on")), "tshark does not capture");
        std::thread::sleep(std::time::Duration::from_millis(500));
        let mut client = net.client(address, 862);
        // 1452 is what an IPv6 packet holds in 1500 octets.
        let largest = if address == V4 { 1472 } else { 1452 };
        for size in 44..=largest {
            let tail: Vec<u8> = (0..size - 44).map(|i| if i == 0 { 0x80 } else { (i * 7 + size) as u8 }).collect();
            let reply = client.ask(&tail).unwrap_or_else(|| panic!("{size} octets are not answered"));
            assert_eq!(reply.len(), size);
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        kill(Pid::from_raw(tshark.id() as i32), Signal::SIGINT).unwrap();
        tshark.wait().unwrap();
        let fields = ["-T", "fields", "-e", "udp.length", "-e", "udp.checksum.status"];
        let read = ["-r", path, "-o", "udp.check_checksum:TRUE", "-Y", "udp.srcport == 862"];
        let output = Command::new("tshark").args(read).args(fields).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut right: Vec<usize> = Vec::new();
        for line in text.lines() {
            let (length, status) = line.split_once('\t').expect("two fields");
            assert!(matches!(status, "1" | "Good"), "{address}: tshark says {status} of {length} octets");
            right.push(length.parse::<usize>().unwrap() - 8);
        }
        right.sort_unstable();
        right.dedup();
        assert_eq!(right, (44..=largest).collect::<Vec<_>>(), "{address}: {}", said(&output));
    }
}
