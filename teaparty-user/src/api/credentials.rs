//! What lets clients in and guards their way: the token and TLS, from files that may be read again.

use std::path::Path;

use super::listen::ApiListener;
use super::tls::Tls;
use super::token::Token;
use crate::reflector::config::ConfigError;

/// Name of the setting with the token's file.
pub const TOKEN_FILE: &str = "api-token-file";
/// Name of the setting with the certificate's file.
pub const TLS_CERT: &str = "api-tls-cert";
/// Name of the setting with the file of the certificate's key.
pub const TLS_KEY: &str = "api-tls-key";

/// Token and TLS, where there are any.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The token that a client must present; `None` admits everybody.
    pub token: Option<Token>,
    /// TLS for clients on a port; `None` for plain HTTP.
    pub tls: Option<Tls>,
}

impl Credentials {
    /// Reads the files. The error names the setting and says what to do.
    pub fn load(token: Option<&Path>, certificate: Option<&Path>, key: Option<&Path>) -> Result<Self, ConfigError> {
        let wrong = |field, problem: String| ConfigError { field, problem };
        let token = token.map(Token::load).transpose().map_err(|error| wrong(TOKEN_FILE, error.to_string()))?;
        let tls =
            match (certificate, key) {
                (None, None) => None,
                (Some(certificate), Some(key)) => Some(Tls::load(certificate, key).map_err(|error| {
                    wrong(if error.is_about_key(key) { TLS_KEY } else { TLS_CERT }, error.to_string())
                })?),
                (Some(_), None) => {
                    return Err(wrong(TLS_CERT, format!("a certificate is of no use without its key; add {TLS_KEY}")));
                }
                (None, Some(_)) => {
                    return Err(wrong(TLS_KEY, format!("a key is of no use without its certificate; add {TLS_CERT}")));
                }
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

    /// Warns of a token that anyone on the way can read.
    pub fn warn_of_exposure(&self, listener: Option<&ApiListener>) {
        if let Some(listener) = listener.filter(|listener| listener.exposes_token(self.token.as_ref())) {
            tracing::warn!(
                api = %listener,
                "the API's token crosses the network in the clear; add --api-tls-cert and --api-tls-key, or listen on loopback"
            );
        }
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
