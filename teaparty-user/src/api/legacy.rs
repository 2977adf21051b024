//! The endpoints of the earlier implementation of the same name, as its documentation shows them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::AppState;
use super::dto::Instant;
use super::json_body::{AnyType, missing};
use super::openapi_bodies::{NamesakeConfirmation, NamesakeSessionBody};
use super::sessions::{any_of_family, check};
use crate::crypto::HmacKey;
use crate::http::problem::ApiError;
use crate::reflector::handle::{SessionId, SessionSpec, SessionStatus};
use crate::reflector::keys::SessionKeys;

/// A heartbeat of `GET /heartbeats`.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamesakeHeartbeat {
    target: String,
    #[schema(value_type = Interval)]
    interval: Duration,
}

/// A duration, as serde writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the document is made of this type, and no value ever is")]
pub(crate) struct Interval {
    /// Whole seconds.
    pub secs: u64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// A session of `GET /sessions`.
#[derive(Serialize, ToSchema)]
pub(crate) struct NamesakeSession {
    id: Id,
    data: Data,
}

/// The key of a session.
#[derive(Serialize, ToSchema)]
#[schema(as = NamesakeId)]
struct Id {
    /// The reflector's side.
    src: String,
    /// The sender's side.
    dst: String,
    ssid: Ssid,
}

/// Session-Sender Identifier.
#[derive(Serialize, ToSchema)]
#[schema(as = NamesakeSsid)]
enum Ssid {
    Ssid(u16),
}

/// The data of a session.
#[derive(Serialize, ToSchema)]
#[schema(as = NamesakeData)]
struct Data {
    sequence: u32,
    last: Instant,
}

/// Lists the targets of heartbeats, as the earlier implementation does.
#[utoipa::path(
    get, path = "/heartbeats", tag = "namesake", operation_id = "namesake_heartbeats",
    responses((status = 200, description = "All targets", body = Vec<NamesakeHeartbeat>))
)]
pub(crate) async fn heartbeats(State(app): State<AppState>) -> Json<Vec<NamesakeHeartbeat>> {
    let all = app.heartbeats.list().into_iter();
    Json(all.map(|status| NamesakeHeartbeat { target: status.target.to_string(), interval: status.interval }).collect())
}

/// Lists all sessions, as the earlier implementation does.
#[utoipa::path(
    get, path = "/sessions", tag = "namesake", operation_id = "namesake_sessions",
    responses((status = 200, description = "All sessions", body = Vec<NamesakeSession>))
)]
pub(crate) async fn sessions(State(app): State<AppState>) -> Result<Json<Vec<NamesakeSession>>, ApiError> {
    let all = app.query(|reflector| reflector.sessions().iter().map(session).collect());
    all.await.map(Json)
}

fn session(status: &SessionStatus) -> NamesakeSession {
    let SessionId { source, source_port, destination, destination_port, ssid } = status.id;
    NamesakeSession {
        id: Id {
            src: std::net::SocketAddr::new(destination, destination_port).to_string(),
            dst: std::net::SocketAddr::new(source, source_port).to_string(),
            ssid: Ssid::Ssid(ssid),
        },
        data: Data {
            // A Sequence Number: they wrap.
            sequence: status.replies as u32,
            last: Instant::from_ns(status.last_received_ns),
        },
    }
}

/// Provisions a session, and confirms it with what was postedwithout the key.
///
/// It answers 500 where the session exists, as the earlier implementation is documented to do, and takes any Content-Type.
#[utoipa::path(
    post, path = "/session", tag = "namesake", operation_id = "namesake_create_session",
    request_body = NamesakeSessionBody,
    responses(
        (status = 200, description = "What was posted, except the key", body = NamesakeConfirmation),
        (status = 500, description = "It exists")
    )
)]
pub(crate) async fn create(State(app): State<AppState>, body: AnyType) -> Result<Json<Map<String, Value>>, ApiError> {
    let AnyType(mut fields) = body;
    let remedy = "give the key as a string that is not empty";
    let key = fields.text("key", remedy)?;
    let posted = fields.members().clone();
    let source = fields.address("src_ip")?.ok_or_else(|| missing("src_ip"))?;
    let destination = fields.address("dst_ip")?.ok_or_else(|| missing("dst_ip"))?;
    let id = SessionId {
        source,
        source_port: fields.number("src_port")?.ok_or_else(|| missing("src_port"))?,
        destination: any_of_family(Some(destination), source),
        destination_port: fields.number("dst_port")?.ok_or_else(|| missing("dst_port"))?,
        ssid: fields.number("ssid")?.ok_or_else(|| missing("ssid"))?,
    };
    let key = key.map(|key| HmacKey::new(key.as_bytes())).transpose();
    let key = key.map_err(|error| ApiError::field("key", error, remedy))?;
    let bit_error_pattern = fields.pattern("ber")?;
    fields.finish()?;
    let keys = SessionKeys { base: key.into_iter().collect(), tlv: Vec::new() };
    let spec = SessionSpec { keys, bit_error_pattern, ..SessionSpec::new(id) };
    check(&app, &spec, ["src_ip", "dst_ip", "dst_port"])?;
    match app.query(move |reflector| reflector.create(&spec)).await?.map_err(ApiError::from) {
        Ok(()) => Ok(Json(posted)),
        // So its documentation says.
        Err(error) if error.status() == StatusCode::CONFLICT => {
            Err(error.with_status(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Err(error) => Err(error),
    }
}
