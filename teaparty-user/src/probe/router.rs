//! The paths of a probe's API.

use std::sync::Arc;

use axum::routing::get;
use axum::{Router, middleware};

use super::openapi;
use super::registry::TargetRegistry;
use super::server::{RESOURCES, delays, live, metrics, ready, sites, sla, targets};
use crate::http::auth::guard::{self, Guard};
use crate::http::dashboard;
use crate::http::problem::ApiError;

/// The paths of a probe.
pub(super) fn router(registry: Arc<TargetRegistry>, guard: Guard) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/sla", get(sla))
        .route("/api/v1/delays", get(delays))
        .route("/api/v1/sites", get(sites))
        .route("/api/v1/openapi.json", get(openapi::get))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .merge(dashboard::PROBE.routes())
        .fallback(async || ApiError::no_such_path(RESOURCES))
        .method_not_allowed_fallback(async || ApiError::no_such_method())
        .layer(middleware::from_fn_with_state(guard, guard::admit))
        .with_state(registry)
}
