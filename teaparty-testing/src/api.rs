//! A reflector on loopback, answered by sockets, with the API's router in front of it.

use std::net::UdpSocket;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use serde_json::Value;
use teaparty_user::api::{AppState, router};
use teaparty_user::heartbeat::Heartbeats;
use teaparty_user::http::auth::token::Token;
use teaparty_user::reflector::Reflector;
use teaparty_user::reflector::config::{ReflectorConfig, ReflectorSettings, XdpMode};
use teaparty_user::reflector::handle::ReflectorHandle;
use tower::ServiceExt;

use crate::local::free_port;

/// The API under test. The reflector ends with it.
pub struct Api {
    /// The router.
    pub router: Router,
    /// The UDP port of the reflector.
    pub port: u16,
    /// The checks of health.
    pub heartbeats: Heartbeats,
    /// The handle of the reflector.
    pub handle: ReflectorHandle,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

impl Api {
    /// Starts one without a token.
    #[expect(clippy::new_without_default, reason = "it starts threads: no value that a type has by default")]
    pub fn new() -> Self {
        Self::with_token(None)
    }

    /// Starts one that demands this token of whoever changes something.
    pub fn with_token(token: Option<Token>) -> Self {
        Self::with_settings(token, |_| ())
    }

    /// With settings other than those that loopback and sockets take.
    pub fn with_settings(token: Option<Token>, change: impl Fn(&mut ReflectorSettings)) -> Self {
        // Another process may take the port in between; then the next one is tried.
        let (reflector, handle, port) = (0..20)
            .find_map(|_| {
                let port = free_port();
                let mut settings = ReflectorSettings {
                    iface: vec!["lo".into()],
                    port: vec![port],
                    xdp_mode: XdpMode::Off,
                    ..ReflectorSettings::default()
                };
                change(&mut settings);
                let started = Reflector::start(ReflectorConfig::try_from(settings).unwrap());
                started.ok().map(|(reflector, handle)| (reflector, handle, port))
            })
            .expect("a reflector starts on some port");
        let running = handle.clone();
        tokio::spawn(async move { reflector.run(&running).await });
        let heartbeats = Heartbeats::new([handle.clone()]);
        let router = router(AppState::new(handle.clone(), heartbeats.clone(), token));
        Self { router, port, heartbeats, handle }
    }

    /// Sends a request with these header fields.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    /// Status and JSON of an answer to a JSON body.
    pub async fn json(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let response = self.send(method, path, &[("content-type", "application/json")], body).await;
        let status = response.status();
        let text = text(response).await;
        assert!(!text.contains("hunter2"), "a key came out: {text}");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Has one test packet answered, from a new port; gives that port.
    pub fn measure(&self, ssid: u16) -> u16 {
        let (port, answer) = self.sender(ssid, &[]);
        assert!(answer.is_some());
        port
    }

    /// The answer to a test packet with these TLVs.
    pub fn exchange(&self, ssid: u16, tlvs: &[u8]) -> Vec<u8> {
        self.sender(ssid, tlvs).1.expect("a reply")
    }

    /// Sends a test packet with these TLVs from a new port; gives that port and the answer.
    pub fn sender(&self, ssid: u16, tlvs: &[u8]) -> (u16, Option<Vec<u8>>) {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut packet = vec![0; 44];
        packet[13] = 1;
        packet[14..16].copy_from_slice(&ssid.to_be_bytes());
        packet.extend(tlvs);
        sender.send_to(&packet, ("127.0.0.1", self.port)).unwrap();
        let mut answer = vec![0; 2048];
        let answer = sender.recv(&mut answer).ok().map(|len| {
            answer.truncate(len);
            answer
        });
        assert!(answer.as_ref().is_none_or(|answer| answer.len() == packet.len()));
        (sender.local_addr().unwrap().port(), answer)
    }
}

/// The body as text.
pub async fn text(response: Response<Body>) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Checks that an answer is a problem document of this status, and gives its field and what it says.
pub async fn problem(response: Response<Body>, status: u16) -> (String, String) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let text = text(response).await;
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["type"].as_str().unwrap().starts_with("urn:teaparty:problem:"), "{text}");
    (problem["field"].as_str().unwrap_or_default().into(), text)
}
