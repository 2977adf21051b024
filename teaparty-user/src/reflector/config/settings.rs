//! What a person may set of a reflector, once: command line, configuration file and JSON Schema are all made from it.

use std::net::IpAddr;

use clap::Args;
use serde::{Deserialize, Serialize};
use teaparty_common::reflect::Policy;
use teaparty_common::wire::DEFAULT_PORT;

use super::session::SessionSettings;
use super::setting_groups::{self, TakesEffect};
use super::values::{
    DestinationNode, Prefix, RateLimit, RateLimitPrefix, TimestampFormatSetting, TlvProfile, VerifyChecksums, XdpMode,
    parse_seconds,
};

/// A reflector's settings. A line of documentation is the option's help and the key's description.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReflectorSettings {
    /// Name of this reflector among several, in logs, API and metrics
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Interface to answer on, instead of all that are up and have an address of more than their link; may repeat
    #[arg(long, short, value_name = "NAME")]
    pub iface: Vec<String>,
    /// UDP port to listen on; may repeat
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Address of this host to answer for, on every interface; instead of those that the interface has and the global ones
    /// of loopback and dummy interfaces; may repeat
    #[arg(long, value_name = "IP")]
    pub address: Vec<IpAddr>,
    /// Answer only for addresses of the interface that a packet comes in by
    #[arg(long)]
    pub strict_addresses: bool,
    /// Answer frames whatever VLAN tags they have, not only those of VLANs that the host has on the interface
    #[arg(long)]
    pub any_vlan: bool,
    /// How to attach the XDP program: auto tries native, then skb, then off
    #[arg(long, value_name = "MODE")]
    pub xdp_mode: XdpMode,
    /// Without XDP, take whole frames from a packet socket, so that MAC addresses and IP headers can be reflected. With XDP
    /// nothing changes: it works at link level anyway
    #[arg(long)]
    pub link_layer: bool,
    /// Verification of UDP checksums by the XDP program before it answers: auto where sessions are stateful; always,
    /// which is meant without a value; never
    #[arg(
        long,
        value_name = "auto|always|never",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always"
    )]
    pub verify_checksums: VerifyChecksums,
    /// Repeat the request's Sequence Number and keep no state
    #[arg(long)]
    pub stateless: bool,
    /// Answer only sessions that were provisioned (RFC 8972 §3)
    #[arg(long)]
    pub provisioned_only: bool,
    /// Drop packets whose Error Estimate has Multiplier 0 (RFC 4656 §4.1.2)
    #[arg(long)]
    pub strict: bool,
    /// Format of timestamps: ntp (UTC) or ptp (TAI)
    #[arg(long, value_name = "FORMAT")]
    pub timestamp_format: TimestampFormatSetting,
    /// Shortest UDP payload that is answered, in octets
    #[arg(long, value_name = "OCTETS")]
    pub min_payload: u16,
    /// Answer only sources within this prefix; an IPv6 address alone stands for its network (see --rate-limit-prefix), with
    /// /128 for itself; may repeat
    #[arg(long, value_name = "PREFIX")]
    pub allow: Vec<Prefix>,
    /// Packets per second that one source may send, and how many at once; 0 for no limit
    #[arg(long, value_name = "PPS[:BURST]")]
    pub rate_limit: RateLimit,
    /// Leading bits of a source address that are one source for --rate-limit: of IPv6, and of IPv4
    #[arg(long, value_name = "V6[:V4]")]
    pub rate_limit_prefix: RateLimitPrefix,
    /// Packets per second that the XDP program hands to the controller for sessions that nobody has provisioned, together,
    /// and how many at once; 0 for no limit
    #[arg(long, value_name = "PPS[:BURST]")]
    pub punt_limit: RateLimit,
    /// Sessions that are remembered besides the provisioned ones; of those that nobody has provisioned, one makes room:
    /// first those of one packet, then the least recently used one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_sessions: u32,
    /// Seconds without a packet after which a session is forgotten; 0 for never
    #[arg(long, value_name = "SECONDS")]
    pub session_timeout: u64,
    /// Seconds by which T1 of a packet with Sequence Number 0 has to be later than that of its session's last packet for the
    /// sender to have started again: its replies then count from 0 again; 0 for never
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub session_restart: u64,
    /// Tell sessions apart by addresses and ports alone: senders like TWAMP-Light's have padding where STAMP has its SSID
    #[arg(long)]
    pub ignore_ssid: bool,
    /// DSCPs that a sender may not ask for: all, none, or names and numbers with commas
    #[arg(long, value_name = "all|LIST")]
    pub deny_dscp: Option<String>,
    /// ECN values that a sender may not ask for: all, none, or names and numbers with commas
    #[arg(long, value_name = "all|LIST")]
    pub deny_ecn: Option<String>,
    /// Class of Service as in RFC 8972, without the ECN update
    #[arg(long)]
    pub cos_legacy: bool,
    /// Addresses that a Destination Node Address TLV may name, and replies then leave from: any of the host that is answered
    /// for, those answered for on the interface, or none
    #[arg(long, value_name = "any|interface|none")]
    pub allow_destination_node: DestinationNode,
    /// Obey Return Path TLVs that send the reply to another address or along SRv6 segments
    #[arg(long)]
    pub allow_return_address: bool,
    /// Obey Destination Port TLVs
    #[arg(long)]
    pub allow_destination_port: bool,
    /// Obey Reflected Test Packet Control TLVs: several replies to one request, or longer ones (RFC 10052)
    #[arg(long)]
    pub allow_reflected_control: bool,
    /// Replies that such a TLV may ask for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub reflected_control_count: u16,
    /// UDP payload that it may ask for, in octets
    #[arg(long, value_name = "OCTETS")]
    pub reflected_control_length: u16,
    /// Least time between replies that it may ask for, from 10us
    #[arg(long, value_name = "TIME")]
    pub reflected_control_interval: String,
    /// Octets of UDP payload that one session may ask for in a second
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u64).range(1..))]
    pub reflected_control_session_rate: u64,
    /// Octets of UDP payload that all sessions on an interface may ask for in a second
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u64).range(1..))]
    pub reflected_control_rate: u64,
    /// Member link that this reflector is on (RFC 9534); 0 for none
    #[arg(long, value_name = "N")]
    pub micro_session_id: u16,
    /// Field of Location that stays zero: ports, source-mac, destination or source; may repeat
    #[arg(long, value_name = "FIELD")]
    pub location_hide: Vec<String>,
    /// Code points of experimental TLVs
    #[arg(long, value_name = "PROFILE")]
    pub tlv_profile: TlvProfile,
    /// Code point of one experimental TLV, such as history=244; may repeat
    #[arg(long, value_name = "NAME=N")]
    pub tlv_code: Vec<String>,
    /// Source of the key that authenticates every session without one of its own: a file, credential:NAME (systemd),
    /// env:NAME or fd:N
    #[arg(long, value_name = "SOURCE")]
    pub auth_key_file: Option<String>,
    /// Source of the key of HMAC TLVs, in the same forms; without it, --auth-key-file applies to them too
    #[arg(long, value_name = "SOURCE")]
    pub tlv_key_file: Option<String>,
    /// Leave the XDP program answering when this process ends; the next start goes on with it, `teaparty detach` removes it
    #[arg(long)]
    pub keep: bool,
    /// Session that is provisioned: a table, or KEY=VALUE with commas between; may repeat
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub session: Vec<SessionSettings>,
}

