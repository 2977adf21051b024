//! Notifications to a service manager (sd_notify(3)): that we are ready, alive, ending. Nothing where there is none.
//!
//! The protocol is a datagram of `NAME=VALUE` lines to the socket that the environment names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable for the service manager's socket: a path, or the name of an abstract socket after `@`.
const SOCKET: &str = "NOTIFY_SOCKET";
/// The variables for the watchdog: its interval in microseconds, and, if set, the process that it is meant for.
const WATCHDOG: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// Says that packets are answered or sent, and how.
pub(crate) fn ready(status: &str) {
    notify(&format!("READY=1\nSTATUS={status}\n"));
}

/// Says that we end because we were told to.
pub(crate) fn stopping() {
    notify("STOPPING=1\n");
}

/// Says that the main task still turns. To be called more often than any watchdog is set to.
pub(crate) fn alive() {
    let [interval, pid] = WATCHDOG.map(|name| std::env::var(name).ok());
    if interval.is_some() && pid.is_none_or(|pid| pid == std::process::id().to_string()) {
        notify("WATCHDOG=1\n");
    }
}

fn notify(state: &str) {
    let Some(name) = std::env::var_os(SOCKET) else { return };
    if let Err(error) = send(&name, state) {
        tracing::debug!(socket = %name.display(), %error, "the service manager does not listen");
    }
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that is stuck shall not keep packets from being looked after.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
