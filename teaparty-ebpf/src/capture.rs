//! Mirrors packets to our ports, as they arrived and as they left, for whoever captures.
//!
//! Only the programs with capture call this. The frame is copied when T2 has been read, before anything is changed in it; how
//! the packet ended is known later, maybe in another program.
//!
//! The functions are global for the verifier's sake: it walks them once, and not on each way that leads here. They call none, and
//! have 64 octets of stack at most: more `teaparty_v6_capture` does not leave.

use core::arch::asm;
use core::ptr::{self, NonNull};

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_ringbuf_output, bpf_xdp_load_bytes};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{Frame, Ipv4, Ipv6, ParsedHeaders};
use teaparty_common::maps::capture::{CaptureCounts, CapturedHeader, MAX_CAPTURES, MAX_SNAPLEN};
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{Address, Reason};

use crate::maps::{CAPTURE_BUCKETS, CAPTURE_CONFIG, CAPTURE_COUNTS, CAPTURED, kernel_config};
use crate::outcome::Outcome;
use crate::packet::{Packet, opaque_to_verifier};
use crate::session::table::SlotPtr;

/// BPF_RB_NO_WAKEUP: the controller looks into the ring by itself, so that no packet pays for waking it.
const NO_WAKEUP: u64 = 1;

#[btf_map(name = "capture_scratch")]
static CAPTURE_SCRATCH: PerCpuArray<CaptureScratch, 1> = PerCpuArray::new();

/// The packet that is being captured.
#[repr(C, align(8))]
struct CaptureScratch {
    /// Its addresses and ports, from the sender to us.
    source: Address,
    destination: Address,
    ports: [u16; 2],
    /// The captures whose filter it matches, as bits; 0 where there is no packet.
    matching: u32,
    head: CapturedHeader,
    /// The frame as it arrived, and after it its reply.
    frames: [u8; 2 * MAX_SNAPLEN],
}

/// Copies a frame that is to one of our ports, where a filter matches it. Returns true if one does.
#[inline(always)]
pub(crate) fn begin(ctx: &XdpContext, frame: &Frame, frame_len: usize, received_ns: u64) -> bool {
    let ip = (frame.ip_at as u32) << 1 | u32::from(frame.is_ipv6);
    let ports = u32::from(frame.source_port) << 16 | u32::from(frame.destination_port);
    teaparty_capture_begin(ctx.ctx, ip, ports, frame_len as u32, received_ns) != 0
}

/// [`begin`] for a packet of the fast path: no call where all captures are of another host, as its return alone takes 6 to 7 ns.
/// The verifier does not learn the result.
#[inline(always)]
pub(crate) fn begin_fast(ctx: &XdpContext, found: &ParsedHeaders, frame_len: usize, received_ns: u64) -> bool {
    let may_match = CAPTURE_CONFIG.get(0).is_some_and(|config| config.may_match(&found.source, &found.destination));
    let matches = may_match && begin(ctx, &found.frame, frame_len, received_ns);
    opaque_to_verifier(matches.into(), received_ns) != 0
}

/// Hands over the packet that was copied, if there is one, with how it ended and its reply.
#[inline(always)]
pub(crate) fn end(ctx: &XdpContext, outcome: Outcome) {
    let captures = teaparty_capture_due(outcome.slot() as u32);
    if captures == 0 {
        return;
    }
    for number in 0..MAX_CAPTURES as u32 {
        if captures >> number & 1 != 0 {
            teaparty_capture_charge(number);
        }
    }
    teaparty_capture_submit(ctx.ctx);
}

/// [`begin`]. `ip` is the offset of the IP header, and in the lowest bit whether that is IPv6's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_capture_begin(ctx: *mut xdp_md, ip: u32, ports: u32, frame_len: u32, received_ns: u64) -> u32 {
    let ctx = XdpContext::new(ctx);
    copy_arrival(&ctx, ip, ((ports >> 16) as u16, ports as u16), frame_len, received_ns).is_some().into()
}

#[inline(always)]
fn copy_arrival(ctx: &XdpContext, ip: u32, ports: (u16, u16), frame_len: u32, received_ns: u64) -> Option<()> {
    let config = CAPTURE_CONFIG.get(0)?;
    let scratch = scratch()?;
    scratch.matching = 0;
    scratch.head.received_ns = received_ns;
    scratch.head.frame_len = frame_len;
    scratch.ports = [ports.0, ports.1];
    let (packet, at) = (Packet::new(ctx, 0), (ip >> 1) as usize);
    let (source, destination) = if ip & 1 != 0 {
        let at = at + core::mem::offset_of!(Ipv6, source);
        (Address(packet.get::<16>(at)?), Address(packet.get::<16>(at + 16)?))
    } else {
        let at = at + core::mem::offset_of!(Ipv4, source);
        (Address::v4(packet.get::<4>(at)?), Address::v4(packet.get::<4>(at + 4)?))
    };
    scratch.source = source;
    scratch.destination = destination;
    let mut matching = 0;
    for (number, filter) in config.filters.iter().enumerate() {
        // SAFETY: empty. Memory counts as changed: else LLVM keeps addresses on the stack.
        unsafe { asm!("", options(nostack)) };
        if filter.matches(&scratch.source, &scratch.destination, scratch.ports.into()) {
            matching |= 1 << number;
        }
    }
    if matching == 0 {
        return None;
    }
    let len = within_snaplen(scratch.head.frame_len.min(config.snaplen));
    // SAFETY: the memory has room for as many octets as the bound allows.
    if unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, scratch.frames.as_mut_ptr().cast(), len) } != 0 {
        return None;
    }
    scratch.matching = matching;
    scratch.head.captured_len = len;
    scratch.head.reply_at = 0;
    scratch.head.reserved = 0;
    Some(())
}

