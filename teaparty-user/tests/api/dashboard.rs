//! The reflector's page, as it is served and as a browser shows it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use serde_json::json;
use teaparty_testing::api::{Api, problem};
use teaparty_testing::browser::Browser;
use teaparty_testing::skip::or_skip;
use teaparty_user::http::auth::token::Token;
use teaparty_user::http::server;
use teaparty_user::reflector::handle::{SessionId, SessionSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::tcp::open;

const TOKEN: &str = "0123456789abcdef";

/// An API on a port, which can be stopped with all its connections and started again.
struct Served {
    api: Api,
    address: SocketAddr,
    server: Option<Runtime>,
    /// Methods and paths of requests that are no reads.
    writes: Arc<Mutex<Vec<String>>>,
    // Dropped last: the reflector runs in it.
    reflector: Runtime,
}

impl Served {
    fn new(token: Option<Token>, sessions: usize) -> Self {
        let reflector = Runtime::new().unwrap();
        let api = reflector.block_on(async {
            let api = Api::with_token(token);
            (0..sessions).for_each(|n| api.handle.create(&SessionSpec::new(session(n, api.port))).unwrap());
            api
        });
        let mut served =
            Self { api, address: ([127, 0, 0, 1], 0).into(), server: None, writes: Arc::default(), reflector };
        served.start();
        served
    }

    fn start(&mut self) {
        let runtime = Runtime::new().unwrap();
        let writes = self.writes.clone();
        let record = move |request: Request, next: Next| {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                writes.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            }
            next.run(request)
        };
        let router = self.api.router.clone().layer(middleware::from_fn(record));
        let place = self.address.to_string();
        self.address = runtime.block_on(async {
            let listener = open(&place).await;
            let address = listener.address().unwrap();
            tokio::spawn(server::serve(listener, router));
            address
        });
        self.server = Some(runtime);
    }

    fn stop(&mut self) {
        self.server.take().unwrap().shutdown_background();
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn request(&self, method: &str, path: &str, body: &str) -> u16 {
        self.reflector.block_on(self.api.json(method, path, body)).0.as_u16()
    }
}

/// A session of a source of its own.
fn session(n: usize, port: u16) -> SessionId {
    let octets = u32::try_from(n).unwrap().to_be_bytes();
    let source = [10, octets[1], octets[2], octets[3]].into();
    SessionId { source, source_port: 5000, destination: [127, 0, 0, 1].into(), destination_port: port, ssid: 7 }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_comes_without_a_token_under_a_strict_policy_and_by_no_other_name() {
    let api = Api::with_token(Token::new(TOKEN.as_bytes()));
    for path in ["/", "/dashboard/reflector.js", "/dashboard/style.css"] {
        let answer = api.send("GET", path, &[], "").await;
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        problem(api.send("POST", path, &[("authorization", &format!("Bearer {TOKEN}"))], "").await, 405).await;
    }
    problem(api.send("GET", "/api/v1/reflector", &[], "").await, 401).await;
    problem(api.send("GET", "/dashboard/nothing.js", &[], "").await, 404).await;
    let listener = open("127.0.0.1:0").await;
    let address = listener.address().unwrap();
    let server = tokio::spawn(server::serve(listener, api.router.clone()));
    for (host, status) in [("localhost", "200"), ("evil.example", "421")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
    server.abort();
}

#[test]
fn a_browser_shows_a_reflector_of_100_000_sessions_at_every_width_and_only_reads() {
    let Some(browser) = or_skip(Browser::start()) else { return };
    let served = Served::new(None, 100_000);
    browser.view(1024, "light");
    browser.open(&served.url());
    let port = served.api.measure(9);
    // The first look has no rates yet.
    browser.until("document.querySelector('.tile .value')?.textContent.includes('/s')");
    browser.until("document.getElementById('reason-rows').textContent.includes('reflected')");
    browser.until(&format!("document.getElementById('session-rows').textContent.includes('127.0.0.1:{port}')"));
    assert_eq!(browser.text("document.getElementById('session-count').textContent"), "100,001");
    // A dropped packet has its remedy, and its source for those that may write.
    let short = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    short.send_to(b"short", ("127.0.0.1", served.api.port)).unwrap();
    browser
        .until("/too-short.*What to do.*last from 127.0.0.1/.test(document.getElementById('reason-rows').textContent)");
    assert!(browser.text("document.getElementById('health').textContent").starts_with("answering by sockets on lo"));
    for width in [390, 1024, 1920] {
        for theme in ["light", "dark"] {
            browser.view(width, theme);
            browser.assert_accessible(&format!("{width} {theme}"));
            browser.picture(&format!("reflector-{width}-{theme}"));
        }
    }
    pages_of_sessions(&browser);
    one_session(&browser, port);
    settings(&browser, &served);
    let foreign =
        "performance.getEntriesByType('resource').map((one) => one.name).filter((one) => !one.startsWith(origin))";
    assert_eq!(browser.run(&format!("return {foreign}")), json!([]));
    assert_eq!(*served.writes.lock().unwrap(), Vec::<String>::new());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Pages to the last of the sessions, and searches among them.
fn pages_of_sessions(browser: &Browser) {
    let range = "document.getElementById('page-range').textContent";
    assert_eq!(browser.text(range), "1 to 25 of 100,001 sessions");
    browser.run("document.getElementById('page-last').click()");
    browser.until(&format!("{range} === '100,001 to 100,001 of 100,001 sessions'"));
    browser.run("document.getElementById('page-before').click()");
    browser.until(&format!("{range} === '99,976 to 100,000 of 100,001 sessions'"));
    assert_eq!(browser.run("return document.getElementById('session-rows').rows.length"), json!(25));
    // A session without packets has no counts: a dash that is spoken, and no zero.
    assert!(browser.text("document.getElementById('session-rows').textContent").contains("–no packet yet"));
    browser.run("document.getElementById('session-search').focus()");
    browser.press("10.1.134.159");
    browser.until(&format!("{range} === '1 to 1 of 1 session'"));
    browser.press("9");
    browser.until("document.getElementById('session-rows').textContent.includes('Search for less')");
    browser.run("document.getElementById('session-search').value = ''");
    browser.press(" ");
    browser.until(&format!("{range} === '1 to 25 of 100,001 sessions'"));
}

/// Opens a session by the keyboard, and closes it.
fn one_session(browser: &Browser, port: u16) {
    let button = format!(
        "[...document.querySelectorAll('#session-rows button')].find((one) => one.textContent.endsWith(':{port}'))"
    );
    browser.until(&button);
    browser.run(&format!("{button}.focus()"));
    browser.press("\u{e007}");
    browser.until("!document.getElementById('session').hidden");
    browser.until("document.querySelector('#session tbody td.number')?.textContent === '1'");
    browser.until("document.activeElement.id === 'session'");
    browser.assert_accessible("a session");
    browser.picture("reflector-session");
    browser.press("\u{e00c}");
    browser.until("document.getElementById('session').hidden");
    browser.until(&format!("document.activeElement === {button}"));
}

/// Shows a change of the settings as it happens.
fn settings(browser: &Browser, served: &Served) {
    let strict = "[...document.querySelectorAll('#setting-rows tr')].find((one) => one.querySelector('code')?.textContent === 'strict')";
    // At first only what differs from its default.
    browser.until("document.querySelectorAll('#setting-rows tr').length > 2");
    assert_eq!(browser.text(&format!("{strict} === undefined")), "true");
    browser.run("document.getElementById('only-changed').click()");
    assert_eq!(browser.text(&format!("{strict}.cells[1].textContent")), "no");
    assert_eq!(served.request("PATCH", "/api/v1/policy", "{\"strict\": true}"), 200);
    browser.until(&format!("{strict}.cells[1].textContent === 'yes'"));
    browser.until("document.getElementById('change-rows').textContent.includes('changed: strict')");
    browser.assert_accessible("all settings");
}

#[test]
fn a_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back() {
    let Some(browser) = or_skip(Browser::start()) else { return };
    let mut served = Served::new(None, 0);
    browser.view(1024, "dark");
    browser.open(&served.url());
    let live = "document.getElementById('live').textContent";
    browser.until(&format!("{live} === 'live'"));
    browser.until("document.getElementById('session-rows').textContent.includes('No session yet')");
    browser.until("document.getElementById('reason-rows').textContent.includes('No packet has come yet')");
    let health = browser.text("document.getElementById('health').textContent");
    served.stop();
    let notice = "document.getElementById('notice').innerText";
    browser.until(&format!("{notice}.startsWith('Connection lost, trying again.')"));
    assert_eq!(browser.text(live), "not connected");
    assert_eq!(browser.text("document.getElementById('health').textContent"), health, "what was known stays");
    browser.assert_accessible("without a server");
    browser.picture("reflector-lost");
    served.start();
    browser.until(&format!("{live} === 'live'"));
    browser.until("document.getElementById('notice').hidden");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_page_asks_for_the_token_and_keeps_it_in_its_tab() {
    let Some(browser) = or_skip(Browser::start()) else { return };
    let served = Served::new(Token::new(TOKEN.as_bytes()), 0);
    browser.view(390, "light");
    browser.open(&served.url());
    browser.until("document.activeElement.id === 'token-value'");
    assert_eq!(browser.text("document.getElementById('health').textContent"), "Waiting for the reflector.");
    browser.assert_accessible("the token's field");
    browser.picture("reflector-token");
    browser.press("fedcba9876543210\u{e007}");
    browser.until("document.getElementById('token-problem').textContent.includes('refused')");
    browser.press(&format!("{TOKEN}\u{e007}"));
    browser.until("document.getElementById('token').hidden");
    browser.until("document.getElementById('health').textContent.startsWith('answering')");
    browser.until("document.getElementById('session-rows').textContent.includes('No session yet')");
    assert_eq!(browser.text("JSON.stringify(localStorage).includes('0123')"), "false");
    assert!(!browser.text("location.href").contains("0123"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
