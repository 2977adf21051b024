//! `teaparty reflector` and `teaparty detach`: what may be typed, and its way into [`Settings`].

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::api::listen::{self, ListenError, Listener, Place};
use crate::api::server;
use crate::api::token::Token;
use crate::api::{self, AppState};
use crate::config::typed::Typed;
use crate::exit::{Exit, UsageError};
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::reflector::config::{Config, Format, Settings};
use crate::reflector::summary::Ready;
use crate::reflector::{Reflector, ReflectorError, loader, pins};
use crate::{privileges, process, service};

/// Answers STAMP test packets (Session-Reflector).
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    settings: Typed<Settings>,
    /// Short for --timestamp-format ptp
    #[arg(long, conflicts_with = "timestamp_format")]
    ptp: bool,
    /// Address and port of the REST API, unix:/PATH for a socket of its owner and group, or none [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR|unix:PATH|none")]
    api: Option<Place>,
    /// File with the token that clients of the API must send; needed where others than this host can reach it
    #[arg(long, value_name = "FILE")]
    api_token_file: Option<PathBuf>,
    /// Send a heartbeat to this target every so many seconds; may repeat
    #[arg(long, value_name = "[IP[:PORT]]@SECONDS")]
    heartbeat: Vec<Heartbeat>,
}

/// Removes the reflector that a killed teaparty, or one with --keep, has left on an interface.
#[derive(Args, Clone, Debug)]
pub struct DetachArguments {
    /// Interface; may repeat
    #[arg(long, short, value_name = "NAME", required = true)]
    iface: Vec<String>,
}

impl Arguments {
    /// Answers until SIGINT or SIGTERM. Prints the ready block and the summary to standard output.
    pub fn run(self) -> anyhow::Result<Exit> {
        // Always: keys may also come by the API later.
        process::forbid_dumps().context("cannot forbid core dumps, which would hold keys")?;
        let (address, heartbeats) = (self.api.clone(), self.heartbeat.clone());
        let token = self.api_token_file.as_deref().map(Token::load).transpose();
        let token = token.map_err(|error| UsageError::new(format!("--api-token-file: {error}")))?;
        let mut settings = Settings::default();
        self.settings.over(&mut settings)?;
        if self.ptp {
            settings.timestamp_format = Format::Ptp;
        }
        let config = Config::try_from(settings).map_err(|error| UsageError::new(error.to_string()))?;
        // Before any other thread is there to keep what this one gives up.
        loader::check(&config).map_err(ReflectorError::from)?;
        privileges::keep_only(privileges::needed(&config)).context("cannot give up privileges")?;
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
                let _ = writeln!(std::io::stdout(), "  API         {listener}");
                let state = AppState::new(handle.clone(), beats.clone(), token);
                tokio::spawn(server::serve(listener, api::router(state)));
            }
            service::ready(&format!("answering on {}", config.interfaces.join(", ")));
            let summary = reflector.run(&handle).await?;
            beats.stop();
            let _ = write!(std::io::stdout(), "{summary}");
            Ok(Exit::Success)
        })
    }
}

/// Opens the API's place. The default one may be another reflector's; that is no reason not to answer packets.
async fn listen(typed: Option<Place>, token: Option<&Token>) -> anyhow::Result<Option<Listener>> {
    match Listener::open(typed.as_ref().unwrap_or(&listen::DEFAULT), token).await {
        Ok(listener) => Ok(listener),
        Err(error @ ListenError::Token(_)) => Err(UsageError::new(error.to_string()).into()),
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
