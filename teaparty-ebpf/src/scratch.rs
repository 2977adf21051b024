//! Working memory that the steps of one packet share. In a map, because the stack has 512 octets only.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use teaparty_common::frame::{Frame, Tags};
use teaparty_common::maps::{Session, SessionKey, SessionOpRequest};
use teaparty_common::reflect::{PacketMeta, Plan, ReplyOptions, Tlv, TlvScan};
use teaparty_common::wire::checksum::ChecksumDelta;

use crate::outcome::Outcome;

/// TLVs that the fast path walks. The verifier looks at one turn of a walk and not at all of them, so that this is a
/// limit of time and not of complexity.
pub(crate) const MAX_TLVS: usize = 8;

#[btf_map(name = "scratch")]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// The state of the current packet.
pub(crate) struct Scratch {
    pub(crate) key: SessionKey,
    pub(crate) meta: PacketMeta,
    pub(crate) frame: Frame,
    /// The verdict: [`Outcome::PROCEED`] if the packet is answered, or its end.
    pub(crate) outcome: Outcome,
    /// The plan, where the outcome is to answer.
    pub(crate) plan: Plan,
    pub(crate) scan: TlvScan,
    /// The TLVs of a packet that takes the fast path.
    pub(crate) tlvs: [Tlv; MAX_TLVS],
    /// The change of the payload's sum by the processing of TLVs.
    pub(crate) delta: ChecksumDelta,
    pub(crate) reply_options: ReplyOptions,
    /// Index of the configuration for this packet, even if the controller replaces it concurrently.
    pub(crate) active: u32,
    pub(crate) frame_len: usize,
    /// VLAN tags of the frame.
    pub(crate) tags: Tags,
    /// T2, in nanoseconds of CLOCK_TAI.
    pub(crate) received_ns: u64,
    /// True if the map of sessions made by packets has been looked into, and has none for this key.
    pub(crate) is_unknown: bool,
    /// Memory in which a new session is assembled.
    pub(crate) session: Session,
    /// Of session operations.
    pub(crate) request: SessionOpRequest,
}

/// This processor's working memory. A function that holds it and calls another one that takes it must not touch it
/// before the return.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this processor's own, and the program is not re-entered.
    Some(unsafe { &mut *scratch })
}
