//! Both ends of the load that `cargo xtask bench live` and `slow-path` put on a reflector: never part of the product.
//!
//! `traffic_send` is run with live frames and sends each out of the interface that it seems to come in by, at a steady pace
//! and with a Sequence Number of its own; `traffic_sink`, attached there, counts the replies and notes T1 to T4 of each.
//! T1 and T4 are taken here and not read from the packet, whose HMAC would have to cover T1.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_store_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use teaparty_bench_ebpf::{HEADERS, held};

teaparty_bench_ebpf::object!();

/// UDP port of the reflector.
const PORT: u16 = 862;
/// Offsets in the frame of the UDP checksum, and of the HMAC of an authenticated packet.
const CHECKSUM: usize = HEADERS - 2;
const HMAC: usize = HEADERS + 96;
/// Modes: unauthenticated packets or authenticated ones.
const UNAUTHENTICATED: u32 = 1;
const AUTHENTICATED: u32 = 2;
/// Replies are not only counted.
const NOTED: u32 = 4;
/// They are the requests themselves.
const ECHOED: u32 = 8;
const UNAUTHENTICATED_NOTED: u32 = UNAUTHENTICATED | NOTED;
const AUTHENTICATED_NOTED: u32 = AUTHENTICATED | NOTED;
const UNAUTHENTICATED_ECHOED: u32 = UNAUTHENTICATED_NOTED | ECHOED;
const AUTHENTICATED_ECHOED: u32 = AUTHENTICATED_NOTED | ECHOED;
/// The frame is restored before it is sent: the reflector has written its reply into the same memory.
const RESTORED: u32 = 16;
/// The program waits until the next burst is due, which takes the place of batches in which most frames are dropped.
const WAITS: u32 = 32;
/// Times it reads the clock then, some 25 ns each time, before it gives up.
const LOOKS: u32 = 256;
/// Octets that are restored: headers and base packet.
const RESTORED_LEN: usize = HEADERS + 44;
/// Packets that differ; many more than are under way at a time.
const PACKETS: usize = 65_536;

/// The fields that differ from packet to packet, as on the wire; packet `n` has Sequence Number `n`.
#[repr(C)]
struct Fresh {
    hmac: [u64; 2],
    sequence: u32,
    checksum: u16,
    reserved: u16,
}

/// The schedule: time of the next burst, interval in nanoseconds (0 for back to back), packets sent so far,
/// packets of a burst (a power of two), and those of this one that are still to be sent.
#[repr(C)]
struct Pace {
    next_ns: u64,
    interval_ns: u64,
    sent: u64,
    burst: u32,
    left: u32,
}

#[btf_map(name = "fresh")]
static FRESH: Array<Fresh, PACKETS> = Array::new();
#[btf_map(name = "pace")]
static PACE: Array<Pace, 1> = Array::new();
/// T1 of each packet in nanoseconds of CLOCK_TAI.
#[btf_map(name = "sent")]
static SENT: Array<u64, PACKETS> = Array::new();
/// Replies counted.
#[btf_map(name = "replies")]
static REPLIES: PerCpuArray<u64, 1> = PerCpuArray::new();
/// [`UNAUTHENTICATED`] or [`AUTHENTICATED`], with the bits below them.
#[btf_map(name = "mode")]
static MODE: Array<u32, 1> = Array::new();
/// The start of a frame.
#[btf_map(name = "template")]
static TEMPLATE: Array<[u8; RESTORED_LEN], 1> = Array::new();
/// T1 to T4 of each reply: T2 and T3 as on the wire in host order, the others in nanoseconds of CLOCK_TAI. An array takes
/// the sink less time than a ring buffer would, and how many packets a second can be watched depends on that.
#[btf_map(name = "samples")]
static SAMPLES: Array<[u64; 4], 524_288> = Array::new();
/// The number of samples.
#[btf_map(name = "sampled")]
static SAMPLED: Array<u32, 1> = Array::new();

