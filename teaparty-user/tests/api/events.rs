//! The stream of events.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use teaparty_user::reflector::handle::SessionSpec;

use super::support::{Api, problem};

/// A client that reads one message after the other.
struct Reader {
    body: Body,
    text: String,
}

impl Reader {
    fn new(response: Response<Body>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// The next message's name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let found = (field("event: ").to_owned(), serde_json::from_str(field("data: ")));
                self.text = rest.to_owned();
                match found {
                    (name, Ok(data)) => return Some((name, data)),
                    // A comment that keeps the connection alive.
                    (_, Err(_)) => continue,
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.expect("a message");
            self.text += std::str::from_utf8(&frame?.unwrap().into_data().unwrap()).unwrap();
        }
    }

    /// The next message of this name.
    async fn find(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().await.expect("the stream goes on");
            if found == name {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn changes_and_counters_are_told_as_they_happen() {
    let api = Api::new();
    let mut reader = Reader::new(api.send("GET", "/api/v1/events", &[], "").await);
    let first = reader.find("counters").await;
    assert_eq!(first["counters"][0]["reason"], "reflected");
    api.measure(1);
    let counters = reader.find("counters").await;
    let told = &counters["counters"][0];
    assert_eq!((&told["path"], &told["packets"]), (&json!("socket"), &json!(1)), "{counters}");
    let port = api.port;
    let id = format!("127.0.0.1,0,0.0.0.0,{port},7");
    let path = format!("/api/v1/sessions/{id}");
    for (method, path, body) in [
        ("PUT", path.clone(), "{}"),
        ("PUT", path.clone(), "{\"no_tlv\": true}"),
        ("PUT", format!("{path}/keys"), "{\"key\": \"hunter2\"}"),
        ("DELETE", path.clone(), ""),
        ("PATCH", "/api/v1/policy".into(), "{\"strict\": true, \"cos_legacy\": true}"),
    ] {
        assert!(api.json(method, &path, body).await.0.is_success(), "{method} {path}");
    }
    for change in ["created", "replaced", "keys", "deleted"] {
        assert_eq!(reader.find("session").await, json!({"id": id, "change": change}));
    }
    assert_eq!(reader.find("settings").await, json!({"settings": ["cos_legacy", "strict"]}));
}

#[tokio::test]
async fn streams_are_few_and_a_slow_reader_is_dropped() {
    let api = Api::new();
    let mut readers = Vec::new();
    while readers.len() < 16 {
        readers.push(Reader::new(api.send("GET", "/api/v1/events", &[], "").await));
    }
    problem(api.send("GET", "/api/v1/events", &[], "").await, 503).await;
    for n in 0..1500 {
        let id =
            format!("127.0.0.1,{n},0.0.0.0,{},1", api.port).parse::<teaparty_user::api::types::PathId>().unwrap().0;
        api.handle.create(&SessionSpec::new(id)).unwrap();
    }
    let mut slow = readers.pop().unwrap();
    assert_eq!(slow.find("dropped").await, json!({"missed": 476}));
    assert!(slow.next().await.is_none());
    drop(slow);
    Reader::new(api.send("GET", "/api/v1/events", &[], "").await);
}
