//! `/api/v1/sessions`: list, get, create, delete.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use teaparty_common::wire::DEFAULT_PORT;

use super::AppState;
use super::body::{Fields, missing};
use super::error::ApiError;
use super::types::{PathId, SessionView, join, order};
use crate::clock::{Clock as _, SystemClock};
use crate::crypto::Key;
use crate::reflector::config::Format;
use crate::reflector::handle::{SessionId, SessionSpec};
use crate::reflector::keys::SessionKeys;

/// Sessions in one answer where the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Sessions in one answer at most.
const MAX_LIMIT: usize = 1000;

/// Parameters of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    limit: Option<usize>,
    after: Option<String>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    ssid: Option<u16>,
    interface: Option<String>,
    provisioned: Option<bool>,
    authenticated: Option<bool>,
}

/// One page of the list.
#[derive(Debug, Serialize)]
struct Page {
    sessions: Vec<SessionView>,
    /// Sessions that pass the filters, on all pages.
    total: usize,
    /// What to give as `after` to get the next page; null on the last.
    next: Option<String>,
}

/// `GET /api/v1/sessions`.
pub async fn list(
    State(app): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| {
        ApiError::malformed(
            rejection.body_text(),
            "parameters are limit, after, source, destination, ssid, interface, provisioned and authenticated",
        )
    })?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::field("limit", "is out of range", format!("give a number from 1 to {MAX_LIMIT}")));
    }
    let after = query.after.as_deref().map(|after| after.parse::<PathId>().map(|id| order(&id.0)));
    let after = after.transpose().map_err(|()| {
        ApiError::field("after", "is the id of no session", "give `next` of the page before, as it is")
    })?;
    let page = app
        .look(move |reflector| {
            let mut sessions = join(reflector.sessions(), SystemClock.state().tai_offset_ns());
            sessions.retain(|session| query.matches(session));
            let total = sessions.len();
            if let Some(after) = after {
                let start = sessions.partition_point(|session| place(session) <= after);
                sessions.drain(..start);
            }
            let has_more = sessions.len() > limit;
            sessions.truncate(limit);
            let next = sessions.last().filter(|_| has_more).map(|last| last.id.clone());
            Page { sessions, total, next }
        })
        .await?;
    Ok(Json(page).into_response())
}

impl ListQuery {
    fn matches(&self, session: &SessionView) -> bool {
        self.source.is_none_or(|source| source == session.source)
            && self.destination.is_none_or(|destination| destination == session.destination)
            && self.ssid.is_none_or(|ssid| ssid == session.ssid)
            && self.provisioned.is_none_or(|provisioned| provisioned == session.provisioned)
            && self.authenticated.is_none_or(|authenticated| authenticated == session.authenticated)
            && self.interface.as_ref().is_none_or(|name| session.seen.iter().any(|seen| seen.interface == *name))
    }
}

fn place(session: &SessionView) -> super::types::Order {
    (session.source, session.source_port, session.destination, session.destination_port, session.ssid)
}

/// `GET /api/v1/sessions/{id}`.
pub async fn get(State(app): State<AppState>, Path(id): Path<String>) -> Result<Json<SessionView>, ApiError> {
    let id = path_id(&id)?;
    find(&app, id).await.map(Json)
}

async fn find(app: &AppState, id: SessionId) -> Result<SessionView, ApiError> {
    let found = app
        .look(move |reflector| {
            reflector.session(id).map(|found| join(found, SystemClock.state().tai_offset_ns()).pop())
        })
        .await??;
    found.ok_or_else(|| crate::reflector::handle::SessionError::Unknown.into())
}

/// `POST /api/v1/sessions`.
pub async fn create(State(app): State<AppState>, fields: Fields) -> Result<Response, ApiError> {
    let spec = spec(fields)?;
    check(&app, &spec, ["source", "destination", "destination_port"])?;
    let id = spec.id;
    app.look(move |reflector| reflector.create(&spec)).await??;
    let location = format!("/api/v1/sessions/{}", PathId(id));
    let view = find(&app, id).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
}

