//! `/api/v1/sessions`: get, create, replace, reset, delete. [`super::list`] has the list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use teaparty_common::wire::DEFAULT_PORT;

use super::AppState;
use super::dto::{PathId, SessionView};
use super::json_body::{JsonFields, missing};
use super::keys::{key, replacement};
use super::openapi_bodies::{SessionBody, SessionChangeBody};
use super::parameters::{IfMatch, IfNoneMatch, SessionPath};
use super::preconditions::{Condition, Tag};
use crate::http::problem::ApiError;
use crate::reflector::config::TimestampFormatSetting;
use crate::reflector::config::session_id::SessionIdPart;
use crate::reflector::handle::{SessionChange, SessionError, SessionId, SessionSpec};
use crate::reflector::keys::SessionKeys;
use crate::reflector::provisioned::Provisioned;

/// Shows one session, in the same time however many there are.
#[utoipa::path(
    get, path = "/sessions/{id}", tag = "sessions", operation_id = "get_session",
    params(SessionPath),
    responses(
        (
            status = 200,
            description = "The session",
            body = SessionView,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        )
    )
)]
pub(crate) async fn get(State(app): State<AppState>, PathId(id): PathId) -> Result<Response, ApiError> {
    show(&app, id).await
}

/// A session and its entity tag.
async fn show(app: &AppState, id: SessionId) -> Result<Response, ApiError> {
    let (group, provisioned) =
        app.query(move |reflector| (reflector.session(id), reflector.provisioned(id).ok())).await?;
    let view = SessionView::new(&group?, provisioned.as_ref());
    let view = view.ok_or(SessionError::Unknown)?;
    Ok((Tag::of_session(provisioned.as_ref()).header(), Json(view)).into_response())
}

/// Provisions a session.
#[utoipa::path(
    post, path = "/sessions", tag = "sessions", operation_id = "create_session",
    request_body = SessionBody,
    responses(
        (
            status = 201,
            description = "The session, at the path in Location",
            body = SessionView,
            headers(("ETag" = String), ("Location" = String))
        ),
        (status = 409, description = "It exists, or there is no place for it")
    )
)]
pub(crate) async fn create(State(app): State<AppState>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let spec = SessionSpec {
        keys: SessionKeys { base: key(&mut fields, "key")?, tlv: key(&mut fields, "tlv_key")? },
        ..configuration(SessionSpec::new(read_id(&mut fields)?), &mut fields)?
    };
    fields.finish()?;
    check(&app, &spec, ["source", "destination", "destination_port"])?;
    let id = spec.id;
    app.query(move |reflector| reflector.create(&spec)).await??;
    created(&app, show(&app, id).await?, id)
}

/// The answer for a session that is new.
fn created(app: &AppState, shown: Response, id: SessionId) -> Result<Response, ApiError> {
    let location = format!("{}/sessions/{}", app.root, PathId(id));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], shown).into_response())
}

/// Makes or replaces what is configured of a session.
///
/// Keys that are not mentioned stay. What it counts goes on, unless it becomes authenticated or open.
#[utoipa::path(
    put, path = "/sessions/{id}", tag = "sessions", operation_id = "put_session",
    params(SessionPath, IfMatch, IfNoneMatch),
    request_body = SessionChangeBody,
    responses(
        (
            status = 200,
            description = "The session, which was there",
            body = SessionView,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        ),
        (
            status = 201,
            description = "The session, which is new",
            body = SessionView,
            headers(("ETag" = String), ("Location" = String))
        ),
        (status = 409, description = "There is no place for it")
    )
)]
pub(crate) async fn put(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let condition = Condition::read(&headers)?;
    same_id(&mut fields, id)?;
    let (base, tlv) = (replacement(&mut fields, "key")?, replacement(&mut fields, "tlv_key")?);
    let spec = configuration(SessionSpec::new(id), &mut fields)?;
    fields.finish()?;
    check(&app, &spec, ["source", "destination", "destination_port"])?;
    let is_new = app
        .query(move |reflector| {
            let is_new = reflector.provisioned(id).is_err();
            let what = if is_new { SessionChange::Created } else { SessionChange::Replaced };
            let changed = reflector.change(id, what, |present| {
                let tag = present.map(|present| Tag::of_session(Some(present)));
                if !condition.holds(tag.as_ref()) {
                    return Err(SessionError::Outdated);
                }
                let keys = present.map(|present| (*present.keys).clone()).unwrap_or_default();
                Ok(Some(spec.provisioned().with_keys(keys.changed(base, tlv))))
            });
            changed.map(|()| is_new)
        })
        .await??;
    let shown = show(&app, id).await?;
    if is_new { created(&app, shown, id) } else { Ok(shown) }
}

