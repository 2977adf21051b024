//! What may be set of the process as a whole, whatever reflectors it runs.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::config::toml_doc::keys;
use crate::heartbeat::Heartbeat;
use crate::http::auth::credentials::{Credentials, TLS_CERT};
use crate::http::auth::guard::Writes;
use crate::http::auth::host::Hosts;
use crate::http::auth::token;
use crate::http::listen::ListenAddress;
use crate::logging::LogFormat;
use crate::reflector::config::ConfigError;

/// The default listening address of a reflector's API.
pub(crate) const DEFAULT_API: ListenAddress =
    ListenAddress::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000));

/// The listening address of the API and its access rules, of a reflector and of a probe. A line of documentation is
/// the option's help and the key's description.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ApiSettings {
    /// Address and port of API and metrics, unix:/PATH for a socket of its owner and group, or none [default: 127.0.0.1:8000; of a probe 127.0.0.1:9862]
    #[arg(long, value_name = "ADDR|unix:PATH|none")]
    pub api: Option<ListenAddress>,
    /// File with the token that clients of the API must send; needed where others than this host can reach it
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
    /// Speak TLS on the port of the API, with the certificate in this file (PEM; those of its issuers after it)
    #[arg(long, value_name = "FILE")]
    pub api_tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM, without passphrase), in a file that only its owner may read
    #[arg(long, value_name = "FILE")]
    pub api_tls_key: Option<PathBuf>,
    /// Answer requests for this host name too; may repeat. Known by themselves: this host's addresses and name, localhost, and what the certificate names
    #[arg(long, value_name = "NAME")]
    pub api_host: Vec<String>,
}

impl ApiSettings {
    /// Checks the settings before anything is opened, and reads the files that say who may use the API.
    pub fn check(&self) -> Result<Credentials, ConfigError> {
        let wrong = |field, problem: String| Err(ConfigError { field, problem });
        let [token, certificate, key] =
            [&self.api_token_file, &self.api_tls_cert, &self.api_tls_key].map(Option::as_deref);
        let access = Credentials::load(token, certificate, key)
            .map_err(|error| ConfigError { field: error.setting(), problem: error.to_string() })?;
        match &self.api {
            Some(ListenAddress::Tcp(address)) => {
                if let Err(error) = token::check_listen(*address, access.token.as_ref()) {
                    return wrong("api", error.to_string());
                }
            }
            Some(place @ ListenAddress::Unix(_)) if access.tls.is_some() => {
                return wrong(TLS_CERT, format!("{place} speaks no TLS, its permissions guard it; leave this out"));
            }
            _ => {}
        }
        Ok(access)
    }

    /// Returns the names under which the API is asked for.
    pub fn hosts(&self, access: &Credentials) -> Hosts {
        Hosts::new(&self.api_host, access.tls.clone())
    }

    /// The keys that differ in `newer`, except those that take effect without a restart.
    pub fn changed(&self, newer: &Self, is_live: impl Fn(&str) -> bool) -> Vec<String> {
        let [Ok(now), Ok(new)] = [self, newer].map(serde_json::to_value) else { return Vec::new() };
        keys::<Self>().into_iter().filter(|key| now.get(key) != new.get(key) && !is_live(key)).collect()
    }
}

/// Settings of the process. A line of documentation is the option's help and the key's description.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Service {
    /// The listening address, and the access rules.
    #[command(flatten)]
    #[serde(flatten)]
    pub api_settings: ApiSettings,
    /// Clients that may change things over the API: `owner` is clients with the token or on the Unix socket, and over
    /// loopback without a token root and the user that runs the reflector
    #[arg(long, value_name = "any|owner|none", default_value = "owner")]
    pub api_writes: Writes,
    /// Show metrics of this many sessions of each reflector, provisioned ones first and then the busiest; each adds three time series, and senders make new sessions as they like
    #[arg(long, value_name = "N", default_value_t)]
    pub session_metrics: u32,
    /// Send a heartbeat to this target every so many seconds; may repeat
    #[arg(long, value_name = "[IP[:PORT]]@SECONDS")]
    pub heartbeat: Vec<Heartbeat>,
    /// Form of log lines: text or json
    #[arg(skip)]
    pub log_format: Option<LogFormat>,
    /// More logging: 1 or 2
    #[arg(skip)]
    pub verbose: u8,
    /// Less logging: 1 or 2
    #[arg(skip)]
    pub quiet: u8,
}

impl Service {
    /// Checks the settings before anything is opened, and reads the files that say who may use the API.
    pub fn check(&self) -> Result<Credentials, ConfigError> {
        let access = self.api_settings.check()?;
        let mut targets = HashSet::new();
        match self.heartbeat.iter().find(|heartbeat| !targets.insert(heartbeat.target)) {
            Some(twice) => Err(ConfigError {
                field: "heartbeat",
                problem: format!("{} is there twice; leave out one of them", twice.target),
            }),
            None => Ok(access),
        }
    }

    /// Returns the level of logging, as `-v` and `-q` count it: 0 is information, more is more.
    pub fn verbosity(&self) -> i8 {
        let count = |count: u8| count.min(2) as i8;
        count(self.verbose) - count(self.quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_named_unless_it_is_live() {
        let now = ApiSettings { api: Some("127.0.0.1:1".parse().unwrap()), ..ApiSettings::default() };
        let new = ApiSettings { api: None, api_token_file: Some("token".into()), ..now.clone() };
        assert_eq!(now.changed(&now, |_| false), Vec::<String>::new());
        assert_eq!(now.changed(&new, |_| false), ["api", "api-token-file"]);
        assert_eq!(now.changed(&new, |key| key == "api-token-file"), ["api"]);
    }
}
