//! Who may change a reflector over loopback TCP: told by the kernel, and no web page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::unistd::{Uid, setfsuid};
use teaparty_testing::api::Api;
use teaparty_testing::skip::or_skip;
use teaparty_user::http::server;

use super::tcp::open;

/// The head of the answer to a request that a thread sends as this user.
fn ask_as(uid: u32, address: SocketAddr, request: String) -> String {
    // The user of a thread for the file system is the owner of the sockets that it makes; it ends with the thread.
    let asking = std::thread::spawn(move || {
        setfsuid(Uid::from_raw(uid));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    asking.join().unwrap()
}

fn request(method: &str, path: &str, host: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_of_this_host_read_and_change_nothing() {
    let is_root = if Uid::effective().is_root() { Ok(()) } else { Err("becoming another user takes root") };
    if or_skip(is_root).is_none() {
        return;
    }
    let api = Api::new();
    let short = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    short.send_to(&[0; 3], ("127.0.0.1", api.port)).unwrap();
    for place in ["127.0.0.1:0", "[::1]:0"] {
        let listener = open(place).await;
        let address = listener.address().unwrap();
        let server = tokio::spawn(server::serve(listener, api.router.clone()));
        let session = format!(
            r#"{{"src_ip":"127.0.0.1","src_port":1,"dst_ip":"127.0.0.1","dst_port":{},"ssid":9,"key":"secret-secret-secret"}}"#,
            api.port
        );
        let host = "host: localhost\r\n";
        let changes = [
            request("PATCH", "/api/v1/limits", host, r#"{"rate_limit":"0"}"#),
            request("PATCH", "/api/v1/policy", host, r#"{"strict":true}"#),
            request("POST", "/session", host, &session),
            request("POST", "/api/v1/reload", host, ""),
            request("POST", "/api/v1/captures", host, r#"{"count":1}"#),
            request("DELETE", "/api/v1/sessions/127.0.0.1,0,0.0.0.0,1,1", host, ""),
        ];
        for change in &changes {
            let answer = ask_as(12345, address, change.clone());
            let is_refused = answer.starts_with("HTTP/1.1 403")
                && ["--api-token-file", "unix:", "--api-writes", "12345"].iter().all(|word| answer.contains(word));
            assert!(is_refused, "{change}\n{answer}");
        }
        let answer = ask_as(12345, address, request("GET", "/api/v1/policy", host, ""));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"strict\":false"), "{answer}");
        let state = request("GET", "/api/v1/reflector", host, "");
        let waits = std::iter::from_fn(|| {
            std::thread::sleep(Duration::from_millis(20));
            Some(ask_as(0, address, state.clone()))
        });
        // The socket engine takes its time to meet the packet.
        let seen = waits.take(500).find(|answer| answer.contains("\"last_source\":\"127.0.0.1\""));
        assert!(seen.is_some_and(|answer| answer.contains("\"reason\":\"too-short\"")));
        let answer = ask_as(12345, address, state);
        assert!(answer.contains("\"reason\":\"too-short\"") && !answer.contains("last_source"), "{answer}");
        let answer = ask_as(0, address, changes[1].clone());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let undo = request("PATCH", "/api/v1/policy", host, r#"{"strict":false}"#);
        assert!(ask_as(0, address, undo).starts_with("HTTP/1.1 200"));
        server.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_this_hosts_is_misdirected() {
    let api = Api::new();
    let listener = open("127.0.0.1:0").await;
    let address = listener.address().unwrap();
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    for (host, status) in [
        (format!("host: {address}\r\n"), "200"),
        ("host: localhost:1\r\n".into(), "200"),
        ("host: [::1]\r\n".into(), "200"),
        ("host: rebound.example\r\n".into(), "421"),
        (format!("host: rebound.example:{}\r\n", address.port()), "421"),
        ("host: 203.0.113.7\r\n".into(), "421"),
        (String::new(), "400"),
        ("host: localhost\r\nhost: localhost\r\n".into(), "400"),
        ("host: localhost\r\nHost: rebound.example\r\n".into(), "400"),
    ] {
        for path in ["/api/v1/policy", "/metrics", "/sessions"] {
            let ask = request("GET", path, &host, "");
            let answer = tokio::task::spawn_blocking(move || ask_as(nix::unistd::geteuid().as_raw(), address, ask));
            let answer = answer.await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {host}: {answer}");
        }
    }
    server.abort();
}
