//! What each row is tried for. A check is a function that fails with the reason.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::frame::{self, Packet};
use super::net::{self, End, FAR_V4, FAR_V6, Link, NEAR_V4, NEAR_V6, Net};
use super::peer::{Peer, Reply, tlv};
use super::raw::Raw;
use super::reflector::{Ended, Reflector};
use super::{Recorder, Tried};
use crate::kernels::machine::{FAR_MAC, NEAR_MAC};

/// Most time for a reply on an emulated processor; time to wait for the absence of one.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(400);
/// UDP source port of frames that are made here.
const SOURCE_PORT: u16 = 49_200;
/// Packets of each kind.
const PACKETS: u32 = 5;
const KEY_HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The extent of a row's checks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Frames with VLAN tags and without, to the addresses of a VLAN device on the row's.
    Tags,
    /// Loaded, attached, adopted, taken away: nothing can be sent there.
    Life,
    /// One reflector: packets to the kernel and to the ring.
    Packets,
    /// Also restart, authentication and `doctor`.
    All,
}

/// A row that is being tried.
pub(super) struct Bench<'a> {
    pub(super) net: &'a Net,
    pub(super) link: &'a Link,
    pub(super) tried: &'a Tried,
    /// `native` or `skb`.
    pub(super) mode: &'static str,
}

impl Bench<'_> {
    /// Starts a reflector in the row's mode.
    pub(super) fn reflector(&self, arguments: &[&str]) -> Result<Reflector> {
        let mode = ["--xdp-mode", self.mode];
        Reflector::start(self.net, self.tried, &self.link.near, &[&mode, arguments].concat())
    }

    fn is_loopback(&self) -> bool {
        self.link.near == "lo"
    }

    /// A sender of IPv4 and one of IPv6.
    fn peers(&self) -> Result<[Peer; 2]> {
        let (end, addresses) =
            if self.is_loopback() { (End::Near, ["127.0.0.1", "::1"]) } else { (End::Far, [NEAR_V4, NEAR_V6]) };
        let [v4, v6] = addresses;
        Ok([Peer::new(self.net, end, v4)?, Peer::new(self.net, end, v6)?])
    }
}

/// Runs the checks of a row.
pub(super) fn run(bench: &Bench<'_>, extent: Extent, recorder: &Recorder<'_>) {
    if extent == Extent::Tags {
        recorder.check("VLAN tags", || tags(bench));
        return recorder.check("nothing left", || nothing_left(bench));
    }
    if extent == Extent::All {
        recorder.check("doctor", || doctor(bench));
    }
    recorder.check("start, packets, restart", || live(bench, extent));
    if extent == Extent::All {
        recorder.check("authenticated", || authenticated(bench));
    }
    recorder.check("nothing left", || nothing_left(bench));
}

/// `doctor` finds nothing that a reflector would fail of.
fn doctor(bench: &Bench<'_>) -> Result<()> {
    let mut command = Command::new(&bench.tried.teaparty);
    command.args(["doctor", "--iface", &bench.link.near]);
    bench.net.place(&mut command, End::Near)?;
    let output = command.output().context("cannot start teaparty")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !said.contains("FAIL"), "{}: {said}", output.status);
    Ok(())
}

/// One reflector's life: it answers in the kernel and from the ring, is killed while the kernel goes on answering, is
/// started again, and ends.
fn live(bench: &Bench<'_>, extent: Extent) -> Result<()> {
    let mut running = bench.reflector(&[])?;
    let word = if bench.mode == "native" { "native (in the driver)" } else { "skb (generic)" };
    ensure!(running.said().contains(&format!("XDP mode    {word}")), "another mode: {}", running.said());
    let [mut v4, mut v6] = bench.peers()?;
    let mut by_kernel = 0;
    if extent != Extent::Life {
        for peer in [&mut v4, &mut v6] {
            by_kernel += in_kernel(peer)?;
            by_ring(peer)?;
        }
    }
    if extent != Extent::Packets {
        running.kill()?;
        if extent == Extent::All {
            // Nobody but the program can answer now.
            by_kernel += base(&mut v4, PACKETS)? + base(&mut v6, PACKETS)?;
        }
        running = bench.reflector(&[])?;
        let adopted = "sessions of the earlier run kept";
        ensure!(running.said().contains(adopted), "the maps were not adopted: {}", running.said());
        if extent == Extent::All {
            by_kernel += base(&mut v4, PACKETS)?;
            by_ring(&mut v6)?;
        }
    }
    let ended = running.stop()?;
    if extent != Extent::Life {
        judge_paths(&ended, by_kernel)?;
    }
    Ok(())
}

