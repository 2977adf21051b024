//! The API by TLS, asked by programs of others: curl and openssl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use teaparty_testing::authority::{Authority, HERE};
use teaparty_testing::local::free_port;
use teaparty_testing::skip::or_skip;

/// Most time for a step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, answering by sockets. Killed when the test ends, however it does.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
    pub(crate) url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(authority: &Authority) -> Self {
        let port = free_port();
        authority.secret("token", "0123456789abcdef\n");
        let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
        command.args(["reflector", "--iface", "lo", "--xdp-mode", "off", "--port", &port.to_string()]);
        command.args(["--api", "127.0.0.1:0", "--api-tls-cert"]).arg(authority.path("cert.pem"));
        command.arg("--api-tls-key").arg(authority.path("key.pem"));
        command.arg("--api-token-file").arg(authority.path("token"));
        let log = std::fs::File::create(authority.path("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.map(Result::unwrap).find_map(|line| Some(line.split_once("API")?.1.trim().to_owned()));
        Self { child, port, url: url.expect("a line with the address of the API") }
    }

    fn host(&self) -> &str {
        self.url.strip_prefix("https://").expect("the ready block says https")
    }

    /// Reads the configuration again, and waits until the log has something to say of it.
    fn reload(&self, authority: &Authority, says: &str) {
        Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        let end = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(authority.path("log")).unwrap().contains(says) {
            assert!(Instant::now() < end, "{}", std::fs::read_to_string(authority.path("log")).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns an error if a foreign program is absent.
fn program(name: &str) -> Result<(), String> {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).stdout(Stdio::null()).status().unwrap();
    if found.success() { Ok(()) } else { Err(format!("{name} is not installed")) }
}

/// Asks by curl, with this token; gives the status code and the body.
fn curl(running: &Running, ca: &Path, token: &str, path: &str) -> (String, String) {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-w", "\n%{http_code}", "--cacert"])
        .arg(ca)
        .args(["-H", &format!("Authorization: Bearer {token}"), &format!("{}{path}", running.url)])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (format!("{status}{}", String::from_utf8_lossy(&output.stderr)), body.to_owned())
}

/// Runs openssl and returns its report on a handshake.
fn s_client(host: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.args(["30", "openssl", "s_client", "-connect", host]).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn is_answered(port: u16) -> bool {
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut packet = [0; 44];
    packet[13] = 1;
    sender.send_to(&packet, ("127.0.0.1", port)).unwrap();
    sender.recv(&mut [0; 100]).is_ok()
}

#[test]
fn curl_is_answered_by_tls_and_only_with_the_token() {
    if or_skip(program("curl")).is_none() {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.certify(1, HERE);
    let running = Running::start(&authority);
    let ca = authority.path("ca.pem");
    let (status, body) = curl(&running, &ca, "0123456789abcdef", "/api/v1/reflector");
    assert!(status == "200" && body.contains("\"ready\""), "{status} {body}");
    assert_eq!(curl(&running, &ca, "0123456789abcdeX", "/api/v1/reflector").0, "401");
    let (status, _) = curl(&running, &stranger.path("ca.pem"), "0123456789abcdef", "/api/v1/reflector");
    assert!(status.starts_with("000"), "{status}");
    // A client without TLS gets an error.
    let mut plain = TcpStream::connect(running.host()).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https"), "{answer}");
}

#[test]
fn greedy_clients_keep_neither_the_owner_nor_the_health_check_out() {
    if or_skip(program("openssl")).is_none() {
        return;
    }
    let authority = Authority::new();
    authority.certify(1, HERE);
    let running = Running::start(&authority);
    let ca = authority.path("ca.pem");
    // Each has shaken hands, or never does, and keeps its connection for as long as it can.
    let config = trusting(&ca);
    let mut greedy: Vec<(TcpStream, Option<rustls::ClientConnection>)> = Vec::new();
    for i in 0..300 {
        let mut stream = TcpStream::connect(running.host()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let tls = (i % 2 == 0).then(|| {
            let mut tls = rustls::ClientConnection::new(config.clone(), name).unwrap();
            // One that has been displaced in the meantime fails.
            let _ = tls.complete_io(&mut stream);
            tls
        });
        greedy.push((stream, tls));
    }
    let started = std::time::Instant::now();
    let (status, body) = curl(&running, &ca, "0123456789abcdef", "/api/v1/reflector");
    assert!(status == "200" && body.contains("\"ready\""), "{status} {body}");
    assert_eq!(curl(&running, &ca, "none", "/livez").0, "200");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(greedy);
}

/// A client's configuration that trusts the certificates in this file.
fn trusting(ca: &Path) -> std::sync::Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_root_certificates(roots).with_no_client_auth().into()
}

#[test]
fn openssl_gets_new_versions_of_tls_and_no_old_ones() {
    if or_skip(program("openssl")).is_none() {
        return;
    }
    let authority = Authority::new();
    authority.certify(1, HERE);
    let running = Running::start(&authority);
    let ca = authority.path("ca.pem");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let trust = ["-verify_return_error", "-CAfile", ca.to_str().unwrap()];
        let (is_agreed, said) = s_client(running.host(), &[&[version], &trust[..]].concat());
        assert!(is_agreed && said.contains(&format!("New, {name}")), "{said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        // At this level openssl itself would go so low.
        let (is_agreed, said) = s_client(running.host(), &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!is_agreed && said.contains("SSL alert number"), "{said}");
    }
    let (_, said) = s_client(running.host(), &["-alpn", "h2,http/1.1"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
}

#[test]
fn certificate_and_token_are_read_again_and_bad_ones_leave_the_old_ones() {
    if or_skip(program("openssl").and(program("curl"))).is_none() {
        return;
    }
    let authority = Authority::new();
    authority.certify(0x1111, HERE);
    let running = Running::start(&authority);
    let ca = authority.path("ca.pem");
    let serial = || {
        let command = format!("openssl s_client -connect {} </dev/null | openssl x509 -noout -serial", running.host());
        let output = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let status = |token: &str| curl(&running, &ca, token, "/sessions").0;
    assert_eq!(serial(), "serial=1111\n");
    authority.certify(0x2222, HERE);
    authority.secret("token", "fedcba9876543210\n");
    assert_eq!(serial(), "serial=1111\n", "not before it is told to");
    running.reload(&authority, "in force: api-tls-cert, api-token-file");
    assert_eq!((serial().as_str(), status("fedcba9876543210").as_str()), ("serial=2222\n", "200"));
    assert_eq!(status("0123456789abcdef"), "401");
    // The key is another one's now; the token would do, but it is all or nothing.
    authority.secret("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    authority.secret("token", "0123456789abcdef\n");
    running.reload(&authority, "is not the one of the first certificate");
    assert_eq!((serial().as_str(), status("fedcba9876543210").as_str()), ("serial=2222\n", "200"));
    // By the API itself too.
    authority.certify(0x3333, HERE);
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-X", "POST", "--cacert"])
        .arg(&ca)
        .args(["-H", "Authorization: Bearer fedcba9876543210", &format!("{}/api/v1/reload", running.url)])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, r#"{"applied":[{"key":"api-tls-cert"},{"key":"api-token-file"}],"restart":[]}"#);
    assert_eq!((serial().as_str(), status("0123456789abcdef").as_str()), ("serial=3333\n", "200"));
}

#[test]
fn a_thousand_connections_that_say_nothing_or_half_a_hello_disturb_nobody() {
    if or_skip(program("curl")).is_none() {
        return;
    }
    let authority = Authority::new();
    authority.certify(1, HERE);
    let running = Running::start(&authority);
    let address = running.host().parse().unwrap();
    let mut idle = Vec::new();
    for at in 0..1000 {
        // What the listener has no room for the kernel leaves unanswered: those connections are not there at all.
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) else { continue };
        if at % 2 == 0 {
            // The head of a record, which is never filled.
            let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]);
        }
        idle.push(stream);
        assert!(at % 50 != 0 || is_answered(running.port));
    }
    assert!(idle.len() > 256, "{}", idle.len());
    // They are gone after some seconds each; then there is room again.
    let end = Instant::now() + Duration::from_secs(120);
    let ca = authority.path("ca.pem");
    while curl(&running, &ca, "0123456789abcdef", "/sessions").0 != "200" {
        assert!(Instant::now() < end);
        assert!(is_answered(running.port));
    }
    idle[0].set_read_timeout(Some(PATIENCE)).unwrap();
    // An end, or an end by force: it was not kept.
    assert!(idle[0].read(&mut [0; 100]).map_or(true, |len| len < 100));
}

#[test]
fn status_asks_by_tls_whom_it_can_know() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.certify(1, HERE);
    let running = Running::start(&authority);
    let status = |url: &str, ca: Option<&Authority>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
        command.args(["status", "--api", url, "--token-file"]).arg(authority.path("token"));
        ca.map(|ca| command.arg("--api-ca").arg(ca.path("ca.pem")));
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(!said.concat().contains("0123456789abcdef"), "{said:?}");
        (output.status.code().unwrap(), said)
    };
    let by_name = running.url.replace("127.0.0.1", "localhost");
    for url in [&running.url, &by_name] {
        let (code, [shown, error]) = status(url, Some(&authority));
        assert!(code == 0 && shown.contains(": ready\n"), "{code} {shown} {error}");
    }
    let (code, [_, error]) = status(&running.url, Some(&stranger));
    assert!(code == 1 && error.contains("--api-ca"), "{code} {error}");
    let (code, [_, error]) = status(&running.url.replace("https", "http"), None);
    assert!(code == 1 && error.contains("https"), "{code} {error}");
    let (code, [_, error]) = status(&running.url.replace("https", "http"), Some(&authority));
    assert!(code == 2 && error.contains("--api-ca is for"), "{code} {error}");
    // A certificate for other names than the one that was asked.
    authority.certify(2, &["a.example"]);
    running.reload(&authority, "in force: api-tls-cert");
    let (code, [_, error]) = status(&running.url, Some(&authority));
    assert!(code == 1 && error.contains("not valid for name"), "{code} {error}");
}
