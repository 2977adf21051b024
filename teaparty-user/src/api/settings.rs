//! `/api/v1/policy` and `/api/v1/limits`: the settings that change while the reflector runs, all of a request or nothing.
//!
//! Names, defaults and checks are those of the command line and the file ([`ReflectorSettings`]); only the hyphens are underscores
//! here, as everywhere in the API.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::AppState;
use super::json_body::{JsonFields, whole};
use super::parameters::{IfMatch, IfNoneMatch, LimitsView, PolicyView};
use super::preconditions::{Condition, Tag};
use crate::http::problem::ApiError;
use crate::reflector::config::setting_groups::{self, TakesEffect};
use crate::reflector::config::{ReflectorConfig, ReflectorSettings};
use crate::reflector::handle::ReconfigureError;

/// Attempts of a change while others are faster.
const ATTEMPTS: usize = 16;

/// The settings whose changes take effect at this time.
#[derive(Clone, Copy)]
pub(super) struct SettingsResource(TakesEffect);

/// The rules of reflection.
pub(super) const POLICY: SettingsResource = SettingsResource(TakesEffect::Policy);
/// The limits: clients that are answered, and their rates.
pub(super) const LIMITS: SettingsResource = SettingsResource(TakesEffect::Limit);

/// The treatment of members that a request leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// As they are.
    Kept,
    /// As they are where nobody sets them.
    Default,
}

/// Shows the rules of reflection.
#[utoipa::path(
    get, path = "/policy", tag = "settings", operation_id = "get_policy",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "All of it", body = PolicyView, headers(("ETag" = String))),
        (status = 304, description = "It is as If-None-Match says")
    )
)]
pub(crate) async fn policy(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    POLICY.get(&app, &headers)
}

/// Changes the rules of reflection, on all interfaces at once: a merge patch (RFC 7396).
///
/// Members that are not given stay; null is for the default.
#[utoipa::path(
    patch, path = "/policy", tag = "settings", operation_id = "patch_policy",
    params(IfMatch),
    request_body = PolicyView,
    responses(
        (status = 200, description = "All of it, as it is now", body = PolicyView, headers(("ETag" = String)))
    )
)]
pub(crate) async fn patch_policy(
    State(app): State<AppState>,
    headers: HeaderMap,
    fields: JsonFields,
) -> Result<Response, ApiError> {
    POLICY.change(&app, &headers, fields, Rest::Kept).await
}

/// Replaces the rules of reflection, on all interfaces at once.
///
/// Members that are not given get their defaults.
#[utoipa::path(
    put, path = "/policy", tag = "settings", operation_id = "put_policy",
    params(IfMatch),
    request_body = PolicyView,
    responses(
        (status = 200, description = "All of it, as it is now", body = PolicyView, headers(("ETag" = String)))
    )
)]
pub(crate) async fn put_policy(
    State(app): State<AppState>,
    headers: HeaderMap,
    fields: JsonFields,
) -> Result<Response, ApiError> {
    POLICY.change(&app, &headers, fields, Rest::Default).await
}

/// Shows who is answered, and how often.
#[utoipa::path(
    get, path = "/limits", tag = "settings", operation_id = "get_limits",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "All of it", body = LimitsView, headers(("ETag" = String))),
        (status = 304, description = "It is as If-None-Match says")
    )
)]
pub(crate) async fn limits(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    LIMITS.get(&app, &headers)
}

/// Changes who is answered, and how often, on all interfaces at once: a merge patch (RFC 7396).
///
/// Members that are not given stay; null is for the default.
#[utoipa::path(
    patch, path = "/limits", tag = "settings", operation_id = "patch_limits",
    params(IfMatch),
    request_body = LimitsView,
    responses(
        (status = 200, description = "All of it, as it is now", body = LimitsView, headers(("ETag" = String)))
    )
)]
pub(crate) async fn patch_limits(
    State(app): State<AppState>,
    headers: HeaderMap,
    fields: JsonFields,
) -> Result<Response, ApiError> {
    LIMITS.change(&app, &headers, fields, Rest::Kept).await
}

/// Replaces who is answered, and how often, on all interfaces at once.
///
/// Members that are not given get their defaults.
#[utoipa::path(
    put, path = "/limits", tag = "settings", operation_id = "put_limits",
    params(IfMatch),
    request_body = LimitsView,
    responses(
        (status = 200, description = "All of it, as it is now", body = LimitsView, headers(("ETag" = String)))
    )
)]
pub(crate) async fn put_limits(
    State(app): State<AppState>,
    headers: HeaderMap,
    fields: JsonFields,
) -> Result<Response, ApiError> {
    LIMITS.change(&app, &headers, fields, Rest::Default).await
}

