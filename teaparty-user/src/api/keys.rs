//! `/api/v1/sessions/{id}/keys`: keys come in, change over and go; what comes out is how many there are.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::dto::PathId;
use super::json_body::JsonFields;
use super::openapi_bodies::{KeysBody, NewerKeysBody};
use super::parameters::{IfMatch, SessionPath};
use super::preconditions::{Condition, Tag};
use crate::crypto::HmacKey;
use crate::http::problem::ApiError;
use crate::reflector::handle::{SessionChange, SessionError, SessionId};
use crate::reflector::keys::KeyChange;
use crate::reflector::provisioned::Provisioned;

/// Characters of a key at most.
const MAX_KEY: usize = 1024;

/// The number of keys of a session: two of a kind during a change-over.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct KeyCounts {
    /// Keys of base packets. With none the session is not authenticated, unless the reflector has a default key.
    key: usize,
    /// Keys of HMAC TLVs. With none those of base packets, or the reflector's default, hold for them too.
    tlv_key: usize,
}

impl From<&Provisioned> for KeyCounts {
    fn from(session: &Provisioned) -> Self {
        Self { key: session.keys.base.len(), tlv_key: session.keys.tlv.len() }
    }
}

/// Says how many keys a configured session has. The keys themselves never come out.
#[utoipa::path(
    get, path = "/sessions/{id}/keys", tag = "keys", operation_id = "count_keys",
    params(SessionPath),
    responses(
        (
            status = 200,
            description = "How many there are",
            body = KeyCounts,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        )
    )
)]
pub(crate) async fn get(State(app): State<AppState>, PathId(id): PathId) -> Result<Response, ApiError> {
    let session = app.reflector.provisioned(id)?;
    Ok((Tag::of_session(Some(&session)).header(), Json(KeyCounts::from(&session))).into_response())
}

/// Replaces the keys of a configured session, at once.
#[utoipa::path(
    put, path = "/sessions/{id}/keys", tag = "keys", operation_id = "put_keys",
    params(SessionPath, IfMatch),
    request_body = KeysBody,
    responses(
        (
            status = 200,
            description = "How many there are now",
            body = KeyCounts,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        )
    )
)]
pub(crate) async fn put(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let base = replacement(&mut fields, "key")?;
    let tlv = replacement(&mut fields, "tlv_key")?;
    fields.finish()?;
    change(&app, id, &headers, base, tlv).await
}

/// Begins a change-over: these keys are the newer ones, and those so far are accepted too.
///
/// Asked for once more with the same keys, it changes nothing.
#[utoipa::path(
    post, path = "/sessions/{id}/keys/rotate", tag = "keys", operation_id = "rotate_keys",
    params(SessionPath, IfMatch),
    request_body = NewerKeysBody,
    responses(
        (
            status = 200,
            description = "How many there are now",
            body = KeyCounts,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        )
    )
)]
pub(crate) async fn rotate(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
    mut fields: JsonFields,
) -> Result<Response, ApiError> {
    let mut newer = |name| {
        if fields.take_null(name) {
            return Err(ApiError::field(name, "is null", "give the newer key, or leave it out"));
        }
        let key = key(&mut fields, name)?.pop();
        Ok::<_, ApiError>(key.map_or(KeyChange::Keep, KeyChange::Rotate))
    };
    let (base, tlv) = (newer("key")?, newer("tlv_key")?);
    fields.finish()?;
    if matches!((&base, &tlv), (KeyChange::Keep, KeyChange::Keep)) {
        return Err(ApiError::field("key", "is missing", "give the newer `key`, or `tlv_key`, or both"));
    }
    change(&app, id, &headers, base, tlv).await
}

/// Ends a change-over: only the newer keys are accepted.
#[utoipa::path(
    post, path = "/sessions/{id}/keys/retire", tag = "keys", operation_id = "retire_keys",
    params(SessionPath, IfMatch),
    responses(
        (
            status = 200,
            description = "How many there are now",
            body = KeyCounts,
            headers(("ETag" = String, description = "Of what is configured, not of what is counted"))
        )
    )
)]
pub(crate) async fn retire(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    change(&app, id, &headers, KeyChange::Retire, KeyChange::Retire).await
}

/// Removes all keys of a configured session.
#[utoipa::path(
    delete, path = "/sessions/{id}/keys", tag = "keys", operation_id = "remove_keys",
    params(SessionPath, IfMatch),
    responses((status = 204, description = "It has none of its own any more"))
)]
pub(crate) async fn remove(
    State(app): State<AppState>,
    PathId(id): PathId,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    change(&app, id, &headers, KeyChange::Remove, KeyChange::Remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the change of one kind of keys by a member: missing they stay, null they go, else it replaces them.
pub(crate) fn replacement(fields: &mut JsonFields, name: &str) -> Result<KeyChange, ApiError> {
    if fields.take_null(name) {
        return Ok(KeyChange::Remove);
    }
    let key = key(fields, name)?.pop();
    Ok(key.map_or(KeyChange::Keep, KeyChange::Replace))
}

/// A key as a key file would have it: with `hex:` or `base64:` in front, or the octets themselves.
pub(crate) fn key(fields: &mut JsonFields, name: &str) -> Result<Vec<HmacKey>, ApiError> {
    let remedy = "give a string: the key itself, or hex:DIGITS or base64:TEXT";
    let Some(text) = fields.text(name, remedy)? else { return Ok(Vec::new()) };
    if text.chars().count() > MAX_KEY {
        return Err(ApiError::field(name, "is too long", format!("give {MAX_KEY} characters at most")));
    }
    let key = HmacKey::from_content(text.as_bytes()).map_err(|error| ApiError::field(name, error, remedy))?;
    Ok(vec![key])
}

async fn change(
    app: &AppState,
    id: SessionId,
    headers: &HeaderMap,
    base: KeyChange,
    tlv: KeyChange,
) -> Result<Response, ApiError> {
    let condition = Condition::read(headers)?;
    app.query(move |reflector| {
        reflector.change(id, SessionChange::Keys, |present| {
            let present = present.ok_or(SessionError::Unknown)?;
            if !condition.holds(Some(&Tag::of_session(Some(present)))) {
                return Err(SessionError::Outdated);
            }
            Ok(Some(present.with_keys(present.keys.changed(base, tlv))))
        })
    })
    .await??;
    let session = app.reflector.provisioned(id)?;
    Ok((Tag::of_session(Some(&session)).header(), Json(KeyCounts::from(&session))).into_response())
}
