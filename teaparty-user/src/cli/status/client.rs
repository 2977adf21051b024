//! A client of the reflector's API: one request by HTTP/1.0 on a connection of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::http::{HeaderValue, request};
use hyper::{Request, StatusCode, Version, header};
use tokio::runtime::Runtime;

use super::address::ApiAddress;
use crate::exit_code::UsageError;
use crate::files;
use crate::http::client::bearer::{BearerError, bearer};
use crate::http::client::trust::TrustError;
use crate::http::client::{Answer, ClientError, HttpServer};

/// Most octets of an answer.
const MAX_ANSWER: usize = 16 << 20;

/// Most time for a stream to begin: the kernel verifies programs before.
const STREAM_TIMEOUT: Duration = Duration::from_secs(120);

/// The answer to a request for a stream.
pub(in crate::cli) enum StreamReply {
    /// It is one.
    Stream(Streaming),
    /// Why there is none, and what to do.
    Refused(String),
}

/// An answer that goes on.
pub(in crate::cli) struct Streaming {
    /// The path by which it can be ended.
    pub(in crate::cli) location: String,
    answer: Answer,
}

impl Streaming {
    /// The next part; `None` at its end.
    pub(in crate::cli) async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        self.answer.part().await
    }
}

/// Asks one API.
pub(in crate::cli) struct Client {
    api: ApiAddress,
    server: HttpServer,
    token: Option<HeaderValue>,
    runtime: Runtime,
}

impl Client {
    /// With the token in a file, if the API wants one, and for one by TLS the certificates in a file that it is known by.
    pub(in crate::cli) fn new(api: ApiAddress, token_file: Option<&Path>, ca: Option<&Path>) -> anyhow::Result<Self> {
        let server = HttpServer::new(api.0.clone(), ca, "--api-ca").map_err(|error| match error {
            TrustError::WithoutTls => UsageError::new("--api-ca is for --api https://ADDRESS:PORT; leave it out"),
            problem => UsageError::new(format!("--api-ca: {problem}")),
        })?;
        let token = token_file.map(|path| {
            let token = files::open(path).map_err(BearerError::from).and_then(bearer);
            token.map_err(|problem| UsageError::new(format!("--token-file: {}: {problem}", path.display())))
        });
        let token = token.transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { api, server, token, runtime: runtime.context("cannot start the runtime")? })
    }

    /// The JSON at a path.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self.runtime.block_on(self.exchange(path)).map_err(|error| match error {
            // The system's words, or those of TLS, say what has failed.
            ClientError::Connect(cause) | ClientError::Tls(cause) => cause.into(),
            error => anyhow::Error::from(error),
        });
        let (status, body) = answer.with_context(|| self.unreachable())?;
        match status {
            StatusCode::OK => {
                serde_json::from_str(&body).with_context(|| format!("{path}: this is not the API of a reflector"))
            }
            StatusCode::UNAUTHORIZED => {
                bail!("{} wants a token; name the file that holds it with --token-file", self.api)
            }
            _ => bail!("{}{path} answers {}: {}", self.api, status.as_u16(), body.trim()),
        }
    }

    /// The runtime of its requests.
    pub(in crate::cli) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Posts JSON to a path whose answer may take a while and has no end of its own.
    pub(in crate::cli) async fn stream(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<StreamReply> {
        let request = self.authorized(Request::post(path).header(header::CONTENT_TYPE, "application/json"));
        let sent = self.server.send_body(request, body.to_string().into(), STREAM_TIMEOUT).await;
        let answer = sent.with_context(|| self.unreachable())?;
        if answer.status() != StatusCode::OK {
            let (status, text) = (answer.status(), answer.text(MAX_ANSWER).await?);
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let part = |name: &str| problem[name].as_str().map(str::to_owned);
            let detail = part("detail").unwrap_or_else(|| format!("{} answers {}", self.api, status.as_u16()));
            return Ok(StreamReply::Refused(
                part("remedy").map_or(detail.clone(), |remedy| format!("{detail}; {remedy}")),
            ));
        }
        let location = answer.header(header::LOCATION).unwrap_or_default().to_owned();
        Ok(StreamReply::Stream(Streaming { location, answer }))
    }

    /// Deletes what is at a path. It may be gone already.
    pub(in crate::cli) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let sent = self.server.send(self.authorized(Request::delete(path))).await;
        sent.map(drop).with_context(|| self.unreachable())
    }

    fn authorized(&self, request: request::Builder) -> request::Builder {
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token),
            None => request,
        }
    }

    fn unreachable(&self) -> String {
        format!("cannot ask the reflector at {}; does one run there? --api names another place", self.api)
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, String), ClientError> {
        let request = Request::get(path).version(Version::HTTP_10).header(header::ACCEPT, "application/json");
        let request = self.authorized(request);
        let answer = self.server.send(request).await?;
        Ok((answer.status(), answer.text(MAX_ANSWER).await?))
    }
}
