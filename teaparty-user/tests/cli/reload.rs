//! A configuration file that is read again while the reflector runs, by SIGHUP and by the API: all of it or nothing, and
//! what takes a restart is named.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teaparty_testing::local::free_port;

/// A reflector on loopback, answered by sockets; killed when the test ends.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    api: String,
    port: u16,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already. Without XDP nothing is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(text: &str) -> Self {
        let port = free_port();
        Self::with(text, &["--port", &port.to_string()], port)
    }

    fn with(text: &str, options: &[&str], port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("teaparty.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
        command.args(["reflector", "--config"]).arg(&file).args(["--api", "127.0.0.1:0"]).args(options);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let api = out.find_map(|line| Some(line.split_once("http://")?.1.to_owned())).expect("an API");
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, api, port, file, _folder: folder }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    /// The next line of the log with these words.
    fn logged(&mut self, words: &str) -> String {
        self.log.by_ref().map(Result::unwrap).find(|line| line.contains(words)).expect("the log goes on")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn reload(&self) -> (u16, Value) {
        self.request("POST", "/api/v1/reload", "")
    }

    /// SSIDs of the provisioned sessions.
    fn provisioned(&self) -> Vec<u64> {
        let (_, page) = self.request("GET", "/api/v1/sessions?provisioned=true", "");
        let sessions = page["sessions"].as_array().unwrap();
        sessions.iter().map(|session| session["ssid"].as_u64().unwrap()).collect()
    }

    /// Has one packet of this session answered.
    fn measure(&self, ssid: u16) -> bool {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut packet = [0; 44];
        packet[13] = 1;
        packet[14..16].copy_from_slice(&ssid.to_be_bytes());
        sender.send_to(&packet, ("127.0.0.1", self.port)).unwrap();
        sender.recv(&mut [0; 100]).is_ok_and(|len| len == 44)
    }
}

const HEAD: &str = "iface = ['lo']\nxdp-mode = 'off'\n";

fn session(ssid: u16) -> String {
    format!("[[session]]\nsource = '127.0.0.1'\nssid = {ssid}\n")
}

fn text(body: &str) -> String {
    format!("{HEAD}{body}")
}

#[test]
fn sessions_of_the_file_follow_it_and_those_of_the_api_stay() {
    let running = Running::start(&text(&format!("provisioned-only = true\n{}{}", session(1), session(2))));
    let created = json!({"source": "127.0.0.1", "ssid": 9, "destination_port": running.port}).to_string();
    let (status, _) = running.request("POST", "/api/v1/sessions", &created);
    assert_eq!(status, 201);
    assert_eq!(running.provisioned(), [1, 2, 9]);
    running.write(&text(&format!("provisioned-only = true\n{}{}", session(2), session(3))));
    let (status, report) = running.reload();
    assert_eq!((status, &report), (200, &json!({"applied": [{"key": "session"}], "restart": []})));
    assert_eq!(running.provisioned(), [2, 3, 9]);
    assert_eq!(running.reload().1, json!({"applied": [], "restart": []}));
    assert_eq!(running.provisioned(), [2, 3, 9]);
    assert!(running.measure(3) && running.measure(9));
}

#[test]
fn a_signal_changes_what_can_change_and_the_log_names_what_can_not() {
    let mut running = Running::start(&text("strict = true\nmin-payload = 14\n"));
    running.write(&text(
        "strict = false\nmin-payload = 44\nmax-sessions = 7\nlog-format = 'json'\nheartbeat = '127.0.0.1:9@60'\n",
    ));
    let hangup = nix::sys::signal::Signal::SIGHUP;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.child.id().cast_signed()), hangup).unwrap();
    let applied = running.logged("in force: ");
    assert!(applied.contains("min-payload, strict, heartbeat"), "{applied}");
    let restart = running.logged("takes a restart: ");
    assert!(restart.contains("max-sessions, log-format"), "{restart}");
    assert_eq!(running.request("GET", "/api/v1/policy", "").1["strict"], false);
    assert_eq!(running.request("GET", "/api/v1/limits", "").1["min_payload"], 44);
    assert_eq!(running.request("GET", "/api/v1/heartbeats", "").1[0]["target"], "127.0.0.1:9");
    assert!(running.measure(0));
}

