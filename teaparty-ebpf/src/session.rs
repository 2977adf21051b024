//! Whether a packet is to be answered at all, and the state of the session that it belongs to.

use core::arch::asm;
use core::hint::black_box;
use core::mem::offset_of;
use core::ptr::NonNull;

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::Tags;
use teaparty_common::maps::{
    Config, ControlBlock, HistoryKey, HistorySlot, LocalAddress, MacCheck, Session, SessionKey, VlanEntry, VlanKey,
    check_macs, rate_limit,
};
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::admission::{
    self, AddressEntry, AdmissionEnv, AdmissionRules, EntryState, LocalAddresses,
};
use teaparty_common::reflect::{Address, Policy, Reason};
use teaparty_common::wire::sender::UnauthenticatedPacket;

use crate::atomic::fetch_add;
use crate::maps::{ADDRESSES, ALLOWED, BUCKETS, HISTORY, PROVISIONED, SESSION_COUNTS, VLANS, kernel_config};
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::scratch::Scratch;
use crate::session_table::{self, SlotPtr};

/// The result of admission.
pub(crate) type KernelAdmitted = admission::Admitted<NonNull<Session>>;

/// A packet that asks for admission. Its key is the one in working memory.
pub(crate) struct KernelAdmission<'a, S> {
    pub(crate) key: &'a SessionKey,
    pub(crate) tags: Tags,
    /// True if the table has no session for the key.
    pub(crate) is_unknown: bool,
    /// Reads the SSID in the place where an authenticated packet has it.
    pub(crate) ssid_authenticated: S,
    pub(crate) control: &'a ControlBlock,
    pub(crate) config: &'a Config,
    /// Arrival of the packet, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) now_ns: u64,
}

impl<S: Fn() -> u16> AdmissionEnv for KernelAdmission<'_, S> {
    type Entry = NonNull<Session>;
    // `check_link` has.
    const CHECKS_VLAN: bool = false;

    #[inline(always)]
    fn tags(&self) -> Tags {
        self.tags
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        self.control.generation
    }

    #[inline(always)]
    fn admit_authenticated(&mut self) -> Option<Result<KernelAdmitted, Reason>> {
        if !self.config.has(Config::HAS_AUTHENTICATED) {
            return None;
        }
        let mut flags = 0;
        match check_authenticated(self.key, (self.ssid_authenticated)(), self.config, &mut flags, self.tags) {
            Outcome::NO_SESSION => None,
            Outcome::PROCEED => Some(Ok(KernelAdmitted { flags, session: None })),
            other => Some(Err(other.reason())),
        }
    }

    #[inline(always)]
    fn find_provisioned(&mut self) -> Option<NonNull<Session>> {
        if self.config.has(Config::HAS_PROVISIONED) { provisioned(self.key) } else { None }
    }

    #[inline(always)]
    fn find(&mut self) -> Option<NonNull<Session>> {
        if self.config.has(Config::STATEFUL) && !self.is_unknown { session_table::find() } else { None }
    }

    #[inline(always)]
    fn state(&self, entry: NonNull<Session>) -> EntryState {
        // SAFETY: a value of a map, looked up above; the entry stays readable until the program ends.
        let found = unsafe { entry.as_ref() };
        EntryState { flags: found.flags, generation: found.generation }
    }

    #[inline(always)]
    fn check(&mut self, flags: u32, is_provisioned: bool) -> Result<u32, Reason> {
        let mut flags = if is_provisioned { flags | PROVISIONED_ITSELF } else { flags };
        let outcome = check_session(self.key, self.config, &mut flags, self.tags.0);
        if outcome == Outcome::PROCEED { Ok(flags) } else { Err(outcome.reason()) }
    }

    #[inline(always)]
    fn update(&mut self, entry: NonNull<Session>, flags: u32) {
        // SAFETY: empty. It keeps LLVM from making one test of the two for an entry in `admit`, from which Linux 6.1 does not
        // see that there is a session ("R2 invalid mem access 'scalar'").
        unsafe { asm!("", options(nomem, nostack)) };
        if flags & Session::AUTHENTICATED == 0 {
            // SAFETY: as above; plain stores of whole words, and any other processor would store the same.
            unsafe {
                (*entry.as_ptr()).flags = flags;
                (*entry.as_ptr()).generation = self.control.generation;
            }
        }
    }

    #[inline(always)]
    fn is_within_rate(&mut self) -> bool {
        !self.config.source_rate.is_limited()
            || is_within_rate(&self.key.source, self.control, self.config, self.now_ns)
    }
}

