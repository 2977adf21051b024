//! The sessions that the controller owns: all of them where no XDP program runs, else the authenticated ones.
//!
//! The rules of admission are [`teaparty_common::reflect::admission`]'s, as the kernel's are; counting follows the kernel's
//! (`teaparty-ebpf/src/session/`).

use std::collections::HashMap;
use std::sync::Mutex;

use teaparty_common::frame::Tags;
use teaparty_common::maps::rate_limit::{self, SharedBucketSet};
use teaparty_common::maps::session_table::TableLayout;
use teaparty_common::maps::{BUCKET_SETS, HistoryKey, HistoryRing, HistorySlot, Session, SessionKey};
use teaparty_common::reflect::admission::{self, AdmissionEnv, EntryState};
use teaparty_common::reflect::{PacketMeta, Reason};
use teaparty_common::tlv::measurement::HISTORY_DEPTH;
use teaparty_common::wire::sender::ReflectedFields;
use zerocopy::FromZeros;

use crate::reflector::config::{HISTORY_RINGS, ReflectorConfig};
use crate::reflector::provisioned::is_wildcard;
use crate::reflector::session::lru::Lru;
use crate::reflector::session::session_store::SessionStore;
use crate::reflector::session::table_layout::new_layout;
use crate::reflector::snapshot::ConfigSnapshot;
use crate::sync::locked;

/// The table. Bounded in all its parts.
pub struct SessionTable {
    seen: Lru<SessionKey, Session>,
    configured: HashMap<SessionKey, Session>,
    /// The rate limit's: pages that no source has used take no memory.
    buckets: Box<[SharedBucketSet]>,
    /// Seeds for the place of a source's bucket, of this table alone.
    shape: TableLayout,
    rings: HashMap<u32, Box<HistoryRing>, foldhash::fast::RandomState>,
    serial: u32,
    /// The configuration that the sessions in here are of.
    current: Option<ConfigSnapshot>,
    /// The version swept last, and the number of sweeps.
    swept: (u32, u8),
}

impl SessionTable {
    /// An empty table for up to `max_sessions` sessions besides the provisioned ones.
    pub fn new(max_sessions: u32) -> Self {
        Self {
            seen: Lru::new(max_sessions as usize),
            configured: HashMap::new(),
            buckets: new_buckets(),
            // A seed that is known does no more than to let somebody choose whose bucket is forgotten first.
            shape: new_layout(max_sessions).unwrap_or_else(|_| TableLayout::new(max_sessions, [0; 5])),
            rings: HashMap::default(),
            serial: 0,
            current: None,
            swept: (0, 0),
        }
    }

    /// Decides whether a packet may be answered, before any state is made for it; gives the flags of its session.
    ///
    /// `key` is the packet's as an unauthenticated one. If `ssid_authenticated`, which stands where an authenticated packet has its
    /// SSID, makes it one of an authenticated session, it becomes that session's: such packets are never answered in the
    /// open. The packet came at `now_ns` of CLOCK_MONOTONIC.
    pub fn admit(
        &mut self,
        (key, tags): (&mut SessionKey, Tags),
        ssid_authenticated: u16,
        snapshot: &ConfigSnapshot,
        now_ns: u64,
    ) -> Result<u32, Reason> {
        let other = SessionKey { ssid: ssid_authenticated, ..*key };
        if snapshot.provision(&other).is_some_and(|session| session.flags & Session::AUTHENTICATED != 0) {
            *key = other;
        }
        *key = snapshot.own_key(key);
        let admitted = admission::admit(&mut TableAdmission { table: self, key, tags, snapshot, now_ns })?;
        Ok(admitted.flags)
    }