/// Sends the frame when one is due, and drops it when none is: the run is the loop that waits.
#[xdp(frags)]
fn traffic_send(ctx: XdpContext) -> u32 {
    let (Some(pace), Some(mode)) = (PACE.get_ptr_mut(0), MODE.get(0)) else { return XDP_DROP };
    // SAFETY: a value of a map that one thread uses.
    let pace = unsafe { &mut *pace };
    let is_paced = pace.interval_ns != 0;
    // A flood does not pay for a clock that nobody looks at.
    let mut now = if is_paced || mode & NOTED != 0 { clock() } else { 0 };
    if is_paced && pace.left == 0 {
        if mode & WAITS != 0 {
            for _ in 0..LOOKS {
                if now >= pace.next_ns {
                    break;
                }
                now = clock();
            }
        }
        if now < pace.next_ns {
            return XDP_DROP;
        }
        // What could not be sent in time is not made up for in a burst.
        let is_late = now - pace.next_ns > 1_000_000;
        pace.next_ns = if is_late { now } else { pace.next_ns + pace.interval_ns };
        pace.left = pace.burst;
    }
    let index = pace.sent as u32 % PACKETS as u32;
    let (Some(fresh), Some(sent)) = (FRESH.get(index), SENT.get_ptr_mut(index)) else { return XDP_DROP };
    if mode & RESTORED != 0 {
        let Some(template) = TEMPLATE.get(0) else { return XDP_DROP };
        // SAFETY: a map value of as many octets, which the helper does not write to.
        let failed =
            unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, template.as_ptr().cast_mut().cast(), RESTORED_LEN as u32) };
        if failed != 0 {
            return XDP_DROP;
        }
    }
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + RESTORED_LEN > end {
        return XDP_DROP;
    }
    // SAFETY: both lie before the end of a base packet, where the frame has been found not to end; the fields need no
    // alignment.
    unsafe {
        ((start + CHECKSUM) as *mut u16).write_unaligned(fresh.checksum);
        ((start + HEADERS) as *mut u32).write_unaligned(fresh.sequence);
    }
    if mode & AUTHENTICATED != 0 {
        if start + HMAC + 16 > end {
            return XDP_DROP;
        }
        // SAFETY: as above, for the HMAC.
        unsafe {
            ((start + HMAC) as *mut u64).write_unaligned(fresh.hmac[0]);
            ((start + HMAC + 8) as *mut u64).write_unaligned(fresh.hmac[1]);
        }
    }
    // SAFETY: a value of a map, eight octets, aligned.
    unsafe { *sent = now };
    pace.sent += 1;
    pace.left = pace.left.saturating_sub(1);
    XDP_TX
}

/// CLOCK_TAI in nanoseconds.
#[inline(always)]
fn clock() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_tai_ns() }
}

/// Lets everything pass: XDP_TX frames reach only an end of a veth pair that has a program.
#[xdp(frags)]
fn traffic_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Counts replies and drops them; lets everything else pass.
#[xdp(frags)]
fn traffic_sink(ctx: XdpContext) -> u32 {
    let Some(start) = held::<HEADERS>(&ctx) else { return XDP_PASS };
    let end = ctx.data_end();
    // SAFETY: within the headers, which are there by the comparison above.
    let (protocol, port) = unsafe { (*((start + 23) as *const u8), ((start + 34) as *const u16).read_unaligned()) };
    if protocol != 17 || port != PORT.to_be() {
        return XDP_PASS;
    }
    if let Some(replies) = REPLIES.get_ptr_mut(0) {
        // SAFETY: a slot of this processor alone.
        unsafe { *replies += 1 };
    }
    match MODE.get(0).map(|mode| mode & !(RESTORED | WAITS)) {
        Some(UNAUTHENTICATED_NOTED) => note::<24, 16, 4>(start + HEADERS, end),
        Some(AUTHENTICATED_NOTED) => note::<48, 32, 16>(start + HEADERS, end),
        Some(UNAUTHENTICATED_ECHOED | AUTHENTICATED_ECHOED) => note::<0, 4, 4>(start + HEADERS, end),
        _ => {}
    }
    XDP_DROP
}

const fn max(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// Notes the four times of a reply, in which the request's Sequence Number, T2 and T3 stand at these offsets.
#[inline(always)]
fn note<const SEQUENCE: usize, const T2: usize, const T3: usize>(payload: usize, end: usize) {
    let now = clock();
    // The last of the three is eight octets long at most.
    if payload + const { max(SEQUENCE, max(T2, T3)) } + 8 > end {
        return;
    }
    // SAFETY: all three are there by the comparison above.
    let (sequence, t2, t3) = unsafe {
        (
            u32::from_be(((payload + SEQUENCE) as *const u32).read_unaligned()),
            u64::from_be(((payload + T2) as *const u64).read_unaligned()),
            u64::from_be(((payload + T3) as *const u64).read_unaligned()),
        )
    };
    // The packets of a burst leave together, when the last of them is made.
    let burst = PACE.get(0).map_or(1, |pace| pace.burst);
    let Some(t1) = SENT.get((sequence | burst.wrapping_sub(1)) % PACKETS as u32) else { return };
    let Some(sampled) = SAMPLED.get_ptr_mut(0) else { return };
    // SAFETY: values of maps. Only one processor at a time takes frames from the interface's one queue.
    unsafe {
        if let Some(sample) = SAMPLES.get_ptr_mut(*sampled) {
            *sample = [*t1, t2, t3, now];
            *sampled += 1;
        }
    }
}
