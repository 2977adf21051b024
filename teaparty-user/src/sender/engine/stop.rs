//! The handle that ends a running measurement.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::net::poll::WakeEvent;

/// A handle that ends a measurement: first sending, then waiting.
pub struct Stop {
    level: AtomicU8,
    wake_event: WakeEvent,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { level: AtomicU8::new(0), wake_event: WakeEvent::new()? })
    }

    /// Asks once more: the first time to send no more, the second time to wait for no reply either.
    pub fn request(&self) {
        // Before the event, so that whoever it wakes finds the request.
        let once_more = |level: u8| Some(level.saturating_add(1));
        let _ = self.level.fetch_update(Ordering::SeqCst, Ordering::SeqCst, once_more);
        self.wake_event.wake();
    }

    /// Returns true if nothing more is to be sent.
    pub fn is_requested(&self) -> bool {
        self.level.load(Ordering::SeqCst) > 0
    }

    /// Returns true if nothing more is to be waited for.
    pub fn is_urgent(&self) -> bool {
        self.level.load(Ordering::SeqCst) > 1
    }

    /// Takes note of the requests so far, so that only a further one can be waited for. To be called after waiting and
    /// before asking what was requested.
    pub fn acknowledge(&self) {
        self.wake_event.clear();
    }
}

impl AsFd for Stop {
    /// Readable from a request on until it was heard.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake_event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::poll::wait;

    #[test]
    fn each_request_to_stop_wakes_who_waits_and_only_once() {
        let stop = Stop::new().unwrap();
        let is_ready = || wait(&[&stop], Some(Duration::ZERO)).unwrap();
        assert!(!is_ready());
        for is_urgent in [false, true, true] {
            stop.request();
            assert!(is_ready());
            stop.acknowledge();
            assert!(!is_ready(), "it would keep the engine from sleeping");
            assert_eq!((stop.is_requested(), stop.is_urgent()), (true, is_urgent));
        }
        // However often: it never restarts.
        (0..300).for_each(|_| stop.request());
        assert!(stop.is_urgent());
    }
}
