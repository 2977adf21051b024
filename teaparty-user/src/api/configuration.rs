//! `/api/v1/configuration`: every setting in force, with its default and its help. To be read only.

use axum::Json;
use axum::extract::State;
use clap::{Args as _, Command};
use serde::Serialize;
use serde_json::{Map, Value};

use super::AppState;
use super::settings::members;
use crate::http::problem::ApiError;
use crate::reflector::config::ReflectorSettings;
use crate::reflector::config::setting_groups::{GROUPS, KEYS, TakesEffect};

/// Sessions have a list of their own.
const SESSIONS: &str = "session";

/// A setting in force.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Setting)]
pub(crate) struct SettingView {
    /// Its name, as in a configuration file.
    #[schema(example = "rate-limit")]
    name: &'static str,
    /// The heading that help gives it.
    #[schema(example = "Who is answered")]
    group: &'static str,
    /// One line about it.
    help: String,
    /// The value in force. A source of keys is told as true, and not by its name.
    value: Value,
    /// The value where nobody sets it.
    default: Value,
    /// The time at which a change takes effect: `at-once`, `reload` or `restart`.
    #[schema(example = "at-once")]
    takes_effect: &'static str,
}

/// Shows every setting in force, with its default and its help.
///
/// `/policy` and `/limits` are those that can be changed. Provisioned sessions are in `/sessions`.
#[utoipa::path(
    get, path = "/configuration", tag = "settings", operation_id = "get_configuration",
    responses((status = 200, description = "All settings, in the order of the help", body = Vec<SettingView>))
)]
pub(crate) async fn get(State(app): State<AppState>) -> Result<Json<Vec<SettingView>>, ApiError> {
    view(&app.reflector.config().settings).map(Json)
}

fn view(settings: &ReflectorSettings) -> Result<Vec<SettingView>, ApiError> {
    let (mut values, mut defaults) = (members(settings)?, members(&ReflectorSettings::default())?);
    let command = ReflectorSettings::augment_args(Command::new(""));
    let help = |name: &str| {
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name));
        argument.and_then(|argument| argument.get_help()).map(ToString::to_string).unwrap_or_default()
    };
    let named = GROUPS.iter().flat_map(|group| group.names.iter().map(move |name| (group, *name)));
    let settings = named.filter(|(_, name)| *name != SESSIONS).map(|(group, name)| SettingView {
        name,
        group: group.heading,
        help: help(name),
        value: shown(group.heading, name, &mut values),
        default: shown(group.heading, name, &mut defaults),
        takes_effect: match group.change {
            TakesEffect::Policy | TakesEffect::Limit => "at-once",
            TakesEffect::Reload => "reload",
            TakesEffect::Restart => "restart",
        },
    });
    Ok(settings.collect())
}

/// Takes a value out of the settings, as it may be told.
fn shown(heading: &str, name: &str, settings: &mut Map<String, Value>) -> Value {
    match settings.remove(name).unwrap_or_default() {
        value if heading == KEYS && !value.is_null() => Value::Bool(true),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_told_once_with_its_help_and_sources_of_keys_are_not_named() {
        let settings = ReflectorSettings {
            auth_key_file: Some("/secret/place".into()),
            min_payload: 44,
            ..ReflectorSettings::default()
        };
        let view = view(&settings).unwrap();
        assert_eq!(view.len() + 1, members(&settings).unwrap().len());
        assert!(view.iter().all(|setting| setting.help.len() > 10));
        let of = |name: &str| view.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!((&of("min-payload").value, &of("min-payload").default), (&44.into(), &14.into()));
        assert_eq!((&of("auth-key-file").value, &of("tlv-key-file").value), (&true.into(), &Value::Null));
        assert!(!serde_json::to_string(&view).unwrap().contains("secret"));
    }
}
