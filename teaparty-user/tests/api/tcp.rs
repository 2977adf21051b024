//! The API on a port and on a socket in the file system.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use teaparty_testing::api::Api;
use teaparty_user::http::listen::{ApiListener, ListenAddress};
use teaparty_user::http::server;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

const GET: &str = "GET /sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

pub(crate) async fn open(place: &str) -> ApiListener {
    ApiListener::open(&place.parse().unwrap(), None).await.unwrap().unwrap()
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_rubbish_keep_nobody_from_an_answer() {
    let api = Api::new();
    let listener = open("127.0.0.1:0").await;
    let address = listener.address().unwrap();
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    let connect = || async { TcpStream::connect(address).await.unwrap() };
    // More than there are places for. They wait, and end when they have been idle for too long.
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(tokio::spawn(TcpStream::connect(address)));
    }
    for _ in 0..20 {
        api.measure(1);
    }
    let answer = tokio::time::timeout(Duration::from_secs(100), exchange(connect().await, GET)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let rubbish = exchange(connect().await, "rubbish\r\n\r\n").await;
    assert!(rubbish.starts_with("HTTP/1.1 400"), "{rubbish}");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_oversized_requests_do_not_disturb_reflection() {
    let api = Api::new();
    let listener = open("127.0.0.1:0").await;
    let address = listener.address().unwrap();
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "POST /session HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let huge = format!(
        "POST /session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        1u64 << 40
    );
    let answer = exchange(TcpStream::connect(address).await.unwrap(), &huge).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for _ in 0..20 {
        api.measure(1);
    }
    // A body that does not come ends the request.
    let mut answer = [0; 12];
    slow[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"HTTP/1.1 408");
    server.abort();
}

#[tokio::test]
async fn a_socket_in_the_file_system_answers_likewise() {
    let api = Api::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let listener = open(&format!("unix:{}", path.display())).await;
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n[]"), "{answer}");
    server.abort();
    let _ = server.await;
    assert!(StdUnixStream::connect(&path).is_err() && !path.exists());
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_a_token() {
    let refused =
        |place: ListenAddress| async move { ApiListener::open(&place, None).await.err().unwrap().to_string() };
    let error = refused("0.0.0.0:0".parse().unwrap()).await;
    assert!(error.contains("--api-token-file"), "{error}");
    let taken = open("127.0.0.1:0").await;
    let error = refused(ListenAddress::Tcp(taken.address().unwrap())).await;
    assert!(error.contains("--api none"), "{error}");
}
