//! The probe's HTTP: metrics, targets and service level, all read only, protected by the same token and TLS as the
//! reflector's.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use serde::Serialize;
use serde_json::Value;

use super::listing::TargetQuery;
use super::metrics::{self, MetricsFormat};
use super::registry::TargetRegistry;
use super::sites::{self, SiteMatrix};
use super::views::{self, Delays, Levels};
use crate::http::problem::ApiError;

use crate::sys::clock::{ClockSource, SystemClock};

/// The resources, for a client that asks for something else.
pub(super) const RESOURCES: &str = "a probe has /api/v1/targets, /api/v1/sla, /api/v1/delays, /api/v1/sites and /api/v1/openapi.json, besides /metrics, /livez and /readyz";

/// Shows that the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "live",
    responses((status = 200, description = "It answers", body = String, content_type = "text/plain"))
)]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Shows that targets are measured, as far as they can be.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "ready",
    responses((status = 200, description = "It measures", body = String, content_type = "text/plain"))
)]
pub(crate) async fn ready() -> &'static str {
    "ok\n"
}

/// Answers from a thread that may wait for the targets' locks.
async fn answer<T: Serialize + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Json<T>, ApiError> {
    tokio::task::spawn_blocking(work).await.map(Json).map_err(ApiError::internal)
}

/// Lists the targets with their counts and states, and the sources that they come from.
///
/// A direction of loss that is not known is null. `total` is the number of targets that pass the filters, and `states` that of
/// each state among those that pass all filters but that of the state. Round trips are of the last one to two minutes.
#[utoipa::path(
    get, path = "/api/v1/targets", tag = "probe", operation_id = "targets",
    params(TargetQuery),
    responses((status = 200, description = "Targets, and all sources", body = Value))
)]
pub(crate) async fn targets(
    State(registry): State<Arc<TargetRegistry>>,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let query = TargetQuery::read(query)?;
    answer(move || views::targets(&registry, &query, SystemClock.realtime_ns())).await
}

/// Shows the round trips of each target by minute, of the last hour.
#[utoipa::path(
    get, path = "/api/v1/delays", tag = "probe", operation_id = "delays",
    params(TargetQuery),
    responses((status = 200, description = "The delays of the targets", body = Delays))
)]
pub(crate) async fn delays(
    State(registry): State<Arc<TargetRegistry>>,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Result<Json<Delays>, ApiError> {
    let query = TargetQuery::read(query)?;
    answer(move || views::delays(&registry, &query, SystemClock.realtime_ns())).await
}

/// Shows what lies between sites: targets with the labels `from` and `to`, or `site`.
#[utoipa::path(
    get, path = "/api/v1/sites", tag = "probe", operation_id = "sites",
    responses((status = 200, description = "The sites, and the pairs that have targets", body = SiteMatrix))
)]
pub(crate) async fn sites(State(registry): State<Arc<TargetRegistry>>) -> Result<Json<SiteMatrix>, ApiError> {
    answer(move || sites::matrix(&registry, SystemClock.realtime_ns())).await
}

/// Shows the service level of each target: the period that goes on, and the last ones that ended, the latest first.
///
/// Times are in nanoseconds, losses, availabilities and quantiles are ratios from 0 to 1.
#[utoipa::path(
    get, path = "/api/v1/sla", tag = "probe", operation_id = "sla",
    params(TargetQuery),
    responses((status = 200, description = "The service level of the targets", body = Levels))
)]
pub(crate) async fn sla(
    State(registry): State<Arc<TargetRegistry>>,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Result<Json<Levels>, ApiError> {
    let query = TargetQuery::read(query)?;
    answer(move || views::sla(&registry, &query, SystemClock.realtime_ns())).await
}

/// Shows all metrics, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "probe", operation_id = "metrics",
    responses((status = 200, description = "Prometheus's text format, or protobuf where that is preferred", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(registry): State<Arc<TargetRegistry>>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let form = MetricsFormat::accepted(&accept.join(","));
    match tokio::task::spawn_blocking(move || metrics::encode(&registry, form)).await {
        Ok(Ok(octets)) => ([(header::CONTENT_TYPE, form.content_type())], octets).into_response(),
        Ok(Err(error)) => ApiError::internal(error).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}
