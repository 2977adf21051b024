//! A key is seen nowhere but in its file: not in logs of any level, arguments, answers of the API, maps or core dumps.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use teaparty_testing::reflector::{Net, V4, sequence, start};
use teaparty_testing::skip::or_skip;

use super::signed::{SharedKey, hex, witness};

/// Returns the forms of a key: raw, hexadecimal in both cases and as a list of numbers, and base64 in two alphabets.
fn forms(key: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let list = |octets: &[u8]| octets.iter().map(|o| o.to_string()).collect::<Vec<_>>();
    // The middle of it is enough: nothing else looks like twelve octets of it.
    let part = &key[9..21];
    let bpftool = part.iter().map(|o| format!("0x{o:02x}")).collect::<Vec<_>>();
    vec![
        ("raw", part.to_vec()),
        ("hex", hex(part).into_bytes()),
        ("HEX", hex(part).to_uppercase().into_bytes()),
        ("hex with spaces", part.iter().map(|o| format!("{o:02x}")).collect::<Vec<_>>().join(" ").into_bytes()),
        ("hex of bpftool", bpftool.join(",").into_bytes()),
        ("numbers", list(part).join(",").into_bytes()),
        ("numbers of Debug", list(part).join(", ").into_bytes()),
        ("base64", STANDARD.encode(&key[9..21]).into_bytes()),
        ("base64 of all", STANDARD.encode(key).as_bytes()[..40].to_vec()),
        ("base64url of all", URL_SAFE.encode(key).as_bytes()[..40].to_vec()),
    ]
}

/// Panics where a key is in sight.
fn assert_hidden(place: &str, content: &[u8], keys: &[&[u8]]) {
    // One character for each octet: text is searched fast.
    let text = |octets: &[u8]| octets.iter().copied().map(char::from).collect::<String>();
    let content_text = text(content);
    for (form, sought) in keys.iter().flat_map(|key| forms(key)) {
        assert!(
            !content_text.contains(&text(&sought)),
            "{place} shows a key ({form}): {}",
            String::from_utf8_lossy(content)
        );
    }
}

/// The whole answer to an HTTP request.
fn http(net: &Net, method: &str, path: &str, body: &str) -> Vec<u8> {
    net.in_near(|| {
        let mut stream = TcpStream::connect("127.0.0.1:8000").unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n");
        let length = body.len();
        write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    })
}

#[test]
fn keys_are_searched_for_in_forms_that_would_be_found() {
    let key: Vec<u8> = (100..132).collect();
    for (form, sought) in forms(&key) {
        let found = std::panic::catch_unwind(|| assert_hidden("this", &[b"..", &sought[..], b".."].concat(), &[&key]));
        assert!(found.is_err(), "{form}");
    }
}

