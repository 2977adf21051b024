//! The punt ring: frames for the controller, untouched, with what the kernel knows about them.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use teaparty_common::maps::{MAX_PUNT_FRAME, PUNT_CLASSES, PuntHeader, RecordKind, SessionKey};
use teaparty_common::reflect::{Facts, Reason};
use teaparty_common::tlv::steering::AccessReport;

use crate::maps::PUNTS;

/// Octets of the record's head.
const HEAD: usize = size_of::<PuntHeader>();

/// Space in the ring for one frame, to be filled.
pub struct Reserved(*mut PuntHeader);

/// Takes space for a frame of `frame_len` octets. The error is the reason that the packet ends with.
#[inline(always)]
pub fn reserve(frame_len: usize) -> Result<Reserved, Reason> {
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
    if record.is_null() { Err(Reason::RingFull) } else { Ok(Reserved(record)) }
}

/// Fills the space with the record and hands it over.
#[inline(always)]
pub fn submit(ctx: &XdpContext, space: Reserved, header: PuntHeader, frame_len: usize) -> Reason {
    let record = space.0;
    // SAFETY: the space begins with room for the head, aligned to eight octets as all of the ring is.
    unsafe { record.write(header) };
    // SAFETY: the frame's place is behind the head, and its class has room for `frame_len` octets.
    let failed = unsafe {
        let frame = record.add(1).cast();
        bpf_xdp_load_bytes(ctx.ctx, 0, frame, frame_len as u32)
    };
    if failed != 0 {
        // SAFETY: the space that was reserved, given back once.
        unsafe { bpf_ringbuf_discard(record.cast(), 0) };
        return Reason::PuntUnavailable;
    }
    // SAFETY: the space that was reserved, handed over once.
    unsafe { bpf_ringbuf_submit(record.cast(), 0) };
    Reason::from_number(header.reason).unwrap_or(Reason::Internal)
}

/// Tells the controller of an Access Report in a packet that the kernel answers. Where the ring is full it is lost:
/// the sender learns of that from nobody, as RFC 8972 §4.6 only has it wait for the reply.
#[inline(always)]
pub fn report_access(report: AccessReport, key: &SessionKey, facts: &Facts) {
    let record = take::<HEAD>();
    if record.is_null() {
        return;
    }
    let header = PuntHeader {
        kind: RecordKind::AccessReport as u32,
        reason: u32::from(report.id()) << 8 | u32::from(report.return_code),
        frame_len: 0,
        payload_len: 0,
        ip_at: 0,
        payload_at: 0,
        session_flags: 0,
        key: *key,
        facts: *facts,
    };
    // SAFETY: room for a head was reserved, aligned to eight octets; it is handed over once.
    unsafe {
        record.write(header);
        bpf_ringbuf_submit(record.cast(), 0);
    }
}

#[inline(always)]
fn take<const SIZE: usize>() -> *mut PuntHeader {
    // SAFETY: the map is a ring buffer; null is for the caller to check.
    unsafe { bpf_ringbuf_reserve(ptr::from_ref(&PUNTS).cast_mut().cast(), SIZE as u64, 0).cast() }
}
