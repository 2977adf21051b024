//! The OpenAPI document of a probe, made of its handlers.

use axum::Json;
use serde_json::Value;
use utoipa::OpenApi;

use super::server;
use crate::http::problem::PROBLEM;

/// Every path of a probe.
#[derive(OpenApi)]
#[openapi(
    info(title = "Teaparty probe", description = "What a probe knows of its targets. Nothing can be changed over it."),
    paths(
        server::metrics,
        server::targets,
        server::sla,
        server::delays,
        server::sites,
        server::live,
        server::ready,
        get
    )
)]
struct ProbeApiDocument;

/// Returns the document.
pub fn document() -> Value {
    let mut document = serde_json::to_value(ProbeApiDocument::openapi()).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["components"]["securitySchemes"] = serde_json::json!({"token": {"type": "http", "scheme": "bearer"}});
    // Without a token for loopback, with one elsewhere.
    document["security"] = serde_json::json!([{}, {"token": []}]);
    let problem = serde_json::to_value(<crate::http::problem::ProblemDetails<'_> as utoipa::PartialSchema>::schema());
    document["components"]["schemas"]["Problem"] = problem.unwrap_or_default();
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            let mut errors = vec![
                ("400", "The request can't be read, or has not exactly one Host header"),
                ("421", "The Host is neither an address nor a name of this host"),
            ];
            if operation.get("parameters").is_some() {
                errors.push(("422", "A value can't be used; `field` names it"));
            }
            if !matches!(path.as_str(), "/livez" | "/readyz") {
                errors.push(("401", "A token is needed, and none or a wrong one was given"));
            }
            for (status, description) in errors {
                operation["responses"][status] = serde_json::json!({
                    "description": description,
                    "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                });
            }
        }
    }
    document
}

/// Shows this document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "document", operation_id = "get_document",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Value))
)]
pub async fn get() -> Json<Value> {
    Json(document())
}
