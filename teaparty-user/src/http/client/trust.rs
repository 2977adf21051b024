//! TLS from a client's side: by what a server is known. What clients of the API and of documents with targets have in common.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::header::InvalidHeaderValue;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use zeroize::Zeroizing;

use crate::crypto::{SecretError, open_secret};
use crate::http::tls;

/// Most octets of a file with a token.
const MAX_TOKEN: u64 = 4096;

/// Nothing to verify the certificates of a server by.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
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
        setting: String,
    },
    /// The library supports no version of TLS.
    #[error(transparent)]
    Versions(Error),
}

/// A text that no certificate names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name that a certificate has")]
pub struct InvalidServerName(String);

/// A file from which no token can be taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
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
    /// HTTP can't carry it.
    #[error(transparent)]
    Header(#[from] InvalidHeaderValue),
}

/// Returns the roots for verifying certificates: those in a file, or those that the system trusts.
/// `setting` is the option for such a file; the error says what to do.
pub fn trust(file: Option<&Path>, setting: &str) -> Result<Arc<ClientConfig>, TrustError> {
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
                return Err(TrustError::NoRoots { setting: setting.into() });
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(TrustError::Versions)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Parses the expected name of a server: a name, or an address without brackets.
pub fn server_name(host: &str) -> Result<ServerName<'static>, InvalidServerName> {
    ServerName::try_from(host.to_owned()).map_err(|_| InvalidServerName(host.into()))
}

/// Returns the header for the token in a file, which only its owner may read; the issuer of the token fixes its length.
/// The header is marked, so that it is not shown by `Debug`.
pub fn bearer(path: &Path) -> Result<HeaderValue, TokenFileError> {
    let unreadable = |reason| TokenFileError::Unreadable { file: path.into(), reason };
    let file = open_secret(path).map_err(|error| match error {
        SecretError::Unreadable(reason) => unreadable(reason),
        SecretError::Exposed(_) => TokenFileError::Exposed { file: path.into() },
    })?;
    let mut header = Zeroizing::new(b"Bearer ".to_vec());
    let read = file.take(MAX_TOKEN).read_to_end(&mut header);
    read.map_err(unreadable)?;
    let header = header.trim_ascii_end();
    let token = header.get(b"Bearer ".len()..).unwrap_or_default();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenFileError::NoToken { file: path.into() });
    }
    let mut header = HeaderValue::from_bytes(header)?;
    header.set_sensitive(true);
    Ok(header)
}

/// An error of a handshake with what to do about it, where that is not plain. `setting` is as for [`trust`].
pub fn explain_tls_error(error: io::Error, setting: &str) -> io::Error {
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
