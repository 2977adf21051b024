//! Reflectors on loopback, as programs of their own: ours, and those of others.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::program;

/// A running reflector on loopback. Dropping it ends it by SIGTERM, so that it cleans up.
pub struct LocalReflector {
    child: Child,
    /// Its UDP port.
    pub port: u16,
}

impl LocalReflector {
    /// Takes charge of a reflector that listens on a port.
    pub fn new(child: Child, port: u16) -> Self {
        Self { child, port }
    }

    /// Starts `teaparty reflector` on `lo` with these options; returns when it says that it is ready.
    pub fn ours(options: &[&str]) -> Self {
        let port = free_port();
        let mut child = Command::new(program())
            .args(["reflector", "--iface", "lo", "--port", &port.to_string()])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().any(|line| line.unwrap().contains("is ready"));
        let running = Self { child, port };
        assert!(ready, "the reflector ended before it was ready");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }
}

impl Drop for LocalReflector {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Returns a UDP port of loopback that nobody has at this moment.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
