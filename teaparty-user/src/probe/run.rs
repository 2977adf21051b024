//! A probe from start to end: signals, reloads, and lines for each period.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::config::{ProbeCliOverrides, ProbeConfig};
use super::registry::{self, TargetRegistry};
use super::router::router;
use super::service_discovery::FILE_LOOK;
use super::sla::PeriodReport;
use super::supervisor::Supervisor;
use super::target_state::Watched;
use crate::api::reload::{RELOAD_TIMEOUT, ReloadError};
use crate::config::config_text::stamps;
use crate::config::diagnostic::is_standard_input;
use crate::config::file_kind::FileKind;
use crate::exit_code::Exit;
use crate::files::limit::{LimitedReader, reading};
use crate::files::stamp::FileStamp;
use crate::files::watch::ChangeWatch;
use crate::http::auth::credentials::Credentials;
use crate::http::auth::guard::{Guard, Writes};
use crate::http::listen::{ApiListener, ListenAddress};
use crate::http::server;
use crate::reflector::keys::KeyLoader;
use crate::sys::clock::{ClockSource, SystemClock};
use crate::sys::stdio::{self, StdoutReader};
use crate::sys::{hardening, systemd};

/// The default address of the metrics.
pub(crate) const DEFAULT: ListenAddress =
    ListenAddress::Tcp(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9862));
/// Periods are ended so often where no packet does it.
const TICK: Duration = Duration::from_secs(1);

/// The format of standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProbeFormat {
    /// The address of the metrics; the rest is in the log.
    #[default]
    Human,
    /// A line of JSON for each target and period.
    Jsonl,
}

/// Measures until SIGINT or SIGTERM.
pub(crate) fn run(
    path: &Path,
    config: ProbeConfig,
    loader: KeyLoader,
    typed: ProbeCliOverrides,
    format: ProbeFormat,
) -> anyhow::Result<Exit> {
    if let Err(error) = hardening::forbid_dumps() {
        tracing::warn!(%error, "cannot forbid core dumps, which would hold keys");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let exit = runtime.block_on(follow(path.into(), config, Arc::new(loader), typed, format));
    // A file or a name that is still waited for keeps nobody from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

async fn follow(
    path: PathBuf,
    config: ProbeConfig,
    loader: Arc<KeyLoader>,
    typed: ProbeCliOverrides,
    format: ProbeFormat,
) -> anyhow::Result<Exit> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let place = config.api_settings.api.clone().unwrap_or(DEFAULT);
    let registry = Arc::new(TargetRegistry::default());
    let access = config.access.clone();
    let listener = ApiListener::open(&place, access.token.as_ref()).await?;
    if let Some(listener) = listener {
        let listener = listener.with_tls(access.tls.clone());
        if format == ProbeFormat::Human {
            stdio::announce(&format!("metrics     {listener}/metrics\n"));
        }
        listener.warn_of_exposure(access.token.as_ref());
        // Nothing here can be changed.
        let guard = Guard::new(access.token.clone(), Writes::None, config.api_settings.hosts(&access));
        tokio::spawn(server::serve(listener, router(registry.clone(), guard)));
    }
    let started = (config.api_settings.clone(), config.series.clone());
    let (mut supervisor, mut messages) = Supervisor::new(registry.clone());
    let is_file = !is_standard_input(&path);
    let mut watch = config_watch(&path);
    let reader = Arc::new(LimitedReader::default());
    supervisor.configure(config);
    systemd::ready("measuring");
    let mut lines = PeriodLines { is_wanted: format == ProbeFormat::Jsonl, is_lost: false, written: HashMap::new() };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_asked = tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => true,
            () = watch.changed(), if is_file => true,
            Some(message) = messages.recv() => {
                supervisor.handle(message);
                false
            }
            _ = tick.tick() => {
                systemd::alive();
                advance(&registry, &mut lines);
                false
            }
        };
        if is_asked && !is_file {
            tracing::warn!(error = %ReloadError::Gone);
        } else if is_asked {
            // A long file may keep nobody from ending.
            let config = tokio::select! {
                config = reload(&path, &loader, &reader, typed, &registry, &mut watch) => config,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            };
            if let Some(config) = config {
                let mut restart = started.0.changed(&config.api_settings, |key| access.is_kept(&config.access, key));
                if config.series != started.1 {
                    restart.push("buckets".into());
                }
                if !restart.is_empty() {
                    tracing::warn!(keys = restart.join(", "), "some keys take a restart; all else is taken over");
                }
                renew(&access, &config.access);
                supervisor.configure(config);
            }
        }
    }
    systemd::stopping();
    supervisor.end();
    lines.finish(&registry);
    Ok(if lines.is_lost { Exit::Failure } else { Exit::Success })
}

