//! A connection to an API: by TCP, with TLS or without, or by a socket in the file system.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::ask::Api;
use crate::api::trust;

/// How long each step of a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both directions of a connection.
pub(super) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Connects to an API. Whoever answers by TLS has shown then that `trust` knows it: nothing was said before.
pub(super) fn connect(api: &Api, trust: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn ReadWrite>> {
    match api {
        Api::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        Api::Http(host) => Ok(Box::new(connect_tcp(host)?)),
        Api::Https(host) => {
            let config = trust.ok_or_else(|| io::Error::other("there is nothing to know the reflector by"))?;
            let session = ClientConnection::new(config.clone(), server_name(host)?).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(session, connect_tcp(host)?);
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).map_err(|error| trust::explained(error, "--api-ca"))?;
            }
            Ok(Box::new(stream))
        }
    }
}

/// Who should answer, of `HOST:PORT`.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    trust::server_name(name).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// Connects to the first address of a name that answers.
fn connect_tcp(host: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