#[test]
fn keys_show_in_no_log_argument_answer_or_map() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let bpftool =
        Command::new("bpftool").arg("version").output().map(drop).map_err(|error| format!("bpftool: {error}"));
    if or_skip(bpftool).is_none() {
        return;
    }
    let (default, tlv, posted, posted_tlv) =
        (SharedKey::new(11), SharedKey::new(12), SharedKey::new(13), SharedKey::new(14));
    let keys = [&default, &tlv, &posted, &posted_tlv].map(|key| &key.octets[..]);
    let arguments =
        ["-vv", "reflector", "--iface", "veth0", "--auth-key-file", default.path(), "--tlv-key-file", tlv.path()];
    let reflector = start(net.teaparty(&arguments).env("TEAPARTY_LOG", "trace,aya=info,aya_obj=info"));
    // What the loader of others logs of each relocation fills the pipe, which is read at the end only.
    // Sessions with keys of their own, one of them refused.
    for source in ["192.0.2.2", "not an address"] {
        let (key, tlv_key) = (hex(&posted.octets), STANDARD.encode(posted_tlv.octets));
        let body = format!(r#"{{"source":"{source}","ssid":7,"key":"hex:{key}","tlv_key":"base64:{tlv_key}"}}"#);
        assert_hidden("the answer to POST", &http(&net, "POST", "/api/v1/sessions", &body), &keys);
    }
    let namesake = format!(
        r#"{{"src_ip":"192.0.2.9","src_port":0,"dst_ip":"0.0.0.0","dst_port":862,"ssid":9,"key":"{}"}}"#,
        hex(&posted.octets)
    );
    assert_hidden("the answer to POST /session", &http(&net, "POST", "/session", &namesake), &keys);
    // Packets: right, forged, and with TLVs.
    let client = net.client(V4, 862);
    let good = default.packet(1, &[], &tlv);
    assert_eq!(client.exchange(&good).map(|reply| sequence(&reply)), Some(0));
    client.send(&posted.packet(2, &[], &posted));
    let with_tlv = default.packet(3, &[0x80, 3, 0, 4, 0, 0, 0, 0], &tlv);
    assert_eq!(client.exchange(&with_tlv).map(|reply| sequence(&reply)), Some(1));
    for path in ["/sessions", "/heartbeats", "/api/v1/sessions", "/api/v1/reflector", "/metrics", "/nothing"] {
        let answer = http(&net, "GET", path, "");
        assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
        assert_hidden(path, &answer, &keys);
    }
    for file in ["cmdline", "environ", "comm", "status"] {
        assert_hidden(file, &std::fs::read(format!("/proc/{}/{file}", reflector.pid())).unwrap(), &keys);
    }
    let mut maps = 0;
    for pin in std::fs::read_dir(net.pins()).unwrap().map(|entry| entry.unwrap().path()) {
        for json in [&["-j"][..], &[]] {
            let mut dump = Command::new("bpftool");
            let output = dump.args(json).args(["map", "dump", "pinned"]).arg(&pin).output().unwrap();
            maps += usize::from(output.status.success());
            assert_hidden(&pin.display().to_string(), &[output.stdout, output.stderr].concat(), &keys);
        }
    }
    assert!(maps >= 16, "the maps were dumped: {maps}");
    let ended = reflector.stop();
    assert!(ended.error.contains("TRACE") || ended.error.contains("DEBUG"), "trace level is on: {}", ended.error);
    assert_hidden("the log", ended.error.as_bytes(), &keys);
    assert_hidden("the output", ended.out.as_bytes(), &keys);
}

/// Returns the arguments of a process after it has hidden a key, which it must do soon.
fn arguments_once_hidden(process: u32, keys: &[&[u8]]) -> Vec<u8> {
    let shown = || std::fs::read(format!("/proc/{process}/cmdline")).unwrap();
    let is_in_sight = |all: &[u8]| keys.iter().any(|key| all.windows(key.len()).any(|part| part == *key));
    let end = Instant::now() + Duration::from_secs(10);
    while is_in_sight(&shown()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    shown()
}

#[test]
fn a_senders_keys_show_in_no_report_log_or_argument() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let (key, tlv) = (SharedKey::new(16), SharedKey::new(17));
    // As the namesake takes it: the text is the key.
    let text = String::from_utf8((b'A'..=b'Z').chain(b'a'..=b'f').collect()).unwrap();
    let typed = SharedKey::of_octets(text.as_bytes().try_into().unwrap());
    let reflectors = [[key.path(), tlv.path()], [typed.path(), tlv.path()]];
    for (reflector, typed_key) in reflectors.into_iter().zip([None, Some(&text)]) {
        let [base_path, tlv_path] = reflector;
        let _reflector = net.reflector(&["--auth-key-file", base_path, "--tlv-key-file", tlv_path]);
        let with: &[&str] = match typed_key {
            None => &["--auth-key-file", key.path()],
            Some(text) => &["--authenticated", text],
        };
        for format in ["human", "json", "jsonl", "csv"] {
            let rest = ["--tlv-key-file", tlv_path, "--format", format, "tlvs", "time", "--", "hmac"];
            let rest = [&["-vv", "sender", V4, "-c", "0", "-d", "1s", "-i", "50ms"], with, &rest].concat();
            let child = net.far_teaparty(&rest).env("TEAPARTY_LOG", "trace").spawn().unwrap();
            let keys = [&key, &tlv, &typed].map(|key| &key.octets[..]);
            let arguments = arguments_once_hidden(child.id(), &keys);
            assert!(!arguments.is_empty(), "{format}: it has ended already");
            assert_hidden("cmdline", &arguments, &keys);
            let output = child.wait_with_output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{format}: {error}");
            assert_hidden("the log", &output.stderr, &keys);
            assert_hidden(format, &output.stdout, &keys);
        }
    }
}