/// Takes over what the files of token and certificate hold now.
fn renew(access: &Credentials, newer: &Credentials) {
    for setting in access.renew(newer) {
        tracing::info!(setting = %setting, "what its file holds now is in force");
    }
}

/// The stamps of the configuration's files.
type ConfigStamps = Vec<(PathBuf, Option<FileStamp>)>;

fn config_watch(path: &Path) -> ChangeWatch<ConfigStamps> {
    let (name, path) = (path.display().to_string(), path.to_owned());
    ChangeWatch::new(name, FILE_LOOK, RELOAD_TIMEOUT, move || stamps(&path, FileKind::Probe))
}

async fn reload(
    path: &Path,
    loader: &Arc<KeyLoader>,
    reader: &Arc<LimitedReader>,
    typed: ProbeCliOverrides,
    registry: &TargetRegistry,
    watch: &mut ChangeWatch<ConfigStamps>,
) -> Option<ProbeConfig> {
    let (path, loader, reader) = (path.to_owned(), loader.clone(), reader.clone());
    // The stamp is of before, so that what changes while the file is read is noticed after it.
    let work = move || (reading(|| stamps(&path, FileKind::Probe)), ProbeConfig::read(&path, &loader, typed));
    let config = match tokio::task::spawn_blocking(move || reader.run(RELOAD_TIMEOUT, work)).await {
        Ok(Ok((stamp, config))) => {
            watch.set_seen(stamp);
            config.map_err(|problems| problems.to_string())
        }
        Ok(Err(error)) => Err(ReloadError::from(error).to_string()),
        Err(error) => Err(error.to_string()),
    };
    registry.count_reload(config.is_ok());
    match config {
        Ok(config) => {
            tracing::info!("the file was read again");
            Some(config)
        }
        Err(problems) => {
            for problem in problems.lines() {
                tracing::error!(error = problem);
            }
            tracing::error!("the file has something wrong: all stays as it was");
            None
        }
    }
}

fn advance(registry: &TargetRegistry, lines: &mut PeriodLines) {
    let now = SystemClock.realtime_ns();
    let watched = registry.watched();
    watched.iter().for_each(|watched| watched.advance(now));
    lines.write(&watched);
}

/// A line of JSON for each period that has ended.
struct PeriodLines {
    is_wanted: bool,
    /// True if standard output took not all of them.
    is_lost: bool,
    /// Periods that were written, by target.
    written: HashMap<u64, u64>,
}

impl PeriodLines {
    fn write(&mut self, all: &[Arc<Watched>]) {
        if !self.is_wanted {
            return;
        }
        let mut text = String::new();
        let mut known = HashMap::with_capacity(all.len());
        for watched in all {
            let state = watched.state();
            let count = state.sla.count;
            let missing = count - self.written.get(&watched.id).copied().unwrap_or(0);
            let skip = state.sla.finished().len().saturating_sub(missing as usize);
            state.sla.finished().skip(skip).for_each(|report| line(&mut text, watched, report));
            known.insert(watched.id, count);
        }
        self.written = known;
        self.print(&text);
    }

    /// The periods that had only begun.
    fn finish(&mut self, registry: &TargetRegistry) {
        let watched = registry.watched();
        self.write(&watched);
        if self.is_wanted {
            let now = SystemClock.realtime_ns();
            let mut text = String::new();
            for watched in watched.iter() {
                let state = watched.state();
                line(&mut text, watched, &state.sla.current(&state.agreement, now));
            }
            self.print(&text);
        }
    }

    fn print(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match stdio::print(text) {
            Ok(StdoutReader::Present) => return,
            Ok(StdoutReader::Gone) => {
                tracing::info!("the reader of standard output has gone; no more lines are written")
            }
            Err(error) => {
                tracing::error!(%error, "no more lines are written; measuring goes on");
                self.is_lost = true;
            }
        }
        self.is_wanted = false;
    }
}

fn line(text: &mut String, watched: &Watched, report: &PeriodReport) {
    let mut value = registry::labels(watched);
    if let (Some(members), serde_json::Value::Object(report)) = (value.as_object_mut(), json!(report)) {
        members.extend(report);
    }
    text.push_str(&value.to_string());
    text.push('\n');
}
