//! Which session has something to send next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Sessions by deadline, earliest first.
#[derive(Debug, Default)]
pub(super) struct Queue(BinaryHeap<Reverse<(u64, usize)>>);

impl Queue {
    /// Enters a session; one without a deadline has nothing to send any more.
    pub(super) fn push(&mut self, due_ns: Option<u64>, place: usize) {
        if let Some(due_ns) = due_ns {
            self.0.push(Reverse((due_ns, place)));
        }
    }

    /// Takes out the first session if its deadline has come.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<usize> {
        if self.next_due()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, place))| place)
    }

    /// The first deadline.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((due_ns, _))| *due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_out_by_deadline_and_not_before() {
        let mut queue = Queue::default();
        queue.push(Some(30), 3);
        queue.push(Some(10), 1);
        queue.push(None, 9);
        queue.push(Some(20), 2);
        assert_eq!((queue.pop_due(9), queue.next_due()), (None, Some(10)));
        assert_eq!([25, 25, 25].map(|now| queue.pop_due(now)), [Some(1), Some(2), None]);
        assert_eq!((queue.pop_due(30), queue.next_due()), (Some(3), None));
    }
}
