//! What others may see of a running probe: its targets, and how its sources stand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde_json::{Value, json};

use super::sla::PeriodReport;
use super::target_state::Watched;
use super::totals::IGNORED;
use crate::sla::SlaConfigView;

/// Problems of one source that are reported at once.
const MOST_TOLD: usize = 3;

/// The state of a source of targets.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// Its location.
    pub origin: String,
    /// Targets of its documents, each as it was when it was last good.
    pub targets: usize,
    /// Times that a document could not be read, or had something wrong.
    pub failures: u64,
    /// The present problem.
    pub problem: Option<String>,
}

impl SourceStatus {
    /// Takes over how many targets there are now, and what is wrong with documents; tells the log what is new.
    pub(super) fn update(&mut self, targets: usize, problems: &[String]) {
        self.failures += problems.len() as u64;
        let more = problems.len().saturating_sub(MOST_TOLD);
        let mut problem = problems[..problems.len() - more].join("; ");
        if more > 0 {
            problem.push_str(&format!("; and {more} more"));
        }
        let problem = (!problem.is_empty()).then_some(problem);
        let was = (std::mem::replace(&mut self.targets, targets), std::mem::replace(&mut self.problem, problem));
        match &self.problem {
            Some(problem) if was.1.as_ref() != Some(problem) => {
                tracing::warn!(
                    source = self.origin,
                    count = self.targets,
                    error = problem,
                    "the targets of before stay"
                );
            }
            None if was.0 != targets || was.1.is_some() => {
                tracing::info!(source = self.origin, count = targets, "targets were read")
            }
            _ => {}
        }
    }
}

/// Targets and sources. Written by the supervisor alone.
#[derive(Default)]
pub struct TargetRegistry {
    watched: RwLock<Arc<[Arc<Watched>]>>,
    sources: RwLock<Vec<SourceStatus>>,
    /// Reloads of the file that were taken over, and those that were refused.
    pub reloads: [AtomicU64; 2],
    /// Targets that were left out: there twice, or too many.
    pub left_out: AtomicU64,
}

impl TargetRegistry {
    /// All targets, in the order of file and documents.
    pub fn watched(&self) -> Arc<[Arc<Watched>]> {
        self.watched.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the state of the sources.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_watched(&self, watched: Vec<Arc<Watched>>) {
        *self.watched.write().unwrap_or_else(PoisonError::into_inner) = watched.into();
    }

    pub(super) fn with_sources<T>(&self, with: impl FnOnce(&mut Vec<SourceStatus>) -> T) -> T {
        with(&mut self.sources.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count_reload(&self, is_taken_over: bool) {
        self.reloads[usize::from(!is_taken_over)].fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns the labels of a target.
pub(crate) fn labels(watched: &Watched) -> Value {
    json!({ "target": watched.target.name, "session": watched.ssid, "labels": watched.target.labels })
}

/// All targets as JSON.
pub(crate) fn targets(registry: &TargetRegistry) -> Value {
    let all = registry.watched();
    let targets = all.iter().map(|watched| {
        let mut value = labels(watched);
        let state = watched.state();
        let totals = state.totals;
        value["address"] = json!(state.address);
        value["measured"] = json!(state.is_measured);
        value["problem"] = json!(state.problem);
        value["sent"] = json!(totals.sent);
        value["received"] = json!(totals.received);
        value["lost"] = json!(totals.lost);
        value["schedule_skipped"] = json!(totals.schedule_skipped);
        value["lost_far_end"] = json!(totals.lost_forward);
        value["lost_near_end"] = json!(totals.lost_backward);
        value["lost_unattributed"] = json!(totals.lost_unattributed());
        let ignored = IGNORED.iter().zip(totals.ignored).map(|((reason, _), count)| ((*reason).into(), json!(count)));
        value["ignored"] = Value::Object(ignored.collect());
        value["available"] = json!(state.sla.is_available());
        value
    });
    let targets: Vec<Value> = targets.collect();
    let sources = registry.sources().into_iter().map(|source| {
        json!({
            "origin": source.origin, "targets": source.targets, "failures": source.failures, "problem": source.problem,
        })
    });
    json!({ "targets": targets, "sources": sources.collect::<Vec<_>>() })
}

/// The service level of all targets.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Levels {
    targets: Vec<Level>,
}

/// The service level of one target.
#[derive(Serialize, utoipa::ToSchema)]
struct Level {
    /// Its name.
    target: String,
    /// Its SSID, 0 for none.
    session: u16,
    /// Its own labels.
    labels: BTreeMap<String, String>,
    /// True if it is available; null while that is unknown.
    available: Option<bool>,
    /// The period that goes on.
    current: PeriodReport,
    /// Periods that have ended, the latest first.
    periods: Vec<PeriodReport>,
    /// The agreement.
    agreement: SlaConfigView,
}

/// Returns the service level of all targets.
pub(crate) fn sla(registry: &TargetRegistry, now_ns: u64) -> Levels {
    let all = registry.watched();
    let targets = all.iter().map(|watched| {
        let state = watched.state();
        Level {
            target: watched.target.name.clone(),
            session: watched.ssid,
            labels: watched.target.labels.clone(),
            available: state.sla.is_available(),
            current: state.sla.current(&state.agreement, now_ns),
            periods: state.sla.finished().rev().copied().collect(),
            agreement: SlaConfigView::from(&*state.agreement),
        }
    });
    Levels { targets: targets.collect() }
}
