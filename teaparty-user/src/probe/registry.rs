//! What others may see of a running probe: its targets, and how its sources stand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use super::target_state::Watched;

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
