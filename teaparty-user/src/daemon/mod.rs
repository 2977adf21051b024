//! The process around the reflectors: starts them together, offers the API, and ends all of it together.

pub(crate) mod reload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::thread::CapabilitySet;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use self::reload::Reloader;
use crate::api::{self, AppState};
use crate::config::plan::{CliInput, ProcessPlan, ReflectorPlan};
use crate::config::service::DEFAULT_API;
use crate::exit_code::{Exit, UsageError};
use crate::heartbeat::Heartbeats;
use crate::http::auth::credentials::Credentials;
use crate::http::auth::guard::Guard;
use crate::http::listen::{ApiListener, ListenAddress, ListenError};
use crate::http::server;
use crate::layout::{columns, fold};
use crate::reflector::error::ReflectorError;
use crate::reflector::handle::ReflectorHandle;
use crate::reflector::keys::KeyLoader;
use crate::reflector::summary::{Ready, Summary};
use crate::reflector::{Reflector, kernel::loader};
use crate::sys::stdio::{self, StdoutReader};
use crate::sys::{capabilities, hardening, systemd};

/// Most time for the end.
const LONGEST_END: Duration = Duration::from_millis(4500);

/// A plan, and how it was made: to make it again.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The input.
    pub asked: CliInput,
    /// Remembers keys that can be read only once.
    pub loader: KeyLoader,
    /// The plan.
    pub plan: ProcessPlan,
}

/// A reflector that answers.
struct RunningReflector {
    reflector: Reflector,
    handle: ReflectorHandle,
}

/// Runs the plan on a runtime of its own. Gives up privileges: to be called while there is one thread, before any other is
/// there to keep what this one gives up.
pub(crate) fn run_alone(prepared: Prepared) -> anyhow::Result<Exit> {
    hardening::raise_descriptor_limit();
    let mut needed = CapabilitySet::empty();
    for planned in &prepared.plan.reflectors {
        loader::check(&planned.config).map_err(ReflectorError::from)?;
        needed |= planned.config.needed_capabilities();
    }
    capabilities::keep_only(needed).context("cannot give up privileges")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let exit = runtime.block_on(run(prepared));
    // What still waits for a file, or serves a client, keeps nobody from ending.
    runtime.shutdown_timeout(Duration::from_millis(500));
    exit
}

/// Does what is planned until SIGINT or SIGTERM. Prints the ready block and the summary to standard output.
async fn run(Prepared { asked, loader, plan }: Prepared) -> anyhow::Result<Exit> {
    // Before anything is attached: by default the signal would end the process.
    let hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let ending = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    tokio::spawn(limit_end(ending));
    // Before anything is attached: what can't be listened at shall not leave anything behind.
    let listener = listen(plan.service.api_settings.api.as_ref(), &plan.access).await?;
    let members = start(&plan.reflectors).map_err(|error| {
        let text = hardening::explain_descriptor_limit(&error);
        if text == error.to_string() { error.into() } else { anyhow::anyhow!(text) }
    })?;
    let handles: Vec<ReflectorHandle> = members.iter().map(|member| member.handle.clone()).collect();
    announce(&handles);
    let beats = Heartbeats::new(handles.clone());
    for heartbeat in &plan.service.heartbeat {
        if let Err(error) = beats.add(*heartbeat) {
            tracing::warn!(target = %heartbeat.target, %error, "no heartbeats");
        }
    }
    let reloader = Arc::new(Reloader::new(asked, loader, &plan, handles.clone(), beats.clone()));
    tokio::spawn(follow_hangups(hangup, reloader.clone()));
    if let Some(listener) = listener {
        stdio::announce(&format!("  API         {listener}\n"));
        let (service, access) = (&plan.service, &plan.access);
        let guard = Guard::new(access.token.clone(), service.api_writes, service.api_settings.hosts(access));
        let state = AppState::new(handles[0].clone(), beats.clone(), access.token.clone())
            .with_guard(guard)
            .with_session_series(service.session_metrics as usize)
            .with_reflectors(&handles)
            .with_reloader(reloader);
        tokio::spawn(server::serve(listener, api::router(state)));
    }
    let interfaces: Vec<String> = handles.iter().flat_map(|handle| handle.config().interfaces.clone()).collect();
    systemd::ready(&format!("answering on {}", interfaces.join(", ")));
    let result = follow(members, &handles).await;
    beats.stop();
    let (mut text, mut is_left) = (String::new(), false);
    for (handle, summary) in handles.iter().zip(result?) {
        is_left |= summary.is_left;
        text += &heading(handle, &handles);
        text += &summary.to_string();
    }
    let printed = stdio::print(&text);
    if !matches!(printed, Ok(StdoutReader::Present)) {
        // The last place where somebody may look.
        stdio::complain(text.trim_end());
    }
    printed?.any();
    // What goes on answering, or takes memory, without a controller is for somebody to see to.
    Ok(if is_left { Exit::Failure } else { Exit::Success })
}