/// The entry of a provisioned session. A packet from port 0 finds the wildcard itself, which keeps no state.
#[inline(always)]
pub(crate) fn provisioned(key: &SessionKey) -> Option<NonNull<Session>> {
    let found = PROVISIONED.get_ptr_mut(key).and_then(NonNull::new)?;
    // SAFETY: a value of a map, looked up above; the entry stays readable until the program ends.
    if unsafe { found.as_ref() }.flags & Session::WILDCARD != 0 { None } else { Some(found) }
}

/// Looks for the provisioned authenticated session that a packet is of, by the SSID in its place there. Returns
/// [`Outcome::NO_SESSION`] if there is none, or what [`check_session`] does, with the session's flags in `flags`. Another
/// function for the stack.
#[inline(never)]
fn check_authenticated(
    key: &SessionKey,
    ssid_authenticated: u16,
    config: &Config,
    flags: &mut u32,
    tags: Tags,
) -> Outcome {
    let mut other = *key;
    other.ssid = ssid_authenticated;
    let found = match provisioned_flags(&other) {
        Some(found) => found,
        None => match wildcard(&other, config) {
            Some(found) => found,
            None => return Outcome::NO_SESSION,
        },
    };
    if found & Session::AUTHENTICATED == 0 {
        return Outcome::NO_SESSION;
    }
    *flags = found & Session::INHERITED | Session::PROVISIONED;
    match admission::check_rules(&KernelRules(config), key, tags, *flags, true) {
        Ok(()) => Outcome::PROCEED,
        Err(reason) => Outcome::end(reason),
    }
}

/// [`admission::check_session`]. A function of its own for the sake of the stack; returns [`Outcome::PROCEED`] or the packet's end.
#[inline(never)]
fn check_session(key: &SessionKey, config: &Config, flags: &mut u32, tags: u64) -> Outcome {
    let is_provisioned = *flags & PROVISIONED_ITSELF != 0;
    match admission::check_session(&KernelRules(config), key, Tags(tags), *flags & !PROVISIONED_ITSELF, is_provisioned)
    {
        Ok(admitted) => {
            *flags = admitted;
            Outcome::PROCEED
        }
        Err(reason) => Outcome::end(reason),
    }
}

/// The configuration and the maps that belong to it.
struct KernelRules<'a>(&'a Config);

impl AdmissionRules for KernelRules<'_> {
    #[inline(always)]
    fn check_destination(&self, destination: &Address, tags: Tags) -> Result<(), Reason> {
        // Of a tagged frame `check_link` has looked for it.
        if tags.is_none() { admission::check_destination(self, destination, tags, || false) } else { Ok(()) }
    }

    #[inline(always)]
    fn check_source(&self, source: &Address, port: u16, tags: Tags) -> Result<(), Reason> {
        admission::check_source(self, source, port, tags)
    }

    #[inline(always)]
    fn listens(&self, port: u16) -> bool {
        kernel_config().is_some_and(|kernel_config| kernel_config.listens(port))
    }

    #[inline(always)]
    fn allows(&self, source: &Address) -> bool {
        if !self.0.has(Config::ALLOW_LIST) {
            return true;
        }
        let whole = Aligned { before: 0, prefix: Key::new(128, *source) };
        ALLOWED.get(&whole.prefix).is_some_and(|bits| *bits & self.0.allowed_bit() != 0)
    }

    #[inline(always)]
    fn is_provisioned_only(&self) -> bool {
        self.0.has(Config::PROVISIONED_ONLY)
    }

    #[inline(always)]
    fn provision(&self, key: &SessionKey) -> Option<u32> {
        wildcard(key, self.0)
    }

    #[inline(always)]
    fn authenticates_strangers(&self) -> bool {
        self.0.has(Config::AUTHENTICATED)
    }
}

impl LocalAddresses for KernelRules<'_> {
    #[inline(always)]
    fn untagged(&self, address: &Address) -> AddressEntry {
        known(address)
    }

    #[inline(always)]
    fn in_vlan(&self, address: &Address, tags: Tags) -> AddressEntry {
        known_in_vlan(address, tags)
    }

    #[inline(always)]
    fn is_loopback(&self) -> bool {
        self.0.has(Config::LOOPBACK)
    }

    #[inline(always)]
    fn is_any_vlan(&self) -> bool {
        self.0.has(Config::ANY_VLAN)
    }
}

/// Checks what a session's key does not say: MAC addresses, and the VLAN with its address. Gives the frame's tags.
#[inline(always)]
pub(crate) fn check_link(ctx: &XdpContext, config: &Config, scratch: &Scratch) -> Result<Tags, Reason> {
    let frame = Packet::new(ctx, 0);
    let tags = scratch.frame.tags(&frame).ok_or(Reason::MalformedHeader)?;
    let mut mac = u64::from_ne_bytes(config.mac);
    if !tags.is_none() {
        let device = vlan(&Address::from_words([black_box(0), black_box(0)]), tags);
        if let Some(device) = device {
            mac = u64::from_ne_bytes(device.mac);
        }
        admission::check_destination(&KernelRules(config), &scratch.key.destination, tags, || device.is_some())?;
    }
    match check_macs(&frame, mac, config.has(Config::ANY_MAC)) {
        MacCheck::Right => Ok(tags),
        MacCheck::OtherDestination => Err(Reason::NotOurAddress),
        MacCheck::GroupSource => Err(Reason::InvalidSource),
    }
}

