//! Limits the time that files may take to be read, apart from what is made of their content.
//!
//! A dead file system, or a pipe that nobody writes to, blocks its reader for good. Parsing always ends, and a large
//! configuration may well take longer than any file that answers.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sync::locked;

/// The clock is read again no sooner than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

thread_local! {
    /// The clock of the work that this thread does for a [`LimitedReader`].
    static CLOCK: RefCell<Option<Arc<ReadClock>>> = const { RefCell::new(None) };
}

/// Calls `read`, which may wait for a file. Its time counts against the limit of the [`LimitedReader`] that runs this
/// thread's work, if there is one.
pub(crate) fn reading<T>(read: impl FnOnce() -> T) -> T {
    let clock = CLOCK.with_borrow(Clone::clone).filter(|clock| clock.begin());
    let result = read();
    if let Some(clock) = clock {
        clock.end();
    }
    result
}

/// Why work has no result.
#[derive(Debug)]
pub enum LimitError {
    /// Files took too long, or those of earlier work still do.
    Slow,
    /// There is no thread for the work.
    NoThread(io::Error),
}

/// Runs work that reads files, one piece at a time.
#[derive(Debug, Default)]
pub(crate) struct LimitedReader {
    /// True while a thread works, also after nobody waits for it any more.
    is_busy: Arc<AtomicBool>,
}

impl LimitedReader {
    /// Runs `work` on a thread of its own and returns its result.
    ///
    /// * `limit`: of the time in [`reading`], all calls together; everything else may take as long as it takes.
    ///
    /// Beyond the limit the thread is left to itself, and others are refused until it has ended. Panics if `work` does.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LimitError> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err(LimitError::Slow);
        }
        let busy = Busy(self.is_busy.clone());
        let clock = Arc::new(ReadClock::default());
        let (sender, receiver) = channel();
        let counted = clock.clone();
        let work = move || {
            CLOCK.set(Some(counted));
            let result = work();
            drop(busy);
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        };
        let thread = std::thread::Builder::new().name("reader".into()).spawn(work).map_err(LimitError::NoThread)?;
        loop {
            let Some(left) = limit.checked_sub(clock.spent()) else { return Err(LimitError::Slow) };
            match receiver.recv_timeout(left.max(SHORTEST_WAIT)) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match thread.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => unreachable!("the work sends its result unless it panics"),
                },
            }
        }
    }
}

/// Keeps a reader busy until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The time that has been spent in reads.
#[derive(Debug, Default)]
struct ReadClock(Mutex<Reads>);

#[derive(Debug, Default)]
struct Reads {
    /// In those that have ended.
    ended: Duration,
    /// Since when one is under way.
    since: Option<Instant>,
}

impl ReadClock {
    /// Starts to count. Returns false if a read is under way, whose part this one is.
    fn begin(&self) -> bool {
        let mut reads = locked(&self.0);
        let is_first = reads.since.is_none();
        reads.since.get_or_insert_with(Instant::now);
        is_first
    }

    fn end(&self) {
        let mut reads = locked(&self.0);
        if let Some(since) = reads.since.take() {
            reads.ended += since.elapsed();
        }
    }

    fn spent(&self) -> Duration {
        let reads = locked(&self.0);
        reads.ended + reads.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;
    use std::thread::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    /// Waits for a word that may never come.
    fn wait(word: &Receiver<()>) {
        reading(|| word.recv().unwrap());
    }

    #[test]
    fn work_that_takes_long_is_waited_for_where_its_reads_are_short() {
        let reader = LimitedReader::default();
        for _ in 0..2 {
            let done = reader.run(LIMIT, || {
                let read = reading(|| reading(|| 7));
                sleep(3 * LIMIT);
                read + reading(|| 1)
            });
            assert_eq!(done.unwrap(), 8);
        }
    }

    #[test]
    fn a_read_that_blocks_is_given_up_and_nothing_else_read_until_it_has_ended() {
        let reader = LimitedReader::default();
        let (sender, word) = channel();
        let begun = Instant::now();
        let done = reader.run(LIMIT, move || wait(&word));
        assert!(matches!(done, Err(LimitError::Slow)) && begun.elapsed() >= LIMIT);
        assert!(matches!(reader.run(LIMIT, || ()), Err(LimitError::Slow)));
        sender.send(()).unwrap();
        while reader.run(LIMIT, || ()).is_err() {
            sleep(SHORTEST_WAIT);
        }
    }

    #[test]
    fn short_reads_count_together() {
        let reader = LimitedReader::default();
        let done = reader.run(LIMIT, || (0..10).for_each(|_| reading(|| sleep(LIMIT / 5))));
        assert!(matches!(done, Err(LimitError::Slow)));
    }

    #[test]
    fn a_panic_is_the_callers() {
        let reader = LimitedReader::default();
        let run = || reader.run(LIMIT, || panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert!(reader.run(LIMIT, || ()).is_ok());
    }
}
