//! Tells at once when CLOCK_REALTIME is set.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Nanoseconds since 1970 are not as many before the year 2200.
const NEVER_S: libc::time_t = 7_258_118_400;

/// A descriptor that becomes readable when CLOCK_REALTIME is set: by a daemon or a person, and by a leap second.
///
/// A new TAI offset alone is not noticed.
pub(crate) struct ClockWatch(OwnedFd);

impl ClockWatch {
    /// Begins to watch.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the descriptor is checked and then owned by us alone.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: zero, it_value: libc::timespec { tv_sec: NEVER_S, tv_nsec: 0 } };
        let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        // SAFETY: the specification outlives the call; the old one is not asked for.
        let result = unsafe { libc::timerfd_settime(fd.as_raw_fd(), flags, &raw const spec, std::ptr::null_mut()) };
        if result == 0 { Ok(Self(fd)) } else { Err(io::Error::last_os_error()) }
    }

    /// Takes the news, so that the descriptor becomes readable at the next one. It goes on watching.
    pub(crate) fn drain(&self) {
        let mut expirations = 0u64;
        // ECANCELED is the news itself, and where there is none there is nothing to read.
        // SAFETY: eight octets are written at most, and any are a number.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut expirations).cast(), size_of::<u64>()) };
    }
}

impl AsRawFd for ClockWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_sets_is_no_news() {
        let watch = ClockWatch::new().unwrap();
        watch.drain();
        let mut poll = libc::pollfd { fd: watch.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 20) }, 0);
    }
}
