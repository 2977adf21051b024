//! Whom to measure: names, addresses and ports as people write them, and what they resolve to.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use anyhow::Context;

use crate::exit_code::UsageError;

/// Addresses of a name that are not measured and are named all the same.
const OTHERS_SHOWN: usize = 3;

/// A target as given: `HOST`, `HOST:PORT`, `[IPV6]:PORT`, `[IPV6%INTERFACE]:PORT`, or an address with the port after
/// it as a word of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name or address.
    pub host: String,
    /// Its port, where it has one of its own.
    pub port: Option<u16>,
}

/// A target that packets can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As the user wrote it, for reports.
    pub name: String,
    /// Destination of the packets.
    pub address: SocketAddr,
}

/// The address family to take from a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// The resolver's first.
    #[default]
    Any,
    /// The first IPv4 address.
    V4,
    /// The first IPv6 address.
    V6,
}

/// Reads a list of words. A number is the port of the word before it, so that `a 5000 b` is two targets.
pub fn parse_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Spec>, UsageError> {
    let mut specs: Vec<Spec> = Vec::new();
    for word in words {
        if word.bytes().all(|octet| octet.is_ascii_digit()) {
            let port = word.parse().ok().filter(|port| *port != 0);
            let port = port.ok_or_else(|| UsageError::new(format!("`{word}` is no port: ports are 1 to 65535")))?;
            match specs.last_mut() {
                Some(Spec { port: place @ None, .. }) => *place = Some(port),
                Some(spec) => return Err(UsageError::new(format!("`{}` has two ports", spec.host))),
                None => return Err(UsageError::new(format!("the port {word} wants an address in front of it"))),
            }
        } else {
            specs.push(parse_word(word)?);
        }
    }
    Ok(specs)
}

fn parse_word(word: &str) -> Result<Spec, UsageError> {
    if let Some((scheme, rest)) = word.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let instead = if host.is_empty() { String::new() } else { format!(": {host}") };
        return Err(UsageError::new(format!(
            "`{word}` is a URL, and STAMP has none; leave out `{scheme}://` and the path, and write the name or \
             address alone{instead}"
        )));
    }
    if let Some((host, length)) = word.split_once('/') {
        let what = if host.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok() { "a network" } else { "a path" };
        return Err(UsageError::new(format!("`{word}` is {what}, not a host; write one name or address: {host}")));
    }
    if let Some(rest) = word.strip_prefix('[') {
        return parse_bracketed(word, rest);
    }
    if word.parse::<IpAddr>().is_ok() {
        return Ok(Spec { host: word.into(), port: None });
    }
    match word.rsplit_once(':') {
        // Colons elsewhere mean an IPv6 address with a scope, such as fe80::1%eth0.
        Some((host, port)) if !host.contains(':') => {
            Ok(Spec { host: parse_host(word, host)?, port: Some(parse_port(word, port)?) })
        }
        _ => Ok(Spec { host: parse_host(word, word)?, port: None }),
    }
}

/// `rest` is what stands after the bracket that opens: an address, often with a scope, and after the bracket that
/// closes perhaps its port.
fn parse_bracketed(word: &str, rest: &str) -> Result<Spec, UsageError> {
    let (host, port) = rest
        .split_once(']')
        .ok_or_else(|| UsageError::new(format!("`{word}` opens a bracket and does not close it: [ADDRESS]:PORT")))?;
    let port = match port.strip_prefix(':') {
        Some(port) => Some(parse_port(word, port)?),
        None if port.is_empty() => None,
        None => return Err(UsageError::new(format!("`{word}` has `{port}` behind its bracket: [ADDRESS]:PORT"))),
    };
    Ok(Spec { host: parse_host(word, host)?, port })
}

fn parse_host(word: &str, host: &str) -> Result<String, UsageError> {
    match host {
        "" if word.is_empty() => Err(UsageError::new("a target is empty")),
        "" => Err(UsageError::new(format!("`{word}` has no name or address"))),
        host => Ok(host.into()),
    }
}

