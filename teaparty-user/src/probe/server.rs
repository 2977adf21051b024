//! The probe's HTTP: metrics, targets and service level, all read only, behind the same token and TLS as the reflector's.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};

use super::board::{self, Board};
use super::exposition::{self, Form};
use crate::api::error::ApiError;
use crate::api::guard::{self, Guard};
use crate::clock::{Clock, SystemClock};

/// The paths of a probe.
pub fn router(board: Arc<Board>, guard: Guard) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/v1/targets", get(async |State(board): State<Arc<Board>>| Json(board::targets(&board))))
        .route("/api/v1/sla", get(sla))
        .route("/livez", get("ok\n"))
        .route("/readyz", get("ok\n"))
        .fallback(async || ApiError::no_such_path())
        .method_not_allowed_fallback(async || ApiError::no_such_method())
        .layer(middleware::from_fn_with_state(guard, guard::admit))
        .with_state(board)
}

async fn sla(State(board): State<Arc<Board>>) -> Response {
    let work = move || board::sla(&board, SystemClock.realtime_ns());
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Json(value).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

async fn metrics(State(board): State<Arc<Board>>, headers: HeaderMap) -> Response {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let form = Form::accepted(&accept.join(","));
    match tokio::task::spawn_blocking(move || exposition::encode(&board, form)).await {
        Ok(Ok(octets)) => ([(header::CONTENT_TYPE, form.content_type())], octets).into_response(),
        Ok(Err(error)) => ApiError::internal(error).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}