/// Returns true if a Destination Node Address in a frame with these tags may name this address.
#[inline(always)]
pub(crate) fn is_node(address: &Address, tags: Tags) -> bool {
    known(address).has(LocalAddress::NODE) || (!tags.is_none() && known_in_vlan(address, tags).has(LocalAddress::NODE))
}

/// In the flags that [`check_session`] is given: the session itself is provisioned. BPF functions take five arguments at most.
const PROVISIONED_ITSELF: u32 = 1 << 31;

#[inline(always)]
fn known(address: &Address) -> AddressEntry {
    // SAFETY: the value is copied.
    AddressEntry::new(unsafe { ADDRESSES.get(address) }.copied())
}

/// Returns the entry of an address on a VLAN of the interface.
#[inline(always)]
fn known_in_vlan(address: &Address, tags: Tags) -> AddressEntry {
    AddressEntry::new(vlan(address, tags).map(|entry| LocalAddress { flags: entry.flags }))
}

#[inline(always)]
fn vlan(address: &Address, tags: Tags) -> Option<&'static VlanEntry> {
    let key = VlanKey { address: *address, tags: tags.0 };
    // SAFETY: an entry stays readable until the program ends, and whole words of it are read.
    unsafe { VLANS.get(key) }
}

/// A key of the allow-list so placed that its address is aligned, as the verifier wants what is on the stack: a key itself
/// is packed.
#[repr(C, align(8))]
struct Aligned {
    before: u32,
    prefix: Key<Address>,
}

/// The flags of the provisioned session that stands for others and fits: with a wildcard, the more it says the better; else
/// one that is found whatever the SSID is.
#[inline(always)]
fn wildcard(key: &SessionKey, config: &Config) -> Option<u32> {
    if config.has(Config::HAS_WILDCARDS)
        && let Some(flags) = by_wildcards(key, provisioned_flags)
    {
        return Some(flags);
    }
    if config.has(Config::HAS_ANY_SSID) { any_ssid(key, config).map(|(flags, _)| flags) } else { None }
}

/// Looks for a key's wildcards in turn.
#[inline(always)]
fn by_wildcards<T>(key: &SessionKey, look: impl Fn(&SessionKey) -> Option<T>) -> Option<T> {
    // Written out, and with zeros that LLVM can't see: else it calls memset, which the verifier does not take.
    let mut wild = *key;
    wild.source_port = 0;
    if let Some(found) = look(&wild) {
        return Some(found);
    }
    wild.destination = Address::from_words([black_box(0), black_box(0)]);
    wild.source_port = key.source_port;
    if let Some(found) = look(&wild) {
        return Some(found);
    }
    wild.source_port = 0;
    look(&wild)
}

/// Flags and SSID of the provisioned session that is found for these addresses and ports whatever the SSID is.
#[inline(always)]
fn any_ssid(key: &SessionKey, config: &Config) -> Option<(u32, u16)> {
    // SAFETY: only flags and SSID are copied.
    let look = |key: &SessionKey| unsafe { PROVISIONED.get(key) }.map(|found| (found.flags, found.ssid));
    let any = key.any_ssid();
    match look(&any) {
        None if config.has(Config::HAS_WILDCARDS) => by_wildcards(&any, look),
        found => found,
    }
}

/// The SSID of the session that a packet with this key is of. What stands in the place of the SSID is none where the session
/// has no TLVs, or where SSIDs are ignored. A function of its own for the sake of the stack.
#[inline(never)]
pub(crate) fn own_ssid(key: &SessionKey, config: &Config) -> u32 {
    let stated = u32::from(key.ssid);
    if provisioned_flags(key).is_some()
        || (config.has(Config::HAS_WILDCARDS) && by_wildcards(key, provisioned_flags).is_some())
    {
        return stated;
    }
    match any_ssid(key, config) {
        Some((flags, ssid)) if flags & Session::NO_TLV != 0 || config.policy.has(Policy::IGNORE_SSID) => ssid.into(),
        _ => stated,
    }
}

#[inline(always)]
fn provisioned_flags(key: &SessionKey) -> Option<u32> {
    // SAFETY: only the flags are copied.
    unsafe { PROVISIONED.get(key) }.map(|found| found.flags)
}

