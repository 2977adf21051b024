//! Provisioned sessions in the kernel: put in, taken out, and moved over from the sessions that packets have made.

use aya::maps::MapError;
use teaparty_common::maps::{Session, SessionKey, name};

use super::{Maps, tag};
use crate::reflector::kernel::pinned_map::MapsError;
use crate::reflector::provisioned::{Provisioned, entry_flags};
use crate::reflector::snapshot::ConfigSnapshot;

impl Maps {
    /// Refuses a version with more provisioned sessions than the map has room for, before anything is changed: a map keeps the
    /// size that it was made with.
    pub(super) fn check_room(&self, snapshot: &ConfigSnapshot) -> Result<(), MapsError> {
        let (most, count) = (self.most_provisioned, snapshot.provisioned.len());
        if snapshot.entries() <= most {
            return Ok(());
        }
        let what = format!(
            "it has {most} places, and these {count} sessions take {}; a restart with them in the configuration file makes \
             room",
            snapshot.entries()
        );
        Err(MapsError { name: name::PROVISIONED, source: MapError::IoError(std::io::Error::other(what)) })
    }

    /// Puts in provisioned sessions with the state that they had in an earlier map.
    pub fn restore_provisioned(&mut self, sessions: &[(SessionKey, Session)]) -> Result<(), MapsError> {
        let failed = |source| MapsError { name: name::PROVISIONED, source };
        sessions.iter().try_for_each(|(key, session)| self.provisioned.insert(key, session, 0).map_err(failed))
    }

    /// Puts in the provisioned sessions of a version, and takes out all others.
    pub(super) fn set_provisioned(&mut self, snapshot: &ConfigSnapshot) -> Result<(), MapsError> {
        // One that is full has no place for the new ones beside those that go.
        if self.provisioned.keys().count() + snapshot.entries() > self.most_provisioned {
            self.forget_provisioned(snapshot)?;
        }
        let failed = |source| MapsError { name: name::PROVISIONED, source };
        for (key, wanted) in snapshot.provisioned.iter() {
            self.put_provisioned(key, wanted).map_err(failed)?;
            self.put_any_ssid(snapshot, key).map_err(failed)?;
        }
        self.forget_provisioned(snapshot)
    }

    /// Takes out the provisioned sessions that a version does not have.
    fn forget_provisioned(&mut self, snapshot: &ConfigSnapshot) -> Result<(), MapsError> {
        let failed = |source| MapsError { name: name::PROVISIONED, source };
        let known: Vec<SessionKey> = self.provisioned.keys().filter_map(Result::ok).collect();
        let is_there = |key: &SessionKey| match key.reserved {
            SessionKey::ANY_SSID => snapshot.any_ssid(key).is_some(),
            _ => snapshot.provisioned.contains_key(key),
        };
        for gone in known.iter().filter(|key| !is_there(key)) {
            self.provisioned.remove(gone).map_err(failed)?;
        }
        Ok(())
    }

    /// Brings up to date the entry that is found for a session's addresses and ports whatever the SSID of a packet is. Like a
    /// wildcard's, it keeps no state.
    pub(super) fn put_any_ssid(&mut self, snapshot: &ConfigSnapshot, key: &SessionKey) -> Result<(), MapError> {
        let any = key.any_ssid();
        let present = self.provisioned.get(&any, 0).ok();
        match snapshot.any_ssid(&any) {
            Some((own, session)) => {
                let flags = entry_flags(&own, session) | Session::WILDCARD;
                let entry = Session { flags, ssid: own.ssid, ..Session::default() };
                if present == Some(entry) { Ok(()) } else { self.provisioned.insert(any, entry, 0) }
            }
            None if present.is_some() => self.provisioned.remove(&any),
            None => Ok(()),
        }
    }

    /// Puts in one provisioned session. One that is there, or that packets have made, keeps its state.
    pub(super) fn put_provisioned(&mut self, key: &SessionKey, wanted: &Provisioned) -> Result<(), MapError> {
        let flags = entry_flags(key, wanted);
        match self.provisioned.get(key, 0) {
            Ok(session) if session.flags & !Session::HAS_PREVIOUS == flags => Ok(()),
            // A session that was there keeps its state; packets that arrive concurrently may be counted once too few.
            Ok(session) => self.provisioned.insert(key, with_flags(key, session, flags), 0),
            Err(_) => {
                let seen = self.sessions.get(key).unwrap_or_default();
                self.provisioned.insert(key, with_flags(key, seen, flags), 0)?;
                self.sessions.remove(key);
                Ok(())
            }
        }
    }
}

/// A session with other configured flags. What it was is kept, unless it changes between unauthenticated and authenticated: then it
/// starts over, the state of an authenticated one being the controller's.
fn with_flags(key: &SessionKey, session: Session, flags: u32) -> Session {
    if flags & (Session::AUTHENTICATED | Session::WILDCARD) != 0 {
        return Session { flags, ..Session::default() };
    }
    let history_tag = if session.history_tag == 0 { tag(key) } else { session.history_tag };
    if session.has(Session::AUTHENTICATED) {
        return Session { flags, history_tag, ..Session::default() };
    }
    Session { flags: flags | session.flags & Session::HAS_PREVIOUS, history_tag, ..session }
}
