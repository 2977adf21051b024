//! Frames that wait for the ring engine: a queue for each class of sessions, served in turn, in bounded memory.
//!
//! The punt ring is one queue for all. An engine that took from it as it can answer would leave a quiet session's
//! packets behind those of a session that asks for more than can be done, or without any place. So the ring is emptied
//! into this, and the excess is taken from the longest queue (stochastic fairness queueing).

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use teaparty_common::maps::SessionKey;

/// Queues of known sessions, and as many of strangers. Sessions are spread over them by a hash with a secret, so that nobody
/// can choose to share another's.
const CLASSES: usize = 256;
/// Strangers get one of this many turns while known sessions wait.
const TURNS: u32 = 4;
/// Octets that may wait in all queues together. The ring has room for more; here is what a processor's cache holds.
const CAPACITY: usize = 1 << 20;
/// Records whose memory is kept for the next ones.
const SPARE: usize = 1024;

/// The queues.
pub(crate) struct FairQueue {
    /// Those of known sessions first.
    queues: Vec<FrameQueue>,
    /// Queues that are not empty, in the order of their turns: of known sessions, and of strangers.
    turns: [VecDeque<usize>; 2],
    /// Turns so far, modulo 2^32.
    turn: u32,
    octets: usize,
    spare: Vec<Vec<u8>>,
    secret: RandomState,
}

#[derive(Default)]
struct FrameQueue {
    records: VecDeque<Vec<u8>>,
    octets: usize,
}

impl Default for FairQueue {
    fn default() -> Self {
        Self {
            queues: (0..2 * CLASSES).map(|_| FrameQueue::default()).collect(),
            turns: [VecDeque::with_capacity(CLASSES), VecDeque::with_capacity(CLASSES)],
            turn: 0,
            octets: 0,
            spare: Vec::new(),
            secret: RandomState::default(),
        }
    }
}

