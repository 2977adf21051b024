//! How a reflector is to behave: [`Settings`] is what a person writes, [`Config`] what the engines need.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use teaparty_common::maps;
use teaparty_common::reflect::{Address, LocationFields, Policy};
use teaparty_common::tlv::{CodePoints, Profile, REGISTRY};
use teaparty_common::wire::{DEFAULT_PORT, Dscp, Ecn};

use super::keys::SessionKeys;
use crate::crypto::KeySource;

/// Rings of remembered exchanges for the History TLV; each session takes the next one.
pub const HISTORY_RINGS: u32 = 4096;

/// A reflector's settings, as the command line and a configuration file give them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Interfaces to answer on.
    pub iface: Vec<String>,
    /// UDP ports to listen on.
    pub port: Vec<u16>,
    /// Addresses to answer for; none means all that the interface has.
    pub address: Vec<IpAddr>,
    /// How to attach the XDP program.
    pub xdp_mode: XdpMode,
    /// Reply with the request's Sequence Number, keeping no state.
    pub stateless: bool,
    /// Answer provisioned sessions only.
    pub provisioned_only: bool,
    /// Drop packets whose Error Estimate has Multiplier 0.
    pub strict: bool,
    /// Format of our timestamps.
    pub timestamp_format: Format,
    /// Shortest UDP payload that is answered, in octets.
    pub min_payload: u16,
    /// Sources that are answered; none means all.
    pub allow: Vec<IpNet>,
    /// Packets per second that one source may send.
    pub rate_limit: RateLimit,
    /// Most sessions that are remembered besides the provisioned ones.
    pub max_sessions: u32,
    /// Seconds without a packet after which a session is forgotten; 0 for never.
    pub session_timeout: u64,
    /// DSCPs that a sender may not ask for: `all`, or names and numbers with commas.
    pub deny_dscp: Option<String>,
    /// ECN values that a sender may not ask for: `all`, or names and numbers with commas.
    pub deny_ecn: Option<String>,
    /// Class of Service without the ECN update.
    pub cos_legacy: bool,
    /// Obey Return Path TLVs with addresses.
    pub allow_return_address: bool,
    /// Obey Destination Port TLVs.
    pub allow_destination_port: bool,
    /// Obey Reflected Test Packet Control TLVs.
    pub allow_reflected_control: bool,
    /// Our member link, 1 to 65535; 0 for none.
    pub micro_session_id: u16,
    /// Fields of Location that stay zero: `ports`, `source-mac`, `destination`, `source`.
    pub location_hide: Vec<String>,
    /// Code points of experimental TLVs.
    pub tlv_profile: TlvProfile,
    /// Single code points, as `NAME=NUMBER`.
    pub tlv_code: Vec<String>,
    /// Key of every session that has none of its own: makes them authenticated. `FILE`,
    /// `credential:NAME`, `env:NAME` or `fd:N`.
    pub auth_key_file: Option<String>,
    /// Key of HMAC TLVs, likewise.
    pub tlv_key_file: Option<String>,
    /// Leave the XDP program answering when the process ends.
    pub keep: bool,
}

impl Settings {
    /// Rules for reflection: they change while the reflector runs.
    pub const POLICY: &[&str] = &[
        "stateless",
        "provisioned-only",
        "strict",
        "timestamp-format",
        "deny-dscp",
        "deny-ecn",
        "cos-legacy",
        "allow-return-address",
        "allow-destination-port",
        "allow-reflected-control",
        "micro-session-id",
        "location-hide",
        "tlv-profile",
        "tlv-code",
    ];
    /// Who is answered, and how often: they change while the reflector runs.
    pub const LIMITS: &[&str] = &["allow", "rate-limit", "min-payload", "session-timeout"];
    /// What else changes while the reflector runs.
    const OTHERS: &[&str] = &["address", "auth-key-file", "tlv-key-file", "keep"];

