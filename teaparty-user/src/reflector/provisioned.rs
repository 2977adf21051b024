//! The sessions that were configured, as a set of which each version costs little: engines go on with the one that they have.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use teaparty_common::maps::{Session, SessionKey};
use teaparty_common::reflect::Address;

use super::view::Provisioned;

/// Parts that versions share as long as nothing in them differs. A change copies one of them, and the list of them all.
const PARTS: usize = 256;

type Part = HashMap<SessionKey, Provisioned, RandomState>;

/// The set. A copy shares everything; a change after that copies a small part.
#[derive(Clone)]
pub struct ProvisionedSet {
    parts: Arc<[Arc<Part>]>,
    hasher: RandomState,
    len: usize,
    wildcards: usize,
    authenticated: usize,
}

impl Default for ProvisionedSet {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Arc::default()).collect();
        Self { parts, hasher: RandomState::default(), len: 0, wildcards: 0, authenticated: 0 }
    }
}

impl From<HashMap<SessionKey, Provisioned>> for ProvisionedSet {
    fn from(sessions: HashMap<SessionKey, Provisioned>) -> Self {
        let mut set = Self::default();
        for (key, session) in sessions {
            set.insert(key, session);
        }
        set
    }
}

impl ProvisionedSet {
    /// The session with this key.
    pub fn get(&self, key: &SessionKey) -> Option<&Provisioned> {
        if self.is_empty() { None } else { self.parts[self.part(key)].get(key) }
    }

    /// Whether there is one.
    pub fn contains_key(&self, key: &SessionKey) -> bool {
        self.get(key).is_some()
    }

    /// Puts one in, in place of an earlier one.
    pub fn insert(&mut self, key: SessionKey, session: Provisioned) {
        self.remove(&key);
        self.len += 1;
        self.wildcards += usize::from(is_wildcard(&key));
        self.authenticated += usize::from(!session.keys.base.is_empty());
        self.part_mut(&key).insert(key, session);
    }

    /// Takes one out.
    pub fn remove(&mut self, key: &SessionKey) -> Option<Provisioned> {
        if !self.contains_key(key) {
            return None;
        }
        let session = self.part_mut(key).remove(key)?;
        self.len -= 1;
        self.wildcards -= usize::from(is_wildcard(key));
        self.authenticated -= usize::from(!session.keys.base.is_empty());
        Some(session)
    }

    fn part(&self, key: &SessionKey) -> usize {
        self.hasher.hash_one(key) as usize % PARTS
    }

    fn part_mut(&mut self, key: &SessionKey) -> &mut Part {
        let part = self.part(key);
        Arc::make_mut(&mut Arc::make_mut(&mut self.parts)[part])
    }

    /// All sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Provisioned)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Sessions in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether any of them stands for many.
    pub fn has_wildcards(&self) -> bool {
        self.wildcards > 0
    }

    /// Whether any of them is authenticated.
    pub fn has_authenticated(&self) -> bool {
        self.authenticated > 0
    }
}

/// Whether a provisioned session stands for many.
pub fn is_wildcard(key: &SessionKey) -> bool {
    key.destination == Address::UNSPECIFIED || key.source_port == 0
}

/// What a provisioned session's entry in the kernel's map says besides its state.
pub fn entry_flags(key: &SessionKey, provisioned: &Provisioned) -> u32 {
    let wildcard = if is_wildcard(key) { Session::WILDCARD } else { 0 };
    provisioned.flags | wildcard | Session::PROVISIONED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Key;
    use crate::reflector::keys::SessionKeys;

    #[test]
    fn what_there_is_of_each_kind_is_counted() {
        let any_port = SessionKey { destination: Address([1; 16]), ..SessionKey::default() };
        let exact = SessionKey { source_port: 7, ..any_port };
        let keys = SessionKeys { base: vec![Key::new(b"k").unwrap()], tlv: Vec::new() };
        let mut set = ProvisionedSet::default();
        set.insert(any_port, Provisioned::default().with_keys(keys));
        set.insert(exact, Provisioned::default());
        let before = set.clone();
        set.insert(any_port, Provisioned::default());
        assert!(set.has_wildcards() && !set.has_authenticated() && before.has_authenticated());
        assert!(set.remove(&any_port).is_some() && set.remove(&any_port).is_none());
        assert!(!set.has_wildcards() && set.len() == 1 && before.len() == 2);
    }
}
