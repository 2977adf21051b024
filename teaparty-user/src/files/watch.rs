//! Watches files for changes. A file system that does not answer blocks a thread, and nobody who waits for a change.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::limit::{LimitError, LimitedReader, reading};

/// Looks at files from time to time, and compares with what was there before.
pub(crate) struct ChangeWatch<T> {
    /// The name of the files, for the log.
    name: String,
    look: Arc<dyn Fn() -> T + Send + Sync>,
    /// The result of the last look; `None` before the first one.
    seen: Option<T>,
    interval: Interval,
    limit: Duration,
    reader: Arc<LimitedReader>,
    /// The look that is under way.
    pending: Option<JoinHandle<Result<T, LimitError>>>,
    /// True if the look that is under way began before `seen` was set.
    is_outdated: bool,
    /// True if the last look took too long.
    is_slow: bool,
}

impl<T: PartialEq + Send + 'static> ChangeWatch<T> {
    /// Creates a watch that calls `look` every `period`, the first time when [`Self::changed`] is first waited for.
    ///
    /// * `limit`: of the time that a look may take; beyond it nothing is known until the look has ended.
    pub(crate) fn new(
        name: String,
        period: Duration,
        limit: Duration,
        look: impl Fn() -> T + Send + Sync + 'static,
    ) -> Self {
        let mut interval = interval_at(Instant::now(), period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            name,
            look: Arc::new(look),
            seen: None,
            interval,
            limit,
            reader: Arc::default(),
            pending: None,
            is_outdated: false,
            is_slow: false,
        }
    }

    /// Sets what later looks are compared with, and begins a new period.
    pub(crate) fn set_seen(&mut self, seen: T) {
        self.seen = Some(seen);
        self.is_outdated = self.pending.is_some();
        self.interval.reset();
    }

    /// Waits until a look differs from the one before. Without one before, the first look is that one.
    ///
    /// May be dropped and called again: a look that is under way continues.
    pub(crate) async fn changed(&mut self) {
        loop {
            let pending = match &mut self.pending {
                Some(pending) => pending,
                None => {
                    self.interval.tick().await;
                    let (look, reader, limit) = (self.look.clone(), self.reader.clone(), self.limit);
                    let work = move || reader.run(limit, move || reading(|| look()));
                    self.pending.insert(tokio::task::spawn_blocking(work))
                }
            };
            let result = pending.await;
            self.pending = None;
            let is_outdated = std::mem::take(&mut self.is_outdated);
            match result {
                Ok(Ok(found)) => {
                    self.is_slow = false;
                    let is_same = self.seen.as_ref().is_none_or(|seen| *seen == found);
                    if is_outdated {
                        continue;
                    }
                    self.seen = Some(found);
                    if !is_same {
                        return;
                    }
                }
                Ok(Err(LimitError::Slow)) if !self.is_slow => {
                    self.is_slow = true;
                    tracing::warn!(
                        file = self.name,
                        "the file system does not answer; changes are noticed when it does again"
                    );
                }
                Ok(Err(LimitError::Slow)) => {}
                Ok(Err(LimitError::NoThread(error))) => {
                    tracing::warn!(file = self.name, %error, "cannot look for changes")
                }
                Err(error) => tracing::warn!(file = self.name, %error, "cannot look for changes"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use tokio::time::timeout;

    use super::*;
    use crate::sync::locked;

    const PERIOD: Duration = Duration::from_millis(5);
    const LIMIT: Duration = Duration::from_millis(100);
    /// No test takes this long.
    const LONG: Duration = Duration::from_secs(20);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    /// A watch of what the other end sends; each look blocks until then.
    fn blocking(answers: Receiver<u32>, limit: Duration) -> ChangeWatch<u32> {
        let answers = Mutex::new(answers);
        ChangeWatch::new("file".into(), PERIOD, limit, move || locked(&answers).recv().unwrap_or(0))
    }

    #[test]
    fn a_change_is_noticed_once_and_the_first_look_is_none() {
        run(async {
            let version = Arc::new(AtomicU32::new(1));
            let looked = version.clone();
            let mut watch = ChangeWatch::new("file".into(), PERIOD, LONG, move || looked.load(Ordering::SeqCst));
            while watch.seen.is_none() {
                assert!(timeout(PERIOD, watch.changed()).await.is_err(), "nothing has changed");
            }
            version.store(2, Ordering::SeqCst);
            timeout(LONG, watch.changed()).await.unwrap();
            assert!(timeout(10 * PERIOD, watch.changed()).await.is_err(), "it was told");
            watch.set_seen(1);
            timeout(LONG, watch.changed()).await.unwrap();
        });
    }

    #[test]
    fn a_look_that_blocks_keeps_nobody_and_a_change_is_noticed_after_it() {
        run(async {
            let (answer, answers) = channel();
            let mut watch = blocking(answers, LIMIT);
            watch.set_seen(1);
            // On this one thread, others go on while the look blocks for longer than its limit.
            assert!(timeout(3 * LIMIT, watch.changed()).await.is_err());
            assert!(watch.is_slow);
            // This look ends too late to count, and a later one finds the change.
            (0..100).for_each(|_| answer.send(2).unwrap());
            timeout(LONG, watch.changed()).await.unwrap();
            assert!(!watch.is_slow);
        });
    }

    #[test]
    fn a_look_from_before_the_file_was_read_is_not_compared() {
        run(async {
            let (answer, answers) = channel();
            let mut watch = blocking(answers, LONG);
            watch.set_seen(1);
            while watch.pending.is_none() {
                assert!(timeout(PERIOD, watch.changed()).await.is_err());
            }
            watch.set_seen(2);
            answer.send(1).unwrap();
            answer.send(2).unwrap();
            assert!(timeout(LIMIT, watch.changed()).await.is_err());
            answer.send(3).unwrap();
            timeout(LONG, watch.changed()).await.unwrap();
        });
    }
}