#[test]
fn what_is_wrong_with_a_file_leaves_everything_as_it_is() {
    let mut running = Running::start(&text(&format!("strict = true\n{}", session(1))));
    // The first lines are right, and would change something.
    running.write(&text("strict = false\nheartbeat = '127.0.0.1:9@60'\nauth-key-file = '/nonexistent/key'\n"));
    let (status, problem) = running.reload();
    assert_eq!(status, 422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("teaparty.toml:5:17: auth-key-file: cannot read the key"), "{detail}");
    let hangup = nix::sys::signal::Signal::SIGHUP;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.child.id().cast_signed()), hangup).unwrap();
    assert!(running.logged("configuration not changed").contains("teaparty.toml:5:17: auth-key-file"));
    std::fs::remove_file(&running.file).unwrap();
    assert_eq!(running.reload().0, 422);
    assert_eq!(running.request("GET", "/api/v1/policy", "").1["strict"], true);
    assert_eq!(running.request("GET", "/api/v1/heartbeats", "").1, json!([]));
    assert_eq!(running.provisioned(), [1]);
    assert!(running.measure(1));
}

#[test]
fn a_key_file_with_another_key_counts_as_changed() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key");
    let put = |octets: &str| {
        std::fs::write(&key, octets).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, mode).unwrap();
    };
    put("one");
    let file = text(&format!("auth-key-file = '{0}'\n{1}key-file = '{0}'\n", key.display(), session(1)));
    let running = Running::start(&file);
    assert_eq!(running.reload().1["applied"], json!([]));
    put("another");
    assert_eq!(running.reload().1["applied"], json!([{"key": "auth-key-file"}, {"key": "session"}]));
    assert_eq!(running.reload().1["applied"], json!([]));
}

#[test]
fn a_file_that_takes_long_to_parse_is_taken_over_and_does_not_delay_the_end() {
    let mut running = Running::start(&text(&session(1)));
    // Without optimisation they take longer than files may take to be read.
    let many = |ssid: u16| {
        let mut text = text(&format!("min-payload = {ssid}\n"));
        for n in 0..65_536 {
            text += &format!("[[session]]\nsource = '{}'\nssid = {ssid}\n", std::net::Ipv4Addr::from(0x0a00_0000 + n));
        }
        text
    };
    let signal = |running: &Running, signal| {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.child.id().cast_signed()), signal).unwrap();
    };
    running.write(&many(14));
    signal(&running, nix::sys::signal::Signal::SIGHUP);
    let line = running.logged("onfiguration ");
    assert!(line.contains("in force: "), "{line}");
    assert_eq!(running.request("GET", "/api/v1/sessions?provisioned=true&limit=1", "").1["total"], 65_536);
    running.write(&many(15));
    signal(&running, nix::sys::signal::Signal::SIGHUP);
    let begun = Instant::now();
    signal(&running, nix::sys::signal::Signal::SIGTERM);
    let status = running.child.wait().unwrap();
    assert!(status.success() && begun.elapsed() < Duration::from_secs(5), "{status} {:?}", begun.elapsed());
}

#[test]
fn of_several_reflectors_each_is_changed_by_its_name() {
    let ports = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap()).map(|s| s.local_addr().unwrap().port());
    let two = |strict: bool, more: &str| {
        format!(
            "{HEAD}[[reflector]]\nname = 'a'\nport = {}\n[[reflector]]\nname = 'b'\nport = {}\nstrict = {strict}\n{more}",
            ports[0], ports[1]
        )
    };
    let running = Running::with(&two(true, ""), &[], ports[0]);
    running.write(&two(false, "xdp-mode = 'skb'\n[[reflector]]\nname = 'c'\nport = 1\n"));
    let expected = json!({
        "applied": [{"reflector": "b", "key": "strict"}],
        "restart": [{"reflector": "b", "key": "xdp-mode"}, {"reflector": "c", "key": "reflector"}],
    });
    assert_eq!(running.reload(), (200, expected));
    assert!(running.measure(0));
    // Each is there by its name, too.
    let (_, list) = running.request("GET", "/api/v1/reflectors", "");
    let paths: Vec<&str> = list.as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/api/v1/reflectors/a", "/api/v1/reflectors/b"]);
    let patch = r#"{"strict": true}"#;
    assert_eq!(running.request("PATCH", "/api/v1/reflectors/b/policy", patch).0, 200);
    let strict = |path: &str| running.request("GET", path, "").1["strict"].clone();
    assert_eq!((strict("/api/v1/policy"), strict("/api/v1/reflectors/b/policy")), (json!(false), json!(true)));
    let created = json!({"source": "127.0.0.1", "ssid": 9, "destination_port": ports[1]}).to_string();
    assert_eq!(running.request("POST", "/api/v1/sessions", &created).0, 422);
    assert_eq!(running.request("POST", "/api/v1/reflectors/b/sessions", &created).0, 201);
    assert_eq!(running.request("GET", "/api/v1/sessions?provisioned=true", "").1["total"], 0);
    assert_eq!(running.request("GET", "/api/v1/reflectors/b/sessions?provisioned=true", "").1["total"], 1);
    assert_eq!(running.request("GET", "/api/v1/reflectors/c/policy", "").0, 404);
}
