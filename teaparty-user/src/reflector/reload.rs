//! A running reflector gets another configuration, from a file that was read again: all that can change at once, the rest named.

use std::sync::Arc;

use crate::crypto::HmacKey;
use crate::reflector::config::ReflectorConfig;
use crate::reflector::config::session_spec::provisioned;
use crate::reflector::handle::{
    ChangeEvent, ReconfigureError, ReflectorHandle, ReflectorState, SessionChange, SessionId, SessionSpec, changes,
};
use crate::reflector::keys::SessionKeys;
use crate::reflector::provisioned::{Provisioned, ProvisionedSet};
use crate::sync::locked;

/// The changes of a new configuration.
pub struct Reloaded {
    /// Settings that hold from now on, by name.
    pub live: Vec<String>,
    /// Settings that are as they were until a restart.
    pub restart: Vec<String>,
    before: (Arc<ReflectorConfig>, ProvisionedSet),
}

impl ReflectorHandle {
    /// Puts another configuration in force on all interfaces, with its sessions in the place of `former` ones; other
    /// sessions stay. On an error everything is as it was.
    ///
    /// A session that is as before keeps its state; one whose keys are of other octets is another one.
    pub fn reload(
        &self,
        config: &ReflectorConfig,
        former: &[SessionSpec],
        sessions: &[SessionSpec],
    ) -> Result<Reloaded, ReconfigureError> {
        let mut state = locked(&self.state);
        let base = state.config.clone();
        let (mut live, restart) = changes(config, &base);
        let settings = config.settings.keeping(&restart, &base.settings);
        let keys = &config.default_keys;
        for (name, new, old) in [
            ("auth-key-file", &keys.base, &base.default_keys.base),
            ("tlv-key-file", &keys.tlv, &base.default_keys.tlv),
        ] {
            if !are_same(new, old) && !live.iter().any(|known| known == name) {
                live.push(name.into());
            }
        }
        let merged = ReflectorConfig::new(settings, keys.clone())
            .map_err(|error| ReconfigureError::Kernel(error.to_string()))?;
        let merged = ReflectorConfig { without_xdp: base.without_xdp.clone(), ..merged };
        let before = (base, state.provisioned.clone());
        let changes = state.follow_file(former, sessions);
        if !changes.is_empty() && !live.iter().any(|known| known == "session") {
            live.push("session".into());
        }
        let after = state.provisioned.clone();
        state.replace(Arc::new(merged), after).inspect_err(|_| state.take_back(&before))?;
        // Nobody may be listening.
        for (id, change) in changes {
            let _ = state.events.send(ChangeEvent::Session { id, change });
        }
        if !live.is_empty() {
            let _ = state.events.send(ChangeEvent::Settings(live.clone()));
        }
        Ok(Reloaded { live, restart, before })
    }

    /// Puts back in force what was before a reload, because another reflector could not follow.
    pub fn take_back(&self, reloaded: &Reloaded) {
        locked(&self.state).take_back(&reloaded.before);
    }
}

impl ReflectorState {
    /// Brings the set of provisioned sessions in line with a file, and says what changed.
    fn follow_file(&mut self, former: &[SessionSpec], sessions: &[SessionSpec]) -> Vec<(SessionId, SessionChange)> {
        let (former, wanted) = (provisioned(former), provisioned(sessions));
        let mut changes = Vec::new();
        for (key, _) in former.iter().filter(|(key, _)| !wanted.contains_key(key)) {
            if self.provisioned.contains_key(key) {
                self.put(*key, None);
                changes.push((SessionId::from(key), SessionChange::Deleted));
            }
        }
        for (key, session) in wanted.iter() {
            let change = match self.provisioned.get(key) {
                Some(present) if is_same(present, session) => continue,
                Some(_) => SessionChange::Replaced,
                None => SessionChange::Created,
            };
            self.put(*key, Some(session.clone()));
            changes.push((SessionId::from(key), change));
        }
        changes
    }

    /// Configuration and sessions in one step on each interface; on an error the first ones may have taken them.
    fn replace(&mut self, config: Arc<ReflectorConfig>, provisioned: ProvisionedSet) -> Result<(), ReconfigureError> {
        for (name, instance) in &self.slots {
            let Some(instance) = instance else { continue };
            let snapshot =
                instance.context.snapshot().with_config(config.clone()).with_provisioned(provisioned.clone());
            instance.set_snapshot(snapshot).map_err(|error| ReconfigureError::Kernel(format!("{name}: {error}")))?;
        }
        self.config = config;
        self.provisioned = provisioned;
        Ok(())
    }

    fn take_back(&mut self, (config, provisioned): &(Arc<ReflectorConfig>, ProvisionedSet)) {
        if let Err(error) = self.replace(config.clone(), provisioned.clone()) {
            tracing::error!(%error, "the kernel does not take its former configuration");
        }
        self.config = config.clone();
        self.provisioned = provisioned.clone();
    }
}

/// Returns true if nothing of a session's configuration differs but what counts its changes.
fn is_same(one: &Provisioned, other: &Provisioned) -> bool {
    let SessionKeys { base, tlv } = &*one.keys;
    one.flags == other.flags
        && one.bit_error_pattern == other.bit_error_pattern
        && are_same(base, &other.keys.base)
        && are_same(tlv, &other.keys.tlv)
}

fn are_same(keys: &[HmacKey], others: &[HmacKey]) -> bool {
    keys.len() == others.len() && keys.iter().zip(others).all(|(key, other)| key.is_same(other))
}
