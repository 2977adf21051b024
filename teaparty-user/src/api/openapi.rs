//! The OpenAPI document: made of the handlers' own descriptions, and of rules for what all of them have in common.
//!
//! Errors follow from what an operation takes: a body that may be wrong, a condition that may not hold, a path that may
//! name nothing. What can be listened at and who must say a token is known only when the document is asked for.

mod patterns;

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use clap::{Args as _, Command};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema as _;
use utoipa::openapi::{Info, OpenApi};

use super::settings::{LIMITS, POLICY, named};
use super::{AppState, ROOT};
use crate::http::problem::{ApiError, PROBLEM, ProblemDetails};
use crate::reflector::config::ReflectorSettings;
use crate::reflector::handle::ReflectorHandle;

/// The path of the document.
pub(crate) const PATH: &str = "/api/v1/openapi.json";

/// Returns the document's head.
pub(crate) fn head() -> OpenApi {
    let mut info = Info::new("Teaparty", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "State and configuration of a STAMP Session-Reflector (RFC 8762, RFC 8972). Errors are problem documents (RFC 9457) \
         whose members `field` and `remedy` say what is wrong and what to do. Keys come in and never go out. The endpoints of \
         the earlier implementation of the same name are described at /openapi.json."
            .into(),
    );
    OpenApi::builder().info(info).build()
}

/// Returns the head of the document for the operations of the earlier implementation.
pub(crate) fn namesake_head() -> OpenApi {
    let mut info = Info::new("Teaparty, as the earlier implementation", env!("CARGO_PKG_VERSION"));
    info.description = Some(format!(
        "Endpoints for clients of the earlier implementation of the same name. They keep its ways: a session that exists is a \
         500 here. {PATH} describes the real API."
    ));
    OpenApi::builder().info(info).build()
}

/// Shows this document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "document", operation_id = "get_document",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Value))
)]
pub(crate) async fn get(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&app, &app.documents.own)))
}

/// Shows this document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "document", operation_id = "get_namesake_document",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Value))
)]
pub(crate) async fn get_namesake(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&app, &app.documents.namesake)))
}

/// A document with what depends on the reflectors.
fn shown(app: &AppState, document: &Value) -> Value {
    let ports: Vec<BTreeSet<u16>> = app
        .reflectors
        .iter()
        .map(|reflector| reflector.interfaces().into_iter().flat_map(|interface| interface.ports).collect())
        .collect();
    let names: Vec<String> = app.named().map(ReflectorHandle::name).collect();
    let mut document = document.clone();
    patterns::constrain(&mut document, &ports, &names);
    if app.guard.token.is_some() {
        document["security"] = json!([{"token": []}]);
    }
    document
}

/// The document of these operations, except what depends on the reflectors. Those in `own` are there for each of them.
pub(crate) fn complete(api: &OpenApi, own: &OpenApi) -> Value {
    let mut document = serde_json::to_value(api).unwrap_or_default();
    let schemas = &mut document["components"]["schemas"];
    schemas["PolicyView"] = settings_schema(&POLICY.names().collect::<Vec<_>>());
    schemas["LimitsView"] = settings_schema(&LIMITS.names().collect::<Vec<_>>());
    // What may be changed of a session may be said when it is provisioned.
    let change = schemas["SessionChangeBody"]["properties"].clone();
    if let (Some(members), Value::Object(change)) = (schemas["SessionBody"]["properties"].as_object_mut(), change) {
        members.extend(change);
    }
    name_reflectors(&mut document, own);
    finish(document)
}

/// The document of the earlier implementation's operations.
pub(crate) fn namesake(api: &OpenApi) -> Value {
    finish(serde_json::to_value(api).unwrap_or_default())
}

/// Adds the operations that are one reflector's under the path of each.
fn name_reflectors(document: &mut Value, own: &OpenApi) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for path in own.paths.paths.keys() {
        let Some(mut item) = paths.get(&format!("{ROOT}{path}")).cloned() else { continue };
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            let id = operation["operationId"].as_str().unwrap_or("");
            operation["operationId"] = format!("reflector_{id}").into();
            let name = json!({
                "name": "name",
                "in": "path",
                "required": true,
                "description": "The reflector, as /api/v1/reflectors lists it",
                "schema": {"type": "string"}
            });
            match operation.get_mut("parameters").and_then(Value::as_array_mut) {
                Some(parameters) => parameters.insert(0, name),
                None => operation["parameters"] = json!([name]),
            }
        }
        paths.insert(format!("{ROOT}/reflectors/{{name}}{path}"), item);
    }
}