/// Fails unless the program answered what it can, and only the rest went further.
fn judge_paths(ended: &Ended, by_kernel: u32) -> Result<()> {
    ended.expect("xdp", u64::from(by_kernel))?;
    ended.expect("ring", 1)?;
    let by_sockets = ended.count("socket", "reflected");
    ensure!(by_sockets == 0, "{by_sockets} packets were answered by sockets");
    Ok(())
}

/// Packets that the program answers by itself; how many.
fn in_kernel(peer: &mut Peer) -> Result<u32> {
    Ok(base(peer, PACKETS)? + tlvs(peer, PACKETS)?)
}

/// Base packets: numbers without a gap. How many were sent.
fn base(peer: &mut Peer, packets: u32) -> Result<u32> {
    let mut last: Option<u32> = None;
    for _ in 0..packets {
        let number = peer.exchange(&[])?.sequence();
        ensure!(last.is_none_or(|last| number == last + 1), "Sequence Number {number} follows {last:?}");
        last = Some(number);
    }
    Ok(packets)
}

/// Padding, Timestamp Information, Class of Service and Direct Measurement (RFC 8972 §4.1, §4.3 to §4.5).
fn tlvs(peer: &mut Peer, packets: u32) -> Result<u32> {
    let parts = [tlv(1, &[0xa5; 16]), tlv(3, &[0; 4]), tlv(4, &[0; 4]), tlv(5, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0])];
    let tail = parts.concat();
    for _ in 0..packets {
        let reply = peer.exchange(&tail)?;
        let found = &reply.octets[44..];
        let mut at = 0;
        for part in &parts {
            let this = &found[at..at + part.len()];
            ensure!(this[0] == 0 && this[1..4] == part[1..4], "a TLV came back as {this:02x?}");
            at += part.len();
        }
        ensure!(found[4..20] == [0xa5; 16], "padding came back changed");
        ensure!(found[24] != 0 && found[26] != 0, "Timestamp Information is {:02x?}", &found[24..28]);
        let counts = &found[at - 12..at];
        let received = u32::from_be_bytes([counts[4], counts[5], counts[6], counts[7]]);
        ensure!(counts[..4] == [0, 0, 0, 9] && received == reply.sequence() + 1, "Direct Measurement is {counts:02x?}");
    }
    Ok(packets)
}

/// Packets that the controller answers, by the ring: History, and more TLVs than the program walks.
fn by_ring(peer: &mut Peer) -> Result<()> {
    let history = peer.exchange(&tlv(244, &[0; 32]))?;
    ensure!(history.octets[44] == 0, "History came back with flags {:#x}", history.octets[44]);
    let many = peer.exchange(&tlv(1, &[0; 4]).repeat(9))?;
    let flags = |reply: &Reply| reply.octets[44..].iter().step_by(8).copied().collect::<Vec<u8>>();
    ensure!(flags(&many) == [0; 9], "nine TLVs came back with flags {:02x?}", flags(&many));
    Ok(())
}

