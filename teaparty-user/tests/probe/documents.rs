//! Targets from documents that others write, and the probe's own file, read again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use teaparty_testing::authority::{Authority, HERE};
use teaparty_testing::reflector::Net;
use teaparty_testing::skip::or_skip;
use teaparty_testing::web::get;

use crate::support::{API, Probe, names, number, replace, target};

/// The address of the documents, in the probe's namespace.
const DOCUMENTS: &str = "127.0.0.1:9863";

/// A server of one document in the near namespace; the test changes what it says.
struct Server {
    said: Arc<Mutex<String>>,
    is_ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves everybody, by TLS if there is something to do so by, and with a token only who brings it.
    fn start(net: &Net, tls: Option<&Authority>, token: Option<&'static str>) -> Self {
        let said = Arc::new(Mutex::new(String::from("no document")));
        let listener = net.in_near(|| TcpListener::bind(DOCUMENTS)).unwrap();
        let (says, is_ending) = (said.clone(), Arc::new(AtomicBool::new(false)));
        let (is_over, tls) = (is_ending.clone(), tls.map(server_config));
        let serve = move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let document = says.lock().unwrap().clone();
                match &tls {
                    None => answer(stream, token, &document),
                    Some(config) => {
                        let session = ServerConnection::new(config.clone()).unwrap();
                        answer(StreamOwned::new(session, stream), token, &document);
                    }
                }
            }
        };
        Self { said, is_ending, thread: std::thread::spawn(serve) }
    }

    fn say(&self, document: &str) {
        *self.said.lock().unwrap() = document.into();
    }

    /// Is no longer there.
    fn end(self, net: &Net) {
        self.is_ending.store(true, Ordering::SeqCst);
        net.in_near(|| TcpStream::connect(DOCUMENTS)).unwrap();
        self.thread.join().unwrap();
    }
}

