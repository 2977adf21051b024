//! Reads `testing_data/vectors/vectors.json`: for each vector the context, the request, and what is to come back.
//!
//! Shared by the tests of several crates, hence without assertions of its own about reflection.

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use teaparty_common::maps::SessionKey;
use teaparty_common::reflect::{Address, PacketMeta, Policy};
use teaparty_common::wire::Mode;

use crate::frame::Datagram;

/// One exchange that was worked out by an independent reference reflector.
#[derive(Clone)]
pub struct Vector {
    /// `V01` and so on.
    pub id: String,
    /// The title.
    pub title: String,
    /// Configuration and state of the reflector, and facts about the packet.
    pub ctx: Context,
    /// UDP payload of the request.
    pub request: Vec<u8>,
    /// The replies, none where the packet is to be dropped.
    pub replies: Vec<Vec<u8>>,
    /// For each octet of a reply, the bits that are to be as expected.
    pub mask: Vec<u8>,
    /// The addresses of the reply. DSCP and ECN bind only where a TLV asks for them.
    pub reply_ip: Option<ReplyIp>,
}

/// The addresses and marking of a reply.
#[derive(Clone, Debug)]
pub struct ReplyIp {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// UDP destination port.
    pub destination_port: u16,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// ECN, 0 to 3.
    pub ecn: u8,
}

/// The `ctx` of a vector.
#[derive(Clone)]
pub struct Context {
    /// Layout of the base packet.
    pub mode: Mode,
    /// Key for HMAC TLVs.
    pub tlv_key: Option<Vec<u8>>,
    /// True if the session counts its replies.
    pub is_stateful: bool,
    /// Sequence Number of the next reply.
    pub next_sequence: u32,
    /// T2 as on the wire.
    pub receive_timestamp: u64,
    /// T3 as on the wire.
    pub timestamp: u64,
    /// Error Estimate of the reflector.
    pub error_estimate: u16,
    /// TTL as received.
    pub ttl: u8,
    /// TOS octet as received.
    pub traffic_class: u8,
    /// Source address of the packet.
    pub source: IpAddr,
    /// Destination address of the packet.
    pub destination: IpAddr,
    /// Source port of the packet.
    pub source_port: u16,
    /// Destination port of the packet.
    pub destination_port: u16,
    /// Source MAC address of the packet.
    pub source_mac: [u8; 6],
    /// The fixed IP header as received; empty where it does not matter.
    pub ip_header: Vec<u8>,
    /// IPv6 extension headers as received.
    pub extension_headers: Vec<Vec<u8>>,
    /// Timestamp Information.
    pub timestamp_information: [u8; 4],
    /// Packets received, this one included.
    pub received: u32,
    /// Replies sent, this one not included.
    pub transmitted: u32,
    /// Sequence Number, time on the wire and method of the previous reply.
    pub previous: Option<(u32, u64, u8)>,
    /// Our addresses.
    pub local: Vec<IpAddr>,
    /// The past exchanges, newest first, as 32 octets each.
    pub history: Vec<Vec<u8>>,
    /// Rules.
    pub policy: Policy,
}

impl Context {
    /// The facts that an environment would measure for the packet.
    pub fn meta(&self) -> PacketMeta {
        let (previous_sequence, previous_timestamp, previous_method) = self.previous.unwrap_or_default();
        let stateful = if self.is_stateful { PacketMeta::STATEFUL } else { 0 };
        let has_previous = if self.previous.is_some() { PacketMeta::HAS_PREVIOUS } else { 0 };
        PacketMeta {
            receive_timestamp: self.receive_timestamp,
            previous_timestamp,
            source: address(self.source),
            destination: address(self.destination),
            sequence: self.next_sequence,
            received: self.received,
            transmitted: self.transmitted,
            previous_sequence,
            interface: 1,
            source_port: self.source_port,
            destination_port: self.destination_port,
            error_estimate: self.error_estimate,
            source_mac: self.source_mac,
            timestamp_information: self.timestamp_information,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            previous_method,
            flags: PacketMeta::HAS_MAC | stateful | has_previous,
            ..PacketMeta::default()
        }
    }
}

/// An address in the form that the core uses.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address(v6.octets()),
    }
}

/// Returns the key of the session that a datagram with this SSID is of.
pub fn session_key(datagram: &Datagram, ssid: u16) -> SessionKey {
    SessionKey {
        source: address(datagram.source),
        destination: address(datagram.destination),
        source_port: datagram.source_port,
        destination_port: datagram.destination_port,
        ssid,
        reserved: 0,
    }
}

/// All vectors. Panics where the file is not as it should be: then no test can say anything.
pub fn all() -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testing_data/vectors/vectors.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let vectors: Vec<Vector> = file["vectors"].as_array().expect("a list of vectors").iter().map(vector).collect();
    assert!(vectors.len() >= 52, "vectors have been lost: {}", vectors.len());
    vectors
}

