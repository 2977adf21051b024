//! The rules of [`teaparty_common::reflect::admission`], by the maps.

use core::arch::asm;
use core::ptr::NonNull;

use aya_ebpf::btf_maps::lpm_trie::Key;
use teaparty_common::frame::Tags;
use teaparty_common::maps::{Config, ControlBlock, Session, SessionKey, rate_limit};
use teaparty_common::reflect::admission::{self, AdmissionEnv, AdmissionRules, EntryState};
use teaparty_common::reflect::{Address, Reason, provisioned};

use super::addresses::KernelAddresses;
use super::provisioned::{ProvisionedMap, provisioned as provisioned_entry};
use super::table::{self, SlotPtr};
use crate::maps::{ALLOWED, BUCKETS, SESSION_COUNTS, kernel_config};
use crate::outcome::Outcome;

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
        if self.config.has(Config::HAS_PROVISIONED) { provisioned_entry(self.key) } else { None }
    }

    #[inline(always)]
    fn find(&mut self) -> Option<NonNull<Session>> {
        if self.config.has(Config::STATEFUL) && !self.is_unknown { table::find() } else { None }
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
    let Some(found) = provisioned::provision(&ProvisionedMap(config), &other) else { return Outcome::NO_SESSION };
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
        if tags.is_none() {
            admission::check_destination(&KernelAddresses(self.0), destination, tags, || false)
        } else {
            Ok(())
        }
    }

    #[inline(always)]
    fn check_source(&self, source: &Address, port: u16, tags: Tags) -> Result<(), Reason> {
        admission::check_source(&KernelAddresses(self.0), source, port, tags)
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
        provisioned::inherited(&ProvisionedMap(self.0), key)
    }

    #[inline(always)]
    fn authenticates_strangers(&self) -> bool {
        self.0.has(Config::AUTHENTICATED)
    }
}

/// In the flags that [`check_session`] is given: the session itself is provisioned. BPF functions take five arguments at most.
const PROVISIONED_ITSELF: u32 = 1 << 31;

/// A key of the allow-list so placed that its address is aligned, as the verifier wants what is on the stack: a key itself
/// is packed.
#[repr(C, align(8))]
struct Aligned {
    before: u32,
    prefix: Key<Address>,
}

/// Charges the bucket of a source for a packet that came at `now_ns` of CLOCK_MONOTONIC. Returns true if it is within its rate.
#[inline(always)]
pub(crate) fn is_within_rate(source: &Address, control: &ControlBlock, config: &Config, now_ns: u64) -> bool {
    let source = config.rate_prefix.of(source);
    let row = BUCKETS.get_ptr_mut(control.table.bucket_set(&source)).and_then(NonNull::new);
    row.map(SlotPtr::new).is_none_or(|row| rate_limit::admit(row, &source, now_ns, config.source_rate))
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
