//! A connection to an API: by TCP, with TLS or without, or by a socket in the file system.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned};

use super::ask::Api;
use crate::api::tls;

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
                stream.conn.complete_io(&mut stream.sock).map_err(explained)?;
            }
            Ok(Box::new(stream))
        }
    }
}

/// What certificates are held against: those in a file, or those that the system trusts. The error says what to do.
pub(super) fn trust(file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in tls::certificates(path).map_err(|error| error.to_string())? {
                let added = roots.add(certificate);
                added.map_err(|error| format!("{}: this certificate is of no use: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system trusts no certificates; name those to trust with --api-ca FILE".into());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Who should answer, of `HOST:PORT`.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let wrong = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no name that a certificate has"));
    ServerName::try_from(name.to_owned()).map_err(wrong)
}

/// An error of TLS with what to do about it, where that is not plain.
fn explained(error: io::Error) -> io::Error {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return error };
    let remedy = match cause {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "name the certificate of its issuer, or its own if it is self-signed, with --api-ca"
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the reflector's certificate is an authority's; make one with basicConstraints=critical,CA:FALSE"
        }
        Error::InvalidMessage(_) => "it may not speak TLS: ask by http://",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{cause}; {remedy}"))
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
