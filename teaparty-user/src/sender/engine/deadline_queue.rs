//! Which session has something to send next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Sessions by deadline, earliest first. Each is in it once at most; what is left of an earlier entry does not count.
#[derive(Debug, Default)]
pub(super) struct DeadlineQueue {
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    /// The deadline that counts, by session.
    current: Vec<Option<u64>>,
}

impl DeadlineQueue {
    /// Enters a session, or changes its deadline; one without a deadline has nothing to send any more.
    pub(super) fn push(&mut self, due_ns: Option<u64>, place: usize) {
        if self.current.len() <= place {
            self.current.resize(place + 1, None);
        }
        if self.current[place] == due_ns {
            return;
        }
        self.current[place] = due_ns;
        if let Some(due_ns) = due_ns {
            self.heap.push(Reverse((due_ns, place)));
        }
        self.drop_stale();
    }

    /// Takes out the first session if its deadline has come.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<usize> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, place)) = self.heap.pop()?;
        self.current[place] = None;
        self.drop_stale();
        Some(place)
    }

    /// The first deadline.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// So that the first entry always counts. Others are dropped when they get there.
    fn drop_stale(&mut self) {
        while let Some(Reverse((due_ns, place))) = self.heap.peek()
            && self.current[*place] != Some(*due_ns)
        {
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_out_by_deadline_and_not_before() {
        let mut queue = DeadlineQueue::default();
        queue.push(Some(30), 3);
        queue.push(Some(10), 1);
        queue.push(None, 9);
        queue.push(Some(20), 2);
        assert_eq!((queue.pop_due(9), queue.next_due()), (None, Some(10)));
        assert_eq!([25, 25, 25].map(|now| queue.pop_due(now)), [Some(1), Some(2), None]);
        assert_eq!((queue.pop_due(30), queue.next_due()), (Some(3), None));
    }

    #[test]
    fn a_changed_deadline_replaces_the_one_before_it() {
        let mut queue = DeadlineQueue::default();
        queue.push(Some(50), 0);
        queue.push(Some(20), 0);
        queue.push(Some(40), 1);
        assert_eq!((queue.pop_due(20), queue.pop_due(100), queue.pop_due(100)), (Some(0), Some(1), None));
        queue.push(Some(10), 0);
        queue.push(None, 0);
        assert_eq!(queue.next_due(), None);
    }
}
