//! pcapng, as far as a capture has it: blocks for the section, interfaces, packets, and statistics
//! (draft-ietf-opsawg-pcapng).

use super::Losses;
use super::packet::{CapturedFrame, CapturedPacket, LinkType};
use crate::reflector::path::CounterPath;
use teaparty_common::reflect::Disposition;

/// The media type.
pub const MEDIA_TYPE: &str = "application/x-pcapng";

/// Types of blocks.
pub const SECTION: u32 = 0x0a0d_0d0a;
/// An interface.
pub const INTERFACE: u32 = 1;
/// Statistics of an interface.
pub const STATISTICS: u32 = 5;
/// A packet.
pub const PACKET: u32 = 6;

/// Private Enterprise Number of our custom option: the one for documentation (RFC 5612), as the project has none.
pub const ENTERPRISE: u32 = 32_473;
/// A custom option with a text that may be copied.
pub const CUSTOM_TEXT: u16 = 2988;

const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_SPEED: u16 = 8;
const IF_TIMESTAMP_RESOLUTION: u16 = 9;
const APPLICATION: u16 = 4;
const FLAGS: u16 = 2;
const VERDICT: u16 = 7;
const STATISTICS_END: u16 = 3;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;
const DROPPED_BY_SYSTEM: u16 = 7;
const DELIVERED: u16 = 8;

/// The verdict is one of XDP's.
const BY_XDP: u8 = 2;

/// An interface of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureInterface {
    /// Its name.
    pub name: String,
    /// Bits per second, where they are known.
    pub speed: Option<u64>,
    /// What its packets begin with.
    pub link: LinkType,
}

/// Blocks that are being written.
#[derive(Debug, Default)]
pub struct PcapngWriter {
    octets: Vec<u8>,
}

impl PcapngWriter {
    /// Takes what was written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }

    /// Writes the head of the file.
    pub fn section(&mut self) {
        self.block(SECTION, |body| {
            body.extend(0x1a2b_3c4du32.to_le_bytes());
            body.extend([1u16, 0].iter().flat_map(|part| part.to_le_bytes()));
            // Its length is not known.
            body.extend(u64::MAX.to_le_bytes());
            option(body, APPLICATION, concat!("teaparty ", env!("CARGO_PKG_VERSION")).as_bytes());
            end_options(body);
        });
    }

    /// Writes an interface. The first one has the number 0.
    pub fn interface(&mut self, interface: &CaptureInterface, snaplen: u32) {
        let (link, description) = match interface.link {
            LinkType::Ethernet => (1u16, "frames"),
            LinkType::Ip => (101, "datagrams of sockets: IP and UDP headers are made of what the socket tells"),
        };
        self.block(INTERFACE, |body| {
            body.extend(link.to_le_bytes());
            body.extend([0; 2]);
            body.extend(snaplen.to_le_bytes());
            option(body, IF_NAME, interface.name.as_bytes());
            option(body, IF_DESCRIPTION, description.as_bytes());
            if let Some(speed) = interface.speed {
                option(body, IF_SPEED, &speed.to_le_bytes());
            }
            option(body, IF_TIMESTAMP_RESOLUTION, &[9]);
            end_options(body);
        });
    }

    /// Writes a frame of `packet` that came or left by the interface of this number, cut to `snaplen` octets.
    pub fn frame(&mut self, number: u32, packet: &CapturedPacket, is_reply: bool, snaplen: u32) {
        let Some(frame) = (if is_reply { &packet.reply } else { &packet.arrival }) else { return };
        let CapturedFrame { len, octets, .. } = frame;
        let kept = &octets[..octets.len().min(snaplen as usize)];
        let at_ns = if is_reply { packet.sent_ns.unwrap_or(packet.received_ns) } else { packet.received_ns };
        let words = describe(packet);
        self.block(PACKET, |body| {
            body.extend(number.to_le_bytes());
            body.extend(time(at_ns));
            body.extend((kept.len() as u32).to_le_bytes());
            body.extend((*len as u32).to_le_bytes());
            body.extend(kept);
            pad(body);
            option(body, COMMENT, words.as_bytes());
            option(body, FLAGS, &(if is_reply { 2u32 } else { 1 }).to_le_bytes());
            if let Some(action) = xdp_action(packet) {
                option(body, VERDICT, &[&[BY_XDP][..], &action.to_le_bytes()].concat());
            }
            option(body, CUSTOM_TEXT, &[&ENTERPRISE.to_le_bytes()[..], words.as_bytes()].concat());
            end_options(body);
        });
    }

    /// Writes the statistics of an interface: how many packets were delivered, and how many were not.
    pub fn statistics(&mut self, number: u32, at_ns: u64, delivered: u64, lost: &Losses) {
        let Losses { above_rate, ring_full, queue_full } = lost;
        let dropped_by_system = ring_full + queue_full;
        self.block(STATISTICS, |body| {
            body.extend(number.to_le_bytes());
            body.extend(time(at_ns));
            let words =
                format!("not captured: {above_rate} above the rate, {ring_full} ring full, {queue_full} client behind");
            option(body, COMMENT, words.as_bytes());
            option(body, STATISTICS_END, &time(at_ns));
            option(body, RECEIVED, &(delivered + above_rate + dropped_by_system).to_le_bytes());
            option(body, DROPPED, &above_rate.to_le_bytes());
            option(body, DROPPED_BY_SYSTEM, &dropped_by_system.to_le_bytes());
            option(body, DELIVERED, &delivered.to_le_bytes());
            end_options(body);
        });
    }

