//! What the reflector is measured against, and the harness to measure with: never attached, for `cargo xtask bench` and `profile` alone.
//!
//! A test run with `repeat` shows each run the packet that the last one left. So the harness restores the packet and
//! then tail-calls the program under test; what the harness costs is found with a program that does nothing.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic_xadd: the target has the instruction, but no AtomicU64")]

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX};
use aya_ebpf::btf_maps::{Array, LruHashMap, ProgramArray};
use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_store_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use teaparty_bench_ebpf::{HEADERS, held, swap};
use teaparty_common::wire::reflector::Stamp;
use teaparty_common::wire::sender::ReflectedFields;
use teaparty_common::wire::{ErrorEstimate, Timestamp, TimestampFormat, UNAUTHENTICATED_LEN, reflector, sender};

teaparty_bench_ebpf::object!();

/// Longest packet that can be restored, in octets.
const LONGEST: usize = 2048;

/// The packet as it is to be before each run.
#[btf_map(name = "template")]
static TEMPLATE: Array<[u8; LONGEST], 1> = Array::new();
/// The number of its octets.
#[btf_map(name = "template_len")]
static TEMPLATE_LEN: Array<u32, 1> = Array::new();
/// Of [`harness_many`]: whose packet is next, how many sessions there are, and how far the next one is.
#[btf_map(name = "many")]
static MANY: Array<[u32; 4], 1> = Array::new();
/// The program under test.
#[btf_map(name = "under_test")]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();
/// Sessions of a key and a value as long as ours.
#[btf_map(name = "floor_sessions")]
static SESSIONS: LruHashMap<[u64; 5], [u64; 7], 65536> = LruHashMap::new();
/// Sessions in an array, each in a slot of two lines of the cache.
#[btf_map(name = "floor_slots")]
static SLOTS: Array<[u64; 16], 65536> = Array::new();
/// Slots less one; they are a power of two.
#[btf_map(name = "slots_mask")]
static SLOTS_MASK: Array<u32, 1> = Array::new();
/// The offset from CLOCK_TAI to UTC that [`floor_reply`] subtracts, in nanoseconds.
#[btf_map(name = "tai_offset")]
static TAI_OFFSET: Array<u64, 1> = Array::new();

/// Restores the packet and goes over to the program under test. Aborts if it can't do either.
#[xdp(frags)]
fn harness(ctx: XdpContext) -> u32 {
    let (Some(template), Some(len)) = (TEMPLATE.get(0), TEMPLATE_LEN.get(0)) else { return XDP_ABORTED };
    let len = *len;
    if len == 0 || len as usize > LONGEST {
        return XDP_ABORTED;
    }
    // SAFETY: a map value of `LONGEST` octets, and `len` is no more by the lines above; the helper does not write to it.
    if unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, template.as_ptr().cast_mut().cast(), len) } != 0 {
        return XDP_ABORTED;
    }
    // SAFETY: nothing here has a destructor.
    unsafe { UNDER_TEST.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// Runs the harness with packets of many sessions in random order: session `n` has the address 10.0.0.0
/// plus `n`. The template's header checksum is that of a source of four zeros.
#[xdp(frags)]
fn harness_many(ctx: XdpContext) -> u32 {
    let (Some(template), Some(len), Some(many)) = (TEMPLATE.get(0), TEMPLATE_LEN.get(0), MANY.get_ptr_mut(0)) else {
        return XDP_ABORTED;
    };
    let len = *len;
    if len == 0 || len as usize > LONGEST {
        return XDP_ABORTED;
    }
    // SAFETY: as in `harness`.
    if unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, template.as_ptr().cast_mut().cast(), len) } != 0 {
        return XDP_ABORTED;
    }
    let Some(start) = held::<HEADERS>(&ctx) else { return XDP_ABORTED };
    // SAFETY: a map value of two numbers, and a header that is there by the comparison above.
    unsafe {
        let [next, sessions, stride, _] = &mut *many;
        let source = (0x0a00_0000 | *next).to_be();
        let checksum = (start + 24) as *mut u16;
        let sum = u32::from(!checksum.read_unaligned()) + (source & 0xffff) + (source >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        checksum.write_unaligned(!((sum + (sum >> 16)) as u16));
        ((start + 26) as *mut u32).write_unaligned(source);
        *next += *stride;
        if *next >= *sessions {
            *next -= *sessions;
        }
        // Nothing here has a destructor.
        UNDER_TEST.tail_call(&ctx, 0)
    };
    XDP_ABORTED
}

