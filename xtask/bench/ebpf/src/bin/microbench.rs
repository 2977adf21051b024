//! What single steps cost: each program swaps the addresses, reads the clock twice, and does one thing more. Never
//! attached, for `cargo xtask profile` alone.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic_xadd: the target has the instruction, but no AtomicU64")]

use core::hint::black_box;
use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_ktime_get_tai_ns;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use teaparty_bench_ebpf::{HEADERS, swap};
use teaparty_common::wire::{Timestamp, TimestampFormat};

teaparty_bench_ebpf::object!();

#[btf_map(name = "array")]
static ARRAY: Array<[u64; 8], 4> = Array::new();
#[btf_map(name = "percpu")]
static PERCPU: PerCpuArray<u64, 4> = PerCpuArray::new();
#[btf_map(name = "lru40")]
static LRU40: LruHashMap<[u64; 5], [u64; 7], 65536> = LruHashMap::new();
#[btf_map(name = "lru16")]
static LRU16: LruHashMap<[u64; 2], [u64; 7], 65536> = LruHashMap::new();
#[btf_map(name = "hash40")]
static HASH40: HashMap<[u64; 5], [u64; 7], 65536> = HashMap::new();
#[btf_map(name = "hash4")]
static HASH4: HashMap<u32, [u64; 7], 65536> = HashMap::new();

/// With a base packet after the headers.
const HELD: usize = HEADERS + 44;

/// A program that does one thing between its two readings of the clock. The thing may use where the packet begins, the
/// context, and T2.
macro_rules! priced {
    ($(#[$doc:meta])* $name:ident, |$start:ident, $ctx:ident, $t2:ident| $thing:block) => {
        $(#[$doc])*
        #[xdp(frags)]
        fn $name($ctx: XdpContext) -> u32 {
            let $start = $ctx.data();
            if $start + HELD > $ctx.data_end() {
                return XDP_ABORTED;
            }
            // SAFETY: a helper without arguments; `HELD` octets are there by the comparison above, and all that is
            // touched lies in them or in a value of a map.
            unsafe {
                let $t2 = bpf_ktime_get_tai_ns();
                if !swap(&$ctx) {
                    return XDP_ABORTED;
                }
                $thing;
                if bpf_ktime_get_tai_ns() >= $t2 { XDP_TX } else { XDP_ABORTED }
            }
        }
    };
}

/// A look-up in a map that is sure to hold the key, and a store into the value.
macro_rules! look_up {
    ($map:ident, $key:expr, $t2:ident) => {{
        let key = $key;
        match $map.get_ptr_mut(&key) {
            Some(value) => (*value)[1] = $t2,
            None => {
                let _ = $map.insert(&key, [1; 7], 0);
            }
        }
    }};
}

priced!(/// Nothing more: what the others are compared with.
    price_nothing, |start, ctx, t2| {});
priced!(/// A global function of ours: mostly its return.
price_function, |start, ctx, t2| {
    if queue(ctx.ctx) == 7 {
        return XDP_PASS;
    }
});
priced!(/// A look-up in an array, which the kernel compiles into the program.
price_array, |start, ctx, t2| {
    if ARRAY.get(black_box(1)).is_some_and(|value| value[2] != 0) {
        return XDP_PASS;
    }
});
priced!(/// A counter of this processor.
price_counter, |start, ctx, t2| {
    if let Some(counter) = PERCPU.get_ptr_mut(black_box(1)) {
        *counter += 1;
    }
});
priced!(/// An addition that other processors see at once.
price_atomic, |start, ctx, t2| {
    if let Some(value) = ARRAY.get_ptr_mut(1)
        && atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(value.cast(), 1) == u64::MAX
    {
        return XDP_PASS;
    }
});
priced!(/// Sessions as they are: an LRU hash map with a key of 40 octets.
    price_lru40, |start, ctx, t2| { look_up!(LRU40, [black_box(1u64), 2, 3, 4, 5], t2) });
priced!(/// With a key of 16 octets, as one for IPv4 alone could be.
    price_lru16, |start, ctx, t2| { look_up!(LRU16, [black_box(1u64), 2], t2) });
priced!(/// Without LRU.
    price_hash40, |start, ctx, t2| { look_up!(HASH40, [black_box(1u64), 2, 3, 4, 5], t2) });
priced!(/// With the shortest key.
    price_hash4, |start, ctx, t2| { look_up!(HASH4, black_box(1u32), t2) });
priced!(/// A time as it goes on the wire, and stored there.
price_time, |start, ctx, t2| {
    let time = Timestamp::from_nanos(t2, TimestampFormat::Ntp);
    ((start + HEADERS + 4) as *mut Timestamp).write(time);
});

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn queue(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the context of one of these programs.
    unsafe { (*ctx).rx_queue_index }
}