impl SettingsResource {
    /// Returns the names that the settings have in [`ReflectorSettings`].
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        setting_groups::named(self.0)
    }

    /// Returns the setting of this group with this name in the API.
    fn setting(self, name: &str) -> Option<&'static str> {
        self.names().find(|setting| named(setting) == name)
    }

    fn view(self, settings: &ReflectorSettings) -> Result<(Map<String, Value>, Tag), ApiError> {
        let mut all = members(settings)?;
        let view: Map<String, Value> = self.names().filter_map(|name| Some((named(name), all.remove(name)?))).collect();
        let tag = Tag::of_text(&serde_json::to_vec(&view).map_err(ApiError::internal)?);
        Ok((view, tag))
    }

    fn get(self, app: &AppState, headers: &HeaderMap) -> Result<Response, ApiError> {
        let (view, tag) = self.view(&app.reflector.config().settings)?;
        Condition::read(headers)?.show(&tag, || view)
    }

    async fn change(
        self,
        app: &AppState,
        headers: &HeaderMap,
        fields: JsonFields,
        rest: Rest,
    ) -> Result<Response, ApiError> {
        let condition = Condition::read(headers)?;
        let wanted = fields.into_members();
        app.query(move |reflector| {
            for _ in 0..ATTEMPTS {
                let base = reflector.config();
                if !condition.holds(Some(&self.view(&base.settings)?.1)) {
                    return Err(ApiError::outdated());
                }
                let settings = self.changed(&base.settings, &wanted, rest)?;
                let config = ReflectorConfig::new(settings, base.default_keys.clone());
                let config = config.map_err(|error| ApiError::setting(named(error.field), &error.problem))?;
                match reflector.reconfigure(&base, config) {
                    Ok(_) => {
                        let (view, tag) = self.view(&reflector.config().settings)?;
                        return Ok((tag.header(), Json(view)).into_response());
                    }
                    Err(ReconfigureError::Outdated) => {}
                    Err(error @ ReconfigureError::GivenUp(setting)) => {
                        return Err(ApiError::field(
                            named(setting),
                            "takes a capability that this process gave up at its start, when nothing needed it",
                            error.to_string(),
                        ));
                    }
                    Err(error @ ReconfigureError::Restart(_)) => return Err(ApiError::internal(error)),
                    Err(ReconfigureError::Kernel(cause)) => return Err(ApiError::kernel(cause)),
                }
            }
            Err(ApiError::busy())
        })
        .await?
    }

    /// The settings after a change. Members are tried one by one, so that an error can name its own.
    fn changed(
        self,
        settings: &ReflectorSettings,
        wanted: &Map<String, Value>,
        rest: Rest,
    ) -> Result<ReflectorSettings, ApiError> {
        let mut all = members(settings)?;
        let mut defaults = members(&ReflectorSettings::default())?;
        if rest == Rest::Default {
            for name in self.names() {
                all.insert(name.into(), defaults.get(name).cloned().unwrap_or_default());
            }
        }
        let mut changed = read(&all).map_err(ApiError::internal)?;
        for (name, value) in wanted {
            let setting = self.setting(name).ok_or_else(|| {
                let names: Vec<String> = self.names().map(named).collect();
                ApiError::field(name, "is not known here", format!("there are {}", names.join(", ")))
            })?;
            // Taken out (RFC 7396), which makes it what it is where nobody sets it.
            let value = if value.is_null() { defaults.remove(setting).unwrap_or_default() } else { whole(value) };
            if value.as_u64().is_some_and(|number| i64::try_from(number).is_err()) {
                return Err(ApiError::field(name, "is too large", format!("give {} at most", i64::MAX)));
            }
            all.insert(setting.into(), value);
            changed = read(&all).map_err(|error| {
                ApiError::field(name, "has a value that it can't have", format!("mind its type and range: {error}"))
            })?;
        }
        Ok(changed)
    }
}

/// Returns the settings by name, as a file has them.
pub(super) fn members(settings: &ReflectorSettings) -> Result<Map<String, Value>, ApiError> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::internal("settings are no object")),
        Err(error) => Err(ApiError::internal(error)),
    }
}

fn read(members: &Map<String, Value>) -> Result<ReflectorSettings, serde_json::Error> {
    serde_json::from_value(Value::Object(members.clone()))
}

/// A setting's name in the API.
pub(super) fn named(setting: &str) -> String {
    setting.replace('-', "_")
}
