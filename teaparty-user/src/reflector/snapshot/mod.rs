//! One version of everything that is configured, as the engines see it: replaced as a whole, never changed.

pub mod addresses;
pub mod prefixes;

use std::collections::HashSet;
use std::sync::Arc;

use teaparty_common::frame::Tags;
use teaparty_common::maps::{self, PORT_WORDS, Session, SessionKey};
use teaparty_common::reflect::admission::{self, AdmissionRules};
use teaparty_common::reflect::provisioned::{self, ProvisionedSessions};
use teaparty_common::reflect::{Address, Policy, Reason};
use teaparty_common::tlv::bit_error::DEFAULT_PATTERN;

use crate::crypto::HmacKey;
use crate::net::host::Host;
use crate::net::interface::Interface;
use crate::reflector::config::ReflectorConfig;
use crate::reflector::provisioned::{Provisioned, ProvisionedSet};
use crate::reflector::snapshot::addresses::AddressBook;
use crate::reflector::snapshot::prefixes::PrefixSet;

/// Configuration, addresses and provisioned sessions for one interface, from one moment to the next.
#[derive(Clone)]
pub struct ConfigSnapshot {
    /// The configuration.
    pub config: Arc<ReflectorConfig>,
    /// Counts the versions: a session admitted under another one is admitted again.
    pub generation: u32,
    /// The interface as it was last seen.
    pub interface: Arc<Interface>,
    /// The host as it was last seen.
    pub host: Arc<Host>,
    /// Addresses that packets are answered at.
    pub addresses: Arc<HashSet<Address>>,
    /// All addresses that matter on the interface.
    pub book: Arc<AddressBook>,
    /// Provisioned sessions, wildcards included.
    pub provisioned: ProvisionedSet,
    ports: Arc<[u64]>,
    allowed: Arc<PrefixSet>,
}

/// The keys that a session's packets are verified with, the newer first.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// Of base packets; none where the session is not authenticated.
    pub base: &'a [HmacKey],
    /// Of HMAC TLVs.
    pub tlv: &'a [HmacKey],
}

impl ConfigSnapshot {
    /// The first version, without provisioned sessions.
    pub fn new(config: Arc<ReflectorConfig>, interface: Interface, host: &Arc<Host>) -> Self {
        let mut ports = vec![0u64; PORT_WORDS as usize];
        for port in &config.ports {
            ports[usize::from(port >> 6)] |= 1 << (port & 63);
        }
        let book = AddressBook::new(&config, &interface, host);
        Self {
            allowed: Arc::new(config.allowed.iter().copied().collect()),
            config,
            generation: 1,
            interface: Arc::new(interface),
            host: host.clone(),
            addresses: Arc::new(book.answered()),
            book: Arc::new(book),
            provisioned: ProvisionedSet::default(),
            ports: ports.into(),
        }
    }

    /// The next version, after the interface or the host's addresses have changed.
    pub fn with_interface(&self, interface: Interface, host: &Arc<Host>) -> Self {
        let book = AddressBook::new(&self.config, &interface, host);
        Self {
            host: host.clone(),
            addresses: Arc::new(book.answered()),
            book: Arc::new(book),
            interface: Arc::new(interface),
            generation: self.generation.wrapping_add(1),
            ..self.clone()
        }
    }

    /// The next version, after what can change while the reflector runs has; interfaces and ports can't.
    pub fn with_config(&self, config: Arc<ReflectorConfig>) -> Self {
        let book = AddressBook::new(&config, &self.interface, &self.host);
        Self {
            addresses: Arc::new(book.answered()),
            book: Arc::new(book),
            allowed: Arc::new(config.allowed.iter().copied().collect()),
            config,
            generation: self.generation.wrapping_add(1),
            ..self.clone()
        }
    }

    /// The next version, with other provisioned sessions.
    pub fn with_provisioned(&self, provisioned: impl Into<ProvisionedSet>) -> Self {
        Self { provisioned: provisioned.into(), generation: self.generation.wrapping_add(1), ..self.clone() }
    }