    /// What differs between these settings and others: first what can change while the reflector runs, then what takes a
    /// restart. A setting that is on no list takes one.
    pub fn changes(&self, others: &Self) -> (Vec<String>, Vec<String>) {
        let members = |settings: &Self| match serde_json::to_value(settings) {
            Ok(serde_json::Value::Object(members)) => members,
            // No setting is a map with keys that aren't strings, which alone could fail.
            _ => serde_json::Map::new(),
        };
        let (own, others) = (members(self), members(others));
        let changed = own.into_iter().filter(|(name, value)| others.get(name) != Some(value)).map(|(name, _)| name);
        let is_live = |name: &str| [Self::POLICY, Self::LIMITS, Self::OTHERS].iter().any(|list| list.contains(&name));
        changed.partition(|name| is_live(name))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            iface: Vec::new(),
            port: vec![DEFAULT_PORT],
            address: Vec::new(),
            xdp_mode: XdpMode::Auto,
            stateless: false,
            provisioned_only: false,
            strict: false,
            timestamp_format: Format::Ntp,
            min_payload: Policy::DEFAULT.min_payload,
            allow: Vec::new(),
            rate_limit: RateLimit::DEFAULT,
            max_sessions: 65_536,
            session_timeout: 900,
            deny_dscp: None,
            deny_ecn: None,
            cos_legacy: false,
            allow_return_address: false,
            allow_destination_port: false,
            allow_reflected_control: false,
            micro_session_id: 0,
            location_hide: Vec::new(),
            tlv_profile: TlvProfile::Current,
            tlv_code: Vec::new(),
            auth_key_file: None,
            tlv_key_file: None,
            keep: false,
        }
    }
}

/// How the XDP program is to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Native, else generic, else not at all, with a warning for each step down.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the network stack, before everything else ("generic").
    Skb,
    /// Not at all: UDP sockets answer.
    Off,
}

impl XdpMode {
    /// As the command line spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Skb => "skb",
            Self::Off => "off",
        }
    }
}

/// Format of our timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// NTP, in UTC.
    #[default]
    Ntp,
    /// PTPv2 truncated, in TAI.
    Ptp,
}

/// A set of code points for experimental TLVs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlvProfile {
    /// In use since 2026.
    #[default]
    Current,
    /// In use before that.
    Earlier,
}

/// How many packets one source may send: a rate, and how far it may run ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimit {
    /// Packets per second; 0 for no limit.
    pub rate_pps: u64,
    /// Packets that may come at once.
    pub burst: u64,
}

impl RateLimit {
    /// So that ordinary sessions never meet it.
    pub const DEFAULT: Self = Self { rate_pps: 100_000, burst: 20_000 };

    /// The rate as the time between two packets, and the burst as time saved up, in nanoseconds.
    fn as_ns(self) -> (u64, u64) {
        match 1_000_000_000_u64.checked_div(self.rate_pps) {
            None => (0, 0),
            Some(interval) => (interval.max(1), interval.max(1).saturating_mul(self.burst.saturating_sub(1))),
        }
    }
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate: write PACKETS_PER_SECOND[:BURST], or 0 for no limit");
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let rate_pps: u64 = rate.parse().map_err(|_| wrong())?;
        let burst = match burst {
            Some(burst) => burst.parse().ok().filter(|burst| *burst > 0).ok_or_else(wrong)?,
            None => (rate_pps / 5).max(1),
        };
        if rate_pps > 1_000_000_000 {
            return Err(wrong());
        }
        Ok(Self { rate_pps, burst })
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.rate_pps, self.burst)
    }
}

impl TryFrom<String> for RateLimit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        limit.to_string()
    }
}

/// A setting that can't be.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The setting, as the command line and the file call it.
    pub field: &'static str,
    /// What is wrong with it and what to do.
    pub problem: String,
}

fn wrong(field: &'static str) -> impl Fn(String) -> ConfigError {
    move |problem| ConfigError { field, problem }
}

