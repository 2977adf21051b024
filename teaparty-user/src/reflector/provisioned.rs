//! The sessions that were configured, as a set of which each version costs little: engines go on with the one that they have.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use teaparty_common::maps::{Session, SessionKey};
use teaparty_common::reflect::Address;

use crate::reflector::keys::SessionKeys;

/// A session that was configured.
#[derive(Clone, Debug, Default)]
pub struct Provisioned {
    /// The configured bits of [`Session::flags`].
    pub flags: u32,
    /// Its keys.
    pub keys: Arc<SessionKeys>,
    /// Pattern that Extra Padding is compared with where a packet states no Bit Error Pattern; `None` for the default
    /// pattern.
    pub bit_error_pattern: Option<Arc<[u8]>>,
    /// The number of the change that made it.
    pub revision: u64,
}

impl Provisioned {
    /// Returns the same session with other keys.
    pub fn with_keys(&self, keys: SessionKeys) -> Self {
        let mut flags = self.flags & !(Session::AUTHENTICATED | Session::TLV_KEY);
        for (flag, keys) in [(Session::AUTHENTICATED, &keys.base), (Session::TLV_KEY, &keys.tlv)] {
            if !keys.is_empty() {
                flags |= flag;
            }
        }
        Self { flags, keys: Arc::new(keys), ..self.clone() }
    }
}

/// Parts that versions share as long as nothing in them differs. A change copies one of them, and the list of them all.
const PARTS: usize = 256;

type ProvisionedPart = HashMap<SessionKey, Provisioned, RandomState>;
/// By keys of [`SessionKey::any_ssid`].
type AnyPart = HashMap<SessionKey, Alike, RandomState>;

/// The sessions whose keys differ by their SSIDs alone.
#[derive(Clone, Copy)]
struct Alike {
    /// The SSID of the one that is found whatever the SSID of a packet is.
    ssid: u16,
    /// Their number.
    count: usize,
}

/// The set. A copy shares everything; a change after that copies a small part.
#[derive(Clone)]
pub struct ProvisionedSet {
    parts: Arc<[Arc<ProvisionedPart>]>,
    any_parts: Arc<[Arc<AnyPart>]>,
    hasher: RandomState,
    len: usize,
    wildcards: usize,
    authenticated: usize,
    any_ssid: usize,
}

impl Default for ProvisionedSet {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Arc::default()).collect();
        let any_parts = (0..PARTS).map(|_| Arc::default()).collect();
        Self { parts, any_parts, hasher: RandomState::default(), len: 0, wildcards: 0, authenticated: 0, any_ssid: 0 }
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

    /// Returns true if there is one.
    pub fn contains_key(&self, key: &SessionKey) -> bool {
        self.get(key).is_some()
    }

    /// Puts one in, in place of an earlier one.
    pub fn insert(&mut self, key: SessionKey, session: Provisioned) {
        self.remove(&key);
        self.len += 1;
        self.wildcards += usize::from(is_wildcard(&key));
        self.authenticated += usize::from(!session.keys.base.is_empty());
        self.any_ssid += usize::from(is_any_ssid(&session));
        self.part_mut(&key).insert(key, session);
        let any = key.any_ssid();
        let alike = self.alike(&any).map_or(Alike { ssid: key.ssid, count: 1 }, |alike| Alike {
            ssid: self.better(&any, alike.ssid, key.ssid),
            count: alike.count + 1,
        });
        self.any_part_mut(&any).insert(any, alike);
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
        self.any_ssid -= usize::from(is_any_ssid(&session));
        self.forget_alike(key);
        Some(session)
    }

    /// The session that is found by a key of [`SessionKey::any_ssid`], if it is one that is found so; and its own key.
    pub fn any_ssid(&self, any: &SessionKey) -> Option<(SessionKey, &Provisioned)> {
        let key = with_ssid(any, self.alike(any)?.ssid);
        Some((key, self.get(&key)?))
    }

    fn alike(&self, any: &SessionKey) -> Option<Alike> {
        self.any_parts[self.part(any)].get(any).copied()
    }

    /// Of two SSIDs the one whose session is rather found whatever the SSID of a packet is: one without TLVs, then one that
    /// is exempt from the loop guard, then the lower one.
    fn better(&self, any: &SessionKey, one: u16, other: u16) -> u16 {
        let rank = |ssid: u16| {
            let flags = self.get(&with_ssid(any, ssid)).map_or(0, |session| session.flags);
            (flags & Session::NO_TLV == 0, flags & Session::LOOP_EXEMPT == 0, ssid)
        };
        if rank(one) <= rank(other) { one } else { other }
    }

    /// Takes note that a session is gone.
    fn forget_alike(&mut self, key: &SessionKey) {
        let any = key.any_ssid();
        let Some(alike) = self.alike(&any) else { return };
        if alike.count <= 1 {
            self.any_part_mut(&any).remove(&any);
            return;
        }
        let mut ssid = alike.ssid;
        if ssid == key.ssid {
            // Rare enough to look at all sessions.
            let others = self.iter().map(|(other, _)| *other).filter(|other| other.any_ssid() == any);
            ssid = others.map(|other| other.ssid).reduce(|one, other| self.better(&any, one, other)).unwrap_or(0);
        }
        self.any_part_mut(&any).insert(any, Alike { ssid, count: alike.count - 1 });
    }

    fn part(&self, key: &SessionKey) -> usize {
        self.hasher.hash_one(key) as usize % PARTS
    }

    fn part_mut(&mut self, key: &SessionKey) -> &mut ProvisionedPart {
        let part = self.part(key);
        Arc::make_mut(&mut Arc::make_mut(&mut self.parts)[part])
    }

    fn any_part_mut(&mut self, any: &SessionKey) -> &mut AnyPart {
        let part = self.part(any);
        Arc::make_mut(&mut Arc::make_mut(&mut self.any_parts)[part])
    }

    /// All sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Provisioned)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Sessions in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of entries that a map must have room for: one for each session, and another for each that is found
    /// whatever the SSID of a packet is. With `ignores_ssid` these are all.
    ///
    /// Sessions that differ by their SSIDs alone share that second entry. Then the number may be above what is needed.
    pub fn entries(&self, ignores_ssid: bool) -> usize {
        let found_by_any = if ignores_ssid { self.len } else { self.any_ssid };
        self.len + found_by_any
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if any of them stands for many.
    pub fn has_wildcards(&self) -> bool {
        self.wildcards > 0
    }

    /// Returns true if any of them is found whatever the SSID of a packet is.
    pub fn has_any_ssid(&self) -> bool {
        self.any_ssid > 0
    }

    /// Returns true if any of them is authenticated.
    pub fn has_authenticated(&self) -> bool {
        self.authenticated > 0
    }
}

