//! Answers that leave, and answers that do not: what a veth without an XDP program at its far end and a device without an
//! Ethernet header make of the reflector, and what is said of it. Takes root.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use serde_json::Value;
use teaparty_testing::reflector::{Net, V4, V6, start};
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::get;

/// The address of the reflector's API, in its namespace.
const API: &str = "127.0.0.1:8000";

fn interface(net: &Net) -> Value {
    net.api("GET", "/api/v1/reflector", "").1["interfaces"][0].clone()
}

#[test]
fn a_container_is_answered_by_default_and_told_how_to_have_native() {
    let Some(net) = or_skip(Net::plain()) else { return };
    let reflector = start(&mut net.teaparty(&["reflector", "--iface", "veth0", "--api", API]));
    assert!(reflector.ready.contains("XDP mode    skb (generic): a veth; "), "{}", reflector.ready);
    for address in [V4, V6] {
        for tail in [&[][..], &[0x80, 244, 0, 0], &[0; 4000]] {
            assert!(net.client(address, 862).ask(tail).is_some(), "{address}");
        }
    }
    let found = interface(&net);
    assert_eq!((&found["xdp_mode"], &found["transmit_errors"]), (&"skb".into(), &0.into()), "{found}");
    assert!(found["xdp_reason"].as_str().unwrap().contains("--xdp-mode native"), "{found}");
    let ended = reflector.stop();
    let lines: Vec<&str> = ended.error.lines().filter(|line| line.contains("--xdp-mode native")).collect();
    assert!(matches!(lines[..], [line] if line.contains("veth0: generic mode (skb), because")), "{}", ended.error);
    assert!(!ended.out.contains("transmit-errors"), "{}", ended.out);
}

#[test]
fn replies_that_a_driver_could_not_send_are_counted_and_warned_of() {
    let Some(net) = or_skip(Net::plain()) else { return };
    let arguments = ["reflector", "--iface", "veth0", "--xdp-mode", "native", "--api", API];
    let lose = |count: u64| {
        let mut client = net.client(V4, 862);
        client.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!((0..count).all(|_| client.ask(&[]).is_none()));
    };
    // The driver goes on counting; each start counts its own.
    for before in [0, 10] {
        let reflector = start(&mut net.teaparty(&arguments));
        assert_eq!(interface(&net)["transmit_errors"], 0, "after {before}");
        lose(7);
        assert_eq!(interface(&net)["transmit_errors"], 7, "after {before}");
        let metrics = get(&net, API, "/metrics").unwrap();
        assert!(metrics.contains("teaparty_transmit_errors_total{interface=\"veth0\"} 7\n"), "{metrics}");
        let text = |arguments: &[&str]| {
            String::from_utf8_lossy(&net.teaparty(arguments).output().unwrap().stdout).into_owned()
        };
        let (status, doctor) = (text(&["status"]), text(&["doctor", "--iface", "veth0"]));
        assert!(status.contains("7 replies that the driver could not send"), "{status}");
        assert!(doctor.contains(&format!("WARN  transmit     {} frames", before + 7)), "{doctor}");
        // Some look within a second says so, and the next ones do not.
        std::thread::sleep(Duration::from_millis(2500));
        lose(3);
        let ended = reflector.stop();
        let warned: Vec<&str> = ended.error.lines().filter(|line| line.contains("could not send")).collect();
        assert!(matches!(warned[..], [line] if line.contains("could not send 7 frames")), "{}", ended.error);
        let lost = ended.out.lines().find(|line| line.contains("transmit-errors")).unwrap_or_default();
        assert_eq!(lost.split_whitespace().collect::<Vec<_>>(), ["veth0", "xdp", "lost", "transmit-errors", "10"]);
    }
}

/// A tunnel in the reflector's namespace, whose packets come and go by this file.
fn tunnel(net: &Net) -> Result<File, String> {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    net.in_near(|| {
        let file = File::options().read(true).write(true).open("/dev/net/tun").map_err(|error| error.to_string())?;
        // SAFETY: all-zero is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, octet) in request.ifr_name.iter_mut().zip(b"tun9") {
            *place = *octet as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request outlives the call and is what this ioctl takes.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
        if result == 0 { Ok(file) } else { Err(format!("a tunnel: {}", std::io::Error::last_os_error())) }
    })
}

/// An IPv4 packet from 198.51.100.2 port 5000 to 198.51.100.1 port 862 with a base packet in it.
fn datagram() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 72, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1];
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet.extend([5000u16, 862, 52, 0].map(u16::to_be_bytes).concat());
    packet.extend([0; 44]);
    packet
}

#[test]
fn frames_without_an_ethernet_header_are_answered_by_sockets_which_is_said() {
    let Some(net) = or_skip(Net::plain()) else { return };
    let Some(mut tunnel) = or_skip(tunnel(&net)) else { return };
    net.near_ip(&["address", "add", "198.51.100.1/24", "dev", "tun9"]);
    net.near_ip(&["link", "set", "tun9", "up"]);
    let reflector = start(&mut net.teaparty(&["reflector", "--iface", "tun9", "--api", API]));
    let mode = "XDP mode    off (sockets answer): its frames have no Ethernet header\n";
    assert!(reflector.ready.contains(mode), "{}", reflector.ready);
    tunnel.write_all(&datagram()).unwrap();
    let mut reply = [0; 2048];
    // Others than ours may leave by it: neighbour discovery.
    let len = std::iter::repeat_with(|| tunnel.read(&mut reply).unwrap()).find(|len| *len == 72).unwrap();
    assert_eq!((&reply[12..20], &reply[len - 44..len - 40]), (&[198, 51, 100, 1, 198, 51, 100, 2][..], &[0; 4][..]));
    let found = interface(&net);
    assert_eq!(
        (&found["xdp_mode"], &found["xdp_reason"]),
        (&"off".into(), &"its frames have no Ethernet header".into())
    );
    let doctor = net.teaparty(&["doctor", "--iface", "tun9"]).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        doctor.contains("note  XDP          driver tun: sockets answer: frames have no Ethernet header"),
        "{doctor}"
    );
    drop(reflector);
    for mode in ["native", "skb"] {
        let output =
            net.teaparty(&["reflector", "--iface", "tun9", "--api", "none", "--xdp-mode", mode]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains("have no Ethernet header"), "{error}");
    }
}