/// Sees to it that the process is gone soon after SIGINT or SIGTERM, whatever it waits for.
async fn limit_end(signals: [std::io::Result<Signal>; 2]) {
    let [Ok(mut interrupt), Ok(mut terminate)] = signals else { return };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    hardening::end_within(LONGEST_END);
}

/// Reads the configuration again at each SIGHUP, forever.
async fn follow_hangups(mut hangup: Signal, reloader: Arc<Reloader>) {
    while hangup.recv().await.is_some() {
        let reloader = reloader.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || reloader.reload_and_tell()).await {
            tracing::error!(%error, "reading the configuration again has failed; this is a bug in teaparty");
        }
    }
}

/// Starts all reflectors, or none.
fn start(planned: &[ReflectorPlan]) -> Result<Vec<RunningReflector>, ReflectorError> {
    let mut members: Vec<RunningReflector> = Vec::new();
    for planned in planned {
        match Reflector::start_with(planned.config.clone(), &planned.sessions) {
            Ok((reflector, handle)) => members.push(RunningReflector { reflector, handle }),
            Err(error) => {
                members.into_iter().for_each(|member| drop(member.reflector.end(&member.handle)));
                return Err(error);
            }
        }
    }
    Ok(members)
}

/// Columns before the values of the ready block, less the indent of its lines.
const READY_HANG: usize = 12;

/// Prints what answers where. Nobody may be reading; that is no reason not to answer.
fn announce(handles: &[ReflectorHandle]) {
    for handle in handles {
        let ready = Ready { interfaces: handle.interfaces(), config: &handle.config() };
        let text = format!("{}{ready}\n", heading(handle, handles));
        stdio::announce(&fold(&text, columns(), READY_HANG));
    }
}

/// The line above what is said of a reflector, where there are several.
fn heading(handle: &ReflectorHandle, all: &[ReflectorHandle]) -> String {
    if all.len() > 1 { format!("reflector {}\n", handle.name()) } else { String::new() }
}

/// Until all have ended. One that fails ends the others; its error is the result.
async fn follow(members: Vec<RunningReflector>, handles: &[ReflectorHandle]) -> Result<Vec<Summary>, ReflectorError> {
    let mut running = JoinSet::new();
    for (at, member) in members.into_iter().enumerate() {
        running.spawn(async move { (at, member.reflector.run(&member.handle).await) });
    }
    let mut summaries = Vec::new();
    let mut failure = None;
    while let Some(ended) = running.join_next().await {
        // Each has its own view of SIGINT and SIGTERM; a request to end by the API reaches one alone.
        let has_failed = !matches!(ended, Ok((_, Ok(_))));
        handles.iter().for_each(if has_failed { ReflectorHandle::leave } else { ReflectorHandle::stop });
        match ended {
            Ok((at, Ok(summary))) => summaries.push((at, summary)),
            Ok((_, Err(error))) => failure = failure.or(Some(error)),
            Err(error) => {
                failure = failure.or(Some(ReflectorError::Engine(format!("a reflector's task has ended: {error}"))));
            }
        }
    }
    summaries.sort_by_key(|(at, _)| *at);
    match failure {
        Some(error) => Err(error),
        None => Ok(summaries.into_iter().map(|(_, summary)| summary).collect()),
    }
}

/// Opens the API's place. The default one may be another reflector's; that is no reason not to answer packets.
async fn listen(asked: Option<&ListenAddress>, access: &Credentials) -> anyhow::Result<Option<ApiListener>> {
    match ApiListener::open(asked.unwrap_or(&DEFAULT_API), access.token.as_ref()).await {
        Ok(listener) => {
            let listener = listener.map(|listener| listener.with_tls(access.tls.clone()));
            if let Some(listener) = &listener {
                listener.warn_of_exposure(access.token.as_ref());
            }
            Ok(listener)
        }
        Err(error @ ListenError::Token(_)) => Err(UsageError::new(error.to_string()).into()),
        Err(error) if asked.is_none() => {
            tracing::warn!(%error, "no API");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