/// Returns the octets that differ under the mask, as `offset: expected, actual`; empty where none do.
pub fn differences(expected: &[u8], actual: &[u8], mask: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if expected.len() != actual.len() {
        found.push(format!("length: expected {}, actual {}", expected.len(), actual.len()));
    }
    for (at, (e, a)) in expected.iter().zip(actual).enumerate() {
        let bits = mask.get(at).copied().unwrap_or(0xff);
        if (e ^ a) & bits != 0 {
            found.push(format!("octet {at}: expected {e:02x}, actual {a:02x}, mask {bits:02x}"));
        }
    }
    found
}

fn vector(v: &Value) -> Vector {
    let mut replies = Vec::new();
    if v["expect"] != "drop" {
        replies.push(hex(&v["reply_hex"]));
        replies.extend(v["more_replies_hex"].as_array().into_iter().flatten().map(hex));
    }
    let ip = &v["reply_ip"];
    Vector {
        id: text(&v["id"]),
        title: text(&v["title"]),
        ctx: context(&v["ctx"]),
        request: hex(&v["sender_hex"]),
        mask: if replies.is_empty() { Vec::new() } else { hex(&v["mask_hex"]) },
        replies,
        reply_ip: ip.is_object().then(|| ReplyIp {
            source: ip_of(&ip["src"]),
            destination: ip_of(&ip["dst"]),
            destination_port: number(&ip["dport"]) as u16,
            dscp: number(&ip["dscp"]) as u8,
            ecn: number(&ip["ecn"]) as u8,
        }),
    }
}

fn context(c: &Value) -> Context {
    Context {
        mode: if flag(&c["auth"]) { Mode::Authenticated } else { Mode::Unauthenticated },
        tlv_key: c["tkey"].is_string().then(|| hex(&c["tkey"])),
        is_stateful: flag(&c["stateful"]),
        next_sequence: number(&c["next_seq"]) as u32,
        receive_timestamp: bits(&c["t2"]),
        timestamp: bits(&c["t3"]),
        error_estimate: number(&c["ee"]) as u16,
        ttl: number(&c["ttl"]) as u8,
        traffic_class: (number(&c["dscp"]) << 2 | number(&c["ecn"])) as u8,
        source: ip_of(&c["src"]),
        destination: ip_of(&c["dst"]),
        source_port: number(&c["sport"]) as u16,
        destination_port: number(&c["dport"]) as u16,
        source_mac: hex(&c["smac"]).try_into().expect("six octets"),
        ip_header: hex(&c["ip_hdr"]),
        extension_headers: c["ext_hdrs"].as_array().expect("a list").iter().map(hex).collect(),
        timestamp_information: ["sync_in", "meth_in", "sync_out", "meth_out"].map(|key| number(&c[key]) as u8),
        received: number(&c["rx"]) as u32,
        transmitted: number(&c["tx"]) as u32,
        previous: c["last"].as_array().map(|last| (number(&last[0]) as u32, bits(&last[1]), number(&last[2]) as u8)),
        local: c["local"].as_array().expect("a list").iter().map(ip_of).collect(),
        history: c["history"].as_array().expect("a list").iter().map(hex).collect(),
        policy: policy(c),
    }
}

fn policy(c: &Value) -> Policy {
    let mut flags = Policy::DESTINATION_PORT;
    if !flag(&c["cos_ecn"]) {
        flags |= Policy::COS_LEGACY;
    }
    if flag(&c["rp_alt_allowed"]) {
        flags |= Policy::RETURN_ADDRESS;
    }
    if flag(&c["t12"]["enabled"]) {
        flags |= Policy::REFLECTED_CONTROL;
    }
    Policy {
        dscp_allowed: if flag(&c["dscp_allowed"]) { u64::MAX } else { 0 },
        ecn_allowed: if flag(&c["ecn_allowed"]) { 0xf } else { 0 },
        micro_session_id: c["micro_id"].as_u64().unwrap_or(0) as u16,
        flags,
        ..Policy::DEFAULT
    }
}

fn text(v: &Value) -> String {
    v.as_str().expect("a text").to_owned()
}

fn flag(v: &Value) -> bool {
    v.as_bool().expect("true or false")
}

fn number(v: &Value) -> u64 {
    v.as_u64().expect("a number")
}

fn ip_of(v: &Value) -> IpAddr {
    v.as_str().expect("an address").parse().expect("an address")
}

fn bits(v: &Value) -> u64 {
    u64::from_str_radix(v.as_str().expect("hexadecimal"), 16).expect("hexadecimal")
}

/// The octets of a hexadecimal text.
pub fn hex(v: &Value) -> Vec<u8> {
    let text = v.as_str().expect("hexadecimal").as_bytes();
    assert!(text.len().is_multiple_of(2), "hexadecimal of odd length");
    let digit = |d: u8| char::from(d).to_digit(16).expect("a hexadecimal digit") as u8;
    text.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
