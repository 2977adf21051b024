//! TLS from a client's side: by what a server is known. What clients of the API and of documents with targets have in common.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use axum::http::HeaderValue;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use zeroize::Zeroizing;

use super::tls;
use crate::crypto::{SecretError, open_secret};

/// Most octets of a file with a token.
const MAX_TOKEN: u64 = 4096;

/// Returns the roots for verifying certificates: those in a file, or those that the system trusts.
/// `setting` is the option for such a file; the error says what to do.
pub fn trust(file: Option<&Path>, setting: &str) -> Result<Arc<ClientConfig>, String> {
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
                return Err(format!(
                    "this system trusts no certificates; name a file with those to trust by {setting}"
                ));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Parses the expected name of a server: a name, or an address without brackets.
pub fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no name that a certificate has"))
}

/// Returns the header for the token in a file, which only its owner may read; the issuer of the token fixes its length.
/// The header is marked, so that it is not shown by `Debug`.
pub fn bearer(path: &Path) -> Result<HeaderValue, String> {
    let name = path.display();
    let file = open_secret(path).map_err(|error| match error {
        SecretError::Unreadable(reason) => format!("cannot read the token file {name}: {reason}"),
        SecretError::Exposed(_) => {
            format!("the token file {name} may be read or written by others; run: chmod 600 {name}")
        }
    })?;
    let mut header = Zeroizing::new(b"Bearer ".to_vec());
    let read = file.take(MAX_TOKEN).read_to_end(&mut header);
    read.map_err(|reason| format!("cannot read the token file {name}: {reason}"))?;
    let header = header.trim_ascii_end();
    let token = header.get(b"Bearer ".len()..).unwrap_or_default();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(format!("the token file {name} holds no token, which is one line, printable and without spaces"));
    }
    let mut header = HeaderValue::from_bytes(header).map_err(|error| error.to_string())?;
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
