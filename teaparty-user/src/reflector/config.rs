//! How a reflector is to behave: [`ReflectorSettings`] is what a person writes, [`ReflectorConfig`] what the engines need.

mod control_limits;
mod policy;
mod session;
pub mod session_id;
pub mod session_spec;
pub mod setting_groups;
mod settings;
mod values;

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use rustix::thread::CapabilitySet;
use teaparty_common::maps::session_table::MAX_SESSIONS;
use teaparty_common::maps::{self, SourcePrefix, TokenRate};
use teaparty_common::reflect::{Address, Policy};

pub use self::control_limits::ControlLimits;
pub use self::session::SessionSettings;
pub use self::settings::ReflectorSettings;
pub use self::values::{
    DestinationNode, Prefix, RateLimit, RateLimitPrefix, TimestampFormatSetting, TlvProfile, VerifyChecksums, XdpMode,
};
use crate::net::address::address;
use crate::net::interface::all_up;
use crate::reflector::keys::{KeyLoader, SessionKeys};
use crate::sys::capabilities;

/// Rings of remembered exchanges for the History TLV; each session takes the next one.
pub const HISTORY_RINGS: u32 = 4096;

/// Most sessions that are provisioned: each takes 0.5 kB, and a wildcard stands for as many as one likes.
pub const MOST_PROVISIONED: usize = 1 << 20;

/// Most prefixes on the allow-list: the map holds the list before a change and the one after it together.
const MOST_PREFIXES: usize = 8192;

/// Most seconds for a restart of a sender: T1 is compared modulo 2^32 seconds.
pub const MAX_RESTART_S: u64 = 366 * 86_400;

/// Most addresses that `address` may list.
const MOST_ADDRESSES: usize = 65_536;

/// A setting that can't be.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The setting, as the command line and the file call it.
    pub field: &'static str,
    /// The problem and the remedy.
    pub problem: String,
}

fn wrong(field: &'static str) -> impl Fn(String) -> ConfigError {
    move |problem| ConfigError { field, problem }
}

/// The configuration of the engines, checked and in their terms. One for all interfaces.
#[derive(Clone)]
pub struct ReflectorConfig {
    /// The settings that this was made of.
    pub settings: ReflectorSettings,
    /// Interfaces to answer on, without repetitions; not empty.
    pub interfaces: Vec<String>,
    /// True if nobody named them, and so those are taken that are up and have an address: one that can't be answered on is
    /// then left out.
    pub is_chosen: bool,
    /// UDP ports to listen on, ascending; not empty.
    pub ports: Vec<u16>,
    /// Addresses to answer for; empty for those of the interface and of the host as a whole.
    pub addresses: HashSet<Address>,
    /// True if those of other interfaces are left out.
    pub strict_addresses: bool,
    /// True if frames of any VLAN are answered.
    pub any_vlan: bool,
    /// Addresses that a Destination Node Address may name.
    pub destination_node: DestinationNode,
    /// The mode of attaching the XDP program.
    pub xdp_mode: XdpMode,
    /// True if frames are taken from a packet socket where no XDP program runs.
    pub link_layer: bool,
    /// Interfaces whose XDP program is another reflector's: sockets answer there.
    pub without_xdp: Vec<String>,
    /// Rules for reflection.
    pub policy: Policy,
    /// True if sessions count their replies themselves.
    pub is_stateful: bool,
    /// True if only provisioned sessions are answered.
    pub provisioned_only: bool,
    /// Sources that are answered, as prefixes of 128 bits; empty for all.
    pub allowed: Vec<(Address, u8)>,
    /// The rate limit of each source.
    pub source_rate: TokenRate,
    /// The part of a source address that is counted by.
    pub rate_prefix: SourcePrefix,
    /// The rate limit of the punts of all sessions together that nobody has provisioned.
    pub punt_rate: TokenRate,
    /// Most sessions besides the provisioned ones.
    pub max_sessions: u32,
    /// Time after which a session without packets is forgotten.
    pub session_timeout: Option<Duration>,
    /// By how many seconds T1 must be later for a sender to have started again; 0 for never.
    pub session_restart_s: u64,
    /// Keys of sessions that have none of their own.
    pub default_keys: SessionKeys,
    /// True if the XDP program goes on answering when the process ends.
    pub is_kept: bool,
    /// The limits of Reflected Test Packet Control, where the policy allows it at all.
    pub control: ControlLimits,
}