/// Adds what all documents have: who may ask, the form of errors, and which of them there are.
fn finish(mut document: Value) -> Value {
    document["components"]["securitySchemes"] = json!({"token": {"type": "http", "scheme": "bearer"}});
    document["security"] = json!([{}]);
    let schemas = &mut document["components"]["schemas"];
    schemas["Problem"] = serde_json::to_value(ProblemDetails::schema()).unwrap_or_default();
    // Members that nobody knows are refused.
    let bodies = schemas.as_object_mut().into_iter().flatten().filter(|(name, _)| name.ends_with("Body"));
    bodies.for_each(|(_, schema)| schema["additionalProperties"] = json!(false));
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            describe_errors(path, method, operation);
        }
    }
    document
}

/// Adds the errors that follow from what an operation takes, and the form of all of them.
fn describe_errors(path: &str, method: &str, operation: &mut Value) {
    let mut errors = vec![
        ("400", "The request can't be read, or has not exactly one Host header"),
        ("421", "The Host is neither an address nor a name of this host"),
    ];
    let has_body = operation.get("requestBody").is_some();
    let takes = |place: &str| {
        operation["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["in"] == place)
    };
    if !matches!(path, "/livez" | "/readyz") {
        errors.push(("401", "A token is needed, and none or a wrong one was given"));
        errors.push(("503", "Too busy, or the kernel refuses"));
        if method != "get" {
            errors.push(("403", "This client may read, and change nothing: see --api-writes"));
        }
    }
    if has_body || takes("query") {
        errors.push(("422", "A value can't be used; `field` names it"));
    }
    if has_body {
        errors.push(("408", "The body did not come in time"));
        errors.push(("413", "The body is too large"));
    }
    if has_body && path.starts_with("/api/") {
        errors.push(("415", "The body is not JSON"));
    }
    if takes("header") {
        errors.push(("412", "It is not as the condition says"));
    }
    if takes("path") {
        errors.push(("404", "There is no such thing"));
    }
    if takes("header") {
        tell_conditions(operation);
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, description) in errors {
        responses.entry(status).or_insert_with(|| json!({"description": description}));
    }
    for (status, response) in responses {
        if status.as_str() >= "400" && response.get("content").is_none() {
            response["content"] = json!({PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}});
        }
    }
}

/// Tells of conditions in words instead of parameters: whether one holds is for the state to say and not for its form, and
/// what a schema calls right is held to be accepted.
fn tell_conditions(operation: &mut Value) {
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return };
    let is_condition = |parameter: &Value| parameter["in"] == "header";
    let told: Vec<String> = parameters
        .iter()
        .filter(|parameter| is_condition(parameter))
        .map(|one| format!("`{}`: {}", one["name"].as_str().unwrap_or(""), one["description"].as_str().unwrap_or("")))
        .collect();
    parameters.retain(|parameter| !is_condition(parameter));
    let before = operation["description"].as_str().map(|text| format!("{text}\n\n")).unwrap_or_default();
    operation["description"] = format!("{before}Conditions in the header (RFC 9110 §13). {}", told.join(" ")).into();
}

/// The schema of some settings: descriptions as in the command line's help, types and defaults as in a file. A
/// request may have null for the default; answers have none but where that is one.
fn settings_schema(names: &[&str]) -> Value {
    let defaults = serde_json::to_value(ReflectorSettings::default()).unwrap_or_default();
    let command = ReflectorSettings::augment_args(Command::new(""));
    let mut properties = Map::new();
    for name in names {
        let default = &defaults[*name];
        let mut schema = match default {
            Value::Bool(_) => json!({"type": ["boolean", "null"]}),
            Value::Number(_) => json!({"type": ["integer", "null"], "format": "int64", "minimum": 0}),
            Value::Array(_) => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            _ => json!({"type": ["string", "null"]}),
        };
        schema["default"] = default.clone();
        if let Some(argument) = command.get_arguments().find(|argument| argument.get_long() == Some(*name)) {
            schema["description"] = argument.get_help().map(ToString::to_string).into();
            let values: Vec<Value> =
                argument.get_possible_values().iter().map(|value| value.get_name().to_owned().into()).collect();
            if default.is_string() && !values.is_empty() {
                schema["enum"] = values.into_iter().chain([Value::Null]).collect();
            }
        }
        patterns::constrain_setting(name, &mut schema);
        properties.insert(named(name), schema);
    }
    let example: Map<String, Value> = names.iter().map(|name| (named(name), defaults[*name].clone())).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false, "example": example})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_described_with_the_words_of_the_help() {
        for name in POLICY.names().chain(LIMITS.names()) {
            let schema = settings_schema(&[name]);
            let property = &schema["properties"][named(name)];
            assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{name}: {property}");
        }
        assert_eq!(
            settings_schema(&["timestamp-format"])["properties"]["timestamp_format"]["enum"],
            json!(["ntp", "ptp", null])
        );
    }
}
