//! The keys of a session, and how they change: at once, or by a change-over during which two are accepted.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::crypto::{HmacKey, InvalidKeySource, KeyError, KeySource};
use crate::sync::locked;

/// The keys of a session; two of a kind during a change-over, the newer one first.
///
/// A request is verified with each in turn, and its reply signed with the one that fitted: a Session-Sender never meets
/// a key that it does not use itself, whichever side changes first.
#[derive(Clone, Debug, Default)]
pub struct SessionKeys {
    /// For the base packet. Any at all makes the session authenticated.
    pub base: Vec<HmacKey>,
    /// For the HMAC TLV.
    pub tlv: Vec<HmacKey>,
}

/// The change of a session's keys of one kind.
#[derive(Clone, Debug, Default)]
pub enum KeyChange {
    /// They stay as they are.
    #[default]
    Keep,
    /// This one takes the place of all.
    Replace(HmacKey),
    /// A change-over begins: this one is the newer one, and the newest so far is accepted too until [`KeyChange::Retire`].
    /// Nothing changes where this is the newest one already, so that the request can be repeated.
    Rotate(HmacKey),
    /// The change-over is over: only the newest is accepted.
    Retire,
    /// None is left.
    Remove,
}

/// Keys that are accepted at a time.
const MOST: usize = 2;

impl SessionKeys {
    /// These keys after a change of each kind.
    pub fn changed(&self, base: KeyChange, tlv: KeyChange) -> Self {
        Self { base: base.apply(self.base.clone()), tlv: tlv.apply(self.tlv.clone()) }
    }
}

impl KeyChange {
    fn apply(self, mut keys: Vec<HmacKey>) -> Vec<HmacKey> {
        match self {
            Self::Keep => {}
            Self::Replace(key) => keys = vec![key],
            Self::Rotate(key) => {
                if !keys.first().is_some_and(|newest| newest.is_same(&key)) {
                    keys.insert(0, key);
                    keys.truncate(MOST);
                }
            }
            Self::Retire => keys.truncate(1),
            Self::Remove => keys.clear(),
        }
        keys
    }
}

/// A key that a setting names and that is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyLoadError {
    /// The setting names no source.
    #[error(transparent)]
    Source(#[from] InvalidKeySource),
    /// The source has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Reads keys from their sources, once from those that can be read only once.
///
/// A pipe gives its key to the first reader alone; several reflectors may name it, and each reload names it again.
#[derive(Debug, Default)]
pub struct KeyLoader {
    descriptors: Mutex<HashMap<u32, HmacKey>>,
}

impl KeyLoader {
    /// Returns the key at a source, as a list of one; an empty list without a source.
    pub fn load(&self, source: Option<&str>) -> Result<Vec<HmacKey>, KeyLoadError> {
        let Some(source) = source else { return Ok(Vec::new()) };
        let source: KeySource = source.parse()?;
        let KeySource::Descriptor(number) = source else { return Ok(vec![source.load()?]) };
        let mut known = locked(&self.descriptors);
        if let Some(key) = known.get(&number) {
            return Ok(vec![key.clone()]);
        }
        let key = source.load()?;
        known.insert(number, key.clone());
        Ok(vec![key])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn key(text: &str) -> HmacKey {
        HmacKey::new(text.as_bytes()).unwrap()
    }

    fn are(keys: &[HmacKey], expected: &[&str]) -> bool {
        keys.len() == expected.len() && keys.iter().zip(expected).all(|(one, other)| one.is_same(&key(other)))
    }

    #[test]
    fn a_pipe_gives_its_key_as_often_as_it_is_named() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"secret").unwrap();
        drop(writer);
        let loader = KeyLoader::default();
        let source = format!("fd:{}", reader.as_raw_fd());
        for _ in 0..2 {
            assert!(are(&loader.load(Some(&source)).unwrap(), &["secret"]));
        }
        assert!(loader.load(None).unwrap().is_empty());
    }

    #[test]
    fn a_change_over_accepts_two_and_ends_with_the_newer() {
        let apply = |change: KeyChange, keys: &SessionKeys| keys.changed(change, KeyChange::Keep);
        let mut keys = apply(KeyChange::Rotate(key("a")), &SessionKeys::default());
        assert!(are(&keys.base, &["a"]));
        keys = apply(KeyChange::Rotate(key("b")), &keys);
        assert!(are(&keys.base, &["b", "a"]));
        keys = apply(KeyChange::Rotate(key("b")), &keys);
        assert!(are(&keys.base, &["b", "a"]), "asked twice");
        keys = apply(KeyChange::Rotate(key("c")), &keys);
        assert!(are(&keys.base, &["c", "b"]));
        keys = apply(KeyChange::Retire, &keys);
        assert!(are(&keys.base, &["c"]));
        keys = keys.changed(KeyChange::Replace(key("d")), KeyChange::Rotate(key("t")));
        assert!(are(&keys.base, &["d"]) && are(&keys.tlv, &["t"]));
        keys = apply(KeyChange::Remove, &keys);
        assert!(keys.base.is_empty() && are(&keys.tlv, &["t"]));
    }
}