/// Takes back a configured session, or forgets one that packets made.
#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "sessions", operation_id = "delete_session",
    params(SessionPath, IfMatch),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let may = permission(&headers)?;
    app.query(move |reflector| reflector.delete_if(id, may)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a session start over: its counters and its next Sequence Number are 0, its history is empty.
#[utoipa::path(
    post, path = "/sessions/{id}/reset", tag = "sessions", operation_id = "reset_session",
    params(SessionPath, IfMatch),
    responses(
        (
            status = 200,
            description = "The session",
            body = SessionView,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        ),
        (status = 409, description = "It stands for many")
    )
)]
pub(crate) async fn reset(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let may = permission(&headers)?;
    app.query(move |reflector| reflector.reset(id, may)).await??;
    // One that packets made may be over by now; it was reset all the same.
    show(&app, id).await
}

/// Checks the request's condition against a session.
fn permission(
    headers: &HeaderMap,
) -> Result<impl FnOnce(Option<&Provisioned>) -> Result<(), SessionError> + use<>, ApiError> {
    let condition = Condition::read(headers)?;
    Ok(move |present: Option<&Provisioned>| match condition.holds(Some(&Tag::of_session(present))) {
        true => Ok(()),
        false => Err(SessionError::Outdated),
    })
}

/// The session that the path names.
impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let is_one_family = |Self(id): &Self| id.source.is_ipv4() == id.destination.is_ipv4();
        let id = text.ok().and_then(|Path(text)| text.parse::<Self>().ok()).filter(is_one_family);
        id.ok_or_else(|| {
            ApiError::unknown(
                "this is the id of no session",
                "an id is SOURCE,PORT,DESTINATION,PORT,SSID, such as 192.0.2.1,0,0.0.0.0,862,61183",
            )
        })
    }
}

/// Reads the key of a new session.
fn read_id(fields: &mut JsonFields) -> Result<SessionId, ApiError> {
    let source = fields.address("source")?.ok_or_else(|| missing("source"))?;
    Ok(SessionId {
        source,
        source_port: fields.number("source_port")?.unwrap_or(0),
        destination: any_of_family(fields.address("destination")?, source),
        destination_port: fields.number("destination_port")?.unwrap_or(DEFAULT_PORT),
        ssid: fields.number("ssid")?.unwrap_or(0),
    })
}

/// Refuses members that name another session than the path does; they need not be there.
fn same_id(fields: &mut JsonFields, id: SessionId) -> Result<(), ApiError> {
    let remedy = "leave it out, or give what the path says";
    for (name, own) in [("source", id.source), ("destination", id.destination)] {
        if fields.address(name)?.is_some_and(|given| given != own) {
            return Err(ApiError::field(name, "is not the one of the path", remedy));
        }
    }
    for (name, own) in [("source_port", id.source_port), ("destination_port", id.destination_port), ("ssid", id.ssid)] {
        if fields.number(name)?.is_some_and(|given| given != own) {
            return Err(ApiError::field(name, "is not the one of the path", remedy));
        }
    }
    Ok(())
}

/// Reads the configuration of a session, without its keys.
fn configuration(spec: SessionSpec, fields: &mut JsonFields) -> Result<SessionSpec, ApiError> {
    let format = match fields.text("timestamp_format", "give \"ntp\" or \"ptp\"")?.as_ref().map(|text| text.as_str()) {
        None => None,
        Some("ntp") => Some(TimestampFormatSetting::Ntp),
        Some("ptp") => Some(TimestampFormatSetting::Ptp),
        Some(_) => return Err(ApiError::field("timestamp_format", "is no format", "give \"ntp\" or \"ptp\"")),
    };
    Ok(SessionSpec {
        no_tlv: fields.flag("no_tlv")?,
        is_loop_exempt: fields.flag("loop_exempt")?,
        format,
        bit_error_pattern: fields.pattern("bit_error_pattern")?,
        ..spec
    })
}

/// The destination; the wildcard, which is also what a missing one means, in the family of the source.
pub(crate) fn any_of_family(destination: Option<IpAddr>, source: IpAddr) -> IpAddr {
    match destination {
        Some(destination) if !destination.is_unspecified() => destination,
        _ if source.is_ipv4() => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Refuses a session that no packet could ever be of. `names` are what the members are called here.
pub(crate) fn check(app: &AppState, spec: &SessionSpec, names: [&str; 3]) -> Result<(), ApiError> {
    let ports: Vec<u16> = app.reflector.interfaces().into_iter().flat_map(|interface| interface.ports).collect();
    spec.id.check(&ports).map_err(|misfit| {
        let [source, destination, port] = names;
        let name = match misfit.part {
            SessionIdPart::Source => source,
            SessionIdPart::Destination => destination,
            SessionIdPart::DestinationPort => port,
        };
        ApiError::field(name, misfit.what, misfit.remedy)
    })
}
