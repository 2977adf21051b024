//! The punt ring: frames for the controller, untouched, with what the kernel knows about them.

use core::arch::asm;
use core::mem::offset_of;
use core::ptr::{self, NonNull};

use aya_ebpf::helpers::generated::{
    bpf_ringbuf_discard, bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_xdp_load_bytes,
};
use aya_ebpf::programs::XdpContext;
use teaparty_common::maps::{Config, MAX_PUNT_FRAME, PUNT_CLASSES, PuntHeader, RecordKind, SessionCounts, SessionKey};
use teaparty_common::reflect::{PacketMeta, Reason};
use teaparty_common::tlv::access_report::AccessReport;

use crate::maps::{PUNTS, SESSION_COUNTS};
use crate::session::table::SlotPtr;

/// Octets of the record's head.
const HEAD: usize = size_of::<PuntHeader>();

/// Space in the ring for one frame, to be filled.
pub(crate) struct RingbufRecord(*mut PuntHeader);

/// Takes space for a frame of `frame_len` octets. The error is the reason that the packet ends with.
#[inline(always)]
pub(crate) fn reserve(frame_len: usize) -> Result<RingbufRecord, Reason> {
    if frame_len == 0 || frame_len > MAX_PUNT_FRAME {
        return Err(Reason::PuntUnavailable);
    }
    // The verifier wants each size to be a constant.
    let record = if frame_len <= PUNT_CLASSES[0] {
        take::<{ HEAD + PUNT_CLASSES[0] }>()
    } else if frame_len <= PUNT_CLASSES[1] {
        take::<{ HEAD + PUNT_CLASSES[1] }>()
    } else {
        take::<{ HEAD + PUNT_CLASSES[2] }>()
    };
    if record.is_null() { Err(Reason::RingFull) } else { Ok(RingbufRecord(record)) }
}

/// BPF_RB_AVAIL_DATA and BPF_RB_RING_SIZE, from linux/bpf.h.
const AVAILABLE_DATA: u64 = 0;
const RING_SIZE: u64 = 1;

/// Returns true if strangers may have one more frame punted at `now_ns` of CLOCK_MONOTONIC, and charges their budget then.
///
/// They have a rate together, and half of the ring: the other half is there for sessions that were provisioned.
#[inline(always)]
pub(crate) fn is_within_budget(config: &Config, now_ns: u64) -> bool {
    const FULL_AT: usize = offset_of!(SessionCounts, punts_full_at_ns) / 8;
    let ring = ptr::from_ref(&PUNTS).cast_mut().cast();
    // SAFETY: the map is a ring buffer.
    let (waiting, size) = unsafe { (bpf_ringbuf_query(ring, AVAILABLE_DATA), bpf_ringbuf_query(ring, RING_SIZE)) };
    if waiting > size / 2 {
        return false;
    }
    let Some(counts) = SESSION_COUNTS.get_ptr_mut(0).and_then(NonNull::new).map(SlotPtr::new) else { return false };
    config.punt_rate.charge_shared(counts, FULL_AT, now_ns)
}

impl RingbufRecord {
    /// The record's head, to be written in place: a copy on the program's stack of 512 octets would be too much.
    #[inline(always)]
    pub(crate) fn head(&mut self) -> &mut PuntHeader {
        // SAFETY: the space begins with room for the head, aligned to eight octets as all of the ring is, and any
        // octets are a valid head.
        unsafe { &mut *self.0 }
    }

    /// Copies the frame after the head and hands the record over. Returns true on success; else the space is given
    /// back.
    #[inline(always)]
    pub(crate) fn submit(self, ctx: &XdpContext, frame_len: usize) -> bool {
        // SAFETY: the frame's place is after the head, and its class has room for `frame_len` octets; the space is
        // handed over or given back once.
        unsafe {
            let failed = bpf_xdp_load_bytes(ctx.ctx, 0, self.0.add(1).cast(), at_least_one(frame_len) as u32);
            if failed != 0 {
                bpf_ringbuf_discard(self.0.cast(), 0);
                return false;
            }
            bpf_ringbuf_submit(self.0.cast(), 0);
        }
        true
    }
}

/// Tells the controller of an Access Report in a packet that the kernel answers. Where the ring is full it is lost, as
/// the packet itself might have been: the sender repeats a report that no reply has confirmed (RFC 8972 §4.6).
#[inline(always)]
pub(crate) fn report_access(access: AccessReport, key: &SessionKey, meta: &PacketMeta) {
    let number = u32::from(access.id()) << 8 | u32::from(access.return_code);
    report(RecordKind::AccessReport, number, key, meta);
}

/// Hands over a record without a frame, where the ring has room for it.
#[inline(always)]
pub(crate) fn report(kind: RecordKind, number: u32, key: &SessionKey, meta: &PacketMeta) {
    let record = take::<HEAD>();
    if record.is_null() {
        return;
    }
    // SAFETY: room for a head was reserved, aligned to eight octets; it is handed over once.
    unsafe {
        (*record).kind = kind as u32;
        (*record).reason = number;
        (*record).frame_len = 0;
        (*record).payload_len = 0;
        (*record).ip_at = 0;
        (*record).payload_at = 0;
        (*record).session_flags = 0;
        (*record).key = *key;
        (*record).meta = *meta;
        bpf_ringbuf_submit(record.cast(), 0);
    }
}

/// Returns `len`, which is not 0, in a form that each kernel knows not to be 0.
///
/// Linux 6.1 forgets the test for 0 in [`reserve`]: LLVM writes it as a test for equality, from which kernels before 6.8 learn
/// no lower bound ("R3 min value is outside of the allowed memory range"). A comparison by order in assembly stays one.
#[inline(always)]
fn at_least_one(len: usize) -> usize {
    let mut bounded = len;
    // SAFETY: changes one register, and no memory.
    unsafe {
        asm!(
            "if {len} > 0 goto +1",
            "{len} = 1",
            len = inout(reg) bounded,
            options(pure, nomem, nostack),
        )
    };
    bounded
}

#[inline(always)]
fn take<const SIZE: usize>() -> *mut PuntHeader {
    // SAFETY: the map is a ring buffer; null is for the caller to check.
    unsafe { bpf_ringbuf_reserve(ptr::from_ref(&PUNTS).cast_mut().cast(), SIZE as u64, 0).cast() }
}
