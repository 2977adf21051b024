//! What the API shows of targets: counts, service levels, and delays by minute.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::listing::TargetQuery;
use super::recent_delays::MinuteDelays;
use super::registry::{TargetRegistry, labels};
use super::sla::PeriodReport;
use super::totals::IGNORED;
use crate::sla::SlaConfigView;

/// Targets as JSON, and all sources.
pub(crate) fn targets(registry: &TargetRegistry, query: &TargetQuery, now_ns: u64) -> Value {
    let listing = query.list(registry, now_ns);
    let targets = listing.targets.iter().map(|watched| {
        let mut value = labels(watched);
        value["state"] = json!(watched.service_state(now_ns));
        value["round_trip_ns"] = json!(watched.recent_percentiles(now_ns));
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
    let sources: Vec<Value> = sources.collect();
    json!({ "targets": targets, "total": listing.total, "states": listing.states, "sources": sources })
}

/// The service level of targets.
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

/// The delays of targets in the last hour.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Delays {
    targets: Vec<TargetDelays>,
}

/// The delays of one target in the last hour.
#[derive(Serialize, utoipa::ToSchema)]
struct TargetDelays {
    /// Its name.
    target: String,
    /// Its SSID, 0 for none.
    session: u16,
    /// Its own labels.
    labels: BTreeMap<String, String>,
    /// Minutes that have ended and in which packets were settled, the oldest first.
    minutes: Vec<MinuteDelays>,
}

/// Returns the delays of targets by minute.
pub(crate) fn delays(registry: &TargetRegistry, query: &TargetQuery, now_ns: u64) -> Delays {
    let listing = query.list(registry, now_ns);
    let targets = listing.targets.iter().map(|watched| TargetDelays {
        target: watched.target.name.clone(),
        session: watched.ssid,
        labels: watched.target.labels.clone(),
        minutes: watched.recent_minutes(now_ns),
    });
    Delays { targets: targets.collect() }
}

/// Returns the service level of targets.
pub(crate) fn sla(registry: &TargetRegistry, query: &TargetQuery, now_ns: u64) -> Levels {
    let listing = query.list(registry, now_ns);
    let targets = listing.targets.iter().map(|watched| {
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