impl TryFrom<ReflectorSettings> for ReflectorConfig {
    type Error = ConfigError;

    fn try_from(settings: ReflectorSettings) -> Result<Self, ConfigError> {
        Self::load(settings, &KeyLoader::default())
    }
}

impl ReflectorConfig {
    /// Returns the capabilities that a reflector keeps, as far as it has them.
    pub fn needed_capabilities(&self) -> CapabilitySet {
        match self.xdp_mode {
            // Whole frames, and replies along segments.
            XdpMode::Off if self.link_layer || self.policy.has(Policy::RETURN_ADDRESS) => {
                capabilities::ALWAYS | CapabilitySet::NET_RAW
            }
            XdpMode::Off => capabilities::ALWAYS,
            _ => capabilities::ALWAYS | capabilities::WITH_XDP,
        }
    }

    /// The configuration of these settings, with the keys that they name.
    pub fn load(settings: ReflectorSettings, keys: &KeyLoader) -> Result<Self, ConfigError> {
        let load = |field, source: &Option<String>| {
            keys.load(source.as_deref()).map_err(|error| wrong(field)(error.to_string()))
        };
        let default_keys = SessionKeys {
            base: load("auth-key-file", &settings.auth_key_file)?,
            tlv: load("tlv-key-file", &settings.tlv_key_file)?,
        };
        Self::new(settings, default_keys)
    }