/// Charges the bucket of a source for a packet that came at `now_ns` of CLOCK_MONOTONIC. Returns true if it is within its rate.
#[inline(always)]
pub(crate) fn is_within_rate(source: &Address, control: &ControlBlock, config: &Config, now_ns: u64) -> bool {
    let source = config.rate_prefix.of(source);
    let row = BUCKETS.get_ptr_mut(control.table.bucket_set(&source)).and_then(NonNull::new);
    row.map(SlotPtr::new).is_none_or(|row| rate_limit::admit(row, &source, now_ns, config.source_rate))
}

/// Sequence Number and T1 of a request in unauthenticated mode: by these a sender that has started again is known.
#[inline(always)]
pub(crate) fn restart_marks(payload: &impl PacketBuf) -> (u32, u64) {
    const TIMESTAMP: usize = offset_of!(UnauthenticatedPacket, timestamp);
    let sequence = payload.get::<4>(0).map_or(0, u32::from_be_bytes);
    (sequence, payload.get::<8>(TIMESTAMP).map_or(0, u64::from_be_bytes))
}

/// Has a session count from 0 again, and forget what it remembered: [`Session::reset`] in the kernel.
#[inline(always)]
fn restart(session: *mut Session, config: &Config) {
    let history_tag = if config.has(Config::HISTORY) { next_tag() } else { 0 };
    // SAFETY: a value of a map. Whole words are written, and a packet of the run before that comes at the same moment may
    // take a number of the new one, as it may where the controller has a session start over.
    unsafe {
        (*session).flags &= !Session::HAS_PREVIOUS;
        (*session).unanswered = 0;
        (*session).previous_timestamp = 0;
        (*session).previous_sequence = 0;
        (*session).history_tag = history_tag;
        (*session).replies = 0;
    }
}

/// The session's entry, made if there is none: of the key in working memory and of `scratch`, which is its session there.
/// A session whose sender has restarted starts over. `received_ns` is of CLOCK_MONOTONIC.
#[inline(always)]
pub(crate) fn find_or_make(
    scratch: &mut Session,
    admitted: &KernelAdmitted,
    (sequence, sender_timestamp): (u32, u64),
    control: &ControlBlock,
    config: &Config,
    received_ns: u64,
) -> Option<NonNull<Session>> {
    if let Some(session) = admitted.session {
        // SAFETY: a value of a map, of which whole words are read.
        if sequence == 0 && unsafe { session.as_ref() }.is_restart(sequence, sender_timestamp, config.session_restart_s)
        {
            restart(session.as_ptr(), config);
        }
        return admitted.session;
    }
    let history_tag = if config.has(Config::HISTORY) { next_tag() } else { 0 };
    *scratch = Session {
        flags: admitted.flags,
        generation: control.generation,
        history_tag,
        last_received_ns: received_ns,
        ..Session::default()
    };
    session_table::make()
}

/// Least time from one report of the loop guard to the next, in nanoseconds: a flood must not fill the ring.
const LOOP_REPORT_INTERVAL_NS: u64 = 1_000_000_000;

/// Returns true if the controller must be notified of a packet that the loop guard drops at `now_ns` of CLOCK_TAI.
#[inline(always)]
pub(crate) fn is_loop_due(now_ns: u64) -> bool {
    let Some(serial) = SESSION_COUNTS.get_ptr_mut(0) else { return false };
    // SAFETY: a value of a map, of which a whole word is read and written; two processors may tell of one packet each.
    let told_ns = unsafe { &mut (*serial).loop_told_ns };
    let is_due = now_ns.wrapping_sub(*told_ns) >= LOOP_REPORT_INTERVAL_NS;
    if is_due {
        *told_ns = now_ns;
    }
    is_due
}

/// A tag for a new session's history: never 0.
#[inline(always)]
fn next_tag() -> u32 {
    let Some(serial) = SESSION_COUNTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: a value of a map, eight octets, aligned.
    let number = unsafe { fetch_add(&raw mut (*serial).made, 1) } as u32;
    // 0 means no history; after 2^32 sessions one tag is skipped.
    if number == u32::MAX { 1 } else { number + 1 }
}

/// Remembers an exchange for the History TLV, in a session with this tag.
#[inline(always)]
pub(crate) fn remember(tag: u32, exchange: HistorySlot, config: &Config) {
    if tag == 0 {
        return;
    }
    let ring = HistoryKey::ring(tag, config.history_rings);
    if let Some(ring) = HISTORY.get_ptr_mut(ring) {
        // SAFETY: a value of a map; the index is below the depth.
        let slot = unsafe { &mut (*ring).slots[HistoryKey::slot(exchange.reflector_sequence)] };
        *slot = HistorySlot { tag, reserved: 0, ..exchange };
    }
}
