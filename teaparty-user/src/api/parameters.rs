//! Parameters and bodies that several operations take, as the OpenAPI document describes them.

use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

/// The session that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes a segment of the path that `PathId` reads")]
pub(crate) struct SessionPath {
    /// The session: SOURCE,PORT,DESTINATION,PORT,SSID
    #[param(example = "192.0.2.1,0,0.0.0.0,862,61183")]
    id: String,
}

/// The condition that it still is what the client has seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header field that `condition` reads")]
pub(crate) struct IfMatch {
    /// Entity tags as they came in ETag: one of them must be the current one, or nothing is changed (412).
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// The condition that it is not there yet, or not what the client has seen.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header field that `condition` reads")]
pub(crate) struct IfNoneMatch {
    /// Entity tags of which none may be the current one; `*` where nothing may be there.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// The settings of [`TakesEffect::Policy`](crate::reflector::config::setting_groups::TakesEffect::Policy). Its schema is made of theirs.
pub(crate) struct PolicyView;

/// The settings of [`TakesEffect::Limit`](crate::reflector::config::setting_groups::TakesEffect::Limit). Its schema is made of theirs.
pub(crate) struct LimitsView;

impl PartialSchema for PolicyView {
    fn schema() -> RefOr<Schema> {
        RefOr::T(Schema::default())
    }
}

impl ToSchema for PolicyView {}

impl PartialSchema for LimitsView {
    fn schema() -> RefOr<Schema> {
        RefOr::T(Schema::default())
    }
}

impl ToSchema for LimitsView {}
