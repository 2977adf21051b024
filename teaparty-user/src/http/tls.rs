//! TLS for the API's port: the certificate and its key, read from files and again whenever told to, and the handshake.
//!
//! TLS 1.2 and 1.3 by rustls; older versions are refused. Access still needs the token ([`super::auth`]).

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{Acceptor, ParsedCertificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::crypto::{SecretError, open_secret};
use crate::files;
use crate::files::limit::reading;

/// Most octets of a file with certificates, or with a key.
const MAX_FILE: u64 = 1 << 20;
/// Handshakes that are calculated at a time. Who only connects, and says nothing, takes none of these places.
const HANDSHAKES: usize = 16;
/// The answer to a client that speaks HTTP without TLS.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\nThis port speaks TLS: ask by https.\n";

/// Certificate and key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// Others may read or write the key.
    #[error("the key file {path} may be read or written by others (mode {mode:04o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// A file holds nothing of what it should.
    #[error("{path} holds no {what}, which begins with a line -----BEGIN {begins}-----")]
    Missing {
        /// The file.
        path: String,
        /// The missing part.
        what: &'static str,
        /// The start of it.
        begins: &'static str,
    },
    /// A file is not what it should be.
    #[error("{path} is no file in PEM that can be used: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// They don't belong together.
    #[error(
        "the key in {key} is not the one of the first certificate in {certificate}; give the two that were made together"
    )]
    Mismatch {
        /// File with the certificate.
        certificate: String,
        /// File with the key.
        key: String,
    },
}

impl TlsError {
    /// Returns true if it is the file with the key that is wrong.
    pub fn is_about_key(&self, key: &Path) -> bool {
        let name = key.display().to_string();
        match self {
            Self::Exposed { .. } | Self::Mismatch { .. } => true,
            Self::Unreadable { path, .. } | Self::Missing { path, .. } | Self::Malformed { path, .. } => *path == name,
        }
    }
}

/// A certificate with its key, for all who hold a clone of it.
#[derive(Clone)]
pub struct Tls {
    current: Arc<RwLock<TlsIdentity>>,
    handshakes: Arc<Semaphore>,
}

#[derive(Clone)]
struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads a certificate, followed by those of its issuers if need be, and its key, both in PEM.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let names = (certificate.display().to_string(), key.display().to_string());
        let chain = certificates(certificate)?;
        let private = private_key(key)?;
        let with = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let with = with.with_safe_default_protocol_versions().map_err(|error| malformed(&names.0, error))?;
        let config = with.with_no_client_auth().with_single_cert(chain.clone(), private);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { certificate: names.0.clone(), key: names.1 },
            rustls::Error::InvalidCertificate(_) => malformed(&names.0, error),
            // Its text is about the key's form, and quotes nothing of it.
            error => malformed(&names.1, error),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let identity = TlsIdentity { chain, config: Arc::new(config) };
        Ok(Self { current: Arc::new(RwLock::new(identity)), handshakes: Arc::new(Semaphore::new(HANDSHAKES)) })
    }

    /// Takes over the certificate and key of `newer`, for connections from now on. Says whether the certificate is another one.
    pub fn renew(&self, newer: &Self) -> bool {
        let newer = newer.identity();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = current.chain != newer.chain;
        if is_other {
            *current = newer;
        }
        is_other
    }

    fn identity(&self) -> TlsIdentity {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the certificate is one for the host of this name.
    pub fn is_valid_for(&self, name: &str) -> bool {
        let identity = self.identity();
        let Some(certificate) = identity.chain.first().and_then(|first| ParsedCertificate::try_from(first).ok()) else {
            return false;
        };
        ServerName::try_from(name).is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
    }

    /// Agrees with the client that has connected. To be given up after a time: it takes as long as the client likes.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A method of HTTP; TLS begins with 22.
        if first[0].is_ascii_uppercase() {
            return tell_plain(stream).await;
        }
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let _place = self.handshakes.acquire().await.map_err(io::Error::other)?;
        hello.into_stream(self.identity().config).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({} certificates)", self.identity().chain.len())
    }
}

/// The certificates in a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let name = path.display().to_string();
    let unreadable = |reason| TlsError::Unreadable { path: name.clone(), reason };
    let text = reading(|| files::open(path).and_then(content)).map_err(unreadable)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| malformed(&name, error))?;
    match chain.is_empty() {
        true => Err(TlsError::Missing { path: name, what: "certificate", begins: "CERTIFICATE" }),
        false => Ok(chain),
    }
}

/// The key in a file that only its owner may read or write.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let name = path.display().to_string();
    let text = reading(|| open_secret(path).and_then(|file| content(file).map_err(SecretError::Unreadable)));
    let text = text.map_err(|error| match error {
        SecretError::Unreadable(reason) => TlsError::Unreadable { path: name.clone(), reason },
        SecretError::Exposed(mode) => TlsError::Exposed { path: name.clone(), mode },
    })?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            TlsError::Missing { path: name, what: "private key without a passphrase", begins: "PRIVATE KEY" }
        }
        error => malformed(&name, error),
    })
}

fn malformed(path: &str, reason: impl fmt::Display) -> TlsError {
    TlsError::Malformed { path: path.into(), reason: reason.to_string() }
}

fn content(file: std::fs::File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::new());
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut text)?;
    Ok(text)
}

/// Tells a client that it has to ask in another way.
async fn tell_plain<T>(mut stream: TcpStream) -> io::Result<T> {
    // What is not read would have the answer thrown away.
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await?;
    stream.write_all(PLAIN.as_bytes()).await?;
    stream.shutdown().await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"))
}

#[cfg(test)]
mod tests;
