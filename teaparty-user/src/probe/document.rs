//! A document that a server has: its address, and how to fetch it. There is an end to everything: time and octets.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::HeaderValue;
use hyper::{Request, StatusCode, header};
use tokio::task::JoinError;

use crate::crypto::{SecretError, open_secret};
use crate::http::client::bearer::{BearerError, bearer};
use crate::http::client::trust::{self, InvalidServerName, TrustError};
use crate::http::client::url::{Url, UrlError};
use crate::http::client::{ClientError, HttpServer, ServerAddress};

/// Time for all of it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of a document at most.
pub(crate) const MAX_DOCUMENT: usize = 4 << 20;

/// Name of the setting with the certificates to trust.
const CA_FILE: &str = "ca-file";
/// Likewise with the token.
const TOKEN_FILE: &str = "bearer-token-file";

/// A document's address with what it takes to ask there.
#[derive(Clone)]
pub(crate) struct DocumentAddress {
    /// Its location.
    pub url: Url,
    server: HttpServer,
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
pub(crate) enum AddressError {
    /// Not at this address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Not at an address of this host, by TLS.
    #[error(transparent)]
    ServerName(#[from] InvalidServerName),
    /// Not with these certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Not with this token.
    #[error(transparent)]
    Token(#[from] TokenFileError),
}

/// A file from which no token can be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenFileError {
    /// The system does not let it be read.
    #[error("cannot read the token file {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("the token file {0} may be read or written by others; run: chmod 600 {0}", file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
    },
    /// Its content is no token.
    #[error("the token file {} holds no token, which is one line, printable and without spaces", file.display())]
    NoToken {
        /// The file.
        file: PathBuf,
    },
}

impl AddressError {
    /// Returns the setting that is wrong.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::ServerName(_) => "url",
            Self::Trust(_) => CA_FILE,
            Self::Token(_) => TOKEN_FILE,
        }
    }
}

impl DocumentAddress {
    /// Reads the certificates, and looks whether there is a token.
    pub(crate) fn new(url: &str, ca: Option<&Path>, token: Option<PathBuf>) -> Result<Self, AddressError> {
        let url: Url = url.parse()?;
        let server = HttpServer::new(ServerAddress::Url(url.clone()), ca, CA_FILE)?;
        if url.is_tls() {
            trust::server_name(url.host())?;
        }
        if let Some(path) = &token {
            read_token(path)?;
        }
        Ok(Self { url, server, token })
    }
}

/// Returns the header with the token in a file that only its owner may read.
fn read_token(path: &Path) -> Result<HeaderValue, TokenFileError> {
    let unreadable = |reason| TokenFileError::Unreadable { file: path.into(), reason };
    let file = open_secret(path).map_err(|error| match error {
        SecretError::Unreadable(reason) => unreadable(reason),
        SecretError::Exposed(_) => TokenFileError::Exposed { file: path.into() },
    })?;
    bearer(file).map_err(|error| match error {
        BearerError::Unreadable(reason) => unreadable(reason),
        BearerError::NoToken => TokenFileError::NoToken { file: path.into() },
    })
}

/// A document that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// The thread that reads the token has ended.
    #[error(transparent)]
    Task(#[from] JoinError),
    /// The server can't be asked, or breaks off.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server has no document for us.
    #[error("answers {0}")]
    Status(StatusCode),
}

/// Returns the document's text.
pub(crate) async fn fetch(address: &DocumentAddress, refresh: Duration) -> Result<String, FetchError> {
    tokio::select! {
        // First: a step that takes as long as all of it may is no error of its own.
        biased;
        () = tokio::time::sleep(FETCH_TIMEOUT) => Err(ClientError::Timeout(FETCH_TIMEOUT).into()),
        fetched = get(address, refresh) => fetched,
    }
}

async fn get(
    DocumentAddress { url, server, token }: &DocumentAddress,
    refresh: Duration,
) -> Result<String, FetchError> {
    let mut request = Request::get(url.path())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("teaparty/", env!("CARGO_PKG_VERSION")))
        // As Prometheus tells its own.
        .header("X-Prometheus-Refresh-Interval-Seconds", refresh.as_secs().to_string());
    if let Some(path) = token {
        let path = path.clone();
        let token = tokio::task::spawn_blocking(move || read_token(&path)).await??;
        request = request.header(header::AUTHORIZATION, token);
    }
    let answer = server.send(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    Ok(answer.text(MAX_DOCUMENT).await?)
}
