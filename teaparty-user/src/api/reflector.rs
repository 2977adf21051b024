//! `/api/v1/reflector`, `/api/v1/heartbeats`, and the probes.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::dto::Instant;
use super::health::ReflectorHealth;
use super::json_body::{JsonFields, missing};
use super::openapi_bodies::HeartbeatBody;
use super::parameters::{IfMatch, IfNoneMatch};
use super::preconditions::{Condition, Tag};
use super::{AppState, ROOT};
use crate::heartbeat::{self, Heartbeat, HeartbeatStatus};
use crate::http::problem::ApiError;
use crate::reflector::handle::{Count, InterfaceStatus};
use crate::sys::clock::{ClockSource as _, ClockState, SystemClock};

/// The reflector's state.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ReflectorView {
    /// Of the program.
    version: &'static str,
    /// Its name, or what it answers on.
    name: String,
    /// `ready`, or `degraded` while an interface is away.
    state: &'static str,
    /// The interfaces, in the order of the configuration.
    interfaces: Vec<InterfaceStatus>,
    /// The system's statement about its clock.
    clock: ClockState,
    /// Packets by the way they ended, except ways that none took.
    counters: Vec<Count>,
    /// The time of these counters, UTC.
    at: Instant,
    /// The health in one line, and what is not as it should be.
    health: ReflectorHealth,
}

/// Shows the state of the reflector: interfaces, XDP programs, clock, and counters with what they mean.
#[utoipa::path(
    get, path = "/reflector", tag = "reflector", operation_id = "get_reflector",
    responses((status = 200, description = "The state", body = ReflectorView))
)]
pub(crate) async fn get(State(app): State<AppState>, request: Request) -> Result<Json<ReflectorView>, ApiError> {
    // Who sent what may concern others than those that may read.
    let may_write = app.guard.may_write(&request);
    let view = app.query(move |reflector| {
        let (interfaces, clock) = (reflector.interfaces(), SystemClock.state());
        let at = Instant::from_ns(SystemClock.realtime_ns());
        let counters = if may_write { reflector.counters_with_sources() } else { reflector.counters() };
        ReflectorView {
            version: env!("CARGO_PKG_VERSION"),
            name: reflector.name(),
            state: state(&interfaces),
            health: ReflectorHealth::new(&interfaces, &clock, &counters),
            interfaces,
            clock,
            counters,
            at,
        }
    });
    view.await.map(Json)
}

/// `ready`, or `degraded` while an interface is away.
fn state(interfaces: &[InterfaceStatus]) -> &'static str {
    if interfaces.iter().all(|interface| interface.is_present) { "ready" } else { "degraded" }
}

/// One of the reflectors of the process.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Listed)]
pub(crate) struct ReflectorEntry {
    /// Its name, or what it answers on.
    name: String,
    /// Prefix of the paths that concern this one.
    path: String,
    /// `ready`, or `degraded` while an interface is away.
    state: &'static str,
    /// Its interfaces.
    interfaces: Vec<InterfaceStatus>,
}

/// Lists all reflectors of the process, in the order of the configuration.
///
/// The resources of each reflector are under its `path`, and those of the first one under `/api/v1` too.
#[utoipa::path(
    get, path = "/reflectors", tag = "reflector", operation_id = "list_reflectors",
    responses((status = 200, description = "All of them", body = Vec<ReflectorEntry>))
)]
pub(crate) async fn all(State(app): State<AppState>) -> Result<Json<Vec<ReflectorEntry>>, ApiError> {
    let reflectors = app.reflectors.clone();
    let list = app.query(move |_| {
        let listed = reflectors.iter().map(|reflector| {
            let (name, interfaces) = (reflector.name(), reflector.interfaces());
            ReflectorEntry { path: format!("{ROOT}/reflectors/{name}"), name, state: state(&interfaces), interfaces }
        });
        listed.collect()
    });
    list.await.map(Json)
}

