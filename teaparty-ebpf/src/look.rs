//! Where the datagram is in a frame, when it came, whence and whither: everything before the question whether to answer.

use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{self, ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Plain, UDP_LEN};
use teaparty_common::maps::Step;
use teaparty_common::reflect::{self, Reason};
use teaparty_common::wire::checksum::PacketSums;
use teaparty_common::wire::{Mode, OPEN_LEN};

use crate::express;
use crate::maps::{board, scratch};
use crate::packet::{Held, Packet, REACH};

/// What a step returns for a packet that goes on to another one: a number that is no reason.
pub(crate) const fn on_to(step: Step) -> u32 {
    u32::MAX - step as u32
}

/// Whether a frame says that IPv6 is in it, right behind the Ethernet header.
#[inline(always)]
pub(crate) fn is_v6(ctx: &XdpContext) -> bool {
    Held::<ETHERNET_LEN>::of(&Packet::new(ctx, 0)).is_some_and(|head| frame::is_v6(&head))
}

/// Finds the datagram of a plain IPv4 frame and answers it, or notes in working memory when it came, whence and whither, or
/// leaves the frame to the next step.
#[inline(always)]
pub(crate) fn look_v4(ctx: &XdpContext) -> u32 {
    let again = (frame::again_plain_v4, frame::sums_plain_v4);
    let plain = (frame::locate_plain_v4, frame::is_other_plain_v4, again);
    look_plain::<{ V4_HEADERS + OPEN_LEN }, V4_HEADERS>(ctx, plain)
}

/// [`look_v4`] for plain IPv6 frames.
#[inline(always)]
pub(crate) fn look_v6(ctx: &XdpContext) -> u32 {
    let again = (frame::again_plain_v6, frame::sums_plain_v6);
    let plain = (frame::locate_plain_v6, frame::is_other_plain_v6, again);
    look_plain::<{ V6_HEADERS + OPEN_LEN }, V6_HEADERS>(ctx, plain)
}

/// Octets in front of the payload in a plain frame.
const V4_HEADERS: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;
const V6_HEADERS: usize = ETHERNET_LEN + IPV6_LEN + UDP_LEN;

/// [`look_v4`] by the functions of its family.
#[inline(always)]
fn look_plain<const FRAME: usize, const HEADERS: usize>(
    ctx: &XdpContext,
    (locate, is_other, again): (
        impl FnOnce(&Held<HEADERS>, usize) -> Option<Plain>,
        impl FnOnce(&Held<HEADERS>, usize) -> bool,
        (impl FnOnce(&Held<FRAME>) -> Option<Plain>, impl FnOnce(&Held<FRAME>) -> Option<PacketSums>),
    ),
) -> u32 {
    let Some(board) = board() else { return Reason::Internal as u32 };
    let frame = Packet::new(ctx, 0);
    let frame_len = frame.len();
    let Some(headers) = Held::of(&frame) else { return on_to(Step::Look) };
    let Some(found) = locate(&headers, frame_len) else {
        if is_other(&headers, frame_len) {
            return Reason::NotUdp as u32;
        }
        return on_to(Step::Look);
    };
    if !board.listens(found.frame.destination_port) {
        return Reason::NotOurPort as u32;
    }
    let config = board.config(board.control.active);
    let mut view = match Held::of(&frame) {
        Some(view)
            if express::is_plain(&view, config, &found.frame)
                && !found.frame.mixes_families(&found.source, &found.destination) =>
        {
            view
        }
        _ => return note(ctx, found, frame_len, clock(), false),
    };
    let received_ns = clock();
    let boards = (&board.control, config, &found);
    let outcome = express::answer::<FRAME, HEADERS>(ctx, &mut view, boards, received_ns, again);
    if outcome != express::NO && outcome != express::UNKNOWN {
        return outcome;
    }
    note(ctx, found, frame_len, received_ns, outcome == express::UNKNOWN)
}

/// T2, in nanoseconds of CLOCK_TAI. Read when it is known that the packet is to a port of ours and not first of all, so
/// that others do not pay for it: what lies between is a few nanoseconds, and the same for every packet.
#[inline(always)]
fn clock() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_tai_ns() }
}

/// [`look_v4`] for everything but plain frames in one buffer: tags, options, several buffers, what is not UDP at all.
#[inline(always)]
pub(crate) fn look_closely(ctx: &XdpContext) -> u32 {
    // SAFETY: a context of this program.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
    let view = Packet::new(ctx, 0);
    let frame = match frame::locate(&view, frame_len) {
        Ok(frame) => frame,
        Err(reason) => return reason as u32,
    };
    let Some(board) = board() else { return Reason::Internal as u32 };
    if !board.listens(frame.destination_port) {
        return Reason::NotOurPort as u32;
    }
    let Some((source, destination)) = frame.addresses(&view) else { return Reason::MalformedHeader as u32 };
    note(ctx, Plain { frame, source, destination }, frame_len, clock(), false)
}

/// Leaves what was found in working memory.
#[inline(always)]
fn note(ctx: &XdpContext, found: Plain, frame_len: usize, received_ns: u64, is_unknown: bool) -> u32 {
    let Some(scratch) = scratch() else { return Reason::Internal as u32 };
    scratch.received_ns = received_ns;
    scratch.is_unknown = is_unknown;
    let payload = Packet::new(ctx, found.frame.payload_at());
    scratch.key.source = found.source;
    scratch.key.destination = found.destination;
    scratch.key.source_port = found.frame.source_port;
    scratch.key.destination_port = found.frame.destination_port;
    scratch.key.ssid = reflect::ssid(&payload, found.frame.payload_len, Mode::Open);
    scratch.key.reserved = 0;
    scratch.frame_len = frame_len;
    scratch.frame = found.frame;
    on_to(Step::Long)
}

/// An Ethernet frame with two tags is within reach.
const _: () = assert!(REACH >= 1514 + 8);