    fn block(&mut self, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.octets.len();
        self.octets.extend(kind.to_le_bytes());
        self.octets.extend([0; 4]);
        // Blocks begin at multiples of four.
        write(&mut self.octets);
        let len = (self.octets.len() - start + 4) as u32;
        self.octets[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        self.octets.extend(len.to_le_bytes());
    }
}

/// Says in words what became of a packet.
fn describe(packet: &CapturedPacket) -> String {
    let CapturedPacket { reason, path, received_ns, sent_ns, .. } = packet;
    let punted = packet.punted.map_or(String::new(), |punted| format!(" punted={}", punted.label()));
    let sent = sent_ns.map_or(String::new(), |sent_ns| format!(" t3={}", seconds(sent_ns)));
    let (verdict, reason) = (reason.disposition().label(), reason.label());
    format!("verdict={verdict} reason={reason} path={}{punted} t2={}{sent}", path.label(), seconds(*received_ns))
}

fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// The action of the XDP program for a packet that it has ended.
fn xdp_action(packet: &CapturedPacket) -> Option<u64> {
    (packet.path == CounterPath::Xdp).then_some(match packet.reason.disposition() {
        Disposition::Drop | Disposition::Punt => 1,
        Disposition::Pass => 2,
        Disposition::Reflect => 3,
    })
}

fn time(ns: u64) -> [u8; 8] {
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&((ns >> 32) as u32).to_le_bytes());
    octets[4..].copy_from_slice(&(ns as u32).to_le_bytes());
    octets
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

/// Fills up to a multiple of four.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The blocks in a stream that comes in parts.
#[derive(Debug, Default)]
pub struct BlockReader {
    waiting: Vec<u8>,
}

/// The octets are no blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pcapng")]
pub struct NotPcapng;

/// A block: its type, and its octets with head and tail.
pub type Block = (u32, Vec<u8>);

/// Most octets of a block that we write.
const MAX_BLOCK: usize = 64 << 10;

impl BlockReader {
    /// Takes a part in, and gives the blocks that are whole now.
    pub fn read(&mut self, part: &[u8]) -> Result<Vec<Block>, NotPcapng> {
        self.waiting.extend_from_slice(part);
        let (mut blocks, mut at) = (Vec::new(), 0);
        while let Some(head) = self.waiting.get(at..at + 8) {
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let len = word(4) as usize;
            if !(12..=MAX_BLOCK).contains(&len) || !len.is_multiple_of(4) {
                return Err(NotPcapng);
            }
            let Some(block) = self.waiting.get(at..at + len) else { break };
            blocks.push((word(0), block.to_vec()));
            at += len;
        }
        self.waiting.drain(..at);
        Ok(blocks)
    }
}

/// Returns delivered packets and losses (above the rate, otherwise) that a statistics block tells of.
pub fn read_statistics(block: &[u8]) -> Option<(u64, u64, u64)> {
    let mut rest = block.get(20..block.len().checked_sub(4)?)?;
    let (mut delivered, mut above_rate, mut other) = (0, 0, 0);
    while let [a, b, c, d, after @ ..] = rest {
        let (code, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let value = after.get(..len)?;
        let number = || value.try_into().map(u64::from_le_bytes).ok();
        match code {
            DROPPED => above_rate = number()?,
            DROPPED_BY_SYSTEM => other = number()?,
            DELIVERED => delivered = number()?,
            _ => {}
        }
        rest = after.get(len.next_multiple_of(4)..)?;
    }
    Some((delivered, above_rate, other))
}

#[cfg(test)]
mod tests {
    use teaparty_common::reflect::Reason;

    use super::super::packet::tests::packet;
    use super::*;

    #[test]
    fn blocks_are_whole_and_say_what_was_written() {
        let mut writer = PcapngWriter::default();
        writer.section();
        let eth0 = CaptureInterface { name: "eth0".into(), speed: Some(10_000_000_000), link: LinkType::Ip };
        writer.interface(&eth0, 4096);
        let packet = CapturedPacket { punted: Some(Reason::IpOptions), ..packet(Reason::Reflected) };
        writer.frame(0, &packet, false, 60);
        writer.frame(0, &packet, true, 4096);
        let lost = Losses { above_rate: 3, ring_full: 4, queue_full: 5 };
        writer.statistics(0, packet.received_ns, 2, &lost);
        let octets = writer.take();
        // In parts of any size.
        for size in [1, 7, octets.len()] {
            let mut reader = BlockReader::default();
            let blocks: Vec<Block> = octets.chunks(size).flat_map(|part| reader.read(part).unwrap()).collect();
            let kinds: Vec<u32> = blocks.iter().map(|block| block.0).collect();
            assert_eq!(kinds, [SECTION, INTERFACE, PACKET, PACKET, STATISTICS]);
            for (_, block) in &blocks {
                assert_eq!(block[4..8], block[block.len() - 4..]);
            }
            let word = |block: &[u8], at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap());
            let first = &blocks[2].1;
            assert_eq!((word(first, 20), word(first, 24)), (60, 72), "cut, and the length is kept");
            assert_eq!(u64::from(word(first, 12)) << 32 | u64::from(word(first, 16)), packet.received_ns);
            let second = &blocks[3].1;
            assert_eq!(u64::from(word(second, 12)) << 32 | u64::from(word(second, 16)), packet.sent_ns.unwrap());
            let words = String::from_utf8_lossy(second);
            assert!(words.contains(
                "verdict=reflect reason=reflected path=xdp punted=ip-options t2=1764000000.123456789 t3=1764000000.123457000"
            ));
            assert_eq!(read_statistics(&blocks[4].1), Some((2, 3, 9)));
        }
        assert_eq!(BlockReader::default().read(b"HTTP/1.1 200 OK"), Err(NotPcapng));
    }
}
