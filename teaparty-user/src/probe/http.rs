//! Fetches a document by HTTP, with an end to everything: time, octets, redirects (none).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Time for all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of a document at most.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// An address of a document: `http://HOST[:PORT]/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no address of a document that can be fetched: write http://HOST[:PORT]/PATH");
        let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
        if authority.as_str().contains('@') {
            return Err("a password in the address would be seen in logs; leave it out".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            authority: authority.to_string(),
            host,
            port: authority.port_u16().unwrap_or(80),
            path: uri.path_and_query().map_or("/".into(), ToString::to_string),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// The document's text; the error says what went wrong.
pub async fn fetch(url: &Url, refresh: Duration) -> Result<String, String> {
    let fetched = tokio::time::timeout(PATIENCE, get(url, refresh)).await;
    fetched.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

async fn get(url: &Url, refresh: Duration) -> Result<String, String> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| format!("does not speak HTTP: {error}"))?;
    let request = Request::get(&url.path)
        .header(header::HOST, &url.authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("teaparty/", env!("CARGO_PKG_VERSION")))
        // As Prometheus tells its own.
        .header("X-Prometheus-Refresh-Interval-Seconds", refresh.as_secs().to_string())
        .body(axum::body::Body::empty())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        if response.status() != StatusCode::OK {
            return Err(format!("answers {}", response.status()));
        }
        let mut body = axum::body::Body::new(response.into_body()).into_data_stream();
        let mut document = Vec::new();
        while let Some(part) = body.next().await {
            let part: Bytes = part.map_err(|error| format!("breaks off: {error}"))?;
            if document.len() + part.len() > MAX_DOCUMENT {
                return Err(format!("is longer than {} MiB", MAX_DOCUMENT >> 20));
            }
            document.extend_from_slice(&part);
        }
        String::from_utf8(document).map_err(|_| "is not UTF-8".to_owned())
    };
    // The connection lives as long as the exchange does, which learns by itself when it ends: what came before is there yet.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = exchange => result,
        () = driven => Err("the connection has ended".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url: Url = "http://[::1]:8080/targets?a=b".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 8080, "/targets?a=b"));
        assert_eq!(url.to_string(), "http://[::1]:8080/targets?a=b");
        let url: Url = "http://sd.example".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("sd.example", 80, "/"));
        for wrong in ["sd.example/x", "https://sd.example/", "http:///x", "http://u:p@sd.example/", ""] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }
}