fn parse_port(word: &str, port: &str) -> Result<u16, UsageError> {
    let port = port.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| UsageError::new(format!("`{word}`: ports are 1 to 65535")))
}

/// The targets in a file: one a line, `#` begins a comment.
pub fn parse_file(content: &str) -> Result<Vec<Spec>, UsageError> {
    let mut specs = Vec::new();
    for (number, line) in content.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let parsed = parse_words(line.split_whitespace());
        specs.extend(parsed.map_err(|error| UsageError::new(format!("line {}: {error}", number + 1)))?);
    }
    Ok(specs)
}

impl Spec {
    /// Looks the name up and takes the first address; says so where there are others and nobody chose. Blocks for as long as
    /// the system's resolver does.
    pub fn resolve(&self, default_port: u16, family: AddressFamily) -> anyhow::Result<Target> {
        let addresses = self.addresses(default_port, family)?;
        let address = addresses.first().context("a name without addresses is an error")?;
        let name = self.to_string();
        if let Some(notice) = others(&name, &addresses).filter(|_| family == AddressFamily::Any) {
            tracing::info!(name, count = addresses.len(), "{notice}");
        }
        Ok(Target { name, address: *address })
    }

    /// All addresses of the name; not empty. Blocks, too.
    pub fn addresses(&self, default_port: u16, family: AddressFamily) -> anyhow::Result<Vec<SocketAddr>> {
        let port = self.port.unwrap_or(default_port);
        let found = (self.host.as_str(), port).to_socket_addrs();
        let found = found.map_err(|error| {
            anyhow::anyhow!("cannot resolve `{}`: {error}; check its spelling and /etc/resolv.conf", self.host)
        })?;
        let found: Vec<SocketAddr> = found
            .filter(|address| match family {
                AddressFamily::Any => true,
                AddressFamily::V4 => address.is_ipv4(),
                AddressFamily::V6 => address.is_ipv6(),
            })
            .collect();
        let family = match family {
            AddressFamily::V6 => "IPv6",
            _ => "IPv4",
        };
        anyhow::ensure!(!found.is_empty(), "`{}` has no {family} address", self.host);
        Ok(found)
    }
}

