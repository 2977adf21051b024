//! Fetches a document by HTTP, with TLS or without, with an end to everything: time, octets, redirects (none).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio_rustls::TlsConnector;

use crate::http::client::trust::{
    InvalidServerName, TokenFileError, TrustError, bearer, explain_tls_error, server_name, trust,
};

/// Time for all of it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of a document at most.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// Name of the setting with the certificates to trust.
const CA_FILE: &str = "ca-file";
/// Likewise with the token.
const TOKEN_FILE: &str = "bearer-token-file";

/// The location of a document: `http://HOST[:PORT]/PATH`, or the same with `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

/// A text that is no [`Url`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no address of a document.
    #[error("`{0}` is no address of a document that can be fetched: write http[s]://HOST[:PORT]/PATH")]
    Invalid(String),
    /// It has a secret in it.
    #[error("a password in the address would be seen in logs; leave it out")]
    Password,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError::Invalid(text.into());
        let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err(UrlError::Password);
        }
        let is_tls = scheme == "https";
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            is_tls,
            authority: authority.to_string(),
            host,
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/".into(), ToString::to_string),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// A document's address with what it takes to ask there.
#[derive(Clone)]
pub struct DocumentAddress {
    /// Its location.
    pub url: Url,
    /// By what a server with TLS is known; none is there for one without.
    trust: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The file with the token.
    token: Option<PathBuf>,
}

impl PartialEq for DocumentAddress {
    /// Compares locations. The roots of trust are read for each configuration, and do not make another document.
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url && self.token == other.token
    }
}

impl Eq for DocumentAddress {}

/// A document that can't be asked for.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not at this address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Not at an address of this host, by TLS.
    #[error(transparent)]
    ServerName(#[from] InvalidServerName),
    /// Not with these certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Certificates are named, and no TLS.
    #[error("is for https:// addresses; leave it out, or ask by TLS")]
    TrustWithoutTls,
    /// Not with this token.
    #[error(transparent)]
    Token(#[from] TokenFileError),
}

impl AddressError {
    /// Returns the setting that is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::ServerName(_) => "url",
            Self::Trust(_) | Self::TrustWithoutTls => CA_FILE,
            Self::Token(_) => TOKEN_FILE,
        }
    }
}

impl DocumentAddress {
    /// Reads the certificates, and looks whether there is a token.
    pub fn new(url: &str, ca: Option<&Path>, token: Option<PathBuf>) -> Result<Self, AddressError> {
        let url: Url = url.parse()?;
        let trust = match (url.is_tls, ca) {
            (true, ca) => {
                let config = trust(ca, CA_FILE)?;
                Some((config, server_name(&url.host)?))
            }
            (false, None) => None,
            (false, Some(_)) => return Err(AddressError::TrustWithoutTls),
        };
        if let Some(path) = &token {
            bearer(path)?;
        }
        Ok(Self { url, trust, token })
    }
}

/// A document that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It takes too long.
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// The thread that reads the token has ended.
    #[error(transparent)]
    Task(#[from] JoinError),
    /// The address and the token make no request.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    /// The server can't be reached.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The server and we do not agree on TLS.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// The server speaks another protocol.
    #[error("does not speak HTTP: {0}")]
    NotHttp(hyper::Error),
    /// The server says nothing.
    #[error("no answer: {0}")]
    NoAnswer(hyper::Error),
    /// The server has no document for us.
    #[error("answers {0}")]
    Status(StatusCode),
    /// The document has no end.
    #[error("breaks off: {0}")]
    BrokenOff(axum::Error),
    /// The document is too long.
    #[error("is longer than {most} MiB", most = MAX_DOCUMENT >> 20)]
    TooLong,
    /// The document is no text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The server has hung up.
    #[error("the connection has ended")]
    Ended,
}

/// Returns the document's text.
pub async fn fetch(address: &DocumentAddress, refresh: Duration) -> Result<String, FetchError> {
    let fetched = tokio::time::timeout(FETCH_TIMEOUT, get(address, refresh)).await;
    fetched.map_err(|_| FetchError::Timeout)?
}

async fn get(address: &DocumentAddress, refresh: Duration) -> Result<String, FetchError> {
    let DocumentAddress { url, trust, token } = address;
    let mut request = Request::get(&url.path)
        .header(header::HOST, &url.authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("teaparty/", env!("CARGO_PKG_VERSION")))
        // As Prometheus tells its own.
        .header("X-Prometheus-Refresh-Interval-Seconds", refresh.as_secs().to_string());
    if let Some(path) = token {
        let path = path.clone();
        let token = tokio::task::spawn_blocking(move || bearer(&path)).await??;
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Body::empty())?;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(FetchError::Connect)?;
    match trust {
        None => exchange(stream, request).await,
        Some((config, name)) => {
            let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await;
            let stream = stream.map_err(|error| FetchError::Tls(explain_tls_error(error, CA_FILE)))?;
            exchange(stream, request).await
        }
    }
}

/// Sends the request and takes the answer in.
async fn exchange<S>(stream: S, request: Request<Body>) -> Result<String, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(FetchError::NotHttp)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(FetchError::NoAnswer)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Body::new(response.into_body()).into_data_stream();
        let mut document = Vec::new();
        while let Some(part) = body.next().await {
            let part: Bytes = part.map_err(FetchError::BrokenOff)?;
            if document.len() + part.len() > MAX_DOCUMENT {
                return Err(FetchError::TooLong);
            }
            document.extend_from_slice(&part);
        }
        String::from_utf8(document).map_err(|_| FetchError::NotUtf8)
    };
    // The connection lives as long as the exchange does, which learns by itself when it ends: what came before is there yet.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = exchange => result,
        () = driven => Err(FetchError::Ended),
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
        let url: Url = "https://sd.example/x".parse().unwrap();
        assert_eq!((url.is_tls, url.port, url.to_string().as_str()), (true, 443, "https://sd.example/x"));
        for wrong in ["sd.example/x", "ftp://sd.example/", "http:///x", "http://u:p@sd.example/", ""] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }
}
