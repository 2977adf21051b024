//! A client: one request on a connection of its own, with an end to each step and to the answer's length.
//!
//! Reading order: [`url`] (a server's address), [`trust`] (by what a server with TLS is known), [`bearer`] (a token).
//! Redirects are not followed.

pub(crate) mod bearer;
pub(crate) mod trust;
pub(crate) mod url;

use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request;
use futures_util::StreamExt;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::{Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use self::trust::{InvalidServerName, Trust, TrustError};
use self::url::Url;
use crate::http::connections::ConnectionStream;

/// Most time for a step of a request: to connect to an address, to agree on TLS, for the head of the answer, and for
/// each part of its body.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    /// By TCP, with TLS or without.
    Url(Url),
    /// By a socket in the file system.
    Unix(PathBuf),
}

/// A server with what it is known by.
#[derive(Clone)]
pub(crate) struct HttpServer {
    /// Its address.
    pub address: ServerAddress,
    /// There for one with TLS.
    trust: Option<Trust>,
}

/// A request without a whole answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The path and the headers make no request.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    /// A step takes too long.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The server can't be reached.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// No certificate can have its name.
    #[error(transparent)]
    ServerName(#[from] InvalidServerName),
    /// The server and we do not agree on TLS.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// The server speaks another protocol.
    #[error("does not speak HTTP: {0}")]
    NotHttp(hyper::Error),
    /// The server says nothing.
    #[error("no answer: {0}")]
    NoAnswer(hyper::Error),
    /// The body has no end.
    #[error("breaks off: {0}")]
    BrokenOff(axum::Error),
    /// The body is longer than this many octets.
    #[error("is longer than {} MiB", .0 >> 20)]
    TooLong(usize),
    /// The body is no text.
    #[error("is not UTF-8")]
    NotUtf8,
}

/// The head of an answer, whose body is yet to be read.
pub(crate) struct Answer {
    response: Response<Incoming>,
    /// The task of the connection, which ends with this.
    _connection: JoinSet<()>,
}

impl HttpServer {
    /// Reads the certificates by which a server with TLS is known: those of the file `ca`, or else of the system.
    /// `setting` is the name of the setting for such a file.
    pub(crate) fn new(address: ServerAddress, ca: Option<&Path>, setting: &'static str) -> Result<Self, TrustError> {
        let trust = match (&address, ca) {
            (ServerAddress::Url(url), ca) if url.is_tls() => Some(Trust::load(ca, setting)?),
            (_, None) => None,
            (_, Some(_)) => return Err(TrustError::WithoutTls),
        };
        Ok(Self { address, trust })
    }

    /// Sends a request without a body, to which it adds the Host header. A server with TLS has shown before that it is
    /// the right one.
    pub(crate) async fn send(&self, request: request::Builder) -> Result<Answer, ClientError> {
        self.send_body(request, Body::empty(), STEP_TIMEOUT).await
    }

    /// [`HttpServer::send`] with a body, for an answer that may take as long as `patience` to begin.
    pub(crate) async fn send_body(
        &self,
        request: request::Builder,
        body: Body,
        patience: Duration,
    ) -> Result<Answer, ClientError> {
        let host = match &self.address {
            ServerAddress::Url(url) => url.authority(),
            ServerAddress::Unix(_) => "localhost",
        };
        let request = request.header(header::HOST, host).body(body)?;
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(ClientError::NotHttp)?;
        let mut task = JoinSet::new();
        task.spawn(async {
            // What ends the connection is an error of the request or of the body, too.
            let _ = connection.await;
        });
        let response = tokio::time::timeout(patience, sender.send_request(request)).await;
        let response = response.map_err(|_| ClientError::Timeout(patience))?.map_err(ClientError::NoAnswer)?;
        Ok(Answer { response, _connection: task })
    }

    async fn connect(&self) -> Result<Box<dyn ConnectionStream>, ClientError> {
        let url = match &self.address {
            ServerAddress::Url(url) => url,
            ServerAddress::Unix(path) => {
                let stream = within(UnixStream::connect(path)).await?;
                return Ok(Box::new(stream.map_err(ClientError::Connect)?));
            }
        };
        let Some(trust) = &self.trust else { return Ok(Box::new(connect_tcp(url).await?)) };
        let name = trust::server_name(url.host())?;
        let stream = connect_tcp(url).await?;
        Ok(Box::new(within(trust.handshake(name, stream)).await?.map_err(ClientError::Tls)?))
    }
}

/// Connects to the first address of a name that answers.
async fn connect_tcp(url: &Url) -> Result<TcpStream, ClientError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((url.host(), url.port())).await.map_err(ClientError::Connect)? {
        match tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "connection timed out"),
        }
    }
    Err(ClientError::Connect(last))
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T, ClientError> {
    tokio::time::timeout(STEP_TIMEOUT, step).await.map_err(|_| ClientError::Timeout(STEP_TIMEOUT))
}

impl Answer {
    /// The status code.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A field of the head.
    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the next part of a body that comes for as long as it likes; `None` at its end.
    pub(crate) async fn part(&mut self) -> Option<Result<Bytes, ClientError>> {
        loop {
            let frame = poll_fn(|context| Pin::new(self.response.body_mut()).poll_frame(context)).await?;
            match frame.map_err(|error| ClientError::BrokenOff(axum::Error::new(error))) {
                Ok(frame) => {
                    // Trailers are none.
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Reads the body, of `most` octets at most.
    pub(crate) async fn text(self, most: usize) -> Result<String, ClientError> {
        let mut body = Body::new(self.response.into_body()).into_data_stream();
        let mut octets = Vec::new();
        while let Some(part) = within(body.next()).await? {
            let part: Bytes = part.map_err(ClientError::BrokenOff)?;
            if octets.len() + part.len() > most {
                return Err(ClientError::TooLong(most));
            }
            octets.extend_from_slice(&part);
        }
        String::from_utf8(octets).map_err(|_| ClientError::NotUtf8)
    }
}
