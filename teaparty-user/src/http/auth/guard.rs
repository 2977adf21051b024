//! Who may use the API, and for what: checked for each request before any handler sees it.
//!
//! Reads are open to this host's users where there is no token. Writes over TCP without a token are for root and the user
//! that started the process, told by the kernel from the connection. A Unix socket is guarded by its permissions.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::host::{self, Hosts};
use super::token::Token;
use crate::http::connections::{Connection, Peer};
use crate::http::dashboard;
use crate::http::problem::ApiError;
use crate::net::peer_uid;

/// The remedy for a client that may not write.
const REMEDY: &str = "ask as root or as the user that runs the reflector, or start it with --api-token-file FILE, \
                      --api unix:/PATH, or --api-writes any";

/// Clients that may change things over the API: `any`, `owner` or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Writes {
    /// Every client that may read
    Any,
    /// Clients with the token or on the Unix socket; over loopback without a token, root and the user that runs the reflector
    #[default]
    Owner,
    /// Nobody
    None,
}

/// A text that is no [`Writes`], in clap's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidWrites(String);

impl FromStr for Writes {
    type Err = InvalidWrites;

    fn from_str(text: &str) -> Result<Self, InvalidWrites> {
        clap::ValueEnum::from_str(text, false).map_err(InvalidWrites)
    }
}

/// The checks of one API.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The token that a client must present; `None` lets every user of this host read.
    pub token: Option<Token>,
    /// The clients that may write.
    pub writes: Writes,
    /// The names of this host.
    pub hosts: Hosts,
    /// The user that runs this process.
    owner: u32,
}

impl Guard {
    /// The guard of an API of this process.
    pub fn new(token: Option<Token>, writes: Writes, hosts: Hosts) -> Self {
        Self { token, writes, hosts, owner: nix::unistd::getuid().as_raw() }
    }

    /// Decides about a request. One that did not come over a connection is this process's own.
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let connection = request.extensions().get::<Arc<Connection>>().map(Arc::as_ref);
        let authority = match connection {
            Some(_) => Some(host::authority(request.uri(), request.headers())?),
            None => None,
        };
        let has_token = self.token.as_ref().is_some_and(|token| token.admits(request.headers()));
        if let Some(connection) = connection.filter(|_| has_token) {
            connection.trust();
        }
        // A page that was bound to our address does not know the token, and a browser does not reach a Unix socket.
        if let (Some(Peer::Tcp { server, .. }), Some(authority), false) =
            (connection.map(|connection| connection.peer), &authority, has_token)
        {
            self.hosts.check(authority, Some(server.ip()))?;
        }
        let path = request.uri().path();
        // They say nothing of this host, and a browser can't show the token when it asks for a page.
        let is_open = matches!(path, "/livez" | "/readyz") || dashboard::is_asset(path);
        if self.token.is_some() && !has_token && !is_open {
            return Err(ApiError::unauthorized());
        }
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(());
        }
        self.check_write(request, connection, has_token)
    }

    /// Returns true if the client of a request that was admitted may write too, whatever this one does.
    pub(crate) fn may_write(&self, request: &Request) -> bool {
        let connection = request.extensions().get::<Arc<Connection>>().map(Arc::as_ref);
        let has_token = self.token.as_ref().is_some_and(|token| token.admits(request.headers()));
        self.check_write(request, connection, has_token).is_ok()
    }

    fn check_write(&self, request: &Request, connection: Option<&Connection>, has_token: bool) -> Result<(), ApiError> {
        let has_origin = request.headers().contains_key(header::ORIGIN);
        match self.writes {
            Writes::None => Err(ApiError::read_only(
                "this API takes no changes (--api-writes none)",
                "change the configuration file and reload, or start it with --api-writes owner",
            )),
            _ if has_token => Ok(()),
            // A browser on this host reaches loopback too, and says with `Origin` that it acts for a page.
            _ if has_origin => Err(ApiError::foreign_page()),
            Writes::Any => Ok(()),
            Writes::Owner => match connection.map(|connection| connection.peer) {
                Some(peer @ Peer::Tcp { .. }) => self.check_owner(peer),
                Some(Peer::Unix) | None => Ok(()),
            },
        }
    }

    /// Refuses a client of another user than root and ours.
    fn check_owner(&self, peer: Peer) -> Result<(), ApiError> {
        let Peer::Tcp { client, server } = peer else { return Ok(()) };
        let uid = peer_uid::owner(client, server).unwrap_or_else(|error| {
            tracing::warn!(error = %error, "cannot tell which user asks the API; the request is refused");
            None
        });
        match uid {
            Some(0) => Ok(()),
            Some(uid) if uid == self.owner && !is_unmapped(uid) => Ok(()),
            Some(uid) => Err(ApiError::read_only(
                format!(
                    "over TCP without a token, changes are for root and the reflector's own user, and not for user {uid}"
                ),
                REMEDY,
            )),
            None => Err(ApiError::read_only(
                "over TCP without a token, changes are for root and the reflector's own user, and the kernel does not say \
                 which user asks",
                REMEDY,
            )),
        }
    }
}