/// Ends a process by a signal that dumps core, and says whether it did.
fn dumps_core(command: &mut Command, folder: &Path, wait: impl FnOnce(&mut std::process::Child)) -> bool {
    let unlimited = || setrlimit(Resource::RLIMIT_CORE, u64::MAX, u64::MAX).map_err(Into::into);
    // SAFETY: a bare system call.
    unsafe { command.current_dir(folder).pre_exec(unlimited) };
    let mut child = command.spawn().unwrap();
    wait(&mut child);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGABRT).unwrap();
    child.wait().unwrap().core_dumped()
}

#[test]
fn neither_side_leaves_a_core_dump() {
    let Some(net) = or_skip(Net::new()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut control = Command::new("sleep");
    let does_dump = dumps_core(control.arg("60"), folder.path(), |_| ());
    if or_skip(does_dump.then_some(()).ok_or("this system writes no core dumps")).is_none() {
        return;
    }
    // Without any key on the command line too: the API brings them later.
    let mut reflector = net.teaparty(&["reflector", "--api", "none", "--iface", "veth0", "--xdp-mode", "off"]);
    let is_ready = |child: &mut std::process::Child| {
        let mut first = [0; 8];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    };
    assert!(!dumps_core(reflector.stderr(Stdio::null()), folder.path(), is_ready));
    // A sender has a key from the start or never.
    let key = SharedKey::new(18);
    let arguments = ["sender", V4, "-c", "0", "-W", "1s", "--format", "jsonl", "--auth-key-file", key.path()];
    let sends = |child: &mut std::process::Child| {
        let mut first = [0; 8];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    };
    let _reflector = net.reflector(&["--xdp-mode", "off", "--auth-key-file", key.path()]);
    assert!(!dumps_core(net.far_teaparty(&arguments).stderr(Stdio::null()), folder.path(), sends));
}

#[test]
fn systemd_credentials_and_descriptors_are_sources() {
    let Some(net) = or_skip(witness().and_then(|()| Net::new())) else { return };
    let key = SharedKey::new(15);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stamp");
    std::fs::copy(key.path(), &file).unwrap();
    // As systemd leaves it where it lets the service's user in by an access control list.
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
    let whole = file.to_str().unwrap().to_owned();
    for source in ["credential:stamp", &whole] {
        let arguments = ["reflector", "--api", "none", "--iface", "veth0", "--auth-key-file", source];
        let _reflector = start(net.teaparty(&arguments).env("CREDENTIALS_DIRECTORY", folder.path()));
        assert!(net.client(V4, 862).exchange(&key.packet(0, &[], &key)).is_some(), "{source}");
    }
    let refused = |source: &str| {
        let arguments = ["reflector", "--api", "none", "--iface", "veth0", "--auth-key-file", source];
        let output = net.teaparty(&arguments).env_remove("CREDENTIALS_DIRECTORY").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{source}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("credential:stamp").contains("LoadCredential=stamp:"));
    assert!(refused(&whole).contains("chmod 600"));
    // A descriptor that the process inherits.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writeln!(writer, "hex:{}", hex(&key.octets)).unwrap();
    drop(writer);
    let mut command = net.teaparty(&["reflector", "--api", "none", "--iface", "veth0", "--auth-key-file", "fd:9"]);
    // SAFETY: a bare system call; the pipe stays open in the closure.
    unsafe {
        command.pre_exec(move || {
            let copy = libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&reader), 9);
            if copy == 9 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
    };
    let _reflector = start(&mut command);
    assert!(net.client(V4, 862).exchange(&key.packet(0, &[], &key)).is_some());
}