/// Returns the notice about a name's addresses beside the first one, if there are any.
fn others(name: &str, addresses: &[SocketAddr]) -> Option<String> {
    let taken = addresses.first()?.ip();
    let mut others: Vec<String> = Vec::new();
    for ip in addresses.iter().map(SocketAddr::ip).filter(|ip| *ip != taken) {
        let other = ip.to_string();
        if !others.contains(&other) {
            others.push(other);
        }
    }
    let shown = others.get(..others.len().min(OTHERS_SHOWN))?.join(", ");
    match others.len() {
        0 => None,
        count if count > OTHERS_SHOWN => Some(format!(
            "{name}: measuring at {taken}, and not at its other {count} addresses, such as {shown}; choose with -4, -6 or by \
             address"
        )),
        _ => Some(format!("{name}: measuring at {taken}, and not at {shown}; choose with -4, -6 or by address")),
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Vec<String>, String> {
        let specs = parse_words(words.split_whitespace()).map_err(|error| error.to_string())?;
        Ok(specs.iter().map(|spec| format!("{} {:?}", spec.host, spec.port)).collect())
    }

    #[test]
    fn a_number_is_the_port_of_the_word_before_it() {
        assert_eq!(parse("127.0.0.1 8862").unwrap(), ["127.0.0.1 Some(8862)"]);
        assert_eq!(parse("a b 5000 c").unwrap(), ["a None", "b Some(5000)", "c None"]);
        assert_eq!(
            parse("a:1 [::1]:2 ::1 fe80::1%lo").unwrap(),
            ["a Some(1)", "::1 Some(2)", "::1 None", "fe80::1%lo None"]
        );
    }

    #[test]
    fn a_scope_stays_with_its_address_and_may_be_a_name_or_a_number() {
        let expected = ["fe80::1%eth0 Some(862)", "fe80::1%3 Some(862)", "fe80::1%eth0 None", "fe80::1%eth0 Some(5)"];
        let words = "[fe80::1%eth0]:862 [fe80::1%3]:862 [fe80::1%eth0] fe80::1%eth0 5";
        assert_eq!(parse(words).unwrap(), expected);
        let lines = parse_file(&words.replace("] ", "]\n")).unwrap();
        assert_eq!(lines, parse_words(words.split_whitespace()).unwrap());
        assert_eq!(lines[0].to_string(), "[fe80::1%eth0]:862");
        // The loopback interface is the first one in every network namespace.
        for word in ["[fe80::1%lo]:862", "[fe80::1%1]:862"] {
            let target = parse_words([word]).unwrap()[0].resolve(1, AddressFamily::Any).unwrap();
            assert_eq!((target.address.to_string(), target.name.as_str()), ("[fe80::1%1]:862".into(), word));
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("862", "862"),
            ("a 1 2", "two ports"),
            ("[fe80::1%lo]:1 2", "two ports"),
            ("a 0", "`0`"),
            ("a 65536", "65536"),
            ("a:x", "a:x"),
            ("127.0.0.1:0", "ports are"),
            ("[::1]:0", "ports are"),
            ("[fe80::1%lo]:", "ports are"),
            ("[fe80::1%lo]862", "`862` behind its bracket"),
            ("[fe80::1%lo:862", "does not close"),
            ("[]:862", "no name or address"),
            ("http://host", "leave out `http://` and the path, and write the name or address alone: host"),
            ("https://host:8000/x?y", "alone: host:8000"),
            ("udp://", "is a URL"),
            ("192.0.2.0/24", "is a network, not a host; write one name or address: 192.0.2.0"),
            ("host/path", "is a path"),
            (":862", "no name or address"),
        ];
        for (words, part) in cases {
            let error = parse(words).unwrap_err();
            assert!(error.contains(part), "{words}: {error}");
        }
    }

    #[test]
    fn files_have_comments_and_their_mistakes_have_lines() {
        let specs = parse_file("# all of them\na 5000\n\nb c # two\n").unwrap();
        assert_eq!(specs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:5000", "b", "c"]);
        assert!(parse_file("a\nb:x\n").unwrap_err().to_string().starts_with("line 2: "));
    }

    #[test]
    fn of_a_name_with_several_addresses_it_is_said_which_one_was_taken() {
        let said = |addresses: &[&str]| {
            let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            others("a.example", &addresses)
        };
        assert_eq!(said(&["192.0.2.1:862"]), None);
        assert_eq!(said(&["192.0.2.1:862", "192.0.2.1:862"]), None, "resolvers say some things twice");
        let expected = "a.example: measuring at 2001:db8::1, and not at 192.0.2.1; choose with -4, -6 or by address";
        assert_eq!(said(&["[2001:db8::1]:862", "192.0.2.1:862", "192.0.2.1:862"]).unwrap(), expected);
        let many = said(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1", "10.0.0.5:1"]).unwrap();
        assert!(many.contains("at its other 4 addresses") && !many.contains("10.0.0.5"), "{many}");
    }

    #[test]
    fn addresses_resolve_without_a_name_server() {
        let target = Spec { host: "::1".into(), port: None }.resolve(862, AddressFamily::Any).unwrap();
        assert_eq!((target.address.to_string(), target.name.as_str()), ("[::1]:862".into(), "::1"));
        let error = Spec { host: "127.0.0.1".into(), port: None }.resolve(862, AddressFamily::V6).unwrap_err();
        assert!(error.to_string().contains("IPv6"), "{error}");
    }
}