fn server_config(authority: &Authority) -> Arc<ServerConfig> {
    let pem = |name| std::fs::read(authority.path(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&pem("cert.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("key.pem")).unwrap();
    let with = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let with = with.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(with.with_single_cert(chain, key).unwrap())
}

/// Answers one request; that it fails is the client's affair.
fn answer(mut stream: impl Read + Write, token: Option<&str>, document: &str) {
    let mut request = [0; 4096];
    let Ok(len) = stream.read(&mut request) else { return };
    let request = String::from_utf8_lossy(&request[..len]);
    let is_known = token.is_none_or(|token| request.contains(&format!("authorization: Bearer {token}\r\n")));
    let (status, document) = if is_known { ("200 OK", document) } else { ("401 Unauthorized", "") };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", document.len());
    let _ = stream.write_all((head + document).as_bytes());
}

/// Returns the state of the source with this in its name.
fn source(net: &Net, of: &str) -> Value {
    let value: Value = serde_json::from_str(&get(net, API, "/api/v1/targets").unwrap()).unwrap();
    let sources = value["sources"].as_array().unwrap();
    sources.iter().find(|source| source["origin"].as_str().unwrap().contains(of)).unwrap().clone()
}

fn has_problem(net: &Net, of: &str, part: &str) -> bool {
    source(net, of)["problem"].as_str().is_some_and(|problem| problem.contains(part))
}

#[test]
fn targets_come_from_documents_and_bad_ones_change_nothing() {
    let Some(net) = or_skip(Net::new()) else { return };
    let _reflector = net.far_reflector(&["--xdp-mode", "off"]);
    let server = Server::start(&net, None, None);
    let config = "interval = \"20ms\"\n[[target]]\naddress = \"192.0.2.2:862\"\nname = \"own\"\n\
        [[file-sd]]\nfile = \"FOLDER/sd.json\"\n[[http-sd]]\nurl = \"http://127.0.0.1:9863/sd\"\nrefresh = \"1s\"\n";
    let mut probe = Probe::start(&net, config, None);
    probe.until_answered(&net, "own", 20);
    assert_eq!(names(&net), ["own"]);
    server.say(r#"[{"targets": ["[2001:db8::2]:862"], "labels": {"via": "http"}}]"#);
    replace(&probe.path("sd.json"), r#"[{"targets": ["192.0.2.2:862"], "labels": {"via": "file"}}]"#);
    probe.until_answered(&net, "[2001:db8::2]:862", 20);
    probe.until_answered(&net, "192.0.2.2:862", 20);
    server.say("[{");
    replace(&probe.path("sd.json"), r#"{"targets": []}"#);
    let failed = |net: &Net, of: &str| {
        let metrics = get(net, API, "/metrics").unwrap_or_default();
        let line =
            metrics.lines().find(|line| line.starts_with("teaparty_probe_source_failures_total") && line.contains(of));
        line.is_some_and(|line| line.rsplit(' ').next().is_some_and(|count| count.parse::<u64>().unwrap() >= 2))
    };
    probe.until("failures", || failed(&net, "http://") && failed(&net, "sd.json"));
    assert_eq!(names(&net), ["own", "192.0.2.2:862", "[2001:db8::2]:862"]);
    // A mistake in the file changes nothing either; a good file does, and leaves the others alone.
    let session = target(&net, "192.0.2.2:862").unwrap()["session"].clone();
    let received = number(&net, "192.0.2.2:862", "received").unwrap();
    let text = std::fs::read_to_string(probe.path("probe.toml")).unwrap();
    replace(&probe.path("probe.toml"), &format!("nonsense = 1\n{text}"));
    let log = probe.path("log");
    probe.until("a refusal", || std::fs::read_to_string(&log).unwrap().contains("1:1: nonsense"));
    replace(&probe.path("probe.toml"), &text.replace("name = \"own\"", "name = \"renamed\""));
    probe.until_answered(&net, "renamed", 20);
    assert_eq!(names(&net), ["renamed", "192.0.2.2:862", "[2001:db8::2]:862"]);
    let kept = target(&net, "192.0.2.2:862").unwrap();
    assert_eq!(kept["session"], session);
    assert!(kept["received"].as_u64().unwrap() >= received, "it began anew: {kept}");
    probe.end();
}

#[test]
fn files_by_patterns_come_and_go_and_a_bad_one_spoils_its_own_targets_alone() {
    let Some(net) = or_skip(Net::new()) else { return };
    let config = "[[file-sd]]\nfile = [\"FOLDER/*.json\", \"FOLDER/*.yml\"]\nrefresh = \"1s\"\n";
    let mut probe = Probe::start(&net, config, None);
    replace(&probe.path("a.json"), r#"[{"targets": ["192.0.2.2"]}]"#);
    replace(&probe.path("b.yml"), "- targets: ['192.0.2.3']\n  labels: {rack: 7}\n");
    probe.until("targets of both", || names(&net) == ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(target(&net, "192.0.2.3").unwrap()["labels"]["rack"], "7");
    replace(&probe.path("a.json"), "\u{0}garbage");
    probe.until("the problem of one", || has_problem(&net, ".json", "a.json: is no list"));
    assert_eq!(names(&net), ["192.0.2.2", "192.0.2.3"]);
    replace(&probe.path("b.yml"), "- targets: ['192.0.2.4']\n");
    probe.until("the other one's news", || names(&net) == ["192.0.2.2", "192.0.2.4"]);
    // Read again, the probe's file keeps what each document was last good for.
    let text = std::fs::read_to_string(probe.path("probe.toml")).unwrap();
    replace(&probe.path("probe.toml"), &format!("{text}ttl = 9\n"));
    probe.until("a reload", || get(&net, API, "/metrics").unwrap().contains("reloads_total{result=\"ok\"} 1"));
    probe.until("the problem again", || has_problem(&net, ".json", "a.json: is no list"));
    assert_eq!(names(&net), ["192.0.2.2", "192.0.2.4"]);
    std::fs::remove_file(probe.path("a.json")).unwrap();
    probe.until("no targets of a file that is gone", || names(&net) == ["192.0.2.4"]);
    assert_eq!(source(&net, ".json")["problem"], Value::Null);
    probe.end();
}

#[test]
fn a_document_by_tls_takes_certificate_and_token_and_outlives_its_server() {
    const TOKEN: &str = "of-the-inventory";
    let Some(net) = or_skip(Net::new()) else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.certify(1, HERE);
    authority.secret("token", TOKEN);
    let server = Server::start(&net, Some(&authority), Some(TOKEN));
    server.say(r#"[{"targets": ["192.0.2.2"]}]"#);
    let config = |trusted: &Authority| {
        let (ca, token) = (trusted.path("ca.pem"), authority.path("token"));
        format!(
            "[[http-sd]]\nurl = \"https://{DOCUMENTS}/sd\"\nrefresh = \"1s\"\nca-file = \"{}\"\nbearer-token-file = \"{}\"\n",
            ca.display(),
            token.display()
        )
    };
    let mut probe = Probe::start(&net, &config(&authority), None);
    probe.until("its target", || names(&net) == ["192.0.2.2"]);
    // The token is read again for each request.
    authority.secret("token", "another-one");
    probe.until("a refusal", || has_problem(&net, "https://", "401"));
    authority.secret("token", TOKEN);
    server.say(r#"[{"targets": ["192.0.2.3"]}]"#);
    probe.until("its new target", || names(&net) == ["192.0.2.3"]);
    assert_eq!(source(&net, "https://")["problem"], Value::Null);
    // Nobody is believed, and nobody gets the token, whom the file does not vouch for.
    replace(&probe.path("probe.toml"), &config(&stranger));
    probe.until("an unknown issuer", || has_problem(&net, "https://", "; name the certificate"));
    replace(&probe.path("probe.toml"), &config(&authority));
    probe.until("trust again", || source(&net, "https://")["problem"] == Value::Null);
    server.end(&net);
    probe.until("no server", || has_problem(&net, "https://", "cannot connect"));
    assert_eq!(names(&net), ["192.0.2.3"]);
    let server = Server::start(&net, Some(&authority), Some(TOKEN));
    server.say(r#"[{"targets": ["192.0.2.4"]}]"#);
    probe.until("the server that came back", || names(&net) == ["192.0.2.4"]);
    let said = probe.log() + &probe.end();
    assert!(!said.contains(TOKEN) && !said.contains("another-one"), "{said}");
    server.end(&net);
}