/// Floor for a packet that is not ours.
#[xdp(frags)]
fn floor_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Floor for any reply: the addresses of all three layers swapped.
#[xdp(frags)]
fn floor_swap(ctx: XdpContext) -> u32 {
    if swap(&ctx) { XDP_TX } else { XDP_ABORTED }
}

/// Floor for a reply with timestamps: the same, and two readings of the clock.
#[xdp(frags)]
fn floor_clocks(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let first = unsafe { bpf_ktime_get_tai_ns() };
    let is_swapped = swap(&ctx);
    // SAFETY: as above.
    let second = unsafe { bpf_ktime_get_tai_ns() };
    if is_swapped && second >= first { XDP_TX } else { XDP_ABORTED }
}

/// Floor for a reply with timestamps and state of the kernel's: the same, and one look-up in a map of sessions, whose
/// key is put together from the packet, and one atomic addition there.
#[xdp(frags)]
fn floor_session(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let first = unsafe { bpf_ktime_get_tai_ns() };
    let Some(place) = held::<HEADERS>(&ctx) else { return XDP_ABORTED };
    // SAFETY: as many octets are there, and the addresses and ports are among them.
    let (addresses, ports) = unsafe {
        (((place + 26) as *const [u16; 4]).read_unaligned(), ((place + 34) as *const [u16; 2]).read_unaligned())
    };
    let word = |at: usize| u64::from(addresses[at]) | u64::from(addresses[at + 1]) << 16;
    let key = [0, word(0), 0, word(2), u64::from(ports[0]) | u64::from(ports[1]) << 16];
    match SESSIONS.get_ptr_mut(key) {
        Some(session) => {
            // SAFETY: a value of a map, eight octets, aligned.
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(session.cast(), 1) };
        }
        None => {
            let _ = SESSIONS.insert(key, [0; 7], 0);
        }
    }
    let is_swapped = swap(&ctx);
    // SAFETY: as above.
    let second = unsafe { bpf_ktime_get_tai_ns() };
    if is_swapped && second >= first { XDP_TX } else { XDP_ABORTED }
}

/// The floor with an array of sessions instead of the kernel's map: a slot by multiplication, no comparison of keys.
#[xdp(frags)]
fn floor_array(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let first = unsafe { bpf_ktime_get_tai_ns() };
    let Some(place) = held::<HEADERS>(&ctx) else { return XDP_ABORTED };
    // SAFETY: as many octets are there, and the source address is among them.
    let source = u32::from_be(unsafe { ((place + 26) as *const u32).read_unaligned() });
    let hash = (u64::from(source) * 0x9e37_79b9_7f4a_7c15) >> 32;
    let mask = SLOTS_MASK.get(0).map_or(0, |mask| *mask);
    if let Some(slot) = SLOTS.get_ptr_mut(hash as u32 & mask) {
        // SAFETY: a value of a map, eight octets, aligned.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(slot.cast(), 1) };
    }
    let is_swapped = swap(&ctx);
    // SAFETY: as above.
    let second = unsafe { bpf_ktime_get_tai_ns() };
    if is_swapped && second >= first { XDP_TX } else { XDP_ABORTED }
}

/// Floor for the truth of timestamps: the least that answers a STAMP packet, without session, checks or checksum.
#[xdp(frags)]
fn floor_reply(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let received = unsafe { bpf_ktime_get_tai_ns() };
    let Some(place) = held::<{ HEADERS + UNAUTHENTICATED_LEN }>(&ctx) else { return XDP_ABORTED };
    let payload = place + HEADERS;
    swap(&ctx);
    let offset = TAI_OFFSET.get(0).map_or(0, |offset| *offset);
    let wire = |nanos: u64| Timestamp::from_nanos(nanos.wrapping_sub(offset), TimestampFormat::Ntp);
    // SAFETY: as many octets are there; the fields need no alignment.
    unsafe {
        let request = (payload as *const sender::UnauthenticatedPacket).read();
        ((place + HEADERS - 2) as *mut u16).write_unaligned(0);
        let stamp = Stamp {
            sequence_number: request.sequence_number,
            // SAFETY: as above.
            timestamp: wire(bpf_ktime_get_tai_ns()),
            receive_timestamp: wire(received),
            error_estimate: ErrorEstimate::from_bits(1),
            sender_ttl: 64,
        };
        (payload as *mut reflector::UnauthenticatedReply)
            .write(reflector::UnauthenticatedReply::new(stamp, ReflectedFields::from(request)));
    }
    XDP_TX
}
