//! What is decided about a packet, before anything is written to it.

use crate::reason::Reason;
use crate::registry::KindSet;
use crate::wire::Mode;

/// The decision of [`crate::reflect::plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// [`crate::reflect::apply`] may run; nothing it does can fail any more.
    Reflect(Plan),
    /// This environment can't answer it; another one may.
    Punt(Reason),
    /// Nobody answers it.
    Drop(Reason),
}

/// The findings of [`crate::reflect::plan`], for [`crate::reflect::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Octets of UDP payload.
    pub len: usize,
    /// Layout of the base packet.
    pub mode: Mode,
    /// True if there are TLVs to look at.
    pub has_tlvs: bool,
    /// True if they may have an effect.
    pub integrity: TlvIntegrity,
    /// End of the walk over TLVs: `len`, or the start of padding with zeros.
    pub tlvs_end: usize,
    /// Kinds that occur before the walk ends.
    pub seen: KindSet,
    /// Return Path asks for no reply while Reflected Test Packet Control asks for some: U on both (RFC 10052 §4.3).
    pub control_conflict: bool,
    /// A Reflected IPv6 Extension Header stands before a Reflected Fixed Header: C on all of them (ext-hdr §3.3).
    pub headers_out_of_order: bool,
}

impl Plan {
    /// To reflect a packet of `len` octets whose tail is not looked at.
    #[inline(always)]
    pub const fn without_tlvs(len: usize, mode: Mode) -> Self {
        Self {
            len,
            mode,
            has_tlvs: false,
            integrity: TlvIntegrity::NotAsked,
            tlvs_end: len,
            seen: KindSet::EMPTY,
            control_conflict: false,
            headers_out_of_order: false,
        }
    }
}

/// The result of verifying the HMAC TLV, before any TLV has an effect (RFC 8972 §4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlvIntegrity {
    /// There is nothing to verify.
    NotAsked,
    /// The HMAC TLV is right; the environment signs the reply's after [`crate::reflect::apply`].
    Verified,
    /// It is wrong, missing where it must be, misplaced, or there is no key: every TLV comes back with the I flag.
    Failed,
}
