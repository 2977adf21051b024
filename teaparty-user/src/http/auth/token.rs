//! The bearer token, and which addresses may be listened at without one.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{SecretError, open_secret};
use crate::files::limit::reading;

/// Fewest octets of a token: at 64 characters to choose from these are 96 bits.
const MIN_LEN: usize = 16;
/// Most octets of a token file.
const MAX_LEN: usize = 4096;

/// The API can't be offered in this way.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Others could reach it.
    #[error(
        "--api {0} can be reached from elsewhere, and there everybody could change sessions: give --api-token-file FILE, \
         or an address such as 127.0.0.1:8000"
    )]
    Needed(SocketAddr),
    /// The file can't be read.
    #[error("cannot read the token file {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: std::io::Error,
    },
    /// Others may read or write the file.
    #[error("the token file {0} may be read or written by others; run: chmod 600 {0}")]
    Exposed(String),
    /// It holds no token.
    #[error(
        "the token file {0} does not hold one line of {MIN_LEN} to {MAX_LEN} visible ASCII characters; \
         to make one: openssl rand -hex 32 > {0}"
    )]
    Unusable(String),
}

/// A bearer token, for all who hold a clone of it. Never shown.
#[derive(Clone)]
pub struct Token(Arc<RwLock<Zeroizing<Vec<u8>>>>);

impl Token {
    /// Reads the token from a file that only its owner may read: one line.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let name = path.display().to_string();
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_LEN + 2));
        let read = reading(|| {
            let file = open_secret(path)?;
            file.take(MAX_LEN as u64 + 2).read_to_end(&mut content).map_err(SecretError::Unreadable)
        });
        read.map_err(|error| match error {
            SecretError::Unreadable(reason) => TokenError::Unreadable { path: name.clone(), reason },
            SecretError::Exposed(_) => TokenError::Exposed(name.clone()),
        })?;
        Self::new(content.strip_suffix(b"\n").unwrap_or(&content)).ok_or(TokenError::Unusable(name))
    }

    /// A token of these octets, if they can be one.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let is_usable = (MIN_LEN..=MAX_LEN).contains(&octets.len()) && octets.iter().all(u8::is_ascii_graphic);
        is_usable.then(|| Self(Arc::new(RwLock::new(Zeroizing::new(octets.to_vec())))))
    }

    /// Takes over what `newer` is: requests from now on must bring that. Says whether it is another one.
    pub fn renew(&self, newer: &Self) -> bool {
        let newer = newer.octets();
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *current != newer;
        *current = newer;
        is_other
    }

    fn octets(&self) -> Zeroizing<Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true if a request brings this token. Takes as long for a wrong one as for the right one.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()) else { return false };
        let Some((scheme, token)) = value.split_at_checked(7) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(self.octets().ct_eq(token))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Refuses to offer the API to others than this host's users without a token.
pub fn check_listen(listen: SocketAddr, token: Option<&Token>) -> Result<(), TokenError> {
    if token.is_none() && !listen.ip().to_canonical().is_loopback() { Err(TokenError::Needed(listen)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_loopback_does_without_a_token() {
        let token = Token::new(b"0123456789abcdef").unwrap();
        for address in ["127.0.0.1:8000", "[::1]:8000", "127.9.9.9:1"] {
            check_listen(address.parse().unwrap(), None).unwrap();
        }
        for address in ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000"] {
            let error = check_listen(address.parse().unwrap(), None).unwrap_err().to_string();
            assert!(error.contains("--api-token-file") && error.contains(address), "{error}");
            check_listen(address.parse().unwrap(), Some(&token)).unwrap();
        }
    }

    #[test]
    fn token_files_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let write = |content: &str, mode| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::load(&path)
        };
        assert_eq!(*write("0123456789abcdef\n", 0o600).unwrap().octets(), b"0123456789abcdef");
        assert!(matches!(write("0123456789abcdef\n", 0o644), Err(TokenError::Exposed(_))));
        for wrong in ["", "short\n", "0123456789 abcdef\n", "0123456789abcdef\n0123456789abcdef\n"] {
            assert!(matches!(write(wrong, 0o600), Err(TokenError::Unusable(_))), "{wrong:?}");
        }
        assert!(matches!(Token::load(&directory.path().join("none")), Err(TokenError::Unreadable { .. })));
    }
}
