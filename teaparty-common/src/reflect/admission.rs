//! Admission: whether a packet may be answered at all, decided before any state is made for it.
//!
//! Kernel and controller look up sessions, addresses and limits in memory of their own. The order of the rules and their
//! reasons are here: [`admit`] is the whole, [`check_session`] what a session passes once for each generation of the
//! configuration, and the others are their parts.

use super::{Address, Reason, is_invalid_source};
use crate::frame::Tags;
use crate::maps::{LocalAddress, Session, SessionKey};

/// The result of admission: the flags of the session, and its entry if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<E> {
    /// [`Session::flags`], or what a new session is to start with.
    pub flags: u32,
    /// The session's entry.
    pub session: Option<E>,
}

/// The part of a session's entry by which admission knows it.
#[derive(Clone, Copy, Debug)]
pub struct EntryState {
    /// [`Session::flags`].
    pub flags: u32,
    /// [`Session::generation`].
    pub generation: u32,
}

/// One packet that asks for admission, and the sessions and buckets that it is looked up in.
pub trait AdmissionEnv {
    /// A session's entry.
    type Entry: Copy;
    /// True if the VLAN of a tagged frame is checked with its session, and not before it is looked up.
    const CHECKS_VLAN: bool;

    /// The VLAN tags of the packet's frame.
    fn tags(&self) -> Tags;

    /// The generation of the configuration that holds.
    fn generation(&self) -> u32;

    /// Admits the packet to the provisioned authenticated session that it is of by the SSID in the place where such packets
    /// have it; `None` if there is none, or if those sessions are found as all others are.
    ///
    /// It is tried first. Such a packet has its SSID elsewhere, so that an unauthenticated session of the same addresses
    /// and ports could match it too, and a packet must not choose.
    #[inline(always)]
    fn admit_authenticated(&mut self) -> Option<Result<Admitted<Self::Entry>, Reason>> {
        None
    }

    /// Returns the entry of the session that is provisioned with the packet's key, if it keeps its state there.
    #[inline(always)]
    fn find_provisioned(&mut self) -> Option<Self::Entry> {
        None
    }

    /// Returns the entry of the session with the packet's key, where sessions are stateful.
    fn find(&mut self) -> Option<Self::Entry>;

    /// Returns what admission wants to know of an entry.
    fn state(&self, entry: Self::Entry) -> EntryState;

    /// Calls [`check_session`].
    fn check(&mut self, flags: u32, is_provisioned: bool) -> Result<u32, Reason>;

    /// Leaves in an entry that it was admitted under this generation, with these flags.
    fn update(&mut self, entry: Self::Entry, flags: u32);

    /// Charges the bucket of the packet's source. Returns true if it is within its rate, or if there is no limit.
    fn is_within_rate(&mut self) -> bool;
}

/// Decides whether a packet may be answered: a known session by one look-up, others by [`check_session`]; then the rate
/// limit of its source.
#[inline(always)]
pub fn admit<E: AdmissionEnv>(env: &mut E) -> Result<Admitted<E::Entry>, Reason> {
    let admitted = match env.admit_authenticated() {
        Some(admitted) => admitted?,
        None => admit_session(env)?,
    };
    if env.is_within_rate() { Ok(admitted) } else { Err(Reason::RateLimited) }
}

/// Finds the session of a packet, and has it checked unless it was admitted under this generation.
#[inline(always)]
fn admit_session<E: AdmissionEnv>(env: &mut E) -> Result<Admitted<E::Entry>, Reason> {
    let mut session = env.find_provisioned();
    let is_provisioned = session.is_some();
    if session.is_none() {
        session = env.find();
    }
    let (mut flags, mut is_known) = (0, false);
    if let Some(found) = session {
        let state = env.state(found);
        flags = state.flags;
        // The VLAN is not in a session's key.
        let is_same_link = (flags & Session::TAGGED != 0) != env.tags().is_none();
        let has_right_vlan = !E::CHECKS_VLAN || env.tags().is_none();
        is_known = state.generation == env.generation() && is_same_link && has_right_vlan;
    }
    if !is_known {
        flags = env.check(flags, is_provisioned)?;
        if let Some(found) = session {
            env.update(found, flags);
        }
    }
    Ok(Admitted { flags, session })
}

/// The configuration that sessions are checked by.
pub trait AdmissionRules {
    /// Returns an error unless packets to this address, in frames with these tags, are for us; see [`check_destination`].
    fn check_destination(&self, destination: &Address, tags: Tags) -> Result<(), Reason>;

    /// Returns an error if no host may have sent from this address and port; see [`check_source`].
    fn check_source(&self, source: &Address, port: u16, tags: Tags) -> Result<(), Reason>;

    /// Returns true if we listen on a UDP port.
    fn listens(&self, port: u16) -> bool;

    /// Returns true if a source is on the allow-list, or there is none.
    fn allows(&self, source: &Address) -> bool;

    /// Returns true if only provisioned sessions are answered (RFC 8972 §3).
    fn is_provisioned_only(&self) -> bool;

    /// Returns the flags of the provisioned session that one with this key is made from: the more it says the better.
    fn provision(&self, key: &SessionKey) -> Option<u32>;