    /// Assigns the session's next Sequence Number, making the session if it is new, and adds what it knows to the facts.
    ///
    /// The error is for a packet that was judged by an earlier version of the configuration, and whose session has become
    /// authenticated or open since: its state is not ours to make any more.
    pub fn assign(
        &mut self,
        key: &SessionKey,
        flags: u32,
        snapshot: &ConfigSnapshot,
        meta: &mut PacketMeta,
    ) -> Result<(), Reason> {
        let is_authenticated = flags & Session::AUTHENTICATED != 0;
        let is_newer = |current: &&ConfigSnapshot| current.generation.wrapping_sub(snapshot.generation) as i32 > 0;
        let newer = self.current.as_ref().filter(is_newer);
        if newer.is_some_and(|current| current.is_authenticated(key) != is_authenticated) {
            return Err(Reason::NoKey);
        }
        let serial = &mut self.serial;
        let mut new = || {
            *serial = serial.checked_add(1).unwrap_or(1);
            Session { history_tag: *serial, ..Session::default() }
        };
        let is_configured = !snapshot.provisioned.is_empty() && snapshot.provisioned.contains_key(key);
        let received_ns = meta.received_ns;
        let mut take_number = |session: &mut Session| {
            let replies = session.replies;
            session.replies += 1;
            session.generation = snapshot.generation;
            session.flags =
                session.flags & Session::HAS_PREVIOUS | flags & !(Session::HAS_PREVIOUS | Session::WILDCARD);
            session.last_received_ns = received_ns;
            meta.flags &= !PacketMeta::UNASSIGNED;
            session.fill_meta(meta, replies as u32, session.received() as u32);
        };
        // An engine may still see the version before a change: what it left in the wrong place moves with the next packet.
        if is_configured {
            let seen = &mut self.seen;
            take_number(self.configured.entry(*key).or_insert_with(|| seen.remove(key).unwrap_or_else(new)));
            return Ok(());
        }
        if let Some(session) = (!self.configured.is_empty()).then(|| self.configured.remove(key)).flatten() {
            self.seen.insert(*key, session);
        }
        if self.seen.peek(key).is_none() && !self.seen.insert(*key, Session { flags, ..new() }) {
            return Err(Reason::TableFull);
        }
        self.seen.change(key, take_number).ok_or(Reason::TableFull)
    }

    /// Has a session start over whose sender has started again, as the Sequence Number and T1 of a request say.
    pub fn follow_restart(&mut self, key: &SessionKey, sequence: u32, timestamp: u64, snapshot: &ConfigSnapshot) {
        let restart_s = snapshot.config.session_restart_s;
        if sequence == 0 && self.get_mut(key).is_some_and(|session| session.is_restart(sequence, timestamp, restart_s))
        {
            self.reset(key);
        }
    }

    /// Assigns the session's next Sequence Number to another reply to a packet that has had one. The error is for a
    /// session that is gone.
    pub fn assign_again(&mut self, key: &SessionKey, meta: &mut PacketMeta) -> Result<(), Reason> {
        let session = self.get_mut(key).ok_or(Reason::TableFull)?;
        let replies = session.replies;
        session.replies += 1;
        // One packet has been received for both replies.
        session.unanswered = session.unanswered.wrapping_sub(1);
        session.fill_meta(meta, replies as u32, session.received() as u32);
        Ok(())
    }

    /// Notes a packet of a known session that gets no answer.
    pub fn unanswered(&mut self, key: &SessionKey) {
        if let Some(session) = self.get_mut(key) {
            session.unanswered = session.unanswered.wrapping_add(1);
        }
    }

    /// Remembers an exchange whose reply was sent.
    pub fn record_exchange(&mut self, key: &SessionKey, exchange: HistorySlot) {
        let Some(session) = self.get_mut(key) else { return };
        session.previous_timestamp = exchange.timestamp;
        session.previous_sequence = exchange.reflector_sequence;
        session.sender_sequence = exchange.sender_sequence;
        session.sender_timestamp = exchange.sender_timestamp;
        session.flags |= Session::HAS_PREVIOUS;
        let tag = session.history_tag;
        let ring = self
            .rings
            .entry(HistoryKey::ring(tag, HISTORY_RINGS))
            .or_insert_with(|| Box::new(HistoryRing { slots: [HistorySlot::default(); HISTORY_DEPTH] }));
        ring.slots[HistoryKey::slot(exchange.reflector_sequence)] = HistorySlot { tag, ..exchange };
    }

