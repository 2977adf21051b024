//! What the reflector is measured against, and the harness to measure with: never attached, for `cargo xtask bench` alone.
//!
//! A test run with `repeat` shows each run the packet that the last one left. So the harness restores the packet and
//! then tail-calls the program under test; what the harness costs is found with a program that does nothing.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX};
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_store_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

/// Longest packet that can be restored, in octets.
const LONGEST: usize = 2048;

/// The packet as it is to be before each run.
#[btf_map(name = "template")]
static TEMPLATE: Array<[u8; LONGEST], 1> = Array::new();
/// How many octets of it.
#[btf_map(name = "template_len")]
static TEMPLATE_LEN: Array<u32, 1> = Array::new();
/// The program under test.
#[btf_map(name = "under_test")]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

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

/// Ethernet, IPv4 without options, UDP: as far as the floors go into a packet.
const HEADERS: usize = 14 + 20 + 8;

#[inline(always)]
fn swap(ctx: &XdpContext) -> bool {
    let start = ctx.data();
    if start + HEADERS > ctx.data_end() {
        return false;
    }
    // SAFETY: `HEADERS` octets are there by the comparison above, and all fields lie in them.
    unsafe {
        swap_fields::<[u16; 3]>(start, 0, 6);
        swap_fields::<[u16; 2]>(start, 26, 30);
        swap_fields::<u16>(start, 34, 36);
    }
    true
}

/// Swaps two fields of type `T` at these offsets.
///
/// # Safety
///
/// Both lie in the packet that begins at `start`.
#[inline(always)]
unsafe fn swap_fields<T: Copy>(start: usize, one: usize, other: usize) {
    let (one, other) = ((start + one) as *mut T, (start + other) as *mut T);
    // SAFETY: the caller's; the fields need no alignment.
    unsafe {
        let (first, second) = (one.read_unaligned(), other.read_unaligned());
        one.write_unaligned(second);
        other.write_unaligned(first);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no path of the programs panics; the verifier refuses to load one that could come here.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
