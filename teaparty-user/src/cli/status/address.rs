//! The address of an API, as it is written on the command line.

use std::fmt;
use std::str::FromStr;

use crate::http::client::ServerAddress;
use crate::http::client::url::Url;

/// The address of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct ApiAddress(pub(super) ServerAddress);

/// A text that is no [`ApiAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum InvalidApiAddress {
    /// The path of the socket is missing.
    #[error("write the path behind unix:")]
    NoPath,
    /// It is no address.
    #[error("write http://ADDRESS:PORT, such as http://127.0.0.1:8000, https://…, or unix:PATH")]
    Form,
}

impl FromStr for ApiAddress {
    type Err = InvalidApiAddress;

    fn from_str(text: &str) -> Result<Self, InvalidApiAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let is_empty = path.is_empty();
            return if is_empty { Err(InvalidApiAddress::NoPath) } else { Ok(Self(ServerAddress::Unix(path.into()))) };
        }
        let url = if text.contains("://") { text.parse() } else { format!("http://{text}").parse() };
        let url: Url = url.map_err(|_| InvalidApiAddress::Form)?;
        if url.path().contains(|c| c != '/') {
            return Err(InvalidApiAddress::Form);
        }
        Ok(Self(ServerAddress::Url(url.with_port_shown())))
    }
}

impl fmt::Display for ApiAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ServerAddress::Url(url) => f.write_str(&url.origin()),
            ServerAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_urls_or_paths() {
        let of = |text: &str| text.parse::<ApiAddress>().map(|api| api.to_string());
        assert_eq!(of("http://127.0.0.1:8000/").unwrap(), "http://127.0.0.1:8000");
        assert_eq!(of("192.0.2.1:8000").unwrap(), "http://192.0.2.1:8000");
        assert_eq!(of("http://[2001:db8::1]:8000").unwrap(), "http://[2001:db8::1]:8000");
        assert_eq!(of("http://[2001:db8::1]").unwrap(), "http://[2001:db8::1]:80");
        assert_eq!(of("unix:/run/teaparty/api").unwrap(), "unix:/run/teaparty/api");
        assert_eq!(of("https://a.example:8443/").unwrap(), "https://a.example:8443");
        assert_eq!(of("https://[2001:db8::1]").unwrap(), "https://[2001:db8::1]:443");
        for wrong in ["", "unix:", "https://", "https://a.example/x", "http://a.example/x", "http://u@a.example"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
