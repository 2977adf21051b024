//! `sendmmsg(2)` itself: musl's function of that name sends one datagram after the other.

use std::io;

use libc::c_int;

/// Hands datagrams to the kernel without waiting; returns how many it took.
///
/// # Safety
///
/// The headers must point at memory of the lengths that they state. The kernel writes to the headers only.
pub(super) unsafe fn sendmmsg(fd: c_int, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let (start, count) = (headers.as_mut_ptr(), headers.len() as libc::c_uint);
    // SAFETY: the caller answers for what the headers point at; there are `count` of them.
    let sent = unsafe { libc::syscall(libc::SYS_sendmmsg, fd, start, count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