impl FairQueue {
    /// Appends a record of a session, which is known if it was provisioned. Returns how many records
    /// were thrown away for it: of the longest queue, and that may be itself. Strangers' are thrown away first.
    pub(crate) fn push(&mut self, session: &SessionKey, is_known: bool, record: &[u8]) -> usize {
        let kind = usize::from(!is_known);
        let class = kind * CLASSES + self.secret.hash_one(session) as usize % CLASSES;
        let mut dropped = 0;
        while self.octets + record.len() > CAPACITY {
            // Most often one session is too much by itself.
            if self.queues[class].octets > CAPACITY / 2 {
                return dropped + 1;
            }
            let among = if !is_known || !self.turns[1].is_empty() { CLASSES..2 * CLASSES } else { 0..CLASSES };
            let longest = among.max_by_key(|class| self.queues[*class].octets).unwrap_or(class);
            dropped += 1;
            if longest == class || self.queues[longest].octets == 0 {
                return dropped;
            }
            // Its newest, which has waited least.
            if let Some(last) = self.queues[longest].records.pop_back() {
                self.forget(longest, last);
            }
            if self.queues[longest].records.is_empty() {
                self.turns[longest / CLASSES].retain(|class| *class != longest);
            }
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(record);
        let queue = &mut self.queues[class];
        if queue.records.is_empty() {
            self.turns[kind].push_back(class);
        }
        queue.octets += record.len();
        self.octets += record.len();
        queue.records.push_back(copy);
        dropped
    }

    /// Calls `with` with the next record; whether there was one.
    pub(crate) fn pop(&mut self, with: impl FnOnce(&mut [u8])) -> bool {
        self.turn = self.turn.wrapping_add(1);
        let first = usize::from(self.turn.is_multiple_of(TURNS));
        let kind = if self.turns[first].is_empty() { 1 - first } else { first };
        let Some(class) = self.turns[kind].pop_front() else { return false };
        if let Some(mut record) = self.queues[class].records.pop_front() {
            with(&mut record);
            self.forget(class, record);
        }
        if !self.queues[class].records.is_empty() {
            self.turns[kind].push_back(class);
        }
        true
    }

    fn forget(&mut self, class: usize, mut record: Vec<u8>) {
        self.queues[class].octets -= record.len();
        self.octets -= record.len();
        if self.spare.len() < SPARE {
            record.clear();
            self.spare.push(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(port: u16) -> SessionKey {
        SessionKey { source_port: port, ..SessionKey::default() }
    }

    /// Two sessions that do not happen to share a queue.
    fn two(queue: &FairQueue) -> (SessionKey, SessionKey) {
        let class = |key: &SessionKey| queue.secret.hash_one(key) as usize % CLASSES;
        let other = (2..).map(session).find(|other| class(other) != class(&session(1))).unwrap();
        (session(1), other)
    }

    fn next(queue: &mut FairQueue) -> Option<Vec<u8>> {
        let mut found = None;
        queue.pop(|record| found = Some(record.to_vec()));
        found
    }

    #[test]
    fn sessions_take_turns_and_each_keeps_its_order() {
        let mut queue = FairQueue::default();
        let (busy, quiet) = two(&queue);
        for n in 0..5 {
            assert_eq!(queue.push(&busy, true, &[b'b', n]), 0);
        }
        queue.push(&quiet, true, b"q");
        let order: Vec<Vec<u8>> = std::iter::from_fn(|| next(&mut queue)).collect();
        let expected: [&[u8]; 6] = [&[b'b', 0], b"q", &[b'b', 1], &[b'b', 2], &[b'b', 3], &[b'b', 4]];
        assert_eq!(order, expected);
        assert!(
            queue.turns.iter().all(VecDeque::is_empty)
                && queue.octets == 0
                && queue.queues.iter().all(|queue| queue.octets == 0)
        );
    }

    #[test]
    fn what_is_too_much_is_taken_from_whoever_has_most() {
        let mut queue = FairQueue::default();
        let (busy, quiet) = two(&queue);
        let record = [0; 1000];
        let fits = CAPACITY / record.len();
        let dropped: usize = (0..fits + 10).map(|_| queue.push(&busy, true, &record)).sum();
        assert_eq!(dropped, 10);
        // Two of the others make room for it, and half of one what was left.
        let longer = vec![1; CAPACITY % record.len() + 1500];
        assert_eq!(queue.push(&quiet, true, &longer), 2);
        assert!(queue.octets <= CAPACITY);
        next(&mut queue);
        assert_eq!(next(&mut queue).map(|record| record.len()), Some(longer.len()));
        let left = std::iter::from_fn(|| next(&mut queue)).count();
        assert_eq!((left, queue.octets), (fits - 2 - 1, 0));
    }

    #[test]
    fn what_can_never_fit_is_thrown_away() {
        let mut queue = FairQueue::default();
        assert_eq!(queue.push(&session(1), true, &vec![0; CAPACITY + 1]), 1);
        assert!(queue.turns.iter().all(VecDeque::is_empty));
    }

    #[test]
    fn strangers_wait_for_known_sessions_and_are_thrown_away_first() {
        let mut queue = FairQueue::default();
        let record = [0; 1000];
        let fits = CAPACITY / record.len();
        // A flood of many sources fills everything.
        for port in 0..2_000 {
            queue.push(&session(port), false, &record);
        }
        let known = [1; 1000];
        for _ in 0..fits / 4 {
            assert_eq!(queue.push(&session(7), true, &known), 1, "a stranger's makes room");
        }
        assert_eq!(queue.push(&session(8), false, &record), 1);
        let order: Vec<bool> = std::iter::from_fn(|| next(&mut queue)).map(|record| record[0] == 1).collect();
        assert_eq!(order.iter().filter(|is_known| **is_known).count(), fits / 4, "none is lost");
        let last = order.iter().rposition(|is_known| *is_known).unwrap();
        assert!(last <= fits / 4 * 4 / 3 + 1, "{last}: three turns of four");
        assert!(order[..8].contains(&false), "strangers have their turns");
    }
}
