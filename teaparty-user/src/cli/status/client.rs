//! A client of the reflector's API: one request by HTTP/1.0 on a connection of its own.

use std::path::Path;

use anyhow::{Context, bail};
use axum::http::HeaderValue;
use hyper::{Request, StatusCode, Version, header};
use tokio::runtime::Runtime;

use super::address::ApiAddress;
use crate::exit_code::UsageError;
use crate::files;
use crate::http::client::bearer::{BearerError, bearer};
use crate::http::client::trust::TrustError;
use crate::http::client::{ClientError, HttpServer};

/// Most octets of an answer.
const MAX_ANSWER: usize = 16 << 20;

/// Asks one API.
pub(super) struct Client {
    api: ApiAddress,
    server: HttpServer,
    token: Option<HeaderValue>,
    runtime: Runtime,
}

impl Client {
    /// With the token in a file, if the API wants one, and for one by TLS the certificates in a file that it is known by.
    pub(super) fn new(api: ApiAddress, token_file: Option<&Path>, ca: Option<&Path>) -> anyhow::Result<Self> {
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
        let (status, body) = answer.with_context(|| {
            format!("cannot ask the reflector at {}; does one run there? --api names another place", self.api)
        })?;
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

    async fn exchange(&self, path: &str) -> Result<(StatusCode, String), ClientError> {
        let mut request = Request::get(path).version(Version::HTTP_10).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let answer = self.server.send(request).await?;
        Ok((answer.status(), answer.text(MAX_ANSWER).await?))
    }
}
