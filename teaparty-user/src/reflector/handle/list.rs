//! The sessions of a running reflector, read while packets come: those of the kernel, those of the controller, and those that
//! were configured and have not been seen.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use teaparty_common::maps::{Clock, Session, SessionKey};

use super::{ReflectorHandle, SessionError, SessionId};
use crate::reflector::engine::context::InterfaceContext;
use crate::reflector::kernel::map_reader::MapReader;
use crate::reflector::provisioned::Provisioned;
use crate::reflector::provisioned::ProvisionedSet;
use crate::sync::locked;
use crate::sys::clock::{ClockSource as _, SystemClock};

/// A session and its state.
#[derive(Clone, Debug, Serialize)]
pub struct SessionStatus {
    /// Interface that it uses; `None` for one that was configured and has not been seen.
    pub interface: Option<String>,
    /// The session.
    pub id: SessionId,
    /// True if it, or the wildcard it was made from, was configured.
    pub is_provisioned: bool,
    /// True if it is authenticated.
    pub is_authenticated: bool,
    /// True if the kernel keeps its state; else the controller does.
    pub is_kernel_owned: bool,
    /// Packets received.
    pub received: u64,
    /// Replies sent: modulo 2^32, the next reply's Sequence Number.
    pub replies: u64,
    /// Sequence Number of the last request.
    pub last_sender_sequence: u32,
    /// Arrival of the last packet, in nanoseconds since 1970, UTC by the clock as it is set now; 0 for none.
    pub last_received_ns: u64,
}

/// The source of an interface's sessions.
struct SessionSource {
    interface: String,
    context: Arc<InterfaceContext>,
    reader: Option<Arc<MapReader>>,
}

impl ReflectorHandle {
    /// All sessions: those that were seen, and those that were configured and have not been.
    ///
    /// Blocks neither the engines nor changes of sessions. A session that comes or goes during the call may be missing.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        let (sources, provisioned) = self.sources();
        let mut all = Vec::new();
        let mut seen = HashSet::<SessionKey, foldhash::quality::RandomState>::default();
        for SessionSource { interface, context, reader } in &sources {
            let (snapshot, clock) = (context.snapshot(), context.clock());
            // An entry of a session that is the controller's by now is what a packet that was under way left.
            let is_kernels = |key: &SessionKey, session: &Session| {
                let is_seen = session.received() > 0 || !provisioned.contains_key(key);
                is_seen && !session.has(Session::AUTHENTICATED) && !snapshot.is_authenticated(key)
            };
            let kernels = reader.iter().flat_map(|reader| reader.sessions());
            let kernels: Vec<_> = kernels.filter(|(key, session)| is_kernels(key, session)).collect();
            let own: Vec<_> = own_sessions(context).collect();
            // One that has become the controller's since the maps were read is listed as that, and once.
            let taken: HashSet<&SessionKey, foldhash::quality::RandomState> = own.iter().map(|(key, _)| key).collect();
            let kernels = kernels.iter().filter(|(key, _)| !taken.contains(key)).map(|one| (one, true));
            for ((key, session), is_kernels) in kernels.chain(own.iter().map(|one| (one, false))) {
                seen.insert(*key);
                all.push(session_status(interface, key, session, is_kernels, &clock));
            }
        }
        all.extend(provisioned.iter().filter(|(key, _)| !seen.contains(*key)).map(|(key, one)| unseen(key, one)));
        all
    }

    /// One session, on each interface that it uses; empty where there is none. Takes as long however many there are.
    pub fn session(&self, id: SessionId) -> Result<Vec<SessionStatus>, SessionError> {
        let key = SessionKey::try_from(id)?;
        let (sources, provisioned) = self.sources();
        let mut found = Vec::new();
        for SessionSource { interface, context, reader } in &sources {
            let kernels = reader.as_ref().and_then(|reader| reader.session(&key));
            let is_kernels = |session: &Session| {
                let is_seen = session.received() > 0 || !provisioned.contains_key(&key);
                is_seen && !session.has(Session::AUTHENTICATED)
            };
            let kernels = kernels.filter(is_kernels).filter(|_| !context.snapshot().is_authenticated(&key));
            // As in a list: the controller's, if both have it while it changes.
            let own = locked(&context.table).get(&key).copied();
            if let Some(session) = own.or(kernels) {
                found.push(session_status(interface, &key, &session, own.is_none(), &context.clock()));
            }
        }
        if found.is_empty() {
            found.extend(provisioned.get(&key).map(|one| unseen(&key, one)));
        }
        Ok(found)
    }

    /// Sessions of which something is kept that packets have brought; not those that only were configured.
    pub fn seen(&self) -> HashSet<SessionId> {
        self.sessions().into_iter().filter(|status| status.interface.is_some()).map(|status| status.id).collect()
    }

    /// Returns the sources of sessions, and those that were configured.
    fn sources(&self) -> (Vec<SessionSource>, ProvisionedSet) {
        let state = locked(&self.state);
        let sources = state.slots.iter().filter_map(|(name, instance)| {
            let instance = instance.as_ref()?;
            Some(SessionSource {
                interface: name.clone(),
                context: instance.context.clone(),
                reader: instance.reader(),
            })
        });
        (sources.collect(), state.provisioned.clone())
    }
}

/// Returns a moment of CLOCK_MONOTONIC as UTC, both in nanoseconds; 0 stays 0, and what can't have been yet is now.
///
/// By the offset that the kernel program has too, and not by two clocks read now: a session's time is the same in each answer.
fn utc_ns(monotonic_ns: u64, clock: &Clock) -> u64 {
    if monotonic_ns == 0 {
        return 0;
    }
    let past = monotonic_ns.min(SystemClock.monotonic_ns());
    past.wrapping_add(clock.monotonic_offset_ns).saturating_sub(clock.tai_offset_ns)
}

/// The sessions that the controller owns. The slow path waits for the table: it is locked for a few at a time.
fn own_sessions(context: &InterfaceContext) -> impl Iterator<Item = (SessionKey, Session)> {
    const PART: usize = 1024;
    let mut known = HashSet::<SessionKey, foldhash::quality::RandomState>::default();
    let parts = (0..).step_by(PART).map(|from| locked(&context.table).part(from, PART));
    parts.take_while(|part| !part.is_empty()).flatten().filter(move |(key, _)| known.insert(*key))
}

/// A configured session that has not been seen.
fn unseen(key: &SessionKey, provisioned: &Provisioned) -> SessionStatus {
    let session = Session { flags: provisioned.flags | Session::PROVISIONED, ..Session::default() };
    SessionStatus { interface: None, ..session_status("", key, &session, false, &Clock::default()) }
}

fn session_status(
    interface: &str,
    key: &SessionKey,
    session: &Session,
    is_kernel_owned: bool,
    clock: &Clock,
) -> SessionStatus {
    SessionStatus {
        interface: Some(interface.into()),
        id: key.into(),
        is_provisioned: session.has(Session::PROVISIONED),
        is_authenticated: session.has(Session::AUTHENTICATED),
        is_kernel_owned,
        received: session.received(),
        replies: session.replies,
        last_sender_sequence: session.sender_sequence,
        last_received_ns: utc_ns(session.last_received_ns, clock),
    }
}