impl ReflectorSettings {
    /// These settings, except those of these names, which are as in `others`.
    pub fn keeping(&self, names: &[String], others: &Self) -> Self {
        let mut members = self::members(self);
        let others = self::members(others);
        members.extend(others.into_iter().filter(|(name, _)| names.contains(name)));
        // Each value was one of a setting of the same name.
        serde_json::from_value(serde_json::Value::Object(members)).unwrap_or_else(|_| self.clone())
    }

    /// Returns what differs between these settings and others: first what can change while the reflector runs, then what
    /// takes a restart.
    pub fn changes(&self, others: &Self) -> (Vec<String>, Vec<String>) {
        let (own, others) = (members(self), members(others));
        let changed = own.into_iter().filter(|(name, value)| others.get(name) != Some(value)).map(|(name, _)| name);
        changed.partition(|name| !setting_groups::named(TakesEffect::Restart).any(|other| other == name))
    }
}

/// The settings by name, as a file has them.
fn members(settings: &ReflectorSettings) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(members)) => members,
        // No setting is a map with keys that aren't strings, which alone could fail.
        _ => serde_json::Map::new(),
    }
}

impl Default for ReflectorSettings {
    fn default() -> Self {
        Self {
            name: None,
            iface: Vec::new(),
            port: vec![DEFAULT_PORT],
            address: Vec::new(),
            strict_addresses: false,
            any_vlan: false,
            xdp_mode: XdpMode::Auto,
            link_layer: false,
            verify_checksums: VerifyChecksums::Auto,
            stateless: false,
            provisioned_only: false,
            strict: false,
            timestamp_format: TimestampFormatSetting::Ntp,
            min_payload: Policy::DEFAULT.min_payload,
            allow: Vec::new(),
            rate_limit: RateLimit::DEFAULT,
            rate_limit_prefix: RateLimitPrefix::DEFAULT,
            punt_limit: RateLimit::OF_PUNTS,
            max_sessions: 65_536,
            session_timeout: 900,
            session_restart: 30,
            ignore_ssid: false,
            deny_dscp: None,
            deny_ecn: None,
            cos_legacy: false,
            allow_destination_node: DestinationNode::Interface,
            allow_return_address: false,
            allow_destination_port: false,
            allow_reflected_control: false,
            reflected_control_count: 16,
            reflected_control_length: 1472,
            reflected_control_interval: "100us".into(),
            reflected_control_session_rate: 1_000_000,
            reflected_control_rate: 10_000_000,
            micro_session_id: 0,
            location_hide: Vec::new(),
            tlv_profile: TlvProfile::Current,
            tlv_code: Vec::new(),
            auth_key_file: None,
            tlv_key_file: None,
            keep: false,
            session: Vec::new(),
        }
    }
}