/// Says that the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "probes", operation_id = "livez",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Says whether packets are answered on every interface.
#[utoipa::path(
    get, path = "/readyz", tag = "probes", operation_id = "readyz",
    responses(
        (status = 200, description = "They are", body = String, content_type = "text/plain"),
        (
            status = 503,
            description = "Names the interfaces that are away",
            body = String,
            content_type = "text/plain"
        )
    )
)]
pub(crate) async fn ready(State(app): State<AppState>) -> Result<(StatusCode, String), ApiError> {
    let reflectors = app.reflectors.clone();
    let look = app.query(move |_| reflectors.iter().flat_map(|reflector| reflector.interfaces()).collect::<Vec<_>>());
    let interfaces = look.await?;
    let away: Vec<String> = interfaces.into_iter().filter(|i| !i.is_present).map(|i| i.name).collect();
    Ok(if away.is_empty() {
        (StatusCode::OK, "ok\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("away: {}\n", away.join(", ")))
    })
}

/// A heartbeat's target and how it went.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct HeartbeatView {
    target: String,
    interval_seconds: u64,
    sent: u64,
    failed: u64,
    last_success: Option<Instant>,
    last_error: Option<String>,
}

impl From<HeartbeatStatus> for HeartbeatView {
    fn from(status: HeartbeatStatus) -> Self {
        Self {
            target: status.target.to_string(),
            interval_seconds: status.interval.as_secs(),
            sent: status.sent,
            failed: status.failed,
            last_success: status.last_success_ns.map(Instant::from_ns),
            last_error: status.last_error,
        }
    }
}

/// Lists the targets of heartbeats, and how it went.
#[utoipa::path(
    get, path = "/heartbeats", tag = "heartbeats", operation_id = "list_heartbeats",
    params(IfNoneMatch),
    responses(
        (
            status = 200,
            description = "All targets",
            body = Vec<HeartbeatView>,
            headers(("ETag" = String, description = "Of the targets and intervals, not of how it went"))
        ),
        (status = 304, description = "They are as If-None-Match says")
    )
)]
pub(crate) async fn heartbeats(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let condition = Condition::read(&headers)?;
    let list = app.heartbeats.list();
    let configured = list.iter().map(|status| Heartbeat { target: status.target, interval: status.interval });
    let tag = Tag::of_heartbeats(configured);
    condition.show(&tag, || list.into_iter().map(HeartbeatView::from).collect::<Vec<_>>())
}

/// Sends heartbeats to one more target.
#[utoipa::path(
    post, path = "/heartbeats", tag = "heartbeats", operation_id = "add_heartbeat",
    params(IfMatch),
    request_body = HeartbeatBody,
    responses(
        (
            status = 201,
            description = "The target, at the path in Location",
            body = HeartbeatView,
            headers(("Location" = String))
        ),
        (status = 409, description = "It is one already, or there are as many as there may be")
    )
)]
pub(crate) async fn add_heartbeat(
    State(app): State<AppState>,
    headers: HeaderMap,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let condition = Condition::read(&headers)?;
    let remedy = "give an address with or without a port, such as \"192.0.2.1:862\" or \"[2001:db8::1]:862\"";
    let target = fields.text("target", remedy)?.ok_or_else(|| missing("target"))?;
    let target = Some(target).filter(|text| !text.is_empty()).and_then(|text| heartbeat::parse_target(&text));
    let target = target.ok_or_else(|| ApiError::field("target", "is no IP address with or without a port", remedy))?;
    let seconds = fields.number("interval_seconds")?.ok_or_else(|| missing("interval_seconds"))?;
    fields.finish()?;
    let interval = heartbeat::interval(seconds.into()).ok_or_else(|| {
        ApiError::field("interval_seconds", "is out of range", "give a whole number of seconds, 1 at least")
    })?;
    app.heartbeats.add_if(Heartbeat { target, interval }, |now| condition.holds_for(now))?;
    let view = app.heartbeats.list().into_iter().find(|status| status.target == target).map(HeartbeatView::from);
    let location = format!("/api/v1/heartbeats/{target}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// Sends no more heartbeats to a target.
#[utoipa::path(
    delete, path = "/heartbeats/{target}", tag = "heartbeats", operation_id = "remove_heartbeat",
    params(("target" = String, Path, description = "Address and port", example = "192.0.2.1:8620"), IfMatch),
    responses((status = 204, description = "It gets no more"))
)]
pub(crate) async fn remove_heartbeat(
    State(app): State<AppState>,
    Path(target): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let condition = Condition::read(&headers)?;
    let unknown = || ApiError::unknown("no heartbeats go to this target", "GET /api/v1/heartbeats lists the targets");
    let target = heartbeat::parse_target(&target).ok_or_else(unknown)?;
    match app.heartbeats.remove_if(target, |now| condition.holds_for(now))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}
