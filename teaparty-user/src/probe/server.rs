//! The probe's HTTP: metrics, targets and service level, all read only, protected by the same token and TLS as the
//! reflector's.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use serde_json::Value;

use super::metrics::{self, MetricsFormat};
use super::registry::{self, Levels, TargetRegistry};
use crate::http::problem::ApiError;

use crate::sys::clock::{ClockSource, SystemClock};

/// The resources, for a client that asks for something else.
pub(super) const RESOURCES: &str =
    "a probe has /api/v1/targets, /api/v1/sla and /api/v1/openapi.json, besides /metrics, /livez and /readyz";

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

/// Lists the targets with their counts, and the sources that they come from.
///
/// A direction of loss that is not known is null.
#[utoipa::path(
    get, path = "/api/v1/targets", tag = "probe", operation_id = "targets",
    responses((status = 200, description = "All targets and sources", body = Value))
)]
pub(crate) async fn targets(State(registry): State<Arc<TargetRegistry>>) -> Json<Value> {
    Json(registry::targets(&registry))
}

/// Shows the service level of each target: the period that goes on, and the last ones that ended, the latest first.
///
/// Times are in nanoseconds, losses, availabilities and quantiles are ratios from 0 to 1.
#[utoipa::path(
    get, path = "/api/v1/sla", tag = "probe", operation_id = "sla",
    responses((status = 200, description = "The service level of all targets", body = Levels))
)]
pub(crate) async fn sla(State(registry): State<Arc<TargetRegistry>>) -> Response {
    let work = move || registry::sla(&registry, SystemClock.realtime_ns());
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Json(value).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
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