/// What the engines need, checked and in their terms. One for all interfaces.
#[derive(Clone)]
pub struct Config {
    /// What this was made of.
    pub settings: Settings,
    /// Interfaces to answer on, without repetitions; not empty.
    pub interfaces: Vec<String>,
    /// UDP ports to listen on, ascending; not empty.
    pub ports: Vec<u16>,
    /// Addresses to answer for; empty for all of the interface's.
    pub addresses: Vec<Address>,
    /// How to attach the XDP program.
    pub xdp_mode: XdpMode,
    /// Rules for reflection.
    pub policy: Policy,
    /// Whether sessions count their replies themselves.
    pub is_stateful: bool,
    /// Whether only provisioned sessions are answered.
    pub provisioned_only: bool,
    /// Sources that are answered, as prefixes of 128 bits; empty for all.
    pub allowed: Vec<(Address, u8)>,
    /// Nanoseconds between two packets of one source; 0 for no limit.
    pub rate_interval_ns: u64,
    /// Nanoseconds that a source may run ahead.
    pub rate_burst_ns: u64,
    /// Most sessions besides the provisioned ones.
    pub max_sessions: u32,
    /// When a session without packets is forgotten.
    pub session_timeout: Option<Duration>,
    /// Keys of sessions that have none of their own.
    pub default_keys: SessionKeys,
    /// Whether the XDP program goes on answering when the process ends.
    pub is_kept: bool,
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let keys = |field, source: &Option<String>| match source {
            None => Ok(Vec::new()),
            Some(text) => {
                let source: KeySource = text.parse().map_err(wrong(field))?;
                source.load().map(|key| vec![key]).map_err(|error| wrong(field)(error.to_string()))
            }
        };
        let default_keys = SessionKeys {
            base: keys("auth-key-file", &settings.auth_key_file)?,
            tlv: keys("tlv-key-file", &settings.tlv_key_file)?,
        };
        Self::new(settings, default_keys)
    }
}

impl Config {
    /// The configuration of these settings, with these keys instead of those that they name.
    pub fn new(settings: Settings, default_keys: SessionKeys) -> Result<Self, ConfigError> {
        let policy = policy(&settings)?;
        let (rate_interval_ns, rate_burst_ns) = settings.rate_limit.as_ns();
        let mut interfaces: Vec<String> = Vec::new();
        for name in &settings.iface {
            if name.is_empty() || name.contains('/') {
                return Err(wrong("iface")(format!("`{name}` is no name of an interface; `ip link` lists them")));
            }
            if !interfaces.contains(name) {
                interfaces.push(name.clone());
            }
        }
        if interfaces.is_empty() {
            return Err(wrong("iface")(
                "name at least one interface; `ip link` lists them, `lo` is always there".into(),
            ));
        }
        let mut ports = settings.port.clone();
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() || ports[0] == 0 {
            return Err(wrong("port")("give UDP ports from 1 to 65535; STAMP's own is 862".into()));
        }
        if settings.max_sessions == 0 {
            return Err(wrong("max-sessions")("must be at least 1; --stateless keeps no sessions".into()));
        }
        Ok(Self {
            interfaces,
            ports,
            addresses: settings.address.iter().copied().map(address).collect(),
            xdp_mode: settings.xdp_mode,
            policy,
            is_stateful: !settings.stateless,
            provisioned_only: settings.provisioned_only,
            allowed: settings.allow.iter().map(prefix).collect(),
            rate_interval_ns,
            rate_burst_ns,
            max_sessions: settings.max_sessions,
            session_timeout: (settings.session_timeout != 0).then(|| Duration::from_secs(settings.session_timeout)),
            default_keys,
            is_kept: settings.keep,
            settings,
        })
    }

    /// The flags of the kernel's [`maps::Config`] that follow from the configuration alone.
    pub fn flags(&self) -> u32 {
        let mut flags = maps::Config::HISTORY;
        for (flag, is_set) in [
            (maps::Config::STATEFUL, self.is_stateful),
            (maps::Config::PROVISIONED_ONLY, self.provisioned_only),
            (maps::Config::ALLOW_LIST, !self.allowed.is_empty()),
            (maps::Config::AUTHENTICATED, !self.default_keys.base.is_empty()),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        flags
    }
}

/// An IP address as the maps have it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address(v6.octets()),
    }
}

