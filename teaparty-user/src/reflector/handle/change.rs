//! Changes to sessions while packets come: provisioned, replaced, given other keys, started over, taken back.

use teaparty_common::maps::SessionKey;

use super::{ChangeEvent, ReflectorHandle, ReflectorState, SessionChange, SessionError, SessionId, SessionSpec};
use crate::reflector::config::MOST_PROVISIONED;
use crate::reflector::keys::KeyChange;
use crate::reflector::provisioned::Provisioned;
use crate::reflector::provisioned::is_wildcard;
use crate::sync::locked;

impl ReflectorHandle {
    /// A provisioned session, without its keys' octets being of use to anybody but the engines.
    pub fn provisioned(&self, id: SessionId) -> Result<Provisioned, SessionError> {
        let key = SessionKey::try_from(id)?;
        locked(&self.state).provisioned.get(&key).cloned().ok_or(SessionError::Unknown)
    }

    /// Provisions a session on all interfaces.
    pub fn create(&self, spec: &SessionSpec) -> Result<(), SessionError> {
        self.change(spec.id, SessionChange::Created, |present| match present {
            Some(_) => Err(SessionError::Exists),
            None => Ok(Some(spec.provisioned())),
        })
    }

    /// Changes the keys of a provisioned session, on all interfaces at once: for the base packet and for the HMAC TLV.
    ///
    /// Its state stays, unless its first key makes it authenticated or the loss of its last one makes it open: then it
    /// starts over. Packets that wait while this happens are judged by the one set of keys or the other, never by half.
    pub fn change_keys(&self, id: SessionId, base: KeyChange, tlv: KeyChange) -> Result<(), SessionError> {
        self.change(id, SessionChange::Keys, |present| {
            let present = present.ok_or(SessionError::Unknown)?;
            Ok(Some(present.with_keys(present.keys.changed(base, tlv))))
        })
    }

    /// Returns the number of keys of a provisioned session: for the base packet, and for the HMAC TLV.
    pub fn key_counts(&self, id: SessionId) -> Result<(usize, usize), SessionError> {
        self.provisioned(id).map(|session| (session.keys.base.len(), session.keys.tlv.len()))
    }

    /// Puts what `with` makes of a provisioned session in its place, on all interfaces or on none; of none where there is
    /// none yet, and none where it gives none. What `with` refuses is not done.
    ///
    /// Takes as long however many sessions there are, unless it is the first or the last with a wildcard or of its mode.
    pub fn change(
        &self,
        id: SessionId,
        what: SessionChange,
        with: impl FnOnce(Option<&Provisioned>) -> Result<Option<Provisioned>, SessionError>,
    ) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let mut state = locked(&self.state);
        let before = state.provisioned.get(&key).cloned();
        let after = with(before.as_ref())?;
        if before.is_none() && after.is_none() {
            return Err(SessionError::Unknown);
        }
        if let Some(after) = &after {
            state.check_room(key, after)?;
        }
        state.put(key, after);
        state.publish(&key).inspect_err(|_| {
            // What was refused is not there; that the others are as before is the best there is.
            state.put(key, before);
            let _ = state.publish(&key);
        })?;
        // Nobody may be listening.
        let _ = state.events.send(ChangeEvent::Session { id, change: what });
        Ok(())
    }

    /// Takes back a provisioned session, or forgets one made by packets. `may` looks at what is provisioned and can refuse.
    pub fn delete_if(
        &self,
        id: SessionId,
        may: impl FnOnce(Option<&Provisioned>) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let mut was_there = false;
        let provisioned = self.change(id, SessionChange::Deleted, |present| {
            may(present)?;
            was_there = present.is_some();
            Ok(None)
        });
        match provisioned {
            Ok(()) | Err(SessionError::Unknown) => {}
            Err(error) => return Err(error),
        }
        let state = locked(&self.state);
        if state.provisioned.contains_key(&key) {
            // It was made again in the meantime.
            return Ok(());
        }
        let mut was_seen = false;
        for (_, instance) in &state.slots {
            let Some(instance) = instance else { continue };
            was_seen |= locked(&instance.context.table).remove(&key);
            was_seen |= instance.maps(|maps| maps.remove_session(&key)).unwrap_or(false);
        }
        if was_seen && !was_there {
            let _ = state.events.send(ChangeEvent::Session { id, change: SessionChange::Deleted });
        }
        if was_there || was_seen { Ok(()) } else { Err(SessionError::Unknown) }
    }

    /// Takes back a provisioned session, or forgets one made by packets.
    pub fn delete(&self, id: SessionId) -> Result<(), SessionError> {
        self.delete_if(id, |_| Ok(()))
    }

    /// Has a session start over on all interfaces: its counters and its next reply's Sequence Number are 0, its
    /// history is empty. Nothing to do for one that was configured and has not been seen. `may` looks at what is
    /// provisioned.
    pub fn reset(
        &self,
        id: SessionId,
        may: impl FnOnce(Option<&Provisioned>) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let key = SessionKey::try_from(id)?;
        let state = locked(&self.state);
        let present = state.provisioned.get(&key);
        may(present)?;
        if present.is_some() && is_wildcard(&key) {
            return Err(SessionError::Wildcard);
        }
        let mut was_there = present.is_some();
        for (name, instance) in &state.slots {
            let Some(instance) = instance else { continue };
            was_there |= locked(&instance.context.table).reset(&key);
            let reset = instance.maps(|maps| maps.reset(&key)).transpose();
            was_there |= reset.map_err(|error| SessionError::Kernel(format!("{name}: {error}")))?.unwrap_or(false);
        }
        if !was_there {
            return Err(SessionError::Unknown);
        }
        let _ = state.events.send(ChangeEvent::Session { id, change: SessionChange::Reset });
        Ok(())
    }
}

impl ReflectorState {
    /// Refuses a provisioned session, new or changed, where a map or the reflector as such has no room for it.
    fn check_room(&self, key: SessionKey, session: &Provisioned) -> Result<(), SessionError> {
        let mut wanted = self.provisioned.clone();
        wanted.insert(key, session.clone());
        if wanted.len() > MOST_PROVISIONED {
            return Err(SessionError::Full(MOST_PROVISIONED));
        }
        for (_, instance) in &self.slots {
            let Some(instance) = instance else { continue };
            let entries = wanted.entries(instance.context.snapshot().ignores_ssid());
            let most = instance.maps(|maps| maps.most_provisioned());
            if let Some(most) = most.filter(|most| entries > *most) {
                return Err(SessionError::Full(most));
            }
        }
        Ok(())
    }

    /// Puts a provisioned session into the set, or takes it out.
    pub(crate) fn put(&mut self, key: SessionKey, session: Option<Provisioned>) {
        self.revision += 1;
        match session {
            Some(session) => {
                let session = Provisioned { revision: self.revision, ..session };
                self.provisioned.insert(key, session);
            }
            None => drop(self.provisioned.remove(&key)),
        }
    }

    /// Puts what the set says of a session in force on all interfaces.
    fn publish(&self, key: &SessionKey) -> Result<(), SessionError> {
        for (_, instance) in &self.slots {
            let Some(instance) = instance else { continue };
            let snapshot = instance.context.snapshot().with_provisioned(self.provisioned.clone());
            instance.set_session(snapshot, key).map_err(|error| SessionError::Kernel(error.to_string()))?;
        }
        Ok(())
    }
}