    /// The configuration of these settings, with these keys instead of those that they name.
    pub fn new(settings: ReflectorSettings, default_keys: SessionKeys) -> Result<Self, ConfigError> {
        let policy = policy::policy(&settings)?;
        let control = policy::control_limits(&settings)?;
        let mut interfaces: Vec<String> = Vec::new();
        for name in &settings.iface {
            if name.is_empty() || name.contains('/') {
                return Err(wrong("iface")(format!("`{name}` is no name of an interface; `ip link` lists them")));
            }
            if !interfaces.contains(name) {
                interfaces.push(name.clone());
            }
        }
        let is_chosen = interfaces.is_empty();
        if is_chosen {
            interfaces = all_up().map_err(|error| wrong("iface")(error.to_string()))?;
        }
        if interfaces.is_empty() {
            return Err(wrong("iface")(
                "no interface is up and has an address; name one to answer on as soon as it is".into(),
            ));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        if let Some(name) = settings.name.as_deref().filter(|name| name.is_empty() || !name.chars().all(is_plain)) {
            return Err(wrong("name")(format!("`{name}` is no name; write letters, digits, and - _ . + between them")));
        }
        let mut ports = settings.port.clone();
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() || ports[0] == 0 {
            return Err(wrong("port")("give UDP ports from 1 to 65535; STAMP's own is 862".into()));
        }
        check_addresses(&settings.address).map_err(|error| wrong("address")(error.to_string()))?;
        if settings.allow.len() > MOST_PREFIXES {
            return Err(wrong("allow")(format!(
                "give {MOST_PREFIXES} prefixes at most; join neighbours to shorter ones"
            )));
        }
        if settings.session_restart > MAX_RESTART_S {
            return Err(wrong("session-restart")(format!(
                "must be {MAX_RESTART_S} seconds (a year) at most; 0 is for never"
            )));
        }
        check_provisioned(settings.session.len())?;
        if settings.max_sessions == 0 {
            return Err(wrong("max-sessions")("must be at least 1; --stateless keeps no sessions".into()));
        }
        if settings.max_sessions > MAX_SESSIONS {
            return Err(wrong("max-sessions")(format!("must be {MAX_SESSIONS} at most, which take 2 GiB of memory")));
        }
        Ok(Self {
            interfaces,
            is_chosen,
            ports,
            addresses: settings.address.iter().copied().map(address).collect(),
            strict_addresses: settings.strict_addresses,
            any_vlan: settings.any_vlan,
            destination_node: settings.allow_destination_node,
            xdp_mode: settings.xdp_mode,
            link_layer: settings.link_layer,
            without_xdp: Vec::new(),
            policy,
            is_stateful: !settings.stateless,
            provisioned_only: settings.provisioned_only,
            allowed: settings.allow.iter().map(|allowed| prefix(allowed.net(settings.rate_limit_prefix.v6))).collect(),
            source_rate: settings.rate_limit.tokens(),
            rate_prefix: SourcePrefix::new(settings.rate_limit_prefix.v6, settings.rate_limit_prefix.v4),
            punt_rate: settings.punt_limit.tokens(),
            max_sessions: settings.max_sessions,
            session_timeout: (settings.session_timeout != 0).then(|| Duration::from_secs(settings.session_timeout)),
            session_restart_s: settings.session_restart,
            default_keys,
            is_kept: settings.keep,
            control,
            settings,
        })
    }

    /// The reflector's name, or what it answers on.
    pub fn name(&self) -> String {
        self.settings.name.clone().unwrap_or_else(|| self.interfaces.join("+"))
    }

    /// The flags of the kernel's [`maps::Config`] that follow from the configuration alone.
    pub fn flags(&self) -> u32 {
        let mut flags = maps::Config::HISTORY;
        for (flag, is_set) in [
            (maps::Config::STATEFUL, self.is_stateful),
            (maps::Config::PROVISIONED_ONLY, self.provisioned_only),
            (maps::Config::ALLOW_LIST, !self.allowed.is_empty()),
            (maps::Config::AUTHENTICATED, !self.default_keys.base.is_empty()),
            (maps::Config::ANY_VLAN, self.any_vlan),
            (maps::Config::VERIFY_NONE, self.settings.verify_checksums == VerifyChecksums::Never),
            (maps::Config::VERIFY_ALL, self.settings.verify_checksums == VerifyChecksums::Always),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        flags
    }
}

/// Refuses more sessions than can be provisioned.
pub fn check_provisioned(count: usize) -> Result<(), ConfigError> {
    if count <= MOST_PROVISIONED {
        return Ok(());
    }
    Err(wrong("session")(format!(
        "give {MOST_PROVISIONED} sessions at most, these are {count}; one without `source-port` or `destination` stands for many"
    )))
}

/// A list of addresses that can't be answered for.
#[derive(Debug, thiserror::Error)]
enum InvalidAddressList {
    #[error(
        "{0} addresses are listed, {MOST_ADDRESSES} is the most; without any, all of the interface are answered for"
    )]
    TooLong(usize),
    #[error("`{0}` is no address that a host can have; `ip address` lists those of this one")]
    NotOfHost(IpAddr),
}

/// Refuses lists of addresses that no host can have, or that are too long.
fn check_addresses(list: &[IpAddr]) -> Result<(), InvalidAddressList> {
    if list.len() > MOST_ADDRESSES {
        return Err(InvalidAddressList::TooLong(list.len()));
    }
    let is_mapped = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    match list.iter().find(|ip| is_mapped(ip) || address(**ip).is_never_unicast()) {
        Some(ip) => Err(InvalidAddressList::NotOfHost(*ip)),
        None => Ok(()),
    }
}

fn prefix(net: IpNet) -> (Address, u8) {
    let length = if net.addr().is_ipv4() { 96 + net.prefix_len() } else { net.prefix_len() };
    (address(net.network()), length)
}

#[cfg(test)]
mod tests;
