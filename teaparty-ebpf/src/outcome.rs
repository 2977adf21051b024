//! The outcome of a step for a packet, as the single register that a BPF function can return.

use teaparty_common::maps::TailCall;
use teaparty_common::reflect::{REASON_SLOTS, Reason};

use crate::packet::opaque_to_verifier;

/// The result of one step for a packet: the packet's end, or what continues with it.
///
/// Numbers of reasons are below [`REASON_SLOTS`], all others far above.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Outcome(u32);

impl Outcome {
    /// The packet has passed this step, and the next one continues with it.
    pub(crate) const PROCEED: Self = Self(u32::MAX / 2 - 2);

    /// The step is not for this packet, and has changed nothing.
    pub(crate) const FALL_BACK: Self = Self(u32::MAX / 2);

    /// Like [`Self::FALL_BACK`], and the step has found no session for the packet.
    pub(crate) const NO_SESSION: Self = Self(u32::MAX / 2 - 1);

    /// The packet ends here, with this reason.
    #[inline(always)]
    pub(crate) const fn end(reason: Reason) -> Self {
        Self(reason as u32)
    }

    /// Another program continues with the packet.
    #[inline(always)]
    pub(crate) const fn tail_call(program: TailCall) -> Self {
        Self(u32::MAX - program as u32)
    }

    /// Returns the reason that the packet ended with, or [`Reason::Internal`] if it has not ended.
    #[inline(always)]
    pub(crate) fn reason(self) -> Reason {
        Reason::from_number(self.0).unwrap_or(Reason::Internal)
    }

    /// Returns the index of the reason in a table of [`REASON_SLOTS`] elements.
    ///
    /// The remainder changes nothing, and is the bound that the verifier wants.
    #[inline(always)]
    pub(crate) const fn slot(self) -> usize {
        self.0 as usize % REASON_SLOTS
    }

    /// Returns the same outcome, and hides it from LLVM and the verifier. `unknown` is any number that they do not know.
    #[inline(always)]
    pub(crate) fn opaque(self, unknown: u64) -> Self {
        Self(opaque_to_verifier(self.0 as usize, unknown) as u32)
    }
}
