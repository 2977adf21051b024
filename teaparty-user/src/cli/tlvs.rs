//! `teaparty sender … tlvs TLV [-- TLV]…`: the TLVs of a test packet. Names are those of the registry.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use teaparty_common::tlv::Kind;
use teaparty_common::wire::{Dscp, Ecn, TrafficClass};

use crate::sender::tlvs::chain::AccessReportRequest;
use crate::sender::tlvs::request::{AccessReportContent, RequestTlv};
use crate::units::{ValueError, ecn_parser, parse_dscp, parse_duration, parse_hex};

mod chain;

/// The TLVs that packets carry. Several are chained with `--`: `tlvs time -- class-of-service --dscp ef`.
#[derive(Args, Clone, Debug)]
pub struct Tlvs {
    /// The first of them, with the others after it.
    #[command(subcommand)]
    first: TlvCommand,
}

/// One TLV of the chain, for those after the first.
#[derive(Parser)]
#[command(name = "tlvs", no_binary_name = true, disable_version_flag = true)]
struct Next {
    #[command(subcommand)]
    tlv: TlvCommand,
}

/// The words after a TLV.
#[derive(Args, Clone, Debug, Default)]
struct FollowingTlvs {
    /// Further TLVs, each after a `--` of its own.
    #[arg(last = true, value_name = "TLV")]
    next: Vec<OsString>,
}

macro_rules! name {
    ($kind:ident) => {
        Kind::$kind.entry().name
    };
}