/// An address of the maps as an IP address.
pub fn ip(address: &Address) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::from(address.v4_octets()).into() } else { IpAddr::from(address.0) }
}

fn prefix(net: &IpNet) -> (Address, u8) {
    let length = if net.addr().is_ipv4() { 96 + net.prefix_len() } else { net.prefix_len() };
    (address(net.network()), length)
}

fn policy(settings: &Settings) -> Result<Policy, ConfigError> {
    let mut policy = Policy { min_payload: settings.min_payload, ..Policy::DEFAULT };
    policy.micro_session_id = settings.micro_session_id;
    for (flag, is_set) in [
        (Policy::PTP, settings.timestamp_format == Format::Ptp),
        (Policy::STRICT, settings.strict),
        (Policy::COS_LEGACY, settings.cos_legacy),
        (Policy::DESTINATION_PORT, settings.allow_destination_port),
        (Policy::RETURN_ADDRESS, settings.allow_return_address),
        (Policy::REFLECTED_CONTROL, settings.allow_reflected_control),
    ] {
        if is_set {
            policy.flags |= flag;
        }
    }
    if let Some(text) = &settings.deny_dscp {
        let named = |name: &str| Dscp::NAMED.iter().find(|(known, _)| *known == name).map(|(_, dscp)| dscp.value());
        policy.dscp_allowed = !denied(text, 64, named).map_err(wrong("deny-dscp"))?;
    }
    if let Some(text) = &settings.deny_ecn {
        let named = |name: &str| Ecn::NAMED.iter().find(|(known, _)| *known == name).map(|(_, ecn)| ecn.value());
        policy.ecn_allowed = !(denied(text, 4, named).map_err(wrong("deny-ecn"))? as u8) & 0xf;
    }
    for name in &settings.location_hide {
        let found = LocationFields::NAMED.iter().find(|(known, _)| known == name);
        let (_, field) = found.ok_or_else(|| {
            let names: Vec<&str> = LocationFields::NAMED.iter().map(|(name, _)| *name).collect();
            wrong("location-hide")(format!("`{name}` is none of {}", names.join(", ")))
        })?;
        policy.location_hidden |= field.0;
    }
    policy.code_points = CodePoints::new(match settings.tlv_profile {
        TlvProfile::Current => Profile::Current,
        TlvProfile::Earlier => Profile::Earlier,
    });
    for assignment in &settings.tlv_code {
        assign(&mut policy.code_points, assignment).map_err(wrong("tlv-code"))?;
    }
    Ok(policy)
}

/// The values that a list names, as bits.
fn denied(text: &str, values: u8, named: impl Fn(&str) -> Option<u8>) -> Result<u64, String> {
    if text == "all" {
        return Ok(u64::MAX >> (64 - u32::from(values)));
    }
    let mut bits = 0;
    for item in text.split(',') {
        let item = item.trim().to_ascii_lowercase();
        let value = named(&item).or_else(|| item.parse().ok()).filter(|value| *value < values);
        let value =
            value.ok_or_else(|| format!("`{item}` is neither `all`, nor a name, nor a number below {values}"))?;
        bits |= 1 << value;
    }
    Ok(bits)
}

fn assign(points: &mut CodePoints, assignment: &str) -> Result<(), String> {
    let (name, number) =
        assignment.split_once('=').ok_or_else(|| format!("`{assignment}` is not NAME=NUMBER, such as history=244"))?;
    let entry = REGISTRY.iter().find(|entry| entry.is_experimental() && entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = REGISTRY.iter().filter(|e| e.is_experimental()).map(|e| e.name).collect();
        format!("`{name}` is none of the TLVs without an assigned number: {}", names.join(", "))
    })?;
    let code: u8 = number.parse().ok().filter(|code| *code > 12 && *code != 255).ok_or_else(|| {
        format!("`{number}` is not a number from 13 to 254; those up to 12 are assigned, 255 is reserved")
    })?;
    points.assign(entry.kind, code);
    Ok(())
}

#[cfg(test)]
mod tests;
