//! The names that this host's API answers to, so that no name of somebody else's web page can be bound to it (DNS
//! rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header, uri::Authority};

use crate::http::problem::ApiError;
use crate::http::tls::Tls;

/// The names, besides addresses of this host, under which a request may ask for the API.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    names: Arc<[String]>,
    tls: Option<Tls>,
}

impl Hosts {
    /// The names given by the user, the name of this host, and those of the certificate.
    pub fn new(names: &[String], tls: Option<Tls>) -> Self {
        let own = host_name();
        let short = own.as_deref().and_then(|name| name.split_once('.')).map(|(short, _)| short.to_owned());
        let names = names.iter().cloned().chain(own).chain(short).map(|name: String| plain(&name));
        Self { names: names.filter(|name| !name.is_empty()).collect(), tls }
    }

    /// Returns whether `host`, without a port, names this host.
    ///
    /// An address is that of the connection's own end, `local`, of loopback, or any other that this host has.
    fn contains(&self, host: &str, local: Option<IpAddr>) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            return ip.is_loopback() || local.is_some_and(|local| local.to_canonical() == ip) || is_local(ip);
        }
        let host = plain(host);
        // Browsers resolve names under localhost to loopback by themselves (RFC 6761 §6.3).
        let is_localhost = host == "localhost" || host.ends_with(".localhost");
        is_localhost || self.names.contains(&host) || self.tls.as_ref().is_some_and(|tls| tls.is_valid_for(&host))
    }
}

/// Returns the authority that a request asks: of its target in absolute form, else of its one Host header (RFC 9112 §3.2).
///
/// # Errors
///
/// 400 if there is no Host header, several, or one that is no host.
pub(crate) fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, ApiError> {
    let mut all = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (all.next(), all.next()) else {
        return Err(ApiError::malformed("the request has no Host header, or several", "send one Host header"));
    };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    // A user name before an `@` is no part of a Host header.
    let authority = authority.filter(|authority| !authority.as_str().contains('@'));
    let authority = authority.ok_or_else(|| {
        ApiError::malformed("the Host header holds no host", "send the name or address of this server")
    })?;
    Ok(uri.authority().cloned().unwrap_or(authority))
}

impl Hosts {
    /// Refuses a request (421) whose authority is neither an address nor a name of this host.
    pub fn check(&self, authority: &Authority, local: Option<IpAddr>) -> Result<(), ApiError> {
        if self.contains(authority.host(), local) { Ok(()) } else { Err(ApiError::misdirected(authority.host())) }
    }
}

/// A name in lower case, without the dot of the root.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Returns what this host calls itself.
fn host_name() -> Option<String> {
    nix::sys::utsname::uname().ok()?.nodename().to_str().map(str::to_owned)
}

fn is_local(ip: IpAddr) -> bool {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return false };
    all.filter_map(|one| one.address).any(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
        v4.or(v6) == Some(ip)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn addresses_and_names_of_this_host_are_ours_and_no_others() {
        let hosts = Hosts::new(&["Stamp.Example.".into()], None);
        let local = Some("192.0.2.7".parse().unwrap());
        for ours in
            ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "LOCALHOST.", "a.localhost", "stamp.example", "192.0.2.7"]
        {
            assert!(hosts.contains(ours, local), "{ours}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.8",
            "[2001:db8::1]",
            "notlocalhost",
            "stamp.example.org",
        ] {
            assert!(!hosts.contains(other, local), "{other}");
        }
        let own = host_name().unwrap();
        assert!(hosts.contains(&own, None), "{own}");
    }

    #[test]
    fn one_host_header_is_wanted() {
        let headers = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            headers
        };
        let uri = Uri::from_static("/livez");
        assert_eq!(authority(&uri, &headers(&["[::1]:8000"])).unwrap().host(), "[::1]");
        for wrong in [&[][..], &["a", "a"], &[""], &["a b"], &["me@localhost"], &["localhost/x"]] {
            let error = authority(&uri, &headers(wrong)).unwrap_err();
            assert_eq!(error.status().as_u16(), 400, "{wrong:?}");
        }
        let absolute = Uri::from_static("http://evil.example/livez");
        assert_eq!(authority(&absolute, &headers(&["localhost"])).unwrap().host(), "evil.example");
    }
}
