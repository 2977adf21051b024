//! A client of the reflector's API: one request by HTTP/1.0 on a connection of its own.

use std::io::{self, Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::connect::{Api, connect};
use crate::exit_code::UsageError;
use crate::files;
use crate::http::client::trust;

/// Most octets of an answer.
const MAX_ANSWER: u64 = 16 << 20;
/// Most octets of a token's file.
const MAX_TOKEN: u64 = 4096;

/// Asks one API.
pub(super) struct Client {
    api: Api,
    token: Option<Zeroizing<String>>,
    /// The roots for verifying an API over TLS.
    trust: Option<Arc<ClientConfig>>,
}

impl Client {
    /// With the token in a file, if the API wants one, and for one by TLS the certificates in a file that it is known by.
    pub(super) fn new(api: Api, token_file: Option<&Path>, ca: Option<&Path>) -> Result<Self, UsageError> {
        let trust = match (&api, ca) {
            (Api::Https(_), ca) => {
                Some(trust::trust(ca, "--api-ca").map_err(|problem| UsageError::new(format!("--api-ca: {problem}")))?)
            }
            (_, None) => None,
            (_, Some(_)) => return Err(UsageError::new("--api-ca is for --api https://ADDRESS:PORT; leave it out")),
        };
        let read = |path: &Path| {
            let wrong = |problem: String| UsageError::new(format!("--token-file: {}: {problem}", path.display()));
            let mut text = Zeroizing::new(String::new());
            let file = files::open(path).map_err(|error| wrong(error.to_string()))?;
            file.take(MAX_TOKEN).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
            let token = Zeroizing::new(text.trim().to_owned());
            if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
                return Err(wrong("it holds no token, which is printable and without spaces".into()));
            }
            Ok(token)
        };
        Ok(Self { api, token: token_file.map(read).transpose()?, trust })
    }

    /// The JSON at a path.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self.exchange(path).with_context(|| {
            format!("cannot ask the reflector at {}; does one run there? --api names another place", self.api)
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer breaks off")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        match status {
            "200" => serde_json::from_str(body).with_context(|| format!("{path}: this is not the API of a reflector")),
            "401" => bail!("{} wants a token; name the file that holds it with --token-file", self.api),
            _ => bail!("{}{path} answers {status}: {}", self.api, body.trim()),
        }
    }

    fn exchange(&self, path: &str) -> io::Result<String> {
        let mut stream = connect(&self.api, self.trust.as_ref())?;
        let host = match &self.api {
            Api::Http(host) | Api::Https(host) => host,
            Api::Unix(_) => "localhost",
        };
        let mut request =
            Zeroizing::new(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n"));
        if let Some(token) = &self.token {
            request.push_str("Authorization: Bearer ");
            request.push_str(token);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_urls_or_paths() {
        let of = |text: &str| text.parse::<Api>().map(|api| api.to_string());
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
