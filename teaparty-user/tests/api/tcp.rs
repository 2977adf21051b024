//! The API over TCP.

use teaparty_user::api::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::Api;

async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn idle_connections_and_rubbish_keep_nobody_from_an_answer() {
    let api = Api::new();
    let listener = server::listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let rubbish = exchange(address, "rubbish\r\n\r\n").await;
    assert!(rubbish.starts_with("HTTP/1.1 400"), "{rubbish}");
    let answer = exchange(address, "GET /sessions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n[]"), "{answer}");
    // The packets take no notice.
    api.measure(1);
    server.abort();
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_a_token() {
    let error = server::listen("0.0.0.0:0".parse().unwrap(), None).await.unwrap_err().to_string();
    assert!(error.contains("--api-token-file"), "{error}");
    let taken = server::listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let error = server::listen(taken.local_addr().unwrap(), None).await.unwrap_err().to_string();
    assert!(error.contains("--api none"), "{error}");
}
