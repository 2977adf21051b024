//! The Session-Reflector in the driver layer: an XDP program that answers ordinary STAMP packets in place.
//!
//! Order of work: find the datagram, admit it, decide (read only), apply, address, send. Nothing is written before the
//! verdict, so a packet that is passed or punted is the packet that arrived. Every exit adds to one counter. What a
//! STAMP packet means is `teaparty_common::reflect`'s to say, and nothing here knows it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "atomic_xadd: the target has the instruction, but no AtomicU64")]

mod atomic;
mod capture;
mod maps;
mod outcome;
mod packet;
mod parse;
mod path;
mod punt;
mod reply;
mod scratch;
mod session;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use teaparty_common::maps::{Counters, TailCall};
use teaparty_common::reflect::{Disposition, REASON_SLOTS, REASONS, Reason};

use crate::outcome::Outcome;
use crate::path::full;
use crate::session::op;

/// The reflector. Attached to one interface, with maps of its own.
#[xdp(frags)]
fn teaparty(ctx: XdpContext) -> u32 {
    enter::<false>(&ctx)
}

/// [`TailCall::V6`].
#[xdp(frags)]
fn teaparty_v6(ctx: XdpContext) -> u32 {
    run_stage::<false>(&ctx, parse::parse_v6::<false>)
}

/// [`TailCall::Parse`].
#[xdp(frags)]
fn teaparty_parse(ctx: XdpContext) -> u32 {
    run_stage::<false>(&ctx, |ctx, _| parse::parse_slow::<false>(ctx))
}

/// [`TailCall::Full`].
#[xdp(frags)]
fn teaparty_full(ctx: XdpContext) -> u32 {
    // A closure for each program: one function for both would be a call, whose stack is too much for Linux 6.1.
    run_stage::<false>(&ctx, |ctx, _| full::run(ctx))
}

/// [`teaparty`] with capture: attached while somebody captures.
#[xdp(frags)]
fn teaparty_capture(ctx: XdpContext) -> u32 {
    enter::<true>(&ctx)
}

/// [`TailCall::V6`] with capture.
#[xdp(frags)]
fn teaparty_v6_capture(ctx: XdpContext) -> u32 {
    run_stage::<true>(&ctx, parse::parse_v6::<true>)
}

/// [`TailCall::Parse`] with capture.
#[xdp(frags)]
fn teaparty_parse_capture(ctx: XdpContext) -> u32 {
    run_stage::<true>(&ctx, |ctx, _| parse::parse_slow::<true>(ctx))
}

/// [`TailCall::Full`] with capture.
#[xdp(frags)]
fn teaparty_full_capture(ctx: XdpContext) -> u32 {
    run_stage::<true>(&ctx, |ctx, is_captured| {
        // The program before has copied it, if somebody captures it.
        *is_captured = true;
        full::run(ctx)
    })
}

/// The first step for each packet.
#[inline(always)]
fn enter<const CAPTURE: bool>(ctx: &XdpContext) -> u32 {
    // First, so that no lookup is done for IPv4.
    if parse::is_ipv6(ctx) {
        return tail_call(ctx, TailCall::V6);
    }
    run_stage::<CAPTURE>(ctx, parse::parse_v4::<CAPTURE>)
}

/// Has one step look at a packet, and goes on to the next one where that says so; else counts how the packet ended, and says
/// what becomes of it. The step says whether the packet was copied for a capture, if it ends there.
#[inline(always)]
fn run_stage<const CAPTURE: bool>(ctx: &XdpContext, step: impl FnOnce(&XdpContext, &mut bool) -> Outcome) -> u32 {
    // Found before they are needed: a look-up takes longer where no other work can overlap it.
    let Some(counters) = maps::counters() else { return XDP_PASS };
    let mut is_captured = false;
    let outcome = step(ctx, &mut is_captured);
    for next in TailCall::ALL {
        if outcome == Outcome::tail_call(next) {
            return tail_call(ctx, next);
        }
    }
    if CAPTURE && is_captured {
        capture::end(ctx, outcome);
    }
    finish(counters, outcome)
}

/// Has another program go on with a packet.
#[inline(always)]
fn tail_call(ctx: &XdpContext, step: TailCall) -> u32 {
    // SAFETY: nothing here waits to be dropped.
    unsafe { maps::TAIL_CALLS.tail_call(ctx, step as u32) };
    // There is no program. The packet may be anybody's, so it must not be dropped.
    maps::counters().map_or(XDP_PASS, |counters| finish(counters, Outcome::end(Reason::StepMissing)))
}

/// Counts how a packet ended, and says what becomes of it.
#[inline(always)]
fn finish(counters: &mut Counters, outcome: Outcome) -> u32 {
    let reason = outcome.slot();
    counters.packets[reason] += 1;
    ACTIONS[reason]
}

/// The actions for packets, by the number of their reason.
static ACTIONS: [u32; REASON_SLOTS] = {
    let mut actions = [XDP_DROP; REASON_SLOTS];
    let mut i = 0;
    while i < REASONS.len() {
        actions[REASONS[i] as usize] = match REASONS[i].disposition() {
            Disposition::Reflect => XDP_TX,
            Disposition::Pass => XDP_PASS,
            // A punted frame has been copied.
            Disposition::Drop | Disposition::Punt => XDP_DROP,
        };
        i += 1;
    }
    actions
};

/// Session operations: run by the controller alone, never attached. See `teaparty_common::maps::SessionOpRequest`.
#[xdp]
fn teaparty_op(ctx: XdpContext) -> u32 {
    op::run(&ctx);
    XDP_PASS
}

/// Lets everything pass: what the far end of a veth needs for XDP_TX frames to reach it.
#[xdp(frags)]
fn teaparty_pass(_: XdpContext) -> u32 {
    XDP_PASS
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: no path of the program panics; the verifier refuses to load one that could come here.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