/// Returns the captures that are for a packet that was copied and ended with this reason, by its number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_capture_due(reason: u32) -> u32 {
    find_due(reason).unwrap_or(0)
}

#[inline(always)]
fn find_due(reason: u32) -> Option<u32> {
    let scratch = scratch()?;
    let matching = core::mem::take(&mut scratch.matching);
    if matching == 0 {
        return None;
    }
    scratch.head.reason = reason;
    scratch.head.captures = 0;
    let mut due = 0;
    for (number, filter) in CAPTURE_CONFIG.get(0)?.filters.iter().enumerate() {
        due |= (filter.reasons >> (reason & 63) & 1) << number;
    }
    Some(matching & due as u32)
}

/// Marks the packet as one of this capture's if its rate allows one more, or counts it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_capture_charge(number: u32) -> u32 {
    charge(number as usize & (MAX_CAPTURES - 1)).is_some().into()
}

#[inline(always)]
fn charge(number: usize) -> Option<()> {
    let scratch = scratch()?;
    let now_ns = kernel_config()?.control.clock.monotonic_ns(scratch.head.received_ns);
    let rate = CAPTURE_CONFIG.get(0)?.filters[number].rate;
    let buckets = SlotPtr::new(NonNull::new(CAPTURE_BUCKETS.get_ptr_mut(0)?)?);
    if rate.charge_shared(buckets, number, now_ns) {
        scratch.head.captures |= 1 << number;
    } else {
        counts()?.above_rate[number] += 1;
    }
    Some(())
}

/// Hands over the packet that was copied, where it is one of a capture.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_capture_submit(ctx: *mut xdp_md) -> u32 {
    submit(&XdpContext::new(ctx)).is_some().into()
}

#[inline(always)]
fn submit(ctx: &XdpContext) -> Option<()> {
    let scratch = scratch()?;
    let head = &mut scratch.head;
    if head.captures == 0 {
        return None;
    }
    let len = within_snaplen(head.captured_len);
    let mut octets = len;
    if head.reason == Reason::Reflected as u32 {
        let at = within_snaplen((len + 7) & !7);
        // SAFETY: the memory has room for twice as many octets as the bound of either allows.
        unsafe {
            let place = scratch.frames.as_mut_ptr().add(at as usize);
            if bpf_xdp_load_bytes(ctx.ctx, 0, place.cast(), len) == 0 {
                head.reply_at = at;
                octets = at + len;
            }
        }
    }
    let octets = (size_of::<CapturedHeader>() as u32 + octets).into();
    let ring = ptr::from_ref(&CAPTURED).cast_mut().cast();
    // SAFETY: the map is a ring buffer, and that many octets of working memory were written.
    if unsafe { bpf_ringbuf_output(ring, ptr::from_mut(head).cast(), octets, NO_WAKEUP) } != 0 {
        let (captures, counts) = (head.captures, counts()?);
        for number in 0..MAX_CAPTURES {
            counts.ring_full[number] += u64::from(captures >> number & 1);
        }
    }
    Some(())
}

/// This processor's packet.
#[inline(always)]
fn scratch() -> Option<&'static mut CaptureScratch> {
    let scratch = CAPTURE_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this processor's own, and the program is not re-entered.
    Some(unsafe { &mut *scratch })
}

/// This processor's counts.
#[inline(always)]
fn counts() -> Option<&'static mut CaptureCounts> {
    let counts = CAPTURE_COUNTS.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut *counts })
}

/// Returns `len`, from 1 to [`MAX_SNAPLEN`], in a form that each kernel sees the bounds of: comparisons by order, see
/// [`crate::punt`].
#[inline(always)]
fn within_snaplen(len: u32) -> u32 {
    let mut bounded = u64::from(len);
    // SAFETY: changes one register, and no memory.
    unsafe {
        asm!(
            "if {len} > 0 goto +1",
            "{len} = 1",
            "if {len} < {end} goto +1",
            "{len} = {most}",
            len = inout(reg) bounded,
            end = const MAX_SNAPLEN + 1,
            most = const MAX_SNAPLEN,
            options(pure, nomem, nostack),
        )
    };
    bounded as u32
}
