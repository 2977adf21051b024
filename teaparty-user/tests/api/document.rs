//! The OpenAPI document: it is one, it describes every operation, and what it says of them is so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};
use teaparty_testing::api::Api;
use teaparty_testing::skip::or_skip;
use teaparty_user::http::listen::ApiListener;
use teaparty_user::http::server;

/// The tester gets so long, and this many examples for each operation.
const LIMIT: Duration = Duration::from_secs(400);
const EXAMPLES: &str = "4";

fn python() -> Result<PathBuf, String> {
    let variable = "TEAPARTY_SCHEMATHESIS_PYTHON";
    std::env::var_os(variable).map(PathBuf::from).ok_or(format!("{variable} is not set; `cargo xtask test` sets it"))
}

/// The documents, and how many operations they describe: each reflector's own are there twice.
const DOCUMENTS: [(&str, usize); 2] = [("/api/v1/openapi.json", 55), ("/openapi.json", 4)];

async fn document(api: &Api) -> Value {
    document_at(api, DOCUMENTS[0].0).await
}

async fn document_at(api: &Api, path: &str) -> Value {
    api.json("GET", path, "").await.1
}

#[tokio::test]
async fn every_operation_is_described_with_its_errors() {
    let api = Api::new();
    for (path, operations) in DOCUMENTS {
        assert_eq!(described(&api, &document_at(&api, path).await).await, operations, "{path}");
    }
    for (path, body, port) in
        [(DOCUMENTS[0].0, "SessionBody", "destination_port"), (DOCUMENTS[1].0, "NamesakeSessionBody", "dst_port")]
    {
        let document = document_at(&api, path).await;
        assert_eq!(document["components"]["schemas"][body]["properties"][port]["enum"], json!([api.port]));
    }
}

/// Checks what is said of each operation of a document; gives their number.
async fn described(api: &Api, document: &Value) -> usize {
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let said = format!("{method} {path}: {operation}");
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{said}");
            let errors: Vec<_> =
                operation["responses"].as_object().unwrap().iter().filter(|(s, _)| s.as_str() >= "400").collect();
            assert!(!errors.is_empty() || path == "/livez", "{said}");
            for (status, response) in errors {
                let has_form = response["content"].get("application/problem+json").is_some() || path == "/readyz";
                assert!(has_form, "{status} {said}");
            }
            // What is described is there.
            let concrete = path.replace("{id}", "127.0.0.1,0,0.0.0.0,1,1").replace("{target}", "127.0.0.1:1");
            let concrete = concrete.replace("{name}", "lo");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = api.send(method.as_str(), &concrete, &[], "").await;
            assert_ne!(answer.status(), 405, "{said}");
            if answer.status() == 404 {
                assert!(!teaparty_testing::api::text(answer).await.contains("no-such-path"), "{said}");
            }
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operations are called alike");
    count
}

/// A value for a member of a body, by what the document says of it.
fn value(property: &Value) -> Value {
    let type_name = match &property["type"] {
        Value::Array(names) => names[0].as_str().unwrap().to_owned(),
        name => name.as_str().unwrap().to_owned(),
    };
    match (&property["example"], type_name.as_str()) {
        (Value::Null, "boolean") => json!(true),
        (Value::Null, "integer") => json!(1),
        (Value::Null, _) => json!("abcdefgh"),
        (example, _) => example.clone(),
    }
}

#[tokio::test]
async fn every_member_that_is_described_is_taken() {
    let api = Api::new();
    let schemas = document(&api).await["components"]["schemas"].take();
    let session = format!("/api/v1/sessions/127.0.0.1,0,0.0.0.0,{},5", api.port);
    for (schema, method, path) in [
        ("SessionBody", "POST", "/api/v1/sessions".to_owned()),
        ("SessionChangeBody", "PUT", session.clone()),
        ("KeysBody", "PUT", format!("{session}/keys")),
        ("NewerKeysBody", "POST", format!("{session}/keys/rotate")),
        ("HeartbeatBody", "POST", "/api/v1/heartbeats".to_owned()),
    ] {
        let properties = schemas[schema]["properties"].as_object().unwrap();
        let body: serde_json::Map<String, Value> =
            properties.iter().map(|(name, property)| (name.clone(), value(property))).collect();
        let (status, said) = api.json(method, &path, &Value::Object(body).to_string()).await;
        assert!(status.is_success(), "{schema}: {status} {said}");
    }
    for (schema, path) in [("PolicyView", "/api/v1/policy"), ("LimitsView", "/api/v1/limits")] {
        let example = &schemas[schema]["example"];
        assert_eq!(api.json("PUT", path, &example.to_string()).await, (axum::http::StatusCode::OK, example.clone()));
    }
}

#[tokio::test]
async fn the_document_is_valid() {
    let Some(python) = or_skip(python()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("openapi.json");
    let api = Api::new();
    for (path, _) in DOCUMENTS {
        std::fs::write(&file, document_at(&api, path).await.to_string()).unwrap();
        let output = Command::new(&python).args(["-m", "openapi_spec_validator"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Has the tester ask for everything that the document allows, and for what it does not.
fn schemathesis(python: &Path, url: &str, more: &[&str]) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let open = || Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap());
    let mut child = Command::new(python.with_file_name("schemathesis"))
        .args(["run", url, "--no-color", "--workers=1", "--seed=1", "--request-timeout=3", "--max-examples", EXAMPLES])
        .args(more)
        .current_dir(directory.path())
        .stdout(open())
        .stderr(open())
        .spawn()
        .unwrap();
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > end => break None,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    match status {
        Some(status) if status.success() => Ok(()),
        _ => Err(format!("{status:?}\n{}", std::fs::read_to_string(log).unwrap())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let Some(python) = or_skip(python()) else { return };
    let api = Api::new();
    let listener = ApiListener::open(&"127.0.0.1:0".parse().unwrap(), None).await.unwrap().unwrap();
    let root = listener.to_string();
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    let [(own, _), (namesake, _)] = DOCUMENTS;
    // What the namesake is documented to do where a session exists is the failure that is looked for elsewhere.
    // A capture has no end that the tester waits for.
    for (path, more) in
        [(own, &["--exclude-path-regex=/captures$"][..]), (namesake, &["--exclude-checks=not_a_server_error"])]
    {
        let (python, url) = (python.clone(), format!("{root}{path}"));
        let found = tokio::task::spawn_blocking(move || schemathesis(&python, &url, more)).await.unwrap();
        assert!(found.is_ok(), "{path}: {}", found.unwrap_err());
    }
    server.abort();
}
