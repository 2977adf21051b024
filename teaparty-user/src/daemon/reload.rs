//! SIGHUP and `POST /api/v1/reload`: the configuration file, the keys, and what guards the API are read again. First everything is checked; what is wrong
//! leaves all as it is. Then what can change while packets are answered changes, and the rest is named.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::api::reload::{Changed, RELOAD_TIMEOUT, Reload, ReloadError, ReloadReport};
use crate::config::diagnostic::is_standard_input;
use crate::config::plan::{CliInput, ProcessPlan};
use crate::config::service::Service;
use crate::config::toml_doc::keys;
use crate::files;
use crate::files::limit::LimitedReader;
use crate::heartbeat::{Heartbeat, Heartbeats};
use crate::http::auth::credentials::{Credentials, TLS_CERT, TLS_KEY, TOKEN_FILE};
use crate::reflector::handle::{ReflectorHandle, SessionSpec};
use crate::reflector::keys::KeyLoader;
use crate::reflector::reload::Reloaded;
use crate::sync::locked;

/// Reads the configuration again, whenever asked to.
pub(crate) struct Reloader {
    asked: Arc<CliInput>,
    loader: Arc<KeyLoader>,
    handles: Vec<ReflectorHandle>,
    heartbeats: Heartbeats,
    access: Credentials,
    reader: LimitedReader,
    /// The last content of the file; locked while a reload runs, so that there is one at a time.
    last: Mutex<Last>,
}

struct Last {
    service: Service,
    /// By the order of the handles.
    sessions: Vec<Vec<SessionSpec>>,
}

impl Reloader {
    /// For what was started with this plan.
    pub(crate) fn new(
        asked: CliInput,
        loader: KeyLoader,
        plan: &ProcessPlan,
        handles: Vec<ReflectorHandle>,
        heartbeats: Heartbeats,
    ) -> Self {
        let sessions = plan.reflectors.iter().map(|planned| planned.sessions.clone()).collect();
        let last = Mutex::new(Last { service: plan.service.clone(), sessions });
        let (asked, loader, reader) = (Arc::new(asked), Arc::new(loader), LimitedReader::default());
        Self { asked, loader, reader, handles, heartbeats, access: plan.access.clone(), last }
    }

    /// Reads configuration and keys, on a thread of its own: a file system may not answer, and must not keep us from ending.
    fn read(&self) -> Result<ProcessPlan, ReloadError> {
        let (asked, loader) = (self.asked.clone(), self.loader.clone());
        let plan = self.reader.run(RELOAD_TIMEOUT, move || ProcessPlan::read(&asked, &loader))?;
        plan.map_err(|problems| ReloadError::Wrong(problems.to_string()))
    }

    /// Heartbeats, and the files that say who may use the API, change at once; all else of the process at a restart.
    fn follow_service(&self, last: &mut Service, new: Service, access: &Credentials, report: &mut ReloadReport) {
        let renewed = self.access.renew(access);
        let value =
            |service: &Service, key: &str| serde_json::to_value(service).ok().and_then(|all| all.get(key).cloned());
        for key in keys::<Service>() {
            let is_live = key == "heartbeat" || self.access.is_kept(access, &key);
            if value(last, &key) != value(&new, &key) {
                let list = if is_live { &mut report.applied } else { &mut report.restart };
                list.push(Changed { reflector: None, key });
            } else if renewed.contains(&key.as_str()) {
                report.applied.push(Changed { reflector: None, key });
            }
        }
        let is_in = |list: &[Heartbeat], one: &Heartbeat| list.contains(one);
        for gone in last.heartbeat.iter().filter(|one| !is_in(&new.heartbeat, one)) {
            self.heartbeats.remove(gone.target);
        }
        for added in new.heartbeat.iter().filter(|one| !is_in(&last.heartbeat, one)) {
            if let Err(error) = self.heartbeats.add(*added) {
                tracing::warn!(target = %added.target, %error, "no heartbeats");
            }
        }
        // Settings that need a restart are reported each time until then.
        last.heartbeat = new.heartbeat;
        for (key, last, new) in [
            (TOKEN_FILE, &mut last.api_settings.api_token_file, new.api_settings.api_token_file),
            (TLS_CERT, &mut last.api_settings.api_tls_cert, new.api_settings.api_tls_cert),
            (TLS_KEY, &mut last.api_settings.api_tls_key, new.api_settings.api_tls_key),
        ] {
            if self.access.is_kept(access, key) {
                *last = new;
            }
        }
    }

    /// Reloads and writes the result to the log: for a signal, whose sender gets no answer.
    pub(crate) fn reload_and_tell(&self) {
        let _span = tracing::info_span!("reload").entered();
        match self.reload() {
            Ok(report) if report.applied.is_empty() && report.restart.is_empty() => {
                tracing::info!("configuration read again: nothing has changed");
            }
            Ok(report) => {
                if !report.applied.is_empty() {
                    tracing::info!(keys = %Names(&report.applied), "configuration read again; in force: {}", Names(&report.applied));
                }
                if !report.restart.is_empty() {
                    tracing::warn!(keys = %Names(&report.restart), "configuration read again; this takes a restart: {}", Names(&report.restart));
                }
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    tracing::error!(error = line, "configuration not changed");
                }
            }
        }
    }
}

impl Reload for Reloader {
    fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let mut last = locked(&self.last);
        if self.asked.file.as_deref().is_some_and(|file| is_standard_input(file) || !files::is_repeatable(file)) {
            return Err(ReloadError::Gone);
        }
        let plan = self.read()?;
        let mut report = ReloadReport::default();
        let mut sessions = last.sessions.clone();
        let mut done: Vec<(usize, Reloaded)> = Vec::new();
        let is_one = self.handles.len() == 1 && plan.reflectors.len() == 1;
        for (at, handle) in self.handles.iter().enumerate() {
            let name = handle.name();
            let Some(planned) = plan.reflectors.iter().find(|planned| is_one || planned.name() == name) else {
                report.restart.push(Changed { reflector: Some(name), key: "reflector".into() });
                continue;
            };
            match handle.reload(&planned.config, &last.sessions[at], &planned.sessions) {
                Ok(reloaded) => {
                    let of = (!is_one).then_some(name);
                    report.applied.extend(changed(of.as_ref(), &reloaded.live));
                    report.restart.extend(changed(of.as_ref(), &reloaded.restart));
                    sessions[at].clone_from(&planned.sessions);
                    done.push((at, reloaded));
                }
                Err(error) => {
                    done.iter().for_each(|(at, reloaded)| self.handles[*at].take_back(reloaded));
                    return Err(error.into());
                }
            }
        }
        last.sessions = sessions;
        let running: Vec<String> = self.handles.iter().map(ReflectorHandle::name).collect();
        let new =
            plan.reflectors.iter().map(|planned| planned.name()).filter(|name| !is_one && !running.contains(name));
        report.restart.extend(new.map(|name| Changed { reflector: Some(name), key: "reflector".into() }));
        self.follow_service(&mut last.service, plan.service, &plan.access, &mut report);
        Ok(report)
    }
}

fn changed<'a>(reflector: Option<&'a String>, keys: &'a [String]) -> impl Iterator<Item = Changed> + 'a {
    keys.iter().map(move |key| Changed { reflector: reflector.cloned(), key: key.clone() })
}

/// Settings on one line.
struct Names<'a>(&'a [Changed]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Changed { reflector, key }) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { ", " } else { "" })?;
            match reflector {
                Some(reflector) => write!(f, "{key} of {reflector}")?,
                None => f.write_str(key)?,
            }
        }
        Ok(())
    }
}
