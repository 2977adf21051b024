//! TLS from a client's side: by what a server is known.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::tls;

/// Nothing to verify the certificates of a server by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] tls::TlsError),
    /// A certificate in the file can't be one of an issuer.
    #[error("{}: this certificate is of no use: {error}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// The reason.
        error: Error,
    },
    /// There is no file, and the system has no certificates.
    #[error("this system trusts no certificates; name a file with those to trust by {setting}")]
    NoRoots {
        /// The option for a file.
        setting: &'static str,
    },
    /// There is a file, and no TLS.
    #[error("is for https:// addresses; leave it out, or ask by TLS")]
    WithoutTls,
    /// The library supports no version of TLS.
    #[error(transparent)]
    Versions(Error),
}

/// A text that no certificate names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name that a certificate has")]
pub(crate) struct InvalidServerName(String);

/// The certificates by which a server is known, and the setting that names them.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    setting: &'static str,
}

impl Trust {
    /// Reads the certificates of a file, or those that the system trusts.
    /// `setting` is the option for such a file; errors say what to do with it.
    pub(crate) fn load(file: Option<&Path>, setting: &'static str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(path) => {
                for certificate in tls::certificates(path)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| TrustError::Certificate { file: path.into(), error })?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(TrustError::NoRoots { setting });
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(TrustError::Versions)?;
        Ok(Self { config: Arc::new(config.with_root_certificates(roots).with_no_client_auth()), setting })
    }

    /// Agrees on TLS with the server of this name.
    pub(crate) async fn handshake(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(name, stream).await.map_err(|error| explain(error, self.setting))
    }
}

/// Parses the expected name of a server: a name, or an address without brackets.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, InvalidServerName> {
    ServerName::try_from(host.to_owned()).map_err(|_| InvalidServerName(host.into()))
}

/// An error of a handshake with what to do about it, where that is not plain. `setting` is as for [`Trust::load`].
fn explain(error: io::Error, setting: &str) -> io::Error {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return error };
    let remedy = match cause {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("name the certificate of its issuer, or its own if it is self-signed, by {setting}")
        }
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "the server's certificate is an authority's; make one with basicConstraints=critical,CA:FALSE".into()
        }
        Error::InvalidMessage(_) => "it may not speak TLS: ask by http://".into(),
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{cause}; {remedy}"))
}
