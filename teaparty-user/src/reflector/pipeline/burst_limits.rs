//! Who may have several replies to one request (RFC 10052 §3), or longer ones: limits, volume, and how many at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use teaparty_common::maps::{SessionKey, Standing, TokenRate};
use teaparty_common::tlv::reflected_control::Replies;

use crate::reflector::config::ControlLimits;
use crate::reflector::session::lru::{Lru, Ranked};
use crate::sync::locked;

/// Bursts that run at a time, on one interface and of one session. What they keep of their requests is
/// bounded by this and by the largest datagram.
const RUNNING: usize = 256;
/// Likewise, of one session.
const RUNNING_OF_SESSION: u32 = 8;
/// Sessions whose volume is remembered.
const SESSIONS: usize = 4096;
/// Credit of a burst, as the time in which the rate makes up for it.
const CREDIT_NS: u64 = 1_000_000_000;

/// The bursts of one interface.
pub struct BurstLimiter(Mutex<BurstLimiterState>);

struct BurstLimiterState {
    running: HashMap<SessionKey, u32, foldhash::fast::RandomState>,
    count: usize,
    sessions: Lru<SessionKey, TokenBucket>,
    total: TokenBucket,
}

impl Default for BurstLimiter {
    fn default() -> Self {
        Self(Mutex::new(BurstLimiterState {
            running: HashMap::default(),
            count: 0,
            sessions: Lru::new(SESSIONS),
            total: TokenBucket::default(),
        }))
    }
}

/// The octets sent recently, as the state of a [`TokenRate`] of which a token is all that one request asks for.
#[derive(Clone, Copy, Default)]
struct TokenBucket {
    full_at_ns: u64,
}

impl Ranked for TokenBucket {
    fn standing(&self) -> Standing {
        Standing::Stranger
    }
}

impl TokenBucket {
    /// Returns the bucket after `octets` more at `rate` per second, or `None` if the credit at `now_ns` does not cover all of
    /// them.
    fn after(self, octets: u64, rate: u64, now_ns: u64) -> Option<Self> {
        let cost_ns = octets.saturating_mul(1_000_000_000) / rate.max(1);
        let rate = TokenRate { interval_ns: cost_ns, burst_ns: CREDIT_NS.checked_sub(cost_ns)? };
        rate.charge(self.full_at_ns, now_ns).map(|full_at_ns| Self { full_at_ns })
    }
}

/// The right to send what was granted; giving it back ends the burst.
pub struct Permit {
    bursts: Arc<BurstLimiter>,
    session: SessionKey,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = locked(&self.bursts.0);
        state.count -= 1;
        if let Some(running) = state.running.get_mut(&self.session) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&self.session);
            }
        }
    }
}

impl BurstLimiter {
    /// Makes of what a request within the limits asks for what it gets, at `now_ns` of CLOCK_MONOTONIC; with a permit
    /// where that is more than one reply.
    ///
    /// * `request_len`: octets of UDP payload of the request. One reply that is not longer is always granted.
    /// * `fixed_len`: the least that a reply can have.
    pub fn grant(
        self: &Arc<Self>,
        session: &SessionKey,
        asked: Replies,
        (request_len, fixed_len): (usize, usize),
        limits: &ControlLimits,
        now_ns: u64,
    ) -> (Replies, Option<Permit>) {
        if asked.count == 1 && asked.len <= request_len {
            return (asked, None);
        }
        let mut state = locked(&self.0);
        let is_burst = asked.count > 1;
        let running = state.running.get(session).copied().unwrap_or(0);
        let has_place = !is_burst || (state.count < RUNNING && running < RUNNING_OF_SESSION);
        // Where there is no place for a burst, one reply of its length is what there may still be volume for.
        let granted = if has_place { asked } else { Replies::refused(asked.len) };
        if !state.charge(session, usize::from(granted.count) * granted.len, limits, now_ns) {
            return (Replies::refused(asked.len.min(request_len).max(fixed_len)), None);
        }
        if granted.count == 1 {
            return (granted, None);
        }
        *state.running.entry(*session).or_insert(0) += 1;
        state.count += 1;
        (granted, Some(Permit { bursts: self.clone(), session: *session }))
    }
}

