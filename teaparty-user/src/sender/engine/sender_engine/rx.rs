//! What came in: replies, each to its session, and what the error queue tells.

use std::net::SocketAddr;

use anyhow::Context;

use super::{NO_SESSION, SenderEngine};
use crate::net::batch::{ErrorQueueReport, HostTimestamp, Received, StampSource};
use crate::sender::config::SenderConfig;
use crate::sender::engine::event::SenderEvent;
use crate::sender::engine::udp_port::Port;
use crate::sender::session::reply::{NotAReply, Reply};
use crate::sender::session::sender_session::SenderSession;
use crate::sys::clock::ClockSource;

/// Batches of a port that are taken in before anything else is done.
const READS_AT_ONCE: u32 = 4;
/// Batches of a port that are taken in before packets are given up.
const READS_OF_ALL: u32 = 64;

/// One moment on both clocks.
#[derive(Clone, Copy)]
struct Now {
    realtime_ns: u64,
    monotonic_ns: u64,
}

impl<C: ClockSource> SenderEngine<'_, C> {
    /// Transmit timestamps and refusals.
    pub(super) fn read_reports(&mut self, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<()> {
        for port in &mut self.ports {
            loop {
                port.socket.receive_reports(&mut self.reports).context("cannot read the error queue")?;
                for entry in self.reports.iter() {
                    match entry.report() {
                        Some(ErrorQueueReport::Transmitted { id, stamp }) => {
                            let (place, index) = port.stamped(id);
                            if let Some(session) = self.sessions.get_mut(place) {
                                session.transmitted(index, stamp);
                            }
                        }
                        Some(ErrorQueueReport::HardwareTransmitted { id, nanos }) => {
                            let (place, index) = port.stamped(id);
                            let nanos = self.hardware.as_ref().and_then(|clock| clock.realtime_ns(nanos));
                            if let (Some(session), Some(nanos)) = (self.sessions.get_mut(place), nanos) {
                                session.transmitted(index, HostTimestamp { nanos, source: StampSource::Hardware });
                            }
                        }
                        Some(ErrorQueueReport::Refused { peer, errno, .. }) => {
                            refused(&mut self.sessions, peer, errno, sink);
                        }
                        None => {}
                    }
                }
                if !self.reports.is_full() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes in replies, not too many at once. `now` (monotonic) is of before.
    pub(super) fn read_replies(&mut self, now: u64, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<()> {
        let mut is_any = false;
        for at in 0..self.ports.len() {
            // Bounded, so that a flood of foreign packets can't keep us from sending.
            for _ in 0..READS_AT_ONCE {
                let (count, has_more) = self.read_batch(at, sink)?;
                is_any |= count > 0;
                if !has_more {
                    self.ports[at].note_empty(now);
                    break;
                }
            }
        }
        if is_any { Ok(()) } else { self.read_reports(sink) }
    }

    /// Takes in all that came before `now` (monotonic), unless it is too much for once.
    ///
    /// Returns the moment before which everything has been taken in. Replies are handed over in the order in which they came,
    /// so that it is known even where the socket is never empty.
    pub(super) fn read_all(&mut self, now: u64, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<u64> {
        for at in 0..self.ports.len() {
            for _ in 0..READS_OF_ALL {
                let Port { reader, socket, .. } = &self.ports[at];
                let is_settled = reader.is_settled(socket).context("cannot look for replies")?;
                let (count, has_more) = self.read_batch(at, sink)?;
                if has_more {
                    continue;
                }
                if is_settled {
                    self.ports[at].empty_at_ns = now;
                } else if count == 0 {
                    // The other thread is at it, or there are reports.
                    self.read_reports(sink)?;
                }
                break;
            }
        }
        Ok(self.ports.iter().map(|port| port.empty_at_ns).min().unwrap_or(now))
    }

    /// Takes one batch in: how many datagrams that were, and whether there may be more.
    fn read_batch(&mut self, at: usize, sink: &mut dyn FnMut(SenderEvent)) -> anyhow::Result<(usize, bool)> {
        let Port { reader, socket, .. } = &mut self.ports[at];
        let Some(batch) = reader.take(socket)? else { return Ok((0, false)) };
        // Looking once more would be a system call for nothing.
        let has_more = batch.is_full() || !reader.is_here();
        // When the packets left that these are the replies to, and whether the clock was set before they came.
        self.read_reports(sink)?;
        self.check_clock(self.clock.monotonic_ns(), sink);
        let now = Now { realtime_ns: self.clock.realtime_ns(), monotonic_ns: self.clock.monotonic_ns() };
        batch.iter().for_each(|datagram| self.take_in(at, &datagram, now, sink));
        let count = batch.len();
        self.ports[at].reader.give_back(batch);
        Ok((count, has_more))
    }

    /// A datagram that arrived at the port `at` before `now`.
    fn take_in(&mut self, at: usize, datagram: &Received<'_>, now: Now, sink: &mut dyn FnMut(SenderEvent)) {
        let drops = u64::from(datagram.queue_drops.unwrap_or(0));
        self.ports[at].queue_drops = self.ports[at].queue_drops.max(drops);
        let hardware = datagram.hardware_ns.and_then(|nanos| self.hardware.as_ref()?.realtime_ns(nanos));
        let hardware = hardware.map(|nanos| HostTimestamp { nanos, source: StampSource::Hardware });
        let own = HostTimestamp { nanos: now.realtime_ns, source: StampSource::User };
        let stamp = hardware.or(datagram.stamp).unwrap_or(own);
        let arrival = self.timeline.arrival(stamp, self.ports[at].empty_at_ns, now.monotonic_ns);
        if datagram.stamp.is_some() && arrival.earlier.is_none() {
            // They come out as they came.
            let came_ns = arrival.moment.monotonic_ns.min(now.monotonic_ns);
            self.ports[at].empty_at_ns = self.ports[at].empty_at_ns.max(came_ns);
        }
        let parsed = Reply::parse(datagram.payload, self.config.mode, self.config.key.as_ref());
        let place = session_of(&self.sessions, &self.by_ssid, &parsed, datagram.peer(), self.config);
        let session = place.and_then(|place| self.sessions.get_mut(place));
        match (parsed, session) {
            (Ok(reply), Some(session)) => {
                let wants_record = self.subscription.records;
                let outcome = session.receive(&reply, datagram, arrival, self.config, &self.clock_state, wants_record);
                for record in [outcome.loss, outcome.record].into_iter().flatten() {
                    sink(SenderEvent::Record(record));
                }
                if let Some(text) = outcome.notice {
                    sink(SenderEvent::Notice { target: place, text });
                }
                if let Some(place) = place.filter(|_| self.config.replies_per_packet > 1) {
                    // The end of a burst lets the next request go.
                    self.queue.push(session.due_ns(), place);
                }
            }
            (Ok(_), None) => self.foreign.foreign += 1,
            (Err(reason), session) => {
                let counts = session.map_or(&mut self.foreign, |session| &mut session.ignored);
                match reason {
                    NotAReply::TooShort => counts.malformed += 1,
                    NotAReply::NotAuthentic => counts.unauthenticated += 1,
                }
            }
        }
    }
}

/// The session that a datagram claims to be of: by SSID, or where that is missing, by its source; where several sessions
/// measure the same address, by Sequence Number and T1.
///
/// A reply with an SSID that is not ours belongs to no session (RFC 8972 §3), unless we use none: then it may be noise
/// of a TWAMP-Light reflector, which has no SSID there.
fn session_of(
    sessions: &[SenderSession],
    by_ssid: &[u32],
    parsed: &Result<Reply, NotAReply>,
    peer: Option<SocketAddr>,
    config: &SenderConfig,
) -> Option<usize> {
    if let Ok(reply) = parsed
        && reply.ssid != 0
        && sessions.first().is_some_and(|session| session.ssid != 0)
    {
        let place = by_ssid[usize::from(reply.ssid)];
        return (place != NO_SESSION).then_some(place as usize);
    }
    let peer = peer?;
    let is_awaited = |session: &SenderSession| {
        parsed
            .as_ref()
            .is_ok_and(|reply| session.matcher.knows(reply.sender_sequence_number, reply.sender_timestamp.bits()))
    };
    let mut from_there = sessions.iter().enumerate().filter(|(_, session)| session.accepts(peer, config));
    let (first, session) = from_there.next()?;
    if is_awaited(session) {
        return Some(first);
    }
    Some(from_there.find(|(_, session)| is_awaited(session)).map_or(first, |(place, _)| place))
}

fn refused(sessions: &mut [SenderSession], peer: Option<SocketAddr>, errno: i32, sink: &mut dyn FnMut(SenderEvent)) {
    let Some(peer) = peer else { return };
    let place = sessions.iter().position(|session| session.is_at(peer.ip()) && session.address.port() == peer.port());
    let Some(place) = place else { return };
    sessions[place].refusals += 1;
    sessions[place].refusal.get_or_insert(errno);
    if sessions[place].refusals == 1 {
        let reason = std::io::Error::from_raw_os_error(errno);
        let advice = match errno {
            libc::ECONNREFUSED => "; is a reflector running there, on this port?",
            libc::EMSGSIZE => "; packets are too long for the path",
            _ => "",
        };
        sink(SenderEvent::Notice { target: Some(place), text: format!("{peer} is unreachable: {reason}{advice}") });
    }
}