/// Frames to the addresses of the VLAN device are answered with its tag, and not at all without one or with another one.
fn tags(bench: &Bench<'_>) -> Result<()> {
    /// EtherTypes and tag control information: none, priority alone, another VLAN, another kind of tag, and two.
    const OTHERS: [&[(u16, u16)]; 5] =
        [&[], &[(0x8100, 0xe000)], &[(0x8100, 200)], &[(0x88a8, 100)], &[(0x88a8, 100), (0x8100, 100)]];
    let running = bench.reflector(&[])?;
    let (wire, vlan) = bench.net.inside(End::Far, || Ok((Raw::open(&bench.link.far)?, Raw::open(net::FAR_VLAN)?)))?;
    for addresses in [[FAR_V4, NEAR_V4], [FAR_V6, NEAR_V6]] {
        // What has been answered with the tag once is a session that the program knows.
        for _ in 0..2 {
            wire.send(&tagged(addresses, &[(0x8100, 100)])?)?;
            ensure!(is_answered(&vlan, PATIENCE)?, "{addresses:?}: no reply in VLAN 100");
            ensure!(is_answered(&wire, PATIENCE)?, "{addresses:?}: no reply on the wire");
            for tags in OTHERS {
                wire.send(&tagged(addresses, tags)?)?;
                ensure!(!is_answered(&wire, SILENCE)?, "{addresses:?}: a reply to tags {tags:x?}");
            }
        }
    }
    let ended = running.stop()?;
    ended.expect("xdp", 4)?;
    let found = [ended.count("xdp", "not-our-address"), ended.count("xdp", "not-our-vlan")];
    ensure!(found == [8, 12], "not-our-address and not-our-vlan are {found:?} and not [8, 12]");
    Ok(())
}

/// A STAMP packet between these addresses, in a frame with tags.
fn tagged([source, destination]: [&str; 2], tags: &[(u16, u16)]) -> Result<Vec<u8>> {
    let packet = Packet {
        source: source.parse()?,
        destination: destination.parse()?,
        ports: (SOURCE_PORT, 862),
        traffic_class: 0,
        ttl: 64,
        header: Vec::new(),
        extensions: Vec::new(),
    };
    let (header, rest) = packet.octets(&[0; 44])?;
    let tags: Vec<u8> = tags.iter().flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat()).collect();
    let kind: [u8; 2] = if packet.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    let macs = [NEAR_MAC, FAR_MAC].map(|mac| hex(&mac.replace(':', ""))).concat();
    Ok([&macs[..], &tags, &kind, &header, &rest].concat())
}

/// Returns true if a reply to such a packet is received in time.
fn is_answered(raw: &Raw, patience: Duration) -> Result<bool> {
    let until = Instant::now() + patience;
    while let Some(frame) = raw.receive(until)? {
        let datagram = frame::parse(&frame);
        if datagram.is_some_and(|datagram| (datagram.source_port, datagram.destination_port) == (862, SOURCE_PORT)) {
            return Ok(true);
        }
        if Instant::now() >= until {
            break;
        }
    }
    Ok(false)
}

/// Authenticated packets come back so, and forged ones do not.
fn authenticated(bench: &Bench<'_>) -> Result<()> {
    let file = bench.tried.key_file(KEY_HEX)?;
    let running = bench.reflector(&["--auth-key-file", &file])?;
    let key = hex(KEY_HEX);
    for peer in bench.peers()? {
        let mut peer = peer.with_key(&key);
        for number in 0..PACKETS {
            let found = peer.exchange(&[])?.sequence();
            ensure!(found == number, "Sequence Number is {found} and not {number}");
        }
        peer.forged()?;
    }
    let ended = running.stop()?;
    ended.expect("ring", u64::from(2 * PACKETS))
}

/// The device has no program any more, and the BPF file system no pins.
fn nothing_left(bench: &Bench<'_>) -> Result<()> {
    let said = bench.net.ask(End::Near, &format!("-details link show dev {}", bench.link.near))?;
    ensure!(!said.contains("prog/xdp"), "a program is left: {said}");
    let pins = std::fs::read_dir("/sys/fs/bpf/teaparty").map_or(0, Iterator::count);
    ensure!(pins == 0, "pins of {pins} interfaces are left");
    Ok(())
}

/// The octets of a hexadecimal text.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digit = |d: u8| char::from(d).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
