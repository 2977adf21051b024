//! Values of settings, as they are written: modes, formats, rates, prefixes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use teaparty_common::maps::TokenRate;

use crate::units::{ValueError, parse_duration};

/// The mode of attaching the XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
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

/// The addresses that a Destination Node Address TLV may name (RFC 9503 §3). The reply leaves from the one that it
/// names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationNode {
    /// All of the host but loopback addresses, and where `address` lists some, those alone.
    Any,
    /// Those that are answered for on the interface that the packet came in by.
    #[default]
    Interface,
    /// None: the TLV comes back as unrecognized.
    None,
}

/// The UDP checksums that the XDP program verifies. The controller and the network stack always do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifyChecksums {
    /// Of packets in stateful sessions, whose numbers and counts damage would spoil.
    #[default]
    Auto,
    /// Of all packets.
    Always,
    /// Of none: a damaged packet gets a damaged reply.
    Never,
}

/// Format of our timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFormatSetting {
    /// NTP, in UTC.
    #[default]
    Ntp,
    /// PTPv2 truncated, in TAI.
    Ptp,
}

/// A set of code points for experimental TLVs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlvProfile {
    /// In use since 2026.
    #[default]
    Current,
    /// In use before that.
    Earlier,
}

/// The packets that one source may send: a rate, and the burst beyond it.
///
/// Written `PPS:BURST`, or as a number alone, which may burst to a fifth of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RateOrText", into = "String")]
pub struct RateLimit {
    /// Packets per second; 0 for no limit.
    pub rate_pps: u64,
    /// Packets that may come at once.
    pub burst: u64,
}

impl RateLimit {
    /// So that ordinary sessions never meet it.
    pub const DEFAULT: Self = Self { rate_pps: 100_000, burst: 20_000 };

    /// A tenth to a quarter of what the controller can answer: the rest is for sessions that were provisioned.
    pub const OF_PUNTS: Self = Self { rate_pps: 50_000, burst: 5_000 };

    /// The rate as the time between two packets, and the burst as time saved up, in nanoseconds.
    pub(super) fn tokens(self) -> TokenRate {
        let Some(interval_ns) = 1_000_000_000_u64.checked_div(self.rate_pps) else { return TokenRate::NONE };
        let interval_ns = interval_ns.max(1);
        TokenRate { interval_ns, burst_ns: interval_ns.saturating_mul(self.burst.saturating_sub(1)) }
    }
}

/// A text that is no [`RateLimit`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate: write PACKETS_PER_SECOND[:BURST], or 0 for no limit")]
pub struct InvalidRateLimit(String);

impl FromStr for RateLimit {
    type Err = InvalidRateLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimit> {
        let wrong = || InvalidRateLimit(text.into());
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

impl TryFrom<RateOrText> for RateLimit {
    type Error = InvalidRateLimit;

    fn try_from(written: RateOrText) -> Result<Self, InvalidRateLimit> {
        match written {
            RateOrText::Number(rate) => rate.to_string().parse(),
            RateOrText::Text(text) => text.parse(),
        }
    }
}

/// A rate as a file may write it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a rate is a whole number or text: PACKETS_PER_SECOND[:BURST], or 0 for no limit")]
enum RateOrText {
    Number(u64),
    Text(String),
}

impl From<RateLimit> for String {
    fn from(limit: RateLimit) -> Self {
        limit.to_string()
    }
}

/// The leading bits of a source address that the rate limit counts by.
///
/// Written `V6[:V4]`: the length for IPv6, and the one for IPv4 where that is not 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LengthOrText", into = "String")]
pub struct RateLimitPrefix {
    /// Bits of an IPv6 address, 1 to 128.
    pub v6: u8,
    /// Bits of an IPv4 address, 1 to 32.
    pub v4: u8,
}

impl RateLimitPrefix {
    /// One network of IPv6, whose hosts choose their addresses in it themselves; one address of IPv4.
    pub const DEFAULT: Self = Self { v6: 64, v4: 32 };
}

/// A text that is no [`RateLimitPrefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no prefix length: write 1 to 128 for IPv6, and :1 to :32 after it for IPv4, such as 64:32")]
pub struct InvalidRateLimitPrefix(String);

impl FromStr for RateLimitPrefix {
    type Err = InvalidRateLimitPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidRateLimitPrefix> {
        let (v6, v4) = text.split_once(':').unwrap_or((text, "32"));
        let length = |text: &str, most: u8| text.parse().ok().filter(|length| (1..=most).contains(length));
        let both = length(v6, 128).zip(length(v4, 32));
        both.map(|(v6, v4)| Self { v6, v4 }).ok_or_else(|| InvalidRateLimitPrefix(text.into()))
    }
}

impl fmt::Display for RateLimitPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.v6, self.v4)
    }
}

impl TryFrom<LengthOrText> for RateLimitPrefix {
    type Error = InvalidRateLimitPrefix;

    fn try_from(written: LengthOrText) -> Result<Self, InvalidRateLimitPrefix> {
        match written {
            LengthOrText::Number(length) => length.to_string().parse(),
            LengthOrText::Text(text) => text.parse(),
        }
    }
}

/// A prefix length as a file may write it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a prefix length is a whole number from 1 to 128 or text: V6[:V4], such as 64:32")]
enum LengthOrText {
    Number(u64),
    Text(String),
}

impl From<RateLimitPrefix> for String {
    fn from(prefix: RateLimitPrefix) -> Self {
        prefix.to_string()
    }
}

/// Addresses that begin alike: `ADDRESS/LENGTH`, or an address alone.
///
/// An IPv6 address alone stands for its network, of the length that [`RateLimitPrefix`] says: its host has all of that and
/// changes its address in it (RFC 8981). With a length it stands for what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    net: IpNet,
    is_host: bool,
}

impl Prefix {
    /// The addresses that it stands for, where the rate limit counts IPv6 addresses by the first `v6` bits.
    pub fn net(&self, v6: u8) -> IpNet {
        let network = if self.is_host { IpNet::new(self.net.addr(), v6).ok() } else { None };
        network.unwrap_or(self.net).trunc()
    }
}

/// A text that is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no prefix: write ADDRESS/LENGTH, such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct InvalidPrefix(String);

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        if let Ok(address) = text.parse::<IpAddr>() {
            // Those of one link are no network of somebody's, and the IPv4 addresses are among the others.
            let is_host = matches!(address, IpAddr::V6(v6) if v6.segments()[0] >> 13 == 1 || v6.is_unique_local());
            return Ok(Self { net: address.into(), is_host });
        }
        let parsed = text.parse().map(|net| Self { net, is_host: false });
        parsed.map_err(|_| InvalidPrefix(text.into()))
    }
}

impl TryFrom<String> for Prefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, InvalidPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        if prefix.is_host { prefix.net.addr().to_string() } else { prefix.net.to_string() }
    }
}
/// A text that is no number of whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidSeconds {
    /// It is no duration.
    #[error(transparent)]
    Duration(#[from] ValueError),
    /// Its duration has a fraction.
    #[error("`{0}` is not a number of whole seconds")]
    Fraction(String),
}

/// Parses whole seconds: a number, or a duration with a unit such as `30s` or `5m`.
pub(super) fn parse_seconds(text: &str) -> Result<u64, InvalidSeconds> {
    let duration = parse_duration(text)?;
    let is_whole = duration.subsec_nanos() == 0;
    is_whole.then_some(duration.as_secs()).ok_or_else(|| InvalidSeconds::Fraction(text.into()))
}
