//! Logs sources that the loop guard drops, with the remedy: once a minute for each.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use teaparty_common::maps::SessionKey;
use teaparty_common::reflect::Address;

use crate::net::address::ip;
use crate::sync::locked;

/// Least time between two lines about one source.
const INTERVAL: Duration = Duration::from_secs(60);
/// Most sources that are named in that time: addresses can be forged.
const MOST: usize = 64;

/// The sources that were named lately, by address and port.
#[derive(Default)]
pub(crate) struct LoopLog(Mutex<HashMap<(Address, u16), Instant>>);

impl LoopLog {
    /// Notes a packet of this session that the loop guard has dropped, and names its source where that is due.
    pub(crate) fn note(&self, key: &SessionKey) {
        if !self.is_due(key, Instant::now()) {
            return;
        }
        let (source, port) = (ip(&key.source), key.source_port);
        tracing::warn!(
            address = %source,
            port,
            reason = "loop-guard",
            "packets from {source} port {port} are not answered: that is a port we listen on, and two reflectors could go on \
             answering each other forever (loop-guard). If a sender is there, have it send from another port, or exempt it \
             with --session source={source},source-port={port},destination-port={},loop-exempt=true",
            key.destination_port
        );
    }

    fn is_due(&self, key: &SessionKey, now: Instant) -> bool {
        let mut named = locked(&self.0);
        let is_recent = |then: &Instant| now.duration_since(*then) < INTERVAL;
        let source = (key.source, key.source_port);
        if named.get(&source).is_some_and(is_recent) {
            return false;
        }
        if named.len() >= MOST {
            named.retain(|_, then| is_recent(then));
        }
        let has_room = named.len() < MOST;
        if has_room {
            named.insert(source, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_named_once_a_minute_and_not_too_many_of_them() {
        let log = LoopLog::default();
        let key = |n: u16| SessionKey { source: Address::v4([192, 0, 2, 1]), source_port: n, ..SessionKey::default() };
        let begin = Instant::now();
        assert!(log.is_due(&key(862), begin) && !log.is_due(&key(862), begin + INTERVAL / 2));
        assert!(log.is_due(&key(863), begin + INTERVAL / 2));
        assert!(log.is_due(&key(862), begin + INTERVAL));
        let named = (0..1000).filter(|n| log.is_due(&key(*n), begin + INTERVAL)).count();
        assert_eq!(named, MOST - 2);
        assert!(log.is_due(&key(5), begin + 2 * INTERVAL));
    }
}
