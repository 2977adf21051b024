//! Waiting: for sockets, and for a moment, without the kernel's timer slack.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_int;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Waits until one of `fds` has a datagram or a report, or until `timeout` (forever if `None`) has passed.
///
/// Returns whether one is ready. A signal that was handled counts as nothing ready.
pub fn wait(fds: &[&dyn AsFd], timeout: Option<Duration>) -> io::Result<bool> {
    poll(fds, libc::POLLIN, timeout)
}

/// Waits until `fd` takes another datagram, or until `timeout` has passed; returns whether it does.
pub fn wait_writable(fd: &dyn AsFd, timeout: Option<Duration>) -> io::Result<bool> {
    poll(&[fd], libc::POLLOUT, timeout)
}

fn poll(fds: &[&dyn AsFd], events: i16, timeout: Option<Duration>) -> io::Result<bool> {
    let mut entries: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 }).collect();
    let timeout = timeout.map(timespec);
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` and the time outlive the call; a null signal mask leaves the mask alone.
    let ready = unsafe { libc::ppoll(entries.as_mut_ptr(), entries.len() as _, timeout, std::ptr::null()) };
    match ready {
        0.. => Ok(ready > 0),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}

/// Nanoseconds of a turn of [`set_short_time_slice`]: the least that the kernel gives.
const TURN_NS: u64 = 100_000;

/// Asks the scheduler to give this thread short turns and, in exchange, soon ones: on a processor that others use too,
/// a thread that was woken waits some milliseconds for the end of another's turn, unless its own are shorter.
///
/// Kernels before 6.12 take it and do nothing.
pub fn set_short_time_slice() -> io::Result<()> {
    // SAFETY: all-zero is a valid `sched_attr`.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the kernel writes at most `size` octets to where `attributes` is; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_runtime = TURN_NS;
    // SAFETY: the kernel reads as many octets as `attributes` says that it has.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has this thread go before all that share the processor (SCHED_FIFO, at the lowest of its priorities), as it takes
/// CAP_SYS_NICE or a limit (RLIMIT_RTPRIO) to. Threads that it starts do not inherit that.
///
/// A thread that never sleeps then would take its processor from all others; the kernel gives them 5 % of it all the same,
/// 50 ms at a time.
pub fn set_realtime() -> io::Result<()> {
    // SAFETY: all-zero is a valid `sched_param`, of which C libraries have more members than the kernel.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // By the system call, because musl's function refuses. SAFETY: the parameters outlive the call; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A timer on CLOCK_MONOTONIC that can be waited for together with sockets.
///
/// Unlike the timeout of [`wait`], which the kernel may stretch by a thousandth of its length, it expires on time.
pub struct Timer(OwnedFd);

impl Timer {
    /// Returns a timer that is not set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; the descriptor is checked and then owned by us alone.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        // SAFETY: as above.
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) })) }
    }

    /// Rings once at `monotonic_ns`, at once if that is past. Replaces an earlier setting and clears an earlier ring.
    pub fn set(&self, monotonic_ns: u64) -> io::Result<()> {
        // All zero would disarm it.
        let at = timespec(Duration::from_nanos(monotonic_ns.max(1)));
        let never = timespec(Duration::ZERO);
        let spec = libc::itimerspec { it_interval: never, it_value: at };
        // SAFETY: the specification outlives the call; the old one is not asked for.
        let result: c_int = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const spec, std::ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An event that one thread waits for and another one signals (`eventfd(2)`).
pub struct WakeEvent(EventFd);

impl WakeEvent {
    /// Returns an event that is not signalled.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?))
    }

    /// Makes it readable until [`WakeEvent::clear`].
    pub fn wake(&self) {
        // It can only fail after 2^64 signals.
        let _ = self.0.write(1);
    }

    /// Takes the signals back. Call it after waiting and before looking for the work, so that no signal is missed.
    pub fn clear(&self) {
        // Without a signal there is nothing to read.
        let _ = self.0.read();
    }
}

impl AsFd for WakeEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: duration.subsec_nanos() as _,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::{ClockSource, SystemClock};

    #[test]
    fn short_turns_leave_policy_and_priority_as_they_were() {
        // SAFETY: neither takes pointers; 0 is the calling thread.
        let standing = || unsafe { (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0)) };
        // Of a thread of its own, which nobody else uses afterwards.
        std::thread::spawn(move || {
            let before = standing();
            set_short_time_slice().unwrap();
            assert_eq!(standing(), before);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn an_alarm_rings_at_its_moment_and_not_before() {
        let timer = Timer::new().unwrap();
        assert!(!wait(&[&timer], Some(Duration::ZERO)).unwrap());
        let at = SystemClock.monotonic_ns() + 3_000_000;
        timer.set(at).unwrap();
        assert!(wait(&[&timer], Some(Duration::from_secs(5))).unwrap());
        assert!(SystemClock.monotonic_ns() >= at);
        timer.set(SystemClock.monotonic_ns() + 3_600_000_000_000).unwrap();
        assert!(!wait(&[&timer], Some(Duration::ZERO)).unwrap());
        timer.set(0).unwrap();
        assert!(wait(&[&timer], Some(Duration::from_secs(5))).unwrap());
    }
}
