//! Whole frames by a packet socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;

/// A packet socket on a device: it receives all that comes in and goes out there.
pub(super) struct Raw(OwnedFd);

impl Raw {
    /// Opens one in the namespace of this thread.
    pub(super) fn open(device: &str) -> Result<Self> {
        let all = u16::to_be(libc::ETH_P_ALL as u16);
        // SAFETY: takes no pointers; the result is checked before it is owned.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(all)) };
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("cannot open a packet socket");
        }
        // SAFETY: it was opened above and is nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zeros are a valid address, which is filled in below.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = if_nametoindex(device)? as i32;
        let len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address outlives the call and is as long as stated.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) } < 0 {
            return Err(io::Error::last_os_error()).context("cannot bind the packet socket");
        }
        Ok(Self(socket))
    }

    /// Sends a frame.
    pub(super) fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the frame outlives the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()).context("cannot send a frame") } else { Ok(()) }
    }

    /// The next frame, if one comes before `until`.
    pub(super) fn receive(&self, until: Instant) -> Result<Option<Vec<u8>>> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        if unsafe { libc::poll(&raw mut poll, 1, left.as_millis() as i32) } <= 0 {
            return Ok(None);
        }
        let mut frame = vec![0; 65_536];
        // SAFETY: as many octets as stated can be written.
        let len = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        if len < 0 {
            return Err(io::Error::last_os_error()).context("cannot receive a frame");
        }
        frame.truncate(len as usize);
        Ok(Some(frame))
    }
}
