//! A connection to an API: by TCP, with TLS or without, or by a socket in the file system.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::http::client::trust;

/// Most time for each step of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `HOST:PORT`.
    Http(String),
    /// `HOST:PORT`, by TLS.
    Https(String),
    /// The path of a socket.
    Unix(PathBuf),
}

/// A text that is no [`Api`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidApi {
    /// The path of the socket is missing.
    #[error("write the path behind unix:")]
    NoPath,
    /// It is no address.
    #[error("write http://ADDRESS:PORT, such as http://127.0.0.1:8000, https://…, or unix:PATH")]
    Form,
}

impl FromStr for Api {
    type Err = InvalidApi;

    fn from_str(text: &str) -> Result<Self, InvalidApi> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(InvalidApi::NoPath) } else { Ok(Self::Unix(path.into())) };
        }
        let (kind, port, rest): (fn(String) -> Self, _, _) = match text.strip_prefix("https://") {
            Some(rest) => (Self::Https, 443, rest),
            None => (Self::Http, 80, text.strip_prefix("http://").unwrap_or(text)),
        };
        let rest = rest.trim_end_matches('/');
        if rest.is_empty() || rest.contains('/') || rest.contains('@') {
            return Err(InvalidApi::Form);
        }
        let has_port =
            rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !rest.ends_with(']'));
        Ok(kind(if has_port { rest.into() } else { format!("{rest}:{port}") }))
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(host) => write!(f, "http://{host}"),
            Self::Https(host) => write!(f, "https://{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Both directions of a connection.
pub(super) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Connects to an API. Whoever answers by TLS has shown then that `trust` knows it: nothing was said before.
pub(super) fn connect(api: &Api, trust: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn ReadWrite>> {
    match api {
        Api::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
            stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
            Ok(Box::new(stream))
        }
        Api::Http(host) => Ok(Box::new(connect_tcp(host)?)),
        Api::Https(host) => {
            let config = trust.ok_or_else(|| io::Error::other("there is nothing to know the reflector by"))?;
            let session = ClientConnection::new(config.clone(), server_name(host)?).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(session, connect_tcp(host)?);
            while stream.conn.is_handshaking() {
                stream
                    .conn
                    .complete_io(&mut stream.sock)
                    .map_err(|error| trust::explain_tls_error(error, "--api-ca"))?;
            }
            Ok(Box::new(stream))
        }
    }
}

/// Parses the expected name of a server out of `HOST:PORT`.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    trust::server_name(name).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Connects to the first address of a name that answers.
fn connect_tcp(host: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, REQUEST_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
                stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
