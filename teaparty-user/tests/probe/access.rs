//! Who may ask a probe, and how: by TLS, with the token.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use nix::sys::signal::Signal;
use teaparty_testing::authority::{Authority, HERE};
use teaparty_testing::reflector::Net;
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::programs;

use crate::support::{PATIENCE, Probe};

/// The address of the probe: not on loopback, so that it takes a token.
const FAR: &str = "192.0.2.1:9862";
/// The first token, and the second one.
const TOKENS: [&str; 2] = ["0123456789abcdef", "fedcba9876543210"];

/// Asks by curl; gives status code and error, and the body. A code of 000 is for no answer.
fn curl(net: &Net, ca: &Path, token: Option<&str>, url: &str) -> (String, String) {
    let mut command = net.command("curl");
    command.args(["-sS", "--max-time", "30", "-w", "\n%{http_code}", "--cacert"]).arg(ca);
    token.map(|token| command.args(["-H", &format!("Authorization: Bearer {token}")]));
    let output = command.arg(url).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (format!("{status}{}", String::from_utf8_lossy(&output.stderr)), body.to_owned())
}

#[test]
fn metrics_are_for_those_with_the_token_by_tls_and_both_are_renewed() {
    let Some(net) = or_skip(programs(&["curl"]).and_then(|()| Net::new())) else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.certify(1, HERE);
    authority.secret("token", TOKENS[0]);
    let config = format!(
        "api = \"{FAR}\"\napi-token-file = \"{0}/token\"\napi-tls-cert = \"{0}/cert.pem\"\napi-tls-key = \"{0}/key.pem\"\n\
         [[target]]\naddress = \"192.0.2.2\"\n",
        authority.path("").display()
    );
    let mut probe = Probe::start(&net, &config, None);
    let ca = authority.path("ca.pem");
    let ask = |token, path: &str| curl(&net, &ca, token, &format!("https://{FAR}{path}"));
    probe.until("an answer by TLS", || ask(Some(TOKENS[0]), "/metrics").0 == "200");
    assert!(ask(Some(TOKENS[0]), "/metrics").1.contains("teaparty_probe_sent_packets_total{target=\"192.0.2.2\""));
    for path in ["/metrics", "/api/v1/targets", "/api/v1/sla", "/api/v1/delays", "/api/v1/sites"] {
        assert_eq!(ask(Some(TOKENS[0]), path).0, "200", "{path}");
        for token in [None, Some(TOKENS[1])] {
            let (status, body) = ask(token, path);
            assert!(status == "401" && !body.contains("192.0.2.2"), "{path}: {status} {body}");
        }
    }
    // The page says nothing of targets, and a browser can't show a token when it asks for it.
    let (status, page) = ask(None, "/");
    assert!(status == "200" && page.contains("<title>Teaparty probe") && !page.contains("192.0.2.2"), "{status}");
    for (query, expected) in [("limit=x", "400"), ("nonsense=1", "400"), ("state=bad&limit=1", "200")] {
        assert_eq!(ask(Some(TOKENS[0]), &format!("/api/v1/delays?{query}")).0, expected, "{query}");
    }
    let (status, _) = curl(&net, &stranger.path("ca.pem"), Some(TOKENS[0]), &format!("https://{FAR}/metrics"));
    assert!(status.starts_with("000"), "{status}");
    let mut plain = net.in_near(|| TcpStream::connect(FAR)).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https"), "{answer}");
    // Another token and another certificate, from the same files.
    authority.secret("token", TOKENS[1]);
    authority.certify(2, HERE);
    assert_eq!(ask(Some(TOKENS[0]), "/metrics").0, "200", "not before it is told to");
    probe.signal(Signal::SIGHUP);
    probe.until("the new token", || ask(Some(TOKENS[1]), "/metrics").0 == "200");
    assert_eq!(ask(Some(TOKENS[0]), "/metrics").0, "401");
    // Who listens for others than this host takes a token: that one is gone leaves the one that was.
    std::fs::remove_file(authority.path("token")).unwrap();
    probe.signal(Signal::SIGHUP);
    let log = probe.path("log");
    probe.until("a refusal", || std::fs::read_to_string(&log).unwrap().contains("all stays as it was"));
    assert_eq!((ask(Some(TOKENS[1]), "/metrics").0.as_str(), ask(None, "/metrics").0.as_str()), ("200", "401"));
    let said = probe.log() + &probe.end();
    assert!(TOKENS.iter().all(|token| !said.contains(token)), "{said}");
}