/// Returns true if a provisioned session stands for many.
pub(crate) fn is_wildcard(key: &SessionKey) -> bool {
    key.destination == Address::UNSPECIFIED || key.source_port == 0
}

/// Returns true if a session is found whatever the SSID of a packet is: its sender's octets there are padding, or the exemption is for
/// the sender and not for one of its sessions.
fn is_any_ssid(session: &Provisioned) -> bool {
    session.flags & (Session::NO_TLV | Session::LOOP_EXEMPT) != 0
}

/// The key of the session with this SSID among those that a key of [`SessionKey::any_ssid`] stands for.
fn with_ssid(any: &SessionKey, ssid: u16) -> SessionKey {
    SessionKey { ssid, reserved: 0, ..*any }
}

/// Returns the flags of a provisioned session's entry in the kernel's map.
pub fn entry_flags(key: &SessionKey, provisioned: &Provisioned) -> u32 {
    let wildcard = if is_wildcard(key) { Session::WILDCARD } else { 0 };
    provisioned.flags | wildcard | Session::PROVISIONED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::HmacKey;
    use crate::reflector::keys::SessionKeys;

    #[test]
    fn what_there_is_of_each_kind_is_counted() {
        let any_port = SessionKey { destination: Address([1; 16]), ..SessionKey::default() };
        let exact = SessionKey { source_port: 7, ..any_port };
        let keys = SessionKeys { base: vec![HmacKey::new(b"k").unwrap()], tlv: Vec::new() };
        let mut set = ProvisionedSet::default();
        set.insert(any_port, Provisioned::default().with_keys(keys));
        set.insert(exact, Provisioned::default());
        let before = set.clone();
        set.insert(any_port, Provisioned::default());
        assert!(set.has_wildcards() && !set.has_authenticated() && before.has_authenticated());
        assert!(set.remove(&any_port).is_some() && set.remove(&any_port).is_none());
        assert!(!set.has_wildcards() && set.len() == 1 && before.len() == 2);
        assert_eq!((before.entries(false), before.entries(true)), (2, 4));
        set.insert(any_port, Provisioned { flags: Session::NO_TLV, ..Provisioned::default() });
        assert_eq!((set.entries(false), set.entries(true)), (3, 4));
    }

    #[test]
    fn of_sessions_that_differ_by_ssid_one_is_found_by_any() {
        let key = |ssid| SessionKey { source: Address([1; 16]), source_port: 7, ssid, ..SessionKey::default() };
        let any = key(0).any_ssid();
        let with = |flags| Provisioned { flags, ..Provisioned::default() };
        let mut set = ProvisionedSet::default();
        let found = |set: &ProvisionedSet| set.any_ssid(&any).map(|(key, _)| key.ssid);
        assert_eq!(found(&set), None);
        for (ssid, flags, expected) in [(9, 0, 9), (8, 0, 8), (9, 0, 8), (7, Session::LOOP_EXEMPT, 7)] {
            set.insert(key(ssid), with(flags));
            assert_eq!(found(&set), Some(expected), "{ssid}");
        }
        set.insert(key(20), with(Session::NO_TLV));
        set.insert(key(3), with(0));
        assert_eq!((found(&set), set.any_ssid, set.len()), (Some(20), 2, 5));
        for (gone, expected) in [(20, Some(7)), (8, Some(7)), (7, Some(3)), (3, Some(9)), (9, None)] {
            set.remove(&key(gone));
            assert_eq!(found(&set), expected, "without {gone}");
        }
        assert!(!set.has_any_ssid() && set.any_parts.iter().all(|part| part.is_empty()));
    }
}
