//! `cargo xtask demo`: all its parts answer, and nothing is left. Needs root, because it makes network namespaces.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// Returns `teaparty`, where cargo built it for the tests.
fn teaparty() -> PathBuf {
    let given = std::env::var_os("CARGO_BIN_EXE_teaparty").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_teaparty-lab")).with_file_name("teaparty"))
}

/// A demo, which is ended with a test that fails.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            send(&self.0, Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

/// Starts a demo; returns it and the addresses that it shows, once it says that all is there.
fn start() -> (Demo, Vec<String>) {
    let child = Command::new(env!("CARGO_BIN_EXE_teaparty-lab"))
        .args(["demo", "--program"])
        .arg(teaparty())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut demo = Demo(child);
    let lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<String> = Vec::new();
    for line in lines {
        let is_last = line.contains("Ctrl-C");
        said.push(line);
        if is_last {
            let is_measured = said.iter().any(|line| line.starts_with("5 sent, 5 received"));
            assert!(is_measured, "{said:#?}");
            let addresses = said.iter().filter_map(|line| line.split_once("http://").map(|(_, rest)| rest.to_owned()));
            return (demo, addresses.collect());
        }
    }
    panic!("the demo ended, {:?}: {said:#?}", demo.0.wait());
}

fn get(address: &str) -> String {
    let (server, path) = address.split_once('/').unwrap();
    let server: SocketAddr = server.parse().unwrap();
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /{path} HTTP/1.0\r\nhost: {server}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn namespaces() -> String {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn send(demo: &Child, signal: Signal) {
    kill(Pid::from_raw(demo.id() as i32), signal).unwrap();
}

#[test]
fn each_part_answers_and_nothing_is_left_even_of_a_demo_that_was_killed() {
    if !Uid::effective().is_root() {
        assert!(std::env::var_os("TEAPARTY_TEST_DEMAND").is_none(), "root is needed");
        println!("SKIPPED: each_part_answers_and_nothing_is_left_even_of_a_demo_that_was_killed: root is needed");
        return;
    }
    let (mut demo, addresses) = start();
    let second = Command::new(env!("CARGO_BIN_EXE_teaparty-lab")).args(["demo", "--program"]).arg(teaparty()).output();
    let second = String::from_utf8(second.unwrap().stderr).unwrap();
    assert!(second.contains("a demo runs already"), "{second}");
    let [reflector, probe, prometheus] = &addresses[..] else { panic!("{addresses:?}") };
    // Prometheus sends browsers on to the one of its pages that this version has.
    for (address, status, part) in
        [(reflector, "200", "<title>"), (probe, "200", "<title>"), (prometheus, "30", "graph")]
    {
        let answer = get(address);
        assert!(answer[9..].starts_with(status) && answer.contains(part), "{address}: {answer}");
    }
    let server = prometheus.split('/').next().unwrap();
    // The first scrape comes within a second; the host may be slow.
    let query = format!("{server}/api/v1/query?query=teaparty_probe_available");
    let has_target = (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        get(&query).contains("\"to\":\"far\"")
    });
    assert!(has_target, "{}", get(&query));
    send(&demo.0, Signal::SIGKILL);
    demo.0.wait().unwrap();
    assert!(namespaces().contains("teaparty-demo-near"), "a killed demo leaves its namespaces");

    let (mut demo, _) = start();
    send(&demo.0, Signal::SIGTERM);
    assert!(demo.0.wait().unwrap().success());
    assert!(!namespaces().contains("teaparty-demo"), "{}", namespaces());
}
