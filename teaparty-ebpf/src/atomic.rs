//! Numbers in map values that several processors change.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds to a number that other processors may be adding to, and gives what it was.
///
/// # Safety
///
/// `number` points at an aligned `u64` in a map value.
#[inline(always)]
pub(crate) unsafe fn fetch_add(number: *mut u64, more: u64) -> u64 {
    // Not `Relaxed`: for that LLVM 22 takes the instruction without BPF_FETCH, and `more` is what comes back.
    // SAFETY: the caller's. `AtomicU64` does not exist for this target, which has the instruction all the same.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(number, more) }
}