    /// The flags of the kernel's [`maps::Config`].
    pub fn flags(&self) -> u32 {
        let mut flags = self.config.flags();
        for (flag, is_set) in [
            (maps::Config::HAS_PROVISIONED, !self.provisioned.is_empty()),
            (maps::Config::HAS_WILDCARDS, self.provisioned.has_wildcards()),
            (maps::Config::HAS_AUTHENTICATED, self.provisioned.has_authenticated()),
            (maps::Config::ANY_MAC, self.interface.has_no_mac()),
            (maps::Config::LOOPBACK, self.interface.is_loopback),
            (maps::Config::HAS_ANY_SSID, self.has_any_ssid()),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        flags
    }

    /// The listening ports as bits.
    pub fn port_words(&self) -> &[u64] {
        &self.ports
    }

    /// Returns true if we listen on a UDP port.
    pub fn listens(&self, port: u16) -> bool {
        self.ports[usize::from(port >> 6)] >> (port & 63) & 1 != 0
    }

    /// Returns true if a source is on the allow-list, or there is none.
    pub fn allows(&self, source: &Address) -> bool {
        self.config.allowed.is_empty() || self.allowed.covers(source, 128)
    }

    /// The provisioned session that a packet's session is, or is made from: the more it says the better.
    pub fn provision(&self, key: &SessionKey) -> Option<&Provisioned> {
        if self.provisioned.is_empty() { None } else { provisioned::provision(&self, key) }
    }

    /// Returns true if any provisioned session is found whatever the SSID of a packet is.
    pub fn has_any_ssid(&self) -> bool {
        self.provisioned.has_any_ssid() || (self.ignores_ssid() && !self.provisioned.is_empty())
    }

    /// Returns the number of places that the provisioned sessions take in a map.
    pub fn entries(&self) -> usize {
        self.provisioned.entries(self.ignores_ssid())
    }

    /// Returns true if no SSID in a packet counts.
    pub fn ignores_ssid(&self) -> bool {
        self.config.policy.has(Policy::IGNORE_SSID)
    }

    /// The provisioned session that is found whatever the SSID is by a key of [`SessionKey::any_ssid`], and its own key.
    pub fn any_ssid(&self, any: &SessionKey) -> Option<(SessionKey, &Provisioned)> {
        let (key, session) = self.provisioned.any_ssid(any)?;
        let is_found = session.flags & (Session::NO_TLV | Session::LOOP_EXEMPT) != 0 || self.ignores_ssid();
        is_found.then_some((key, session))
    }

    /// The key of the session that a packet with this key is of: with another SSID where the octets in its place are none,
    /// as in sessions without TLVs, and where SSIDs are ignored.
    pub fn own_key(&self, key: &SessionKey) -> SessionKey {
        if !self.has_any_ssid() {
            return if self.ignores_ssid() { SessionKey { ssid: 0, ..*key } } else { *key };
        }
        SessionKey { ssid: provisioned::own_ssid(&self, key), ..*key }
    }

    /// Returns the pattern that a session's Extra Padding is compared with where its packets state none.
    pub fn bit_error_pattern(&self, key: &SessionKey) -> &[u8] {
        let own = self.provision(key).and_then(|session| session.bit_error_pattern.as_deref());
        own.unwrap_or(&DEFAULT_PATTERN)
    }

    /// Returns true if a session is to be authenticated.
    pub fn is_authenticated(&self, key: &SessionKey) -> bool {
        !self.keys(key).base.is_empty()
    }

    /// The keys of a session.
    pub fn keys(&self, key: &SessionKey) -> Keys<'_> {
        let defaults = &self.config.default_keys;
        let own = self.provision(key).map(|session| &*session.keys);
        let base = &own.unwrap_or(defaults).base[..];
        // As for the sender: a session's own key for TLVs, else the reflector's, else the one of its base packets.
        let candidates = [own.map_or(&[][..], |own| &own.tlv), &defaults.tlv, base];
        let tlv = candidates.into_iter().find(|keys| !keys.is_empty()).unwrap_or(&[]);
        Keys { base, tlv }
    }
}

impl AdmissionRules for ConfigSnapshot {
    fn check_destination(&self, destination: &Address, tags: Tags) -> Result<(), Reason> {
        self.book.check_destination(destination, tags)
    }

    fn check_source(&self, source: &Address, port: u16, tags: Tags) -> Result<(), Reason> {
        admission::check_source(&*self.book, source, port, tags)
    }

    fn listens(&self, port: u16) -> bool {
        Self::listens(self, port)
    }

    fn allows(&self, source: &Address) -> bool {
        Self::allows(self, source)
    }

    fn is_provisioned_only(&self) -> bool {
        self.config.provisioned_only
    }

    fn provision(&self, key: &SessionKey) -> Option<u32> {
        Self::provision(self, key).map(|session| session.flags)
    }

    fn authenticates_strangers(&self) -> bool {
        !self.config.default_keys.base.is_empty()
    }
}

impl<'a> ProvisionedSessions for &'a ConfigSnapshot {
    type Found = &'a Provisioned;

    fn get(&self, key: &SessionKey) -> Option<&'a Provisioned> {
        self.provisioned.get(key)
    }

    fn get_any_ssid(&self, any: &SessionKey) -> Option<(&'a Provisioned, u16)> {
        self.any_ssid(any).map(|(key, session)| (session, key.ssid))
    }

    fn flags(found: &&Provisioned) -> u32 {
        found.flags
    }

    fn has_wildcards(&self) -> bool {
        self.provisioned.has_wildcards()
    }

    fn has_any_ssid(&self) -> bool {
        ConfigSnapshot::has_any_ssid(self)
    }

    fn ignores_ssid(&self) -> bool {
        ConfigSnapshot::ignores_ssid(self)
    }
}