/// `DELETE /api/v1/sessions/{id}`.
pub async fn delete(State(app): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = path_id(&id)?;
    app.look(move |reflector| reflector.delete(id)).await??;
    Ok(StatusCode::NO_CONTENT)
}

fn path_id(text: &str) -> Result<SessionId, ApiError> {
    text.parse::<PathId>().map(|id| id.0).map_err(|()| {
        ApiError::unknown(
            "this is the id of no session",
            "an id is SOURCE,PORT,DESTINATION,PORT,SSID, such as 192.0.2.1,0,0.0.0.0,862,61183",
        )
    })
}

fn spec(mut fields: Fields) -> Result<SessionSpec, ApiError> {
    let source = fields.address("source")?.ok_or_else(|| missing("source"))?;
    let format = match fields.text("timestamp_format", "give \"ntp\" or \"ptp\"")?.as_ref().map(|text| text.as_str()) {
        None => None,
        Some("ntp") => Some(Format::Ntp),
        Some("ptp") => Some(Format::Ptp),
        Some(_) => return Err(ApiError::field("timestamp_format", "is no format", "give \"ntp\" or \"ptp\"")),
    };
    let spec = SessionSpec {
        id: SessionId {
            source,
            source_port: fields.number("source_port")?.unwrap_or(0),
            destination: any_of_family(fields.address("destination")?, source),
            destination_port: fields.number("destination_port")?.unwrap_or(DEFAULT_PORT),
            ssid: fields.number("ssid")?.unwrap_or(0),
        },
        keys: SessionKeys { base: key(&mut fields, "key")?, tlv: key(&mut fields, "tlv_key")? },
        no_tlv: fields.flag("no_tlv")?,
        is_loop_exempt: fields.flag("loop_exempt")?,
        format,
        bit_error_pattern: fields.pattern("bit_error_pattern")?,
    };
    fields.finish()?;
    Ok(spec)
}

/// A key as a key file would have it: with `hex:` or `base64:` in front, or the octets themselves.
fn key(fields: &mut Fields, name: &str) -> Result<Vec<Key>, ApiError> {
    let remedy = "give a string: the key itself, or hex:DIGITS or base64:TEXT";
    let Some(text) = fields.text(name, remedy)? else { return Ok(Vec::new()) };
    let key = Key::from_content(text.as_bytes()).map_err(|error| ApiError::field(name, error, remedy))?;
    Ok(vec![key])
}

/// The destination; the wildcard, which is also what a missing one means, in the family of the source.
pub fn any_of_family(destination: Option<IpAddr>, source: IpAddr) -> IpAddr {
    match destination {
        Some(destination) if !destination.is_unspecified() => destination,
        _ if source.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Refuses a session that no packet could ever be of. `names` are what the members are called here.
pub fn check(app: &AppState, spec: &SessionSpec, names: [&str; 3]) -> Result<(), ApiError> {
    let [source, destination, port] = names;
    let id = &spec.id;
    if id.source.is_unspecified() || id.source.is_multicast() {
        return Err(ApiError::field(source, "is the address of no sender", "give the sender's unicast address"));
    }
    if id.destination.is_multicast() {
        return Err(ApiError::field(destination, "is a multicast address", "give an address of the reflector's"));
    }
    if id.source.is_ipv4() != id.destination.is_ipv4() {
        return Err(ApiError::field(destination, "is not of the sender's address family", "give both of one family"));
    }
    let ports: Vec<u16> = app.reflector.interfaces().into_iter().flat_map(|interface| interface.ports).collect();
    if !ports.contains(&id.destination_port) {
        let first = ports.first().copied().unwrap_or(DEFAULT_PORT);
        return Err(ApiError::field(port, "is not listened on", format!("give a listening port, such as {first}")));
    }
    Ok(())
}
