//! A provisioned session as a person writes it: a table of a file, or `KEY=VALUE,…` on the command line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::session_spec::{SessionId, SessionSpec};
use super::{ConfigError, TimestampFormatSetting, wrong};
use crate::reflector::keys::{KeyLoader, SessionKeys};
use crate::units::parse_hex;

/// A session that is answered under any policy and never forgotten. Options as well as keys, so that both are described alike.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SessionSettings {
    /// Address of the Session-Sender; must be given
    #[arg(long)]
    pub source: Option<IpAddr>,
    /// Its UDP port; 0 for any
    #[arg(long)]
    pub source_port: u16,
    /// Our address that it sends to; without one, any
    #[arg(long)]
    pub destination: Option<IpAddr>,
    /// Our port that it sends to; without one, the lowest that is listened on
    #[arg(long)]
    pub destination_port: Option<u16>,
    /// Session-Sender Identifier; 0 for none
    #[arg(long)]
    pub ssid: u16,
    /// Source of the key of its base packets, which makes it authenticated: a file, credential:NAME, env:NAME or fd:N
    #[arg(long)]
    pub key_file: Option<String>,
    /// Source of the key of its HMAC TLVs, in the same forms
    #[arg(long)]
    pub tlv_key_file: Option<String>,
    /// The octets after the base packet are padding, not TLVs, and so are those in the SSID's place: a packet is of
    /// this session whatever that is
    #[arg(long)]
    pub no_tlv: bool,
    /// Answer it even where its packets come from a port that is listened on, whatever their SSID is
    #[arg(long)]
    pub loop_exempt: bool,
    /// Pattern that Extra Padding is compared with where no Bit Error Pattern TLV says: pairs of hexadecimal digits
    #[arg(long)]
    pub bit_error_pattern: Option<String>,
    /// Format of its timestamps, where it is not the reflector's: ntp or ptp
    #[arg(long)]
    pub timestamp_format: Option<TimestampFormatSetting>,
}

impl SessionSettings {
    /// Returns the checked session; `ports` are those that it listens on, ascending. Reads the keys.
    pub fn spec(&self, ports: &[u16], keys: &KeyLoader) -> Result<SessionSpec, ConfigError> {
        let source = self.source.ok_or_else(|| {
            wrong("source")("is missing: give the address of the Session-Sender, such as \"192.0.2.1\"".into())
        })?;
        let any: IpAddr = if source.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let id = SessionId {
            source,
            source_port: self.source_port,
            destination: self.destination.filter(|destination| !destination.is_unspecified()).unwrap_or(any),
            destination_port: self.destination_port.or(ports.first().copied()).unwrap_or(0),
            ssid: self.ssid,
        };
        id.check(ports).map_err(|misfit| wrong(misfit.part.name())(format!("{}; {}", misfit.what, misfit.remedy)))?;
        let load = |field, source: &Option<String>| {
            keys.load(source.as_deref()).map_err(|error| wrong(field)(error.to_string()))
        };
        let pattern = self.bit_error_pattern.as_deref().map(parse_hex).transpose();
        let pattern = pattern.map_err(|error| wrong("bit-error-pattern")(error.to_string()))?;
        Ok(SessionSpec {
            id,
            bit_error_pattern: pattern.map(Into::into),
            keys: SessionKeys {
                base: load("key-file", &self.key_file)?,
                tlv: load("tlv-key-file", &self.tlv_key_file)?,
            },
            no_tlv: self.no_tlv,
            is_loop_exempt: self.loop_exempt,
            format: self.timestamp_format,
        })
    }
}

/// A text that is no [`SessionSettings`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidSession {
    /// A part of it has no key.
    #[error("`{0}` is not KEY=VALUE; write for instance source=192.0.2.1,ssid=7,key-file=FILE")]
    NoKey(String),
    /// There is no such key, or its value is another one.
    #[error("{key}: {error}")]
    Member {
        /// The key.
        key: String,
        /// The problem.
        error: serde_json::Error,
    },
    /// A key is there twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// Its members make no session.
    #[error(transparent)]
    Whole(#[from] serde_json::Error),
}

impl FromStr for SessionSettings {
    type Err = InvalidSession;

    fn from_str(text: &str) -> Result<Self, InvalidSession> {
        let mut members = Map::new();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| InvalidSession::NoKey(pair.into()))?;
            let value = member(key.trim(), value.trim())?;
            if members.insert(key.trim().into(), value).is_some() {
                return Err(InvalidSession::Twice(key.trim().into()));
            }
        }
        Ok(serde_json::from_value(Value::Object(members))?)
    }
}

/// A value in the type that its key has.
fn member(key: &str, text: &str) -> Result<Value, InvalidSession> {
    let fits = |value: &Value| {
        let alone = Map::from_iter([(key.to_owned(), value.clone())]);
        serde_json::from_value::<SessionSettings>(Value::Object(alone)).map(drop)
    };
    let literal = serde_json::from_str::<Value>(text).ok().filter(|value| value.is_number() || value.is_boolean());
    let value = literal.filter(|value| fits(value).is_ok()).unwrap_or_else(|| text.into());
    fits(&value).map_err(|error| InvalidSession::Member { key: key.into(), error })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_writes_sessions_with_commas() {
        let session: SessionSettings = "source=192.0.2.9,ssid=7,key-file=123,no-tlv=true".parse().unwrap();
        let expected = SessionSettings {
            source: Some("192.0.2.9".parse().unwrap()),
            ssid: 7,
            key_file: Some("123".into()),
            no_tlv: true,
            ..SessionSettings::default()
        };
        assert_eq!(session, expected);
        for (wrong, said) in [
            ("source", "KEY=VALUE"),
            ("source=x", "source: "),
            ("ssid=65536", "ssid: "),
            ("sid=1", "unknown field `sid`"),
            ("ssid=1,ssid=2", "twice"),
        ] {
            let error = wrong.parse::<SessionSettings>().unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_session_no_packet_could_be_of_is_refused_by_the_name_of_the_key() {
        let spec = |text: &str| {
            let session: SessionSettings = text.parse().unwrap();
            session.spec(&[862, 863], &KeyLoader::default()).map_err(|error| error.to_string())
        };
        let made = spec("source=2001:db8::1").unwrap();
        assert_eq!((made.id.destination_port, made.id.destination.is_ipv6()), (862, true));
        for (text, said) in [
            ("ssid=1", "source: is missing"),
            ("source=0.0.0.0", "source: is the address of no sender"),
            ("source=192.0.2.1,destination=::1", "destination: is not of"),
            ("source=192.0.2.1,destination=224.0.0.1", "destination: is a multicast"),
            ("source=192.0.2.1,destination-port=9", "destination-port: is not listened on"),
            ("source=192.0.2.1,key-file=/nowhere", "key-file: cannot read the key from /nowhere"),
        ] {
            let error = spec(text).unwrap_err();
            assert!(error.starts_with(said), "{text}: {error}");
        }
    }
}
