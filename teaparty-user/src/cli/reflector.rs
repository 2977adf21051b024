//! `teaparty reflector` and `teaparty detach`: what may be typed, and its way into [`Settings`].

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use tokio::net::TcpListener;

use crate::api::server::{self, ServeError};
use crate::api::token::Token;
use crate::api::{self, AppState};
use crate::exit::{Exit, UsageError};
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::process;
use crate::reflector::config::{Config, Format, RateLimit, Settings, TlvProfile, XdpMode};
use crate::reflector::summary::Ready;
use crate::reflector::{Reflector, pins};

/// Answers STAMP test packets (Session-Reflector).
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Interface to answer on; may repeat
    #[arg(long, short, value_name = "NAME", required = true)]
    iface: Vec<String>,
    /// UDP port to listen on; may repeat [default: 862]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Address to answer for, instead of all that the interface has; may repeat
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// How to attach the XDP program: auto tries native, then skb, then off
    #[arg(long, value_name = "MODE", default_value = "auto")]
    xdp_mode: XdpModeArgument,
    /// Repeat the request's Sequence Number and keep no state
    #[arg(long)]
    stateless: bool,
    /// Answer only sessions that were provisioned (RFC 8972 §3)
    #[arg(long)]
    provisioned_only: bool,
    /// Drop packets whose Error Estimate has Multiplier 0 (RFC 4656 §4.1.2)
    #[arg(long)]
    strict: bool,
    /// Format of timestamps: ntp (UTC) or ptp (TAI)
    #[arg(long, value_name = "FORMAT", default_value = "ntp")]
    timestamp_format: FormatArgument,
    /// Short for --timestamp-format ptp
    #[arg(long, conflicts_with = "timestamp_format")]
    ptp: bool,
    /// Shortest UDP payload that is answered, in octets
    #[arg(long, value_name = "OCTETS", default_value_t = Settings::default().min_payload)]
    min_payload: u16,
    /// Answer only sources within this prefix; may repeat
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    allow: Vec<IpNet>,
    /// Packets per second that one source may send, and how many at once; 0 for no limit
    #[arg(long, value_name = "PPS[:BURST]", default_value_t = RateLimit::DEFAULT)]
    rate_limit: RateLimit,
    /// Sessions that are remembered besides the provisioned ones; the least recently used one makes room
    #[arg(long, value_name = "N", default_value_t = Settings::default().max_sessions)]
    max_sessions: u32,
    /// Seconds without a packet after which a session is forgotten; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::default().session_timeout)]
    session_timeout: u64,
    /// DSCPs that a sender may not ask for: all, or names and numbers with commas
    #[arg(long, value_name = "all|LIST")]
    deny_dscp: Option<String>,
    /// ECN values that a sender may not ask for: all, or names and numbers with commas
    #[arg(long, value_name = "all|LIST")]
    deny_ecn: Option<String>,
    /// Class of Service as in RFC 8972, without the ECN update
    #[arg(long)]
    cos_legacy: bool,
    /// Obey Return Path TLVs that send the reply to another address
    #[arg(long)]
    allow_return_address: bool,
    /// Obey Destination Port TLVs
    #[arg(long)]
    allow_destination_port: bool,
    /// Member link that this reflector is on (RFC 9534)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    micro_session_id: Option<u16>,
    /// Field of Location that stays zero: ports, source-mac, destination or source; may repeat
    #[arg(long, value_name = "FIELD")]
    location_hide: Vec<String>,
    /// Code points of experimental TLVs
    #[arg(long, value_name = "PROFILE", default_value = "current")]
    tlv_profile: ProfileArgument,
    /// Code point of one experimental TLV, such as history=244; may repeat
    #[arg(long, value_name = "NAME=N")]
    tlv_code: Vec<String>,
    /// Key that authenticates every session without one of its own: a file, credential:NAME (systemd), env:NAME or fd:N
    #[arg(long, value_name = "SOURCE")]
    auth_key_file: Option<String>,
    /// Key of HMAC TLVs, likewise [default: the one of --auth-key-file]
    #[arg(long, value_name = "SOURCE")]
    tlv_key_file: Option<String>,
    /// Address and port of the REST API, or none [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR|none")]
    api: Option<ApiArgument>,
    /// File with the token that clients of the API must send; needed where others than this host can reach it
    #[arg(long, value_name = "FILE")]
    api_token_file: Option<PathBuf>,
    /// Leave the XDP program answering when this process ends; the next start goes on with it, `teaparty detach` removes it
    #[arg(long)]
    keep: bool,
    /// Send a heartbeat to this target every so many seconds; may repeat
    #[arg(long, value_name = "[IP[:PORT]]@SECONDS")]
    heartbeat: Vec<Heartbeat>,
}

/// Where the API listens, if anywhere.
#[derive(Clone, Copy, Debug)]
enum ApiArgument {
    /// There.
    At(SocketAddr),
    /// Nowhere.
    None,
}

impl FromStr for ApiArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => text.parse().map(Self::At).map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:8000, or none".into()),
        }
    }
}

