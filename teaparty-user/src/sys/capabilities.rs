//! What a running controller may still do: only what answering, and following interfaces, takes.
//!
//! Capabilities belong to threads. They are given up while there is one thread, so that all later ones never have them.

use std::io;
use std::sync::OnceLock;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// The capabilities of any reflector: to bind its ports again when an interface comes back, and for large queues.
pub(crate) const ALWAYS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE.union(CapabilitySet::NET_ADMIN);

/// The further capabilities of one with the XDP program: maps, the session program and loading for an interface that
/// comes back (CAP_BPF; CAP_PERFMON, without which the verifier takes a program like ours for one that leaks
/// pointers), and frames out of an interface (CAP_NET_RAW).
pub(crate) const WITH_XDP: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::NET_RAW);

/// The capabilities that this process had and has given up.
static GIVEN_UP: OnceLock<CapabilitySet> = OnceLock::new();

/// Returns what of `needed` this process had and has given up, so that only another start has it again.
pub(crate) fn given_up(needed: CapabilitySet) -> CapabilitySet {
    GIVEN_UP.get().map_or(CapabilitySet::empty(), |gone| *gone & needed)
}

/// Returns the capabilities that this thread lacks for a reflector with the XDP program.
pub(crate) fn missing() -> CapabilitySet {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    (ALWAYS | WITH_XDP) - has
}

/// Returns true if this thread has all of these.
pub(crate) fn has(wanted: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// Gives up all capabilities but these, forever: also a program that this process might start could not get others.
///
/// To be called while the process has one thread. As root it stays the owner of root's files, but of no others: what is
/// read later must be readable by its owner.
pub(crate) fn keep_only(needed: CapabilitySet) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted;
    let kept = permitted & needed;
    // The bounding set first: shrinking it takes CAP_SETPCAP. Who hasn't that can't raise anything by it either, once
    // no-new-privileges is set.
    if permitted.contains(CapabilitySet::SETPCAP) {
        let all = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
        // The kernel knows no capability above the first that it does not know.
        let known = all.map_while(|one| Some((one, capability_is_in_bounding_set(one).ok()?)));
        for (one, _) in known.filter(|(one, is_in)| *is_in && !kept.contains(*one)) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    clear_ambient_capability_set()?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    set_no_new_privs(true)?;
    // Once in a process: there is nothing left to give up a second time.
    let _ = GIVEN_UP.set(permitted - kept);
    tracing::debug!(kept = ?kept, "capabilities kept");
    Ok(())
}
