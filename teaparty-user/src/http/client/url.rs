//! The location of a resource: `http://HOST[:PORT]/PATH`, or the same with `https`.

use std::fmt;
use std::str::FromStr;

/// A location, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
    path: String,
}

/// A text that is no [`Url`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// It is no address of a document.
    #[error("`{0}` is no address of a document that can be fetched: write http[s]://HOST[:PORT]/PATH")]
    Invalid(String),
    /// It has a secret in it.
    #[error("a password in the address would be seen in logs; leave it out")]
    Password,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError::Invalid(text.into());
        let uri: hyper::Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err(UrlError::Password);
        }
        let is_tls = scheme == "https";
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            is_tls,
            authority: authority.to_string(),
            host,
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/".into(), ToString::to_string),
        })
    }
}

impl Url {
    /// Returns true if the server speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Host and port as they were written.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The host: a name, or an address without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's own where none was written.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, at least `/`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns scheme and authority.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Returns the same with the port written out.
    pub(crate) fn with_port_shown(self) -> Self {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        Self { authority: format!("{host}:{}", self.port), ..self }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url: Url = "http://[::1]:8080/targets?a=b".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("::1", 8080, "/targets?a=b"));
        assert_eq!(url.to_string(), "http://[::1]:8080/targets?a=b");
        let url: Url = "http://sd.example".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("sd.example", 80, "/"));
        assert_eq!(url.with_port_shown().origin(), "http://sd.example:80");
        let url: Url = "https://sd.example/x".parse().unwrap();
        assert_eq!((url.is_tls, url.port, url.to_string().as_str()), (true, 443, "https://sd.example/x"));
        for wrong in ["sd.example/x", "ftp://sd.example/", "http:///x", "http://u:p@sd.example/", ""] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }
}
