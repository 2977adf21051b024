//! What lets clients in and guards their way: the token and TLS, from files that may be read again.

use std::path::Path;

use super::token::{Token, TokenError};
use crate::http::tls::{Tls, TlsError};

/// Name of the setting with the token's file.
pub(crate) const TOKEN_FILE: &str = "api-token-file";
/// Name of the setting with the certificate's file.
pub(crate) const TLS_CERT: &str = "api-tls-cert";
/// Name of the setting with the file of the certificate's key.
pub(crate) const TLS_KEY: &str = "api-tls-key";

/// Files from which no [`Credentials`] can be made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The token's file can't be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The certificate can't be used, or goes with another key.
    #[error(transparent)]
    Certificate(TlsError),
    /// The key can't be used.
    #[error(transparent)]
    Key(TlsError),
    /// There is a certificate alone.
    #[error("a certificate is of no use without its key; add {TLS_KEY}")]
    NoKey,
    /// There is a key alone.
    #[error("a key is of no use without its certificate; add {TLS_CERT}")]
    NoCertificate,
}

impl CredentialsError {
    /// Returns the setting that is wrong.
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Token(_) => TOKEN_FILE,
            Self::Certificate(_) | Self::NoKey => TLS_CERT,
            Self::Key(_) | Self::NoCertificate => TLS_KEY,
        }
    }
}

/// Token and TLS, where there are any.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token that a client must present; `None` admits everybody.
    pub token: Option<Token>,
    /// TLS for clients on a port; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

impl Credentials {
    /// Reads the files. The error says what to do.
    pub fn load(
        token: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, CredentialsError> {
        let token = token.map(Token::load).transpose()?;
        let tls = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Tls::load(certificate, key).map_err(|error| {
                let is_about_key = error.is_about_key(key);
                if is_about_key { CredentialsError::Key(error) } else { CredentialsError::Certificate(error) }
            })?),
            (Some(_), None) => return Err(CredentialsError::NoKey),
            (None, Some(_)) => return Err(CredentialsError::NoCertificate),
        };
        Ok(Self { token, tls })
    }

    /// Adopts reloaded secrets for all clones. Returns the settings whose files have changed.
    ///
    /// Nobody is let in without a token, or met without TLS, where that was not so at the start: see [`Self::is_kept`].
    pub fn renew(&self, newer: &Self) -> Vec<&'static str> {
        let token = self.token.as_ref().zip(newer.token.as_ref()).is_some_and(|(now, new)| now.renew(new));
        let tls = self.tls.as_ref().zip(newer.tls.as_ref()).is_some_and(|(now, new)| now.renew(new));
        [(token, TOKEN_FILE), (tls, TLS_CERT)].into_iter().filter(|(is_new, _)| *is_new).map(|(_, key)| key).collect()
    }

    /// Returns true if a setting's file, under whatever name, is what [`Self::renew`] took over. Another kind of access takes a restart.
    pub fn is_kept(&self, newer: &Self, setting: &str) -> bool {
        match setting {
            TOKEN_FILE => self.token.is_some() && newer.token.is_some(),
            TLS_CERT | TLS_KEY => self.tls.is_some() && newer.tls.is_some(),
            _ => false,
        }
    }
}