    /// The ring that holds a session's last exchanges, by the session's tag.
    pub fn history_ring(&self, tag: u32) -> Option<&HistoryRing> {
        self.rings.get(&HistoryKey::ring(tag, HISTORY_RINGS)).map(|ring| &**ring)
    }

    fn get_mut(&mut self, key: &SessionKey) -> Option<&mut Session> {
        let configured = if self.configured.is_empty() { None } else { self.configured.get_mut(key) };
        configured.or_else(|| self.seen.get_mut(key))
    }

    /// Takes over what was configured: entries of sessions that are configured no longer go, and so do those that have
    /// become authenticated or are it no longer; new ones come with their first packet.
    pub fn keep_configured(&mut self, snapshot: &ConfigSnapshot) {
        let is_kept =
            |key: &SessionKey, session: &Session| session.has(Session::AUTHENTICATED) == snapshot.is_authenticated(key);
        self.current = Some(snapshot.clone());
        self.configured.retain(|key, session| snapshot.provisioned.contains_key(key) && is_kept(key, session));
        let gone: Vec<SessionKey> =
            self.seen.iter().filter(|(key, session)| !is_kept(key, session)).map(|(key, _)| *key).collect();
        for key in &gone {
            self.seen.remove(key);
        }
        for (key, _) in snapshot.provisioned.iter() {
            if let Some(session) = self.seen.remove(key) {
                self.configured.insert(*key, session);
            }
        }
    }

    /// Does the same once more, at a look for sessions that are over: an engine may have made one under the version before,
    /// just after the change. After two looks at a version none is left, and nothing is done.
    pub fn sweep(&mut self, snapshot: &ConfigSnapshot) {
        let (generation, times) = self.swept;
        self.swept = if generation == snapshot.generation {
            (generation, times.saturating_add(1))
        } else {
            (snapshot.generation, 1)
        };
        if self.swept.1 <= 2 {
            self.keep_configured(snapshot);
        }
    }

    /// Like [`SessionTable::keep_configured`], for a version that differs by this provisioned session alone.
    pub fn keep_changed(&mut self, snapshot: &ConfigSnapshot, key: &SessionKey) {
        if is_wildcard(key) {
            return self.keep_configured(snapshot);
        }
        self.current = Some(snapshot.clone());
        let is_authenticated = snapshot.is_authenticated(key);
        let session = self.configured.remove(key).or_else(|| self.seen.remove(key));
        let kept = session.filter(|session| session.has(Session::AUTHENTICATED) == is_authenticated);
        if let Some(session) = kept.filter(|_| snapshot.provisioned.contains_key(key)) {
            self.configured.insert(*key, session);
        }
    }

    /// Has a session start over; returns true if it exists.
    pub fn reset(&mut self, key: &SessionKey) -> bool {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let history_tag = self.serial;
        let Some(session) = self.get_mut(key) else { return false };
        *session = Session { history_tag, ..session.reset() };
        true
    }

    /// Takes over a session that the kernel has begun. Its history stays there.
    pub fn take_over(&mut self, key: SessionKey, session: Session, snapshot: &ConfigSnapshot) {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let session = Session { history_tag: self.serial, ..session };
        if snapshot.provisioned.contains_key(&key) {
            self.configured.insert(key, session);
        } else {
            self.seen.insert(key, session);
        }
    }

    /// A session's state.
    pub fn get(&self, key: &SessionKey) -> Option<&Session> {
        self.configured.get(key).or_else(|| self.seen.peek(key))
    }

    /// Forgets a session; whether there was one.
    pub fn remove(&mut self, key: &SessionKey) -> bool {
        self.configured.remove(key).is_some() | self.seen.remove(key).is_some()
    }

