//! What came in: replies, each to its session, and what the error queue tells.

use std::net::SocketAddr;

use anyhow::Context;

use super::super::event::Event;
use super::super::reply::{NotAReply, Reply};
use super::super::session::{Arrival, Session};
use super::port::Port;
use super::reader::Reader;
use super::{Engine, NO_SESSION};
use crate::clock::Clock;
use crate::net::batch::{Received, Report, Stamp, StampSource};

impl<C: Clock> Engine<'_, C> {
    /// Transmit timestamps and refusals.
    pub(super) fn read_reports(&mut self, sink: &mut dyn FnMut(Event)) -> anyhow::Result<()> {
        for port in &mut self.ports {
            loop {
                port.socket.receive_reports(&mut self.reports).context("cannot read the error queue")?;
                for entry in self.reports.iter() {
                    match entry.report() {
                        Some(Report::Transmitted { id, stamp }) => {
                            let (place, index) = port.stamped(id);
                            if let Some(session) = self.sessions.get_mut(place) {
                                session.transmitted(index, stamp);
                            }
                        }
                        Some(Report::HardwareTransmitted { id, nanos }) => {
                            let (place, index) = port.stamped(id);
                            let nanos = self.hardware.as_ref().and_then(|clock| clock.realtime_ns(nanos));
                            if let (Some(session), Some(nanos)) = (self.sessions.get_mut(place), nanos) {
                                session.transmitted(index, Stamp { nanos, source: StampSource::Hardware });
                            }
                        }
                        Some(Report::Refused { peer, errno, .. }) => {
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

    pub(super) fn read_replies(&mut self, sink: &mut dyn FnMut(Event)) -> anyhow::Result<()> {
        for at in 0..self.ports.len() {
            // Bounded, so that a flood of foreign packets can't keep us from sending.
            for _ in 0..4 {
                let Port { reader, socket, .. } = &mut self.ports[at];
                let Some(batch) = reader.take(socket)? else { break };
                // Looking once more would be a system call for nothing.
                let is_last = matches!(reader, Reader::Here(_)) && !batch.is_full();
                let now = self.clock.realtime_ns();
                batch.iter().for_each(|datagram| self.take_in(at, &datagram, now, sink));
                self.ports[at].reader.give_back(batch);
                if is_last {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A datagram that came by the port at `at`, which `now` is just behind.
    fn take_in(&mut self, at: usize, datagram: &Received<'_>, now: u64, sink: &mut dyn FnMut(Event)) {
        let drops = u64::from(datagram.queue_drops.unwrap_or(0));
        self.ports[at].queue_drops = self.ports[at].queue_drops.max(drops);
        let hardware = datagram.hardware_ns.and_then(|nanos| self.hardware.as_ref()?.realtime_ns(nanos));
        let hardware = hardware.map(|nanos| Stamp { nanos, source: StampSource::Hardware });
        let stamp = hardware.or(datagram.stamp).unwrap_or(Stamp { nanos: now, source: StampSource::User });
        let arrival = Arrival { stamp, epoch: self.epoch };
        let parsed = Reply::parse(datagram.payload, self.config.mode, self.config.key.as_ref());
        let place = session_of(&self.sessions, &self.by_ssid, &parsed, datagram.peer());
        let session = place.and_then(|place| self.sessions.get_mut(place));
        match (parsed, session) {
            (Ok(reply), Some(session)) => {
                let wants_record = self.interest.records;
                let reaction = session.receive(&reply, datagram, arrival, self.config, &self.clock_state, wants_record);
                if let Some(record) = reaction.record {
                    sink(Event::Record(record));
                }
                if let Some(text) = reaction.notice {
                    sink(Event::Notice { target: place, text });
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

/// The session that a datagram claims to be of: by SSID, or where that is missing, by its source.
///
/// A reply with an SSID that is none of ours is of no session (RFC 8972 §3), unless we use none: then it may be noise
/// of a TWAMP-Light reflector, which has no SSID there.
fn session_of(
    sessions: &[Session],
    by_ssid: &[u32],
    parsed: &Result<Reply, NotAReply>,
    peer: Option<SocketAddr>,
) -> Option<usize> {
    if let Ok(reply) = parsed
        && reply.ssid != 0
        && sessions.first().is_some_and(|session| session.ssid != 0)
    {
        let place = by_ssid[usize::from(reply.ssid)];
        return (place != NO_SESSION).then_some(place as usize);
    }
    let peer = peer?;
    sessions.iter().position(|session| session.is_at(peer.ip()) && session.address.port() == peer.port())
}

fn refused(sessions: &mut [Session], peer: Option<SocketAddr>, errno: i32, sink: &mut dyn FnMut(Event)) {
    let Some(peer) = peer else { return };
    let place = sessions.iter().position(|session| session.is_at(peer.ip()) && session.address.port() == peer.port());
    let Some(place) = place else { return };
    sessions[place].refusals += 1;
    if sessions[place].refusals == 1 {
        let reason = std::io::Error::from_raw_os_error(errno);
        let advice = match errno {
            libc::ECONNREFUSED => "; is a reflector running there, on this port?",
            libc::EMSGSIZE => "; packets are too long for the path",
            _ => "",
        };
        sink(Event::Notice { target: Some(place), text: format!("{peer} is unreachable: {reason}{advice}") });
    }
}
