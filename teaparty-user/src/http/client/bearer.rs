//! The header with a token from a file.

use std::io::{self, Read};

use axum::http::HeaderValue;
use zeroize::Zeroizing;

/// Most octets of a file with a token.
const MAX_TOKEN: u64 = 4096;

/// A file from which no token can be taken. Who shows it names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BearerError {
    /// The system does not let it be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// Its content is no token.
    #[error("it holds no token, which is printable and without spaces")]
    NoToken,
}

/// Returns the header for the token in a file; the issuer of the token fixes its length.
/// The header is marked, so that it is not shown by `Debug`.
pub(crate) fn bearer(file: impl Read) -> Result<HeaderValue, BearerError> {
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_TOKEN).read_to_end(&mut content)?;
    let token = content.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(BearerError::NoToken);
    }
    let header = Zeroizing::new([b"Bearer ", token].concat());
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| BearerError::NoToken)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let header = bearer(&b"secret\n"[..]).unwrap();
        assert_eq!((header.as_bytes(), format!("{header:?}")), (&b"Bearer secret"[..], "Sensitive".to_owned()));
        for wrong in ["", "\n", "two words\n", "two\nlines\n", "t\u{f6}ken"] {
            assert!(matches!(bearer(wrong.as_bytes()), Err(BearerError::NoToken)), "{wrong:?}");
        }
    }
}