    /// Forgets sessions made by packets whose last one came before `oldest_ns` of CLOCK_MONOTONIC; how many.
    pub fn expire(&mut self, oldest_ns: u64) -> usize {
        self.seen.expire(|session| session.last_received_ns < oldest_ns)
    }

    /// A part of all sessions, from the one with the number `from` on, `count` at most. Sessions that come and go
    /// between two parts may be in both or in none.
    pub fn part(&self, from: usize, count: usize) -> Vec<(SessionKey, Session)> {
        self.iter().skip(from).take(count).map(|(key, session)| (*key, *session)).collect()
    }

    /// All sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.configured.iter().chain(self.seen.iter())
    }

    /// Sessions in it.
    pub fn len(&self) -> usize {
        self.configured.len() + self.seen.len()
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows of buckets, all full.
fn new_buckets() -> Box<[SharedBucketSet]> {
    // Where there is no memory for 2 MiB, nothing goes on.
    <[SharedBucketSet]>::new_box_zeroed_with_elems(BUCKET_SETS as usize).unwrap_or_default()
}

/// A packet that asks for admission, with the key of its session.
struct TableAdmission<'a> {
    table: &'a mut SessionTable,
    key: &'a SessionKey,
    tags: Tags,
    snapshot: &'a ConfigSnapshot,
    now_ns: u64,
}

impl AdmissionEnv for TableAdmission<'_> {
    type Entry = EntryState;
    const CHECKS_VLAN: bool = true;

    fn tags(&self) -> Tags {
        self.tags
    }

    fn generation(&self) -> u32 {
        self.snapshot.generation
    }

    fn find(&mut self) -> Option<EntryState> {
        let found = self.table.get_mut(self.key)?;
        Some(EntryState { flags: found.flags, generation: found.generation })
    }

    fn state(&self, entry: EntryState) -> EntryState {
        entry
    }

    fn check(&mut self, flags: u32, is_provisioned: bool) -> Result<u32, Reason> {
        admission::check_session(self.snapshot, self.key, self.tags, flags, is_provisioned)
    }

    fn update(&mut self, _: EntryState, flags: u32) {
        if let Some(session) = self.table.get_mut(self.key) {
            (session.flags, session.generation) = (flags, self.snapshot.generation);
        }
    }

    fn is_within_rate(&mut self) -> bool {
        let ReflectorConfig { source_rate, rate_prefix, .. } = &*self.snapshot.config;
        let source = rate_prefix.of(&self.key.source);
        let row = self.table.buckets.get(self.table.shape.bucket_set(&source) as usize);
        !source_rate.is_limited() || row.is_none_or(|row| rate_limit::admit(row, &source, self.now_ns, *source_rate))
    }
}

impl SessionStore for Mutex<SessionTable> {
    fn claim(
        &self,
        key: &SessionKey,
        flags: u32,
        snapshot: &ConfigSnapshot,
        reflected: &ReflectedFields,
        meta: &mut PacketMeta,
    ) -> Result<(), Reason> {
        let mut table = locked(self);
        table.follow_restart(key, reflected.sequence_number.get(), reflected.timestamp.bits(), snapshot);
        table.assign(key, flags, snapshot, meta)
    }

    fn claim_again(&self, key: &SessionKey, meta: &mut PacketMeta) -> Result<(), Reason> {
        locked(self).assign_again(key, meta)
    }

    fn unanswered(&self, key: &SessionKey, _: &PacketMeta) {
        locked(self).unanswered(key);
    }

    fn record_exchange(&self, key: &SessionKey, _: &PacketMeta, exchange: HistorySlot) {
        locked(self).record_exchange(key, exchange);
    }

    fn history_ring(&self, tag: u32) -> Option<HistoryRing> {
        locked(self).history_ring(tag).copied()
    }
}

#[cfg(test)]
mod tests;
