//! What a person may set of a probe: the keys of its file. A line of documentation is what messages and the JSON Schema say.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::units::{DurationSetting, Marking, NumberOrText};

/// The address family taken from a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFamilySetting {
    /// The resolver's first.
    #[default]
    Any,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// The settings of a measurement: above all tables for all targets, in a table for its own.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Measure {
    /// Time between two packets to a target, as in "1s" or "20ms"; from 1ms on
    #[arg(long, value_name = "DURATION")]
    pub interval: DurationSetting,
    /// Exponentially distributed intervals, interval being their mean
    #[arg(long)]
    pub poisson: bool,
    /// A packet without a reply is lost after this
    #[arg(long, value_name = "DURATION")]
    pub timeout: DurationSetting,
    /// Octets of UDP payload, filled up with an Extra Padding TLV
    #[arg(long, value_name = "OCTETS")]
    pub size: Option<u16>,
    /// DSCP of the packets: 0 to 63, or a name such as "ef"
    #[arg(long, value_name = "DSCP")]
    pub dscp: Marking,
    /// TTL or Hop Limit of the packets, from 1 on
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// Forbid fragmentation
    #[arg(long)]
    pub df: bool,
    /// Address family taken from a name: any, ipv4 or ipv6
    #[arg(long, value_name = "FAMILY")]
    pub family: AddressFamilySetting,
    /// Network interface to use; it may go and come back
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Local address
    #[arg(long, value_name = "IP")]
    pub source: Option<IpAddr>,
    /// UDP port of targets that name none
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Authenticated mode with the key from a file, "credential:NAME", "env:NAME" or "fd:N"
    #[arg(long, value_name = "SOURCE")]
    pub auth_key_file: Option<String>,
    /// Key of the HMAC TLV, in the same form
    #[arg(long, value_name = "SOURCE")]
    pub tlv_key_file: Option<String>,
    /// The reflector counts its replies: trust its numbers for loss by direction even where they do not show it
    #[arg(long)]
    pub stateful_reflector: bool,
    /// Send no SSID, which TWAMP-Light reflectors that send noise in its place need
    #[arg(long)]
    pub no_ssid: bool,
    /// Go before all other programs (SCHED_FIFO), so that a busy host does not make packets late; takes root, CAP_SYS_NICE or a limit (RLIMIT_RTPRIO)
    #[arg(long)]
    pub realtime: bool,
    /// Names are looked up again so often; while that fails the address stays as it was
    #[arg(long, value_name = "DURATION")]
    pub resolve_interval: DurationSetting,
}

impl Default for Measure {
    fn default() -> Self {
        Self {
            interval: DurationSetting::seconds(1),
            poisson: false,
            timeout: DurationSetting::seconds(2),
            size: None,
            dscp: Marking::default(),
            ttl: 255,
            df: false,
            family: AddressFamilySetting::default(),
            interface: None,
            source: None,
            port: teaparty_common::wire::DEFAULT_PORT,
            auth_key_file: None,
            tlv_key_file: None,
            stateful_reflector: false,
            no_ssid: false,
            realtime: false,
            resolve_interval: DurationSetting::seconds(60),
        }
    }
}

/// The keys of a `[[target]]` beside those of its measurement.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TargetTable {
    /// Name or address of the reflector, with its port where that is not the usual one
    #[arg(long, value_name = "HOST[:PORT]")]
    pub address: Option<String>,
    /// Name of the target in metrics; its address where nothing is said
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Session-Sender Identifier, 1 to 65535, that no other target has; any where nothing is said
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub ssid: Option<u16>,
}

/// The keys of a `[[file-sd]]` beside those of its targets' measurement.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FileSd {
    /// File with targets in the JSON of Prometheus's file_sd, or its YAML where the name ends in .yml or .yaml; * ? and [] stand for many files; may be a list
    #[arg(long, value_name = "FILE")]
    pub file: Vec<String>,
    /// They are read again so often, from 1s on, and when they have changed; "60s" where nothing is said
    #[arg(long, value_name = "DURATION")]
    pub refresh: Option<DurationSetting>,
}

/// The keys of an `[[http-sd]]` beside those of its targets' measurement.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct HttpSd {
    /// http:// or https:// address of a document in the JSON of Prometheus's http_sd
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// It is read again so often, from 1s on; "60s" where nothing is said
    #[arg(long, value_name = "DURATION")]
    pub refresh: Option<DurationSetting>,
    /// Certificates (PEM) by which to know an https:// server: its issuer's, or its own; those that the system trusts where nothing is said
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// File with a token that is sent as `Authorization: Bearer`, which only its owner may read; read again for each
    /// request
    #[arg(long, value_name = "FILE")]
    pub bearer_token_file: Option<PathBuf>,
}

/// A number, written whole or with a point.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "f64")]
pub struct Number(pub f64);

/// A text that is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no number")]
pub struct InvalidNumber(String);

impl std::str::FromStr for Number {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Self).ok_or_else(|| InvalidNumber(text.into()))
    }
}

impl TryFrom<NumberOrText> for Number {
    type Error = InvalidNumber;

    fn try_from(written: NumberOrText) -> Result<Self, InvalidNumber> {
        written.text().parse()
    }
}

impl From<Number> for f64 {
    fn from(Number(number): Number) -> Self {
        number
    }
}

/// The form of delays in metrics, above all tables.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct HistogramSettings {
    /// Upper ends of the classic histogram buckets of delays, in seconds, rising; a change takes a restart
    #[arg(long, value_name = "SECONDS")]
    pub buckets: Vec<Number>,
}

impl Default for HistogramSettings {
    fn default() -> Self {
        // 1, 2 and 5 of each power of ten, from 1 µs to 10 s: from two ports of one switch to a satellite and more.
        let powers = (-6..=0).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| format!("{digit}e{power}")));
        let written = powers.chain(["10".to_owned()]);
        Self { buckets: written.filter_map(|text| text.parse().ok()).collect() }
    }
}

/// Buckets of a histogram at most: each is a time series of each direction of each target.
const MOST_BUCKETS: usize = 200;

impl HistogramSettings {
    /// Refuses buckets that can't be: the key and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_rising = self.buckets.is_sorted_by(|one, next| one < next);
        if self.buckets.is_empty() || self.buckets.len() > MOST_BUCKETS || self.buckets[0].0 <= 0.0 || !is_rising {
            return Err((
                "buckets",
                format!("are 1 to {MOST_BUCKETS} rising numbers of seconds above 0, as in [1e-6, 1e-5, 1e-4]"),
            ));
        }
        Ok(())
    }
}
