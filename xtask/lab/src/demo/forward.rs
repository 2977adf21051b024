//! Forwards TCP connections from loopback to servers on loopback of a namespace, so that a browser reaches them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

/// Connections at a time; each has two threads.
const MOST_CONNECTIONS: usize = 64;

/// Listens on this port of the host's loopback address, or on another one if it is taken; returns the address.
pub(super) fn forward(namespace: &'static str, port: u16) -> Result<SocketAddr> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = listen(port).or_else(|_| listen(0)).context("cannot listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    let count = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for client in listener.incoming().filter_map(Result::ok) {
            if count.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                count.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let count = count.clone();
            thread::spawn(move || {
                // A browser sees that the connection ends, and asks again.
                let _ = connect(namespace, port).and_then(|server| relay(&client, &server));
                count.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(address)
}

/// Returns true if a server in a namespace answers at a path with success.
pub(super) fn answers(namespace: &'static str, port: u16, path: &str) -> bool {
    let ask = || {
        let mut stream = connect(namespace, port)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok::<_, io::Error>(head[9] == b'2')
    };
    ask().unwrap_or(false)
}

/// Connects on a thread of its own, which alone enters the namespace.
fn connect(namespace: &'static str, port: u16) -> io::Result<TcpStream> {
    let connecting = thread::spawn(move || {
        setns(File::open(format!("/run/netns/{namespace}"))?, CloneFlags::CLONE_NEWNET)?;
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
    });
    connecting.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// Copies both ways until both ends have ended.
fn relay(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        scope.spawn(|| copy(client, server));
        copy(server, client)
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    copied.map(drop)
}