/// Removes the reflector that a killed teaparty, or one with --keep, has left on an interface.
#[derive(Args, Clone, Debug)]
pub struct DetachArguments {
    /// Interface; may repeat
    #[arg(long, short, value_name = "NAME", required = true)]
    iface: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum XdpModeArgument {
    /// Native, else skb, else off, with a warning for each step down
    Auto,
    /// In the driver
    Native,
    /// Generic, in the network stack
    Skb,
    /// UDP sockets answer
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArgument {
    /// NTP, in UTC
    Ntp,
    /// PTPv2 truncated, in TAI
    Ptp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArgument {
    /// In use since 2026
    Current,
    /// In use before that
    Earlier,
}

/// A prefix; an address alone is one of full length.
fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    parsed.map_err(|_| "write ADDRESS/LENGTH, such as 192.0.2.0/24 or 2001:db8::/32".into())
}

impl From<Arguments> for Settings {
    fn from(typed: Arguments) -> Self {
        let defaults = Self::default();
        Self {
            iface: typed.iface,
            port: if typed.port.is_empty() { defaults.port } else { typed.port },
            address: typed.address,
            xdp_mode: match typed.xdp_mode {
                XdpModeArgument::Auto => XdpMode::Auto,
                XdpModeArgument::Native => XdpMode::Native,
                XdpModeArgument::Skb => XdpMode::Skb,
                XdpModeArgument::Off => XdpMode::Off,
            },
            stateless: typed.stateless,
            provisioned_only: typed.provisioned_only,
            strict: typed.strict,
            timestamp_format: match typed.timestamp_format {
                FormatArgument::Ptp => Format::Ptp,
                FormatArgument::Ntp if typed.ptp => Format::Ptp,
                FormatArgument::Ntp => Format::Ntp,
            },
            min_payload: typed.min_payload,
            allow: typed.allow,
            rate_limit: typed.rate_limit,
            max_sessions: typed.max_sessions,
            session_timeout: typed.session_timeout,
            deny_dscp: typed.deny_dscp,
            deny_ecn: typed.deny_ecn,
            cos_legacy: typed.cos_legacy,
            allow_return_address: typed.allow_return_address,
            allow_destination_port: typed.allow_destination_port,
            allow_reflected_control: false,
            micro_session_id: typed.micro_session_id.unwrap_or(0),
            location_hide: typed.location_hide,
            tlv_profile: match typed.tlv_profile {
                ProfileArgument::Current => TlvProfile::Current,
                ProfileArgument::Earlier => TlvProfile::Earlier,
            },
            tlv_code: typed.tlv_code,
            auth_key_file: typed.auth_key_file,
            tlv_key_file: typed.tlv_key_file,
            keep: typed.keep,
        }
    }
}

impl Arguments {
    /// Answers until SIGINT or SIGTERM. Prints the ready block and the summary to standard output.
    pub fn run(self) -> anyhow::Result<Exit> {
        // Always: keys may also come by the API later.
        process::forbid_dumps().context("cannot forbid core dumps, which would hold keys")?;
        let (address, heartbeats) = (self.api, self.heartbeat.clone());
        let token = self.api_token_file.as_deref().map(Token::load).transpose();
        let token = token.map_err(|error| UsageError::new(format!("--api-token-file: {error}")))?;
        let config = Config::try_from(Settings::from(self)).map_err(|error| UsageError::new(error.to_string()))?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
        runtime.block_on(async {
            // Before anything is attached: what can't be listened at shall not leave anything behind.
            let listener = listen(address, token.as_ref()).await?;
            let (reflector, handle) = Reflector::start(config.clone())?;
            let ready = Ready { interfaces: handle.interfaces(), config: &config };
            // Nobody may be reading; that is no reason not to answer.
            let _ = writeln!(std::io::stdout(), "{ready}");
            let beats = Heartbeats::new(handle.clone());
            for heartbeat in heartbeats {
                if let Err(error) = beats.add(heartbeat) {
                    tracing::warn!("--heartbeat {}: {error}", heartbeat.target);
                }
            }
            if let Some(listener) = listener {
                if let Ok(address) = listener.local_addr() {
                    let _ = writeln!(std::io::stdout(), "  API         http://{address}");
                }
                let state = AppState::new(handle.clone(), beats.clone(), token);
                tokio::spawn(server::serve(listener, api::router(state)));
            }
            let summary = reflector.run(&handle).await?;
            beats.stop();
            let _ = write!(std::io::stdout(), "{summary}");
            Ok(Exit::Success)
        })
    }
}

/// Opens the API's port. The default one may be another reflector's; that is no reason not to answer packets.
async fn listen(typed: Option<ApiArgument>, token: Option<&Token>) -> anyhow::Result<Option<TcpListener>> {
    let address = match typed {
        Some(ApiArgument::None) => return Ok(None),
        Some(ApiArgument::At(address)) => address,
        None => server::DEFAULT_LISTEN,
    };
    match server::listen(address, token).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error @ ServeError::Token(_)) => Err(UsageError::new(error.to_string()).into()),
        Err(error) if typed.is_none() => {
            tracing::warn!("no API: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

impl DetachArguments {
    /// Removes what was left behind.
    pub fn run(self) -> anyhow::Result<Exit> {
        for interface in &self.iface {
            let was_there = pins::detach(interface)?;
            let what = if was_there { "detached" } else { "nothing of teaparty's is attached" };
            let _ = writeln!(std::io::stdout(), "{interface}: {what}");
        }
        Ok(Exit::Success)
    }
}