/// Returns whether this number stands for every user that has no number in our user namespace.
fn is_unmapped(uid: u32) -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let is_overflow = read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(uid);
    let map = read("/proc/self/uid_map");
    is_overflow && map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

/// Lets through the requests that the guard admits.
pub(crate) async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // It may ask the kernel who the client is, which takes some microseconds and never waits.
    let verdict = guard.check(&request);
    let is_trusted = request.extensions().get::<Arc<Connection>>().is_none_or(|connection| connection.is_trusted());
    let mut response = match verdict {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    // Where there is a token, connections are kept for those that have it.
    if guard.token.is_some() && !is_trusted {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::Body;

    use super::*;

    const TOKEN: &[u8] = b"0123456789abcdef";

    fn guard(token: bool, writes: Writes) -> Guard {
        Guard::new(token.then(|| Token::new(TOKEN).unwrap()), writes, Hosts::default())
    }

    fn request(method: &str, peer: Option<Peer>, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/api/v1/policy").header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(Arc::new(Connection::new(peer)));
        }
        request
    }

    fn status(guard: &Guard, request: &Request) -> u16 {
        guard.check(request).map_or_else(|error| error.status().as_u16(), |()| 200)
    }

    /// A connection whose client nobody can name: its socket is not there.
    fn stranger() -> Option<Peer> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Some(Peer::Tcp { client: address(1), server: address(2) })
    }

    #[test]
    fn who_may_write_is_configured() {
        const BEARER: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
        const ORIGIN: (&str, &str) = ("origin", "http://evil.example");
        type Row = (bool, Writes, Option<Peer>, &'static [(&'static str, &'static str)], [u16; 2]);
        let rows: &[Row] = &[
            // token, writes, peer, headers, status of GET and of PATCH
            (false, Writes::Owner, stranger(), &[], [200, 403]),
            (false, Writes::Any, stranger(), &[], [200, 200]),
            (false, Writes::None, stranger(), &[], [200, 403]),
            (false, Writes::Owner, Some(Peer::Unix), &[], [200, 200]),
            (false, Writes::None, Some(Peer::Unix), &[], [200, 403]),
            (false, Writes::Owner, None, &[], [200, 200]),
            (false, Writes::Any, stranger(), &[ORIGIN], [200, 403]),
            (true, Writes::Owner, stranger(), &[], [401, 401]),
            (true, Writes::Owner, stranger(), &[BEARER], [200, 200]),
            (true, Writes::Owner, stranger(), &[BEARER, ORIGIN], [200, 200]),
            (true, Writes::None, stranger(), &[BEARER], [200, 403]),
        ];
        for (token, writes, peer, headers, expected) in rows {
            let guard = guard(*token, *writes);
            let got = ["GET", "PATCH"].map(|method| status(&guard, &request(method, *peer, headers)));
            assert_eq!(got, *expected, "token {token}, {writes:?}, {peer:?}, {headers:?}");
        }
    }

    #[test]
    fn a_connection_with_the_token_is_trusted_from_then_on() {
        let guard = guard(true, Writes::Owner);
        let wrong = request("GET", stranger(), &[("authorization", "Bearer 0123456789abcdeF")]);
        let right = request("GET", stranger(), &[("authorization", "Bearer 0123456789abcdef")]);
        for (request, is_trusted) in [(wrong, false), (right, true)] {
            let _ = guard.check(&request);
            assert_eq!(request.extensions().get::<Arc<Connection>>().unwrap().is_trusted(), is_trusted);
        }
    }
}