    /// Returns true if sessions that nobody has provisioned are authenticated.
    fn authenticates_strangers(&self) -> bool;
}

/// The checks that a session passes once for each generation of the configuration; gives its flags.
///
/// `flags` are those that it has had, and `is_provisioned` says that they are of the provisioned session itself.
#[inline(always)]
pub fn check_session<R: AdmissionRules>(
    rules: &R,
    key: &SessionKey,
    tags: Tags,
    flags: u32,
    mut is_provisioned: bool,
) -> Result<u32, Reason> {
    let mut flags = flags & !Session::TAGGED;
    if !tags.is_none() {
        flags |= Session::TAGGED;
    }
    if !is_provisioned {
        flags &= !(Session::INHERITED | Session::PROVISIONED);
        match rules.provision(key) {
            Some(inherited) => {
                flags |= inherited & Session::INHERITED | Session::PROVISIONED;
                is_provisioned = true;
            }
            None if rules.authenticates_strangers() => flags |= Session::AUTHENTICATED,
            None => {}
        }
    }
    check_rules(rules, key, tags, flags, is_provisioned)?;
    Ok(flags)
}

/// The rules of [`check_session`], in their order.
#[inline(always)]
pub fn check_rules<R: AdmissionRules>(
    rules: &R,
    key: &SessionKey,
    tags: Tags,
    flags: u32,
    is_provisioned: bool,
) -> Result<(), Reason> {
    rules.check_destination(&key.destination, tags)?;
    rules.check_source(&key.source, key.source_port, tags)?;
    if flags & Session::LOOP_EXEMPT == 0 && rules.listens(key.source_port) {
        return Err(Reason::LoopGuard);
    }
    if !rules.allows(&key.source) {
        return Err(Reason::NotAllowed);
    }
    if rules.is_provisioned_only() && !is_provisioned {
        return Err(Reason::NotProvisioned);
    }
    Ok(())
}

/// The addresses of this host, as they matter on one interface.
pub trait LocalAddresses {
    /// Returns the entry of an address in untagged frames.
    fn untagged(&self, address: &Address) -> AddressEntry;

    /// Returns the entry of an address on a VLAN of the interface.
    fn in_vlan(&self, address: &Address, tags: Tags) -> AddressEntry;

    /// Returns true if the interface is the loopback interface, by which our own addresses may ask.
    fn is_loopback(&self) -> bool;

    /// Returns true if frames are answered whatever VLAN tags they have.
    fn is_any_vlan(&self) -> bool;
}

/// The entry of an address, or none, in one register instead of the two of an `Option`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct AddressEntry(LocalAddress);

impl AddressEntry {
    /// A flag that no entry has.
    const NONE: LocalAddress = LocalAddress { flags: 1 << 31 };

    /// From what a look-up has found.
    #[inline(always)]
    pub fn new(entry: Option<LocalAddress>) -> Self {
        Self(entry.unwrap_or(Self::NONE))
    }

    /// Returns true if there is an entry with one of these flags.
    #[inline(always)]
    pub const fn has(self, flags: u32) -> bool {
        self.0.has(flags)
    }

    /// The entry.
    #[inline(always)]
    pub const fn get(self) -> Option<LocalAddress> {
        if self.0.flags == Self::NONE.flags { None } else { Some(self.0) }
    }
}

/// Returns an error unless packets to this address are for us. `has_vlan` is asked for a tagged frame: it says whether the
/// host has a device for its VLAN on the interface.
///
/// A tagged frame is ours where the host has such a device, with the destination among its addresses or among those of the
/// whole host; or where any VLAN is.
#[inline(always)]
pub fn check_destination<A: LocalAddresses>(
    own: &A,
    destination: &Address,
    tags: Tags,
    has_vlan: impl FnOnce() -> bool,
) -> Result<(), Reason> {
    let anywhere = own.untagged(destination);
    if tags.is_none() {
        return if anywhere.has(LocalAddress::ANSWERED) { Ok(()) } else { Err(Reason::NotOurAddress) };
    }
    let is_ours = if own.is_any_vlan() {
        anywhere.has(LocalAddress::ANSWERED) || own.in_vlan(destination, tags).has(LocalAddress::ANSWERED)
    } else {
        has_vlan()
            && (anywhere.has(LocalAddress::EVERYWHERE) || own.in_vlan(destination, tags).has(LocalAddress::ANSWERED))
    };
    if is_ours { Ok(()) } else { Err(Reason::NotOurVlan) }
}

/// Returns an error if no host may have sent from this address and port in a frame with these tags.
#[inline(always)]
pub fn check_source<A: LocalAddresses>(own: &A, source: &Address, port: u16, tags: Tags) -> Result<(), Reason> {
    let known = known(own, source, tags);
    if is_invalid_source(source, port, known.get(), own.is_loopback()) { Err(Reason::InvalidSource) } else { Ok(()) }
}

/// Returns the entry of an address in frames with these tags: that of their VLAN, or else the untagged one.
#[inline(always)]
fn known<A: LocalAddresses>(own: &A, address: &Address, tags: Tags) -> AddressEntry {
    if tags.is_none() {
        return own.untagged(address);
    }
    let entry = own.in_vlan(address, tags);
    if entry.get().is_none() { own.untagged(address) } else { entry }
}