#[derive(Subcommand, Clone, Debug)]
enum TlvCommand {
    /// Extra Padding (RFC 8972 §4.1).
    #[command(name = name!(ExtraPadding))]
    Padding {
        /// Octets of padding.
        #[arg(short, long, default_value_t = 64)]
        size: u16,
        /// Zeros instead of random octets.
        #[arg(long)]
        zero: bool,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Location: from where and to where the reflector sees the packet go (RFC 8972 §4.2).
    #[command(name = name!(Location))]
    Location {
        /// Ask for the source address (the default where nothing is asked for).
        #[arg(long)]
        source: bool,
        /// Ask for the destination address.
        #[arg(long)]
        destination: bool,
        /// Ask for the source MAC address.
        #[arg(long)]
        mac: bool,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Timestamp Information: how the reflector keeps and takes time (RFC 8972 §4.3).
    #[command(name = name!(TimestampInformation))]
    Time {
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Class of Service: DSCP and ECN of the reply, and what the packet arrived with (RFC 8972 §4.4).
    #[command(name = name!(ClassOfService))]
    ClassOfService {
        #[command(flatten)]
        marks: CosMarks,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Class of Service in its second form (cerfcast/teaparty).
    #[command(name = name!(ClassOfServiceV2))]
    ClassOfServiceV2 {
        #[command(flatten)]
        marks: CosMarks,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// DSCP ECN: the older form of Class of Service (cerfcast/teaparty).
    #[command(name = name!(DscpEcn))]
    DscpEcn {
        /// DSCP that the reply is to have.
        #[arg(long, default_value = "cs1", value_parser = parse_dscp)]
        dscp: Dscp,
        /// ECN that the reply is to have.
        #[arg(long, default_value = "ect0", value_parser = ecn_parser())]
        ecn: Ecn,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Direct Measurement: packet counters of both ends (RFC 8972 §4.5).
    #[command(name = name!(DirectMeasurement))]
    DirectMeasurement {
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Access Report: tell the reflector that an access network is there, or is not (RFC 8972 §4.6).
    #[command(name = name!(AccessReport))]
    AccessReport {
        /// Access ID: 1 for 3GPP, 2 for Non-3GPP.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        access_id: u8,
        /// Return Code: 1 for available, 2 for unavailable.
        #[arg(long, default_value_t = 1)]
        return_code: u8,
        /// Send it again when no reply held it for so long.
        #[arg(long, default_value = "3s", value_parser = parse_duration)]
        timer: Duration,
        /// Send it again so often at most.
        #[arg(long, default_value_t = 4)]
        retransmissions: u32,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Follow-Up Telemetry: when the reply before this one really left (RFC 8972 §4.7).
    #[command(name = name!(FollowUpTelemetry))]
    Followup {
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// HMAC over the TLVs in front (RFC 8972 §4.8). The key comes from --tlv-key-file, or else --auth-key-file.
    #[command(name = name!(Hmac))]
    Hmac {
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Destination Node Address: the reflector that is meant (RFC 9503 §3).
    #[command(name = name!(DestinationNodeAddress))]
    DestinationAddress {
        /// An address of that reflector.
        #[arg(long)]
        address: IpAddr,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Return Path: where the reply is to go, if anywhere (RFC 9503 §4).
    #[command(name = name!(ReturnPath))]
    ReturnPath {
        #[command(flatten)]
        path: ReturnPathArguments,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Micro-session ID: member links of a link aggregation group (RFC 9534).
    #[command(name = name!(MicroSessionId))]
    MicroSession {
        /// Our member link.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        sender_id: u16,
        /// The reflector's member link; learned from its first reply where it is not given.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        reflector_id: Option<u16>,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Reflected Test Packet Control: size, number and spacing of replies (RFC 10052).
    #[command(name = name!(ReflectedControl))]
    ReflectedControl {
        /// Octets of UDP payload that each reply is to have; 0 for as many as needed.
        #[arg(long, default_value_t = 0)]
        length: u16,
        /// Replies to each packet.
        #[arg(long, default_value_t = 1)]
        count: u16,
        /// Time between two replies, at most 4.29 s.
        #[arg(long, default_value = "0", value_parser = reply_interval)]
        interval: u32,
        /// Send Length 8, for a reflector that takes no other: the earlier Teaparty (RFC 10052 §3 wants 12 or more).
        #[arg(long, alias = "reflected-control-short")]
        short: bool,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Bit errors: a pattern in padding, and how much of it arrives wrong (draft-gandhi-ippm-stamp-ber-07).
    ///
    /// IPv4 packets then go without a UDP checksum, so that damaged ones arrive.
    #[command(name = name!(BitErrorPattern))]
    BitErrorRate {
        /// The pattern, in hexadecimal.
        #[arg(long, default_value = "ff00", value_parser = parse_hex)]
        pattern: std::vec::Vec<u8>,
        /// Octets of padding, rounded down to whole patterns.
        #[arg(short, long, default_value_t = 64)]
        size: u16,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Destination Port: the reply is to arrive at another port of the sender, where we listen too (cerfcast/teaparty).
    #[command(name = name!(DestinationPort))]
    DestinationPort {
        /// That port.
        #[arg(long, default_value_t = 983, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// History: the session's last exchanges as the reflector remembers them (cerfcast/teaparty).
    #[command(name = name!(History))]
    History {
        /// The number.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=2_000))]
        length: u16,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Reflected IPv6 Extension Header Data: one of our extension headers as it arrived (ext-hdr-15).
    #[command(name = name!(ReflectedExtensionHeader))]
    ExtensionHeader {
        /// Octets of that header, a multiple of 8.
        #[arg(short, long, default_value_t = 8, value_parser = extension_header_size)]
        size: u16,
        /// First 8 octets of the header that is wanted, in hex [default: zeros, the next one of that size].
        #[arg(long, value_name = "HEX", value_parser = selector::<8>)]
        selector: Option<Selector<8>>,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// Reflected Fixed Header Data: our IP header as it arrived (ext-hdr-15).
    #[command(name = name!(ReflectedFixedHeader))]
    FixedHeader {
        /// Octets of that header: 20 for IPv4, 40 for IPv6 [default: 40 if all targets have IPv6 addresses].
        #[arg(short, long, value_parser = fixed_header_size)]
        size: Option<u16>,
        /// First 4 octets of the header that is wanted, in hex [default: zeros, the next one of that size].
        #[arg(long, value_name = "HEX", value_parser = selector::<4>)]
        selector: Option<Selector<4>>,
        #[command(flatten)]
        more: FollowingTlvs,
    },
    /// A TLV of a type that no reflector should know.
    Unrecognized {
        /// Octets of its Value.
        #[arg(short, long, default_value_t = 4)]
        size: u16,
        #[command(flatten)]
        more: FollowingTlvs,
    },
}

#[derive(Args, Clone, Debug)]
struct CosMarks {
    /// DSCP that the reply is to have.
    #[arg(long, default_value = "cs1", value_parser = parse_dscp)]
    dscp: Dscp,
    /// ECN that the reply is to have.
    #[arg(long, default_value = "not-ect", value_parser = ecn_parser())]
    ecn: Ecn,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct ReturnPathArguments {
    /// No reply at all.
    #[arg(long, conflicts_with_all = ["same_link", "address", "labels", "segments"])]
    no_reply: bool,
    /// A reply on the link of the request.
    #[arg(long, conflicts_with_all = ["address", "labels", "segments"])]
    same_link: bool,
    /// A reply to this address.
    #[arg(long)]
    address: Option<IpAddr>,
    /// A reply with this SR-MPLS label stack, top first.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..1 << 20), conflicts_with = "segments")]
    labels: Vec<u32>,
    /// A reply along this SRv6 segment list.
    #[arg(long, value_delimiter = ',')]
    segments: Vec<Ipv6Addr>,
}

/// The first octets of a header that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector<const N: usize>([u8; N]);

/// A text that is no value of a TLV's option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidTlvOption {
    /// It is no first octets of a header.
    #[error("`{text}` is no selector: write {digits} hexadecimal digits")]
    Selector {
        /// The text.
        text: String,
        /// The digits that a selector has.
        digits: usize,
    },
    /// No extension header has such a size.
    #[error("an extension header has 8 to 2048 octets, in multiples of 8")]
    ExtensionHeaderSize,
    /// No IP header has such a size.
    #[error("an IP header has 20 octets (IPv4) or 40 (IPv6)")]
    FixedHeaderSize,
    /// It is no duration.
    #[error(transparent)]
    Interval(#[from] ValueError),
    /// The interval has more than 32 bits of nanoseconds.
    #[error("at most 4.29s fit into the packet")]
    LongInterval,
}

fn selector<const N: usize>(text: &str) -> Result<Selector<N>, InvalidTlvOption> {
    let wrong = || InvalidTlvOption::Selector { text: text.into(), digits: 2 * N };
    let octet = |at: usize| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let octets: Vec<u8> = (0..N).map_while(octet).collect();
    octets.try_into().map(Selector).map_err(|_| wrong())
}

fn extension_header_size(text: &str) -> Result<u16, InvalidTlvOption> {
    match text.parse() {
        Ok(size @ 8..=2_048) if size % 8 == 0 => Ok(size),
        _ => Err(InvalidTlvOption::ExtensionHeaderSize),
    }
}

fn fixed_header_size(text: &str) -> Result<u16, InvalidTlvOption> {
    match text {
        "20" => Ok(20),
        "40" => Ok(40),
        _ => Err(InvalidTlvOption::FixedHeaderSize),
    }
}

/// The field has 32 bits of nanoseconds.
fn reply_interval(text: &str) -> Result<u32, InvalidTlvOption> {
    u32::try_from(parse_duration(text)?.as_nanos()).map_err(|_| InvalidTlvOption::LongInterval)
}