impl BurstLimiterState {
    /// Takes `octets` from what the session and all of them may send; whether there was as much.
    fn charge(&mut self, session: &SessionKey, octets: usize, limits: &ControlLimits, now_ns: u64) -> bool {
        let octets = octets as u64;
        let Some(total) = self.total.after(octets, limits.total_rate, now_ns) else { return false };
        // All are alike, so that one makes room.
        let Some(volume) = self.sessions.get_or_insert_with(session, TokenBucket::default) else { return false };
        let Some(after) = volume.after(octets, limits.session_rate, now_ns) else { return false };
        *volume = after;
        self.total = total;
        true
    }
}

#[cfg(test)]
mod tests {
    use teaparty_common::tlv::Flags;

    use super::*;

    const LIMITS: ControlLimits = ControlLimits {
        max_count: 16,
        max_len: 1472,
        min_interval_ns: 100_000,
        session_rate: 10_000,
        total_rate: 15_000,
    };

    fn session(port: u16) -> SessionKey {
        SessionKey { source_port: port, ..SessionKey::default() }
    }

    fn asked(count: u16, len: usize) -> Replies {
        Replies { flags: Flags::NONE, count, len, interval_ns: 1_000_000 }
    }

    #[test]
    fn volume_is_bounded_for_a_session_and_for_all_and_comes_back_with_time() {
        let bursts = Arc::new(BurstLimiter::default());
        let grant = |port, now| bursts.grant(&session(port), asked(8, 1000), (100, 60), &LIMITS, now);
        let (granted, first) = grant(1, 0);
        assert_eq!((granted.count, granted.flags, first.is_some()), (8, Flags::NONE, true));
        // 8000 of 10,000 octets are gone: one reply, C, and no longer than the request.
        let (granted, none) = grant(1, 0);
        assert_eq!((granted, none.is_none()), (Replies::refused(100), true));
        // Another session has volume of its own, but all together have 15,000.
        assert_eq!(grant(2, 0).0, Replies::refused(100));
        // In 0.6 s one regains 6000 and all regain 9000.
        assert_eq!(grant(1, 600_000_000).0.count, 8);
        assert_eq!(grant(2, 600_000_000).0, Replies::refused(100));
    }

    #[test]
    fn one_reply_no_longer_than_its_request_costs_nothing() {
        let bursts = Arc::new(BurstLimiter::default());
        let limits = ControlLimits { session_rate: 1, ..LIMITS };
        for _ in 0..100 {
            let (granted, permit) = bursts.grant(&session(1), asked(1, 100), (100, 60), &limits, 0);
            assert_eq!((granted, permit.is_none()), (asked(1, 100), true));
        }
        assert_eq!(bursts.grant(&session(1), asked(1, 101), (100, 60), &limits, 0).0, Replies::refused(100));
    }

    #[test]
    fn as_many_bursts_run_as_there_are_places_and_ended_ones_make_room() {
        let bursts = Arc::new(BurstLimiter::default());
        let limits = ControlLimits { session_rate: u64::MAX, total_rate: u64::MAX, ..LIMITS };
        let grant = |port| bursts.grant(&session(port), asked(2, 100), (100, 60), &limits, 0);
        let mut permits: Vec<Permit> = (0..RUNNING_OF_SESSION).map(|_| grant(0).1.unwrap()).collect();
        assert_eq!(grant(0).0, Replies::refused(100), "of one session");
        let mut port = 0;
        while permits.len() < RUNNING {
            port += 1;
            permits.push(grant(port).1.unwrap());
        }
        assert_eq!(grant(60_000).0, Replies::refused(100), "of all sessions");
        permits.truncate(1);
        assert!(grant(60_000).1.is_some());
        drop(permits);
        assert!(locked(&bursts.0).running.is_empty() && locked(&bursts.0).count == 0);
    }
}
