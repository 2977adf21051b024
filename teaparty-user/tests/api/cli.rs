//! The reflector's options for the API and heartbeats.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use teaparty_testing::local::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Killed when the test ends, however it does. Without XDP nothing is left behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reflector(port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teaparty"));
    command.args(["reflector", "--iface", "lo", "--xdp-mode", "off", "--port", &port.to_string()]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_block_says_where_the_api_is_and_heartbeats_come() {
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    target.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let port = free_port();
    let mut command = reflector(port);
    command.args(["--api", "127.0.0.1:0", "--heartbeat", &format!("{}@1", target.local_addr().unwrap())]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let url = lines.map(Result::unwrap).find_map(|line| Some(line.split_once("http://")?.1.to_owned()));
    let url = url.expect("a line with the address of the API");

    let mut packet = [0; 100];
    let (len, from) = target.recv_from(&mut packet).expect("a heartbeat");
    assert_eq!((len, from.port(), packet[45]), (56, port, 242));

    let mut stream = TcpStream::connect(&url).await.unwrap();
    stream.write_all(b"GET /heartbeats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\"interval\":{\"secs\":1,\"nanos\":0}}]"), "{answer}");
}

#[test]
fn what_can_not_be_offered_is_refused_at_the_start() {
    for (arguments, said) in [
        (&["--api", "0.0.0.0:0"][..], "--api-token-file"),
        (&["--api", "localhost"], "ADDRESS:PORT"),
        (&["--api-token-file", "/nowhere/token"], "/nowhere/token"),
        (&["--heartbeat", "192.0.2.1"], "@SECONDS"),
    ] {
        let output = reflector(free_port()).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}
