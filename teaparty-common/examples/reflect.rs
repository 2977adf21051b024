//! Encodes a test packet with a TLV, reflects it as a stateless Session-Reflector does, and decodes the reply.

use teaparty_common::address::Address;
use teaparty_common::packet_buf::SliceBuf;
use teaparty_common::packet_meta::PacketMeta;
use teaparty_common::plan::{TlvIntegrity, Verdict};
use teaparty_common::policy::Policy;
use teaparty_common::reflect::{ReflectorEnv, ReplyOptions, apply, plan, stamp};
use teaparty_common::tlv::{HandledBy, Header, Kind, KindSet, tlvs};
use teaparty_common::wire::{ErrorEstimate, Mode, Timestamp, TimestampFormat, reflector, sender};
use zerocopy::{FromBytes, IntoBytes};

const NTP: TimestampFormat = TimestampFormat::Ntp;
const MODE: Mode = Mode::Unauthenticated;
/// Nanoseconds since 1970 at which the packet leaves.
const T1_NS: u64 = 1_700_000_000_000_000_000;

/// A reflector without addresses and without the packet's IP header.
struct Stateless;

impl ReflectorEnv for Stateless {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 16;
    const CAN_GROW: bool = false;

    fn is_local(&self, _: &Address) -> bool {
        false
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        None
    }
}

/// Returns a base packet with Extra Padding of four octets.
fn request() -> Vec<u8> {
    let base = sender::UnauthenticatedPacket {
        sequence_number: 7.into(),
        timestamp: Timestamp::from_nanos(T1_NS, NTP),
        error_estimate: ErrorEstimate::new(true, NTP, 1_000),
        ssid: 42.into(),
        mbz: [0; 28],
    };
    let padding = Header::sent(Kind::ExtraPadding.entry().code, 4);
    [base.as_bytes(), padding.as_bytes(), b"pads"].concat()
}

/// Turns the request into its reply, in place. Fails with the verdict if it is not answered.
fn reflect(packet: &mut [u8]) -> Result<(), Verdict> {
    let meta = PacketMeta {
        receive_timestamp: Timestamp::from_nanos(T1_NS + 30_000, NTP).bits(),
        error_estimate: ErrorEstimate::new(true, NTP, 1_000).bits(),
        ttl: 64,
        ..PacketMeta::default()
    };
    let len = packet.len();
    let verdict = plan(&SliceBuf(packet), len, MODE, &Policy::DEFAULT, TlvIntegrity::NotAsked, &Stateless);
    let Verdict::Reflect(plan) = verdict else { return Err(verdict) };
    let mut options = ReplyOptions::new(meta.traffic_class);
    apply(&mut SliceBuf(packet), &plan, &meta, &Policy::DEFAULT, &mut Stateless, &mut options);
    let t3 = Timestamp::from_nanos(T1_NS + 31_000, NTP);
    stamp(&mut SliceBuf(packet), MODE, (&meta).into(), t3.bits()).expect("plan has seen the base packet");
    Ok(())
}

/// Returns what the sender reads in the reply, a line for each fact.
fn describe(packet: &[u8]) -> Vec<String> {
    let (reply, _) = reflector::UnauthenticatedReply::ref_from_prefix(packet).expect("a base packet");
    let nanos = |timestamp: Timestamp| timestamp.to_nanos(NTP, T1_NS);
    let residence = nanos(reply.timestamp) - nanos(reply.receive_timestamp);
    let base = format!("reply {} to packet {}", reply.sequence_number, reply.sender_sequence_number);
    let mut lines =
        vec![base, format!("residence {residence} ns"), format!("TTL {} at the reflector", reply.sender_ttl)];
    for tlv in tlvs(packet, MODE.base_len(), &Policy::DEFAULT) {
        lines.push(match tlv {
            Ok(tlv) => format!("TLV {}: {:?}", tlv.kind().map_or("unknown", |kind| kind.entry().title), tlv.value),
            Err(overrun) => format!("TLV at octet {} goes past the end", overrun.at),
        });
    }
    lines
}

fn main() {
    let mut packet = request();
    reflect(&mut packet).expect("this packet is answered");
    let lines = describe(&packet);
    assert_eq!(lines[0], "reply 7 to packet 7");
    assert_eq!(lines[2..], ["TTL 64 at the reflector", "TLV Extra Padding: [112, 97, 100, 115]"]);
    println!("{}", lines.join("\n"));
}
