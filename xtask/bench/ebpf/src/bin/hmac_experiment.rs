//! An experiment, never part of the product: authenticated packets of 112 octets answered in XDP, for `cargo xtask profile hmac`.
//!
//! HMAC-SHA-256 (RFC 2104, RFC 8762 §4.2.2) with the states of the key after the inner and the outer pad made ready by
//! whoever loads it: verifying a packet takes three compressions of 64 octets, sealing the reply another three. BPF has
//! neither the processor's SHA instructions nor rotations.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX};
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_load_bytes, bpf_xdp_store_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use teaparty_bench_ebpf::{HEADERS, held, swap};
use teaparty_common::wire::reflector::Stamp;
use teaparty_common::wire::sender::ReflectedFields;
use teaparty_common::wire::{
    AUTHENTICATED_LEN, ErrorEstimate, HMAC_COVERS, Timestamp, TimestampFormat, reflector, sender,
};

teaparty_bench_ebpf::object!();

/// The state of SHA-256.
type State = [u32; 8];
/// The input of one compression.
type Block = [u32; 16];

/// The states of the key after the inner and the outer pad.
#[repr(C)]
struct Key {
    inner: State,
    outer: State,
}

/// The input of one HMAC: the covered octets in two consecutive blocks, then the inner digest.
#[repr(C)]
struct Work {
    first: Block,
    second: Block,
    outer: Block,
}

#[btf_map(name = "key")]
static KEY: Array<Key, 1> = Array::new();
#[btf_map(name = "work")]
static WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// One compression alone, of what memory holds.
#[xdp(frags)]
fn hmac_block(ctx: XdpContext) -> u32 {
    let (Some(key), Some(work)) = (KEY.get(0), WORK.get_ptr_mut(0)) else { return XDP_ABORTED };
    let mut state = key.inner;
    // SAFETY: this processor's own, and the program is not re-entered.
    compress(&mut state, unsafe { &(*work).outer });
    if state[0] == 0 || !swap(&ctx) { XDP_ABORTED } else { XDP_TX }
}

/// Verifies a packet and sends a sealed reply; drops it where its HMAC is wrong. No session, no checks, no checksum.
#[xdp(frags)]
fn hmac_reply(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let received = unsafe { bpf_ktime_get_tai_ns() };
    let Some(place) = held::<{ HEADERS + AUTHENTICATED_LEN }>(&ctx) else { return XDP_ABORTED };
    let payload = place + HEADERS;
    let Some(found) = digest(&ctx) else { return XDP_ABORTED };
    // SAFETY: as many octets are there; the fields need no alignment.
    let stated = unsafe { ((payload + HMAC_COVERS) as *const [u8; 16]).read() };
    if found != stated {
        return XDP_DROP;
    }
    swap(&ctx);
    let wire = |nanos: u64| Timestamp::from_nanos(nanos, TimestampFormat::Ntp);
    // SAFETY: as above.
    unsafe {
        let request = (payload as *const sender::AuthenticatedPacket).read();
        ((place + HEADERS - 2) as *mut [u8; 2]).write([0; 2]);
        let stamp = Stamp {
            sequence_number: request.sequence_number,
            // SAFETY: a helper without arguments.
            timestamp: wire(bpf_ktime_get_tai_ns()),
            receive_timestamp: wire(received),
            error_estimate: ErrorEstimate::from_bits(1),
            sender_ttl: 64,
        };
        let reply = reflector::AuthenticatedReply::new(stamp, ReflectedFields::from(request));
        (payload as *mut reflector::AuthenticatedReply).write(reply);
    }
    let Some(seal) = digest(&ctx) else { return XDP_ABORTED };
    // SAFETY: sixteen octets, which the helper reads.
    let failed =
        unsafe { bpf_xdp_store_bytes(ctx.ctx, (HEADERS + HMAC_COVERS) as u32, seal.as_ptr().cast_mut().cast(), 16) };
    if failed != 0 { XDP_ABORTED } else { XDP_TX }
}

/// HMAC-SHA-256 of the covered octets, cut to sixteen.
#[inline(always)]
fn digest(ctx: &XdpContext) -> Option<[u8; 16]> {
    let key = KEY.get(0)?;
    let work = WORK.get_ptr_mut(0)?;
    // SAFETY: this processor's own, and the program is not re-entered.
    let work = unsafe { &mut *work };
    // SAFETY: both blocks together have room for the covered octets.
    let failed =
        unsafe { bpf_xdp_load_bytes(ctx.ctx, HEADERS as u32, core::ptr::from_mut(work).cast(), HMAC_COVERS as u32) };
    if failed != 0 {
        return None;
    }
    for word in &mut work.first {
        *word = u32::from_be(*word);
    }
    for word in &mut work.second[..8] {
        *word = u32::from_be(*word);
    }
    pad(&mut work.second, HMAC_COVERS);
    let mut state = key.inner;
    compress(&mut state, &work.first);
    compress(&mut state, &work.second);
    work.outer[..8].copy_from_slice(&state);
    pad(&mut work.outer, 32);
    let mut state = key.outer;
    compress(&mut state, &work.outer);
    let mut found = [0; 16];
    for (to, word) in found.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    Some(found)
}

/// The end of a message that half fills its last block, of `len` octets after the key's (FIPS 180-4 §5.1.1).
#[inline(always)]
fn pad(block: &mut Block, len: usize) {
    block[8] = 0x8000_0000;
    for word in &mut block[9..15] {
        *word = 0;
    }
    block[15] = (64 + len as u32) * 8;
}

/// FIPS 180-4 §6.2.2. A function of its own: the verifier looks at it once for each call, and its stack is its own.
#[inline(never)]
fn compress(state: &mut State, block: &Block) {
    let mut w = *block;
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for sixteen in 0..4 {
        for i in 0..16 {
            if sixteen > 0 {
                let (near, far) = (w[(i + 14) & 15], w[(i + 1) & 15]);
                let sigma1 = near.rotate_right(17) ^ near.rotate_right(19) ^ near >> 10;
                let sigma0 = far.rotate_right(7) ^ far.rotate_right(18) ^ far >> 3;
                w[i] = w[i].wrapping_add(sigma0).wrapping_add(w[(i + 9) & 15]).wrapping_add(sigma1);
            }
            let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = g ^ e & (f ^ g);
            let one =
                h.wrapping_add(sum1).wrapping_add(choice).wrapping_add(K[(sixteen * 16 + i) & 63]).wrapping_add(w[i]);
            let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let two = sum0.wrapping_add(a & b | c & (a | b));
            (h, g, f, e) = (g, f, e, d.wrapping_add(one));
            (d, c, b, a) = (c, b, a, one.wrapping_add(two));
        }
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(more);
    }
}

/// FIPS 180-4 §4.2.2.
static K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];
