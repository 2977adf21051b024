//! Numbers that the verifier must not know.

use core::arch::asm;

/// Returns `number`, and hides its range from the verifier, which knows as little of it as of `unknown`.
///
/// The verifier walks the code after a join once for each known value that arrives there. LLVM spills to memory before
/// what it would keep in registers.
#[inline(always)]
pub(crate) fn opaque_to_verifier(number: usize, unknown: u64) -> usize {
    let mut hidden = number;
    // SAFETY: XOR-ing twice with the same value restores it; no memory is accessed.
    unsafe {
        asm!("{hidden} ^= {unknown}", "{hidden} ^= {unknown}", hidden = inout(reg) hidden, unknown = in(reg) unknown,
             options(nostack))
    };
    hidden
}
