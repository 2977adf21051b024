//! The stream of events.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use teaparty_testing::api::{Api, problem};
use teaparty_user::reflector::handle::SessionSpec;

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
    let packets_own = format!("127.0.0.1,{},127.0.0.1,{},1", api.measure(1), api.port);
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
    let mut changes = Vec::new();
    let settings = loop {
        match reader.next().await.expect("the stream goes on") {
            (name, told) if name == "settings" => break told,
            (name, told) if name == "session" && told["id"] != json!(packets_own) => {
                assert_eq!(told["id"], json!(id));
                changes.push(told["change"].clone());
            }
            _ => {}
        }
    };
    assert_eq!(changes, ["created", "replaced", "keys", "deleted"]);
    assert_eq!(settings, json!({"settings": ["cos_legacy", "strict"]}));
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
        let id = format!("127.0.0.1,{n},0.0.0.0,{},1", api.port).parse::<teaparty_user::api::dto::PathId>().unwrap().0;
        api.handle.create(&SessionSpec::new(id)).unwrap();
    }
    let mut slow = readers.pop().unwrap();
    assert_eq!(slow.find("dropped").await, json!({"missed": 476}));
    assert!(slow.next().await.is_none());
    drop(slow);
    Reader::new(api.send("GET", "/api/v1/events", &[], "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_packets_make_and_that_are_forgotten_are_told_once() {
    // Forgotten after a second without packets.
    let api = Api::with_settings(None, |settings| settings.session_timeout = 1);
    let mut reader = Reader::new(api.send("GET", "/api/v1/events", &[], "").await);
    // Sessions before the first query are not reported.
    reader.find("counters").await;
    let first = loop {
        api.measure(7);
        if let Ok(told) = tokio::time::timeout(Duration::from_secs(5), reader.find("session")).await {
            break told;
        }
    };
    assert_eq!(first["change"], "created");
    // It disappears by itself.
    let is_first = |told: &Value| told["id"] == first["id"];
    let mut told = reader.find("session").await;
    while !is_first(&told) {
        told = reader.find("session").await;
    }
    assert_eq!(told["change"], "expired");
    // A configured one's first packet is reported; and what the API does it tells itself.
    let path = format!("/api/v1/sessions/127.0.0.1,0,0.0.0.0,{},9", api.port);
    assert!(api.json("PUT", &path, "{}").await.0.is_success());
    assert!(api.json("DELETE", &path, "").await.0.is_success());
    let mut changes = Vec::new();
    while changes.len() < 2 {
        let told = reader.find("session").await;
        assert!(!is_first(&told), "{told}");
        changes.extend(told["id"].as_str().unwrap().ends_with(",9").then(|| told["change"].clone()));
    }
    assert_eq!(changes, ["created", "deleted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_sessions_their_number_is_told() {
    let api = Api::new();
    let mut reader = Reader::new(api.send("GET", "/api/v1/events", &[], "").await);
    reader.find("counters").await;
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut packet = [0; 44];
    packet[13] = 1;
    let told = loop {
        for ssid in 1..=3000_u16 {
            packet[14..16].copy_from_slice(&ssid.to_be_bytes());
            sender.send_to(&packet, ("127.0.0.1", api.port)).unwrap();
        }
        // What the sockets had no room for comes another time.
        if let Ok(told) = tokio::time::timeout(Duration::from_secs(5), reader.find("sessions")).await {
            break told;
        }
    };
    assert!(told["created"].as_u64().unwrap() > 256 && told["expired"] == 0, "{told}");
}
