//! Numbers of transmit timestamps: ours where the kernel takes them along, else translated from its own count.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_int;

use super::cmsg::ControlBuffer;
use super::sockopt::{SO_TIMESTAMPING_NEW, set_int};

/// The control message that gives a datagram the number of its transmit timestamp (Linux 6.13, `asm-generic/socket.h`).
pub(super) const SCM_TS_OPT_ID: c_int = 81;

/// Translates the kernel's own count of stamped datagrams to our numbers, for kernels before 6.13.
pub(super) struct StampIds {
    next: AtomicU32,
    ring: Box<[AtomicU32]>,
}

impl StampIds {
    /// Timestamps come back long before this many datagrams were sent.
    const RING: usize = 1 << 14;

    pub(super) fn new() -> Self {
        let len = if kernel_takes_stamp_ids() { 0 } else { Self::RING };
        Self { next: AtomicU32::new(0), ring: (0..len).map(|_| AtomicU32::new(0)).collect() }
    }

    pub(super) fn record(&self, id: u32) {
        let counter = self.next.fetch_add(1, Ordering::Relaxed);
        self.ring[counter as usize % Self::RING].store(id, Ordering::Release);
    }

    pub(super) fn of_counter(&self, counter: u32) -> u32 {
        self.ring[counter as usize % Self::RING].load(Ordering::Acquire)
    }
}

/// Returns true if datagrams may bring the number of their transmit timestamp along (Linux 6.13 and above), tried out once.
///
/// The alternative is the kernel's own count, which goes wrong forever after a datagram that it counted and then
/// dropped.
pub(super) fn kernel_takes_stamp_ids() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| try_stamp_id().is_ok())
}

fn try_stamp_id() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(socket.local_addr()?)?;
    let flags = libc::SOF_TIMESTAMPING_SOFTWARE | libc::SOF_TIMESTAMPING_OPT_ID | libc::SOF_TIMESTAMPING_OPT_TSONLY;
    set_int(socket.as_fd(), libc::SOL_SOCKET, SO_TIMESTAMPING_NEW, flags as c_int)?;
    let mut control = ControlBuffer::default();
    control.push(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &libc::SOF_TIMESTAMPING_TX_SOFTWARE.to_ne_bytes());
    control.push(libc::SOL_SOCKET, SCM_TS_OPT_ID, &1u32.to_ne_bytes());
    // SAFETY: all-zero is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.as_ptr(0).cast_mut().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: the header points at control messages that outlive the call, and at no address or data.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_stamps_are_translated_for_older_kernels() {
        let ids = StampIds { next: AtomicU32::new(0), ring: (0..StampIds::RING).map(|_| AtomicU32::new(0)).collect() };
        [7, 900, 5].into_iter().for_each(|id| ids.record(id));
        assert_eq!([0, 1, 2].map(|counter| ids.of_counter(counter)), [7, 900, 5]);
    }
}
