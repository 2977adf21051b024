//! Parses headers, filters by port, and records the arrival time and addresses. Nothing here decides on an answer.

use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{self, ETHERNET_LEN, ParsedHeaders};
use teaparty_common::maps::TailCall;
use teaparty_common::reflect::{self, Reason};
use teaparty_common::wire::Mode;

use crate::fast_path;
use crate::ip_family::{IpFamily, PlainV4, PlainV6, V4_FRAME, V4_HEADERS, V6_FRAME, V6_HEADERS};
use crate::maps::kernel_config;
use crate::outcome::Outcome;
use crate::packet::{CheckedHeader, Packet, REACH};
use crate::scratch::scratch;

/// Returns true if a frame says that IPv6 is in it, right after the Ethernet header.
#[inline(always)]
pub(crate) fn is_ipv6(ctx: &XdpContext) -> bool {
    CheckedHeader::<ETHERNET_LEN>::of(&Packet::new(ctx, 0)).is_some_and(|head| frame::is_ipv6(&head))
}

/// Finds the datagram of a plain IPv4 frame and answers it, or records its time and addresses in working memory, or
/// leaves the frame to the next step.
#[inline(always)]
pub(crate) fn parse_v4(ctx: &XdpContext) -> Outcome {
    parse_plain::<PlainV4, V4_FRAME, V4_HEADERS>(ctx)
}

/// [`parse_v4`] for plain IPv6 frames.
#[inline(always)]
pub(crate) fn parse_v6(ctx: &XdpContext) -> Outcome {
    parse_plain::<PlainV6, V6_FRAME, V6_HEADERS>(ctx)
}

/// [`parse_v4`] for plain frames of a family.
#[inline(always)]
fn parse_plain<F: IpFamily<FRAME, HEADERS>, const FRAME: usize, const HEADERS: usize>(ctx: &XdpContext) -> Outcome {
    let Some(kernel_config) = kernel_config() else { return Outcome::end(Reason::Internal) };
    let frame = Packet::new(ctx, 0);
    let frame_len = frame.len();
    let Some(headers) = CheckedHeader::of(&frame) else { return Outcome::tail_call(TailCall::Parse) };
    let Some(found) = F::parse(&headers, frame_len) else {
        if F::is_non_udp(&headers, frame_len) {
            return Outcome::end(Reason::NotUdp);
        }
        return Outcome::tail_call(TailCall::Parse);
    };
    if !kernel_config.listens(found.frame.destination_port) {
        return Outcome::end(Reason::NotOurPort);
    }
    let config = kernel_config.config(kernel_config.control.active);
    let mut view = match CheckedHeader::of(&frame) {
        Some(view)
            if fast_path::is_plain(&view, config, &found.frame)
                && !found.frame.mixes_families(&found.source, &found.destination) =>
        {
            view
        }
        _ => return save_to_scratch(ctx, found, frame_len, read_receive_time(), false),
    };
    let received_ns = read_receive_time();
    let configs = (&kernel_config.control, config, &found);
    let outcome = fast_path::answer::<F, FRAME, HEADERS>(ctx, &mut view, configs, received_ns);
    if outcome != Outcome::FALL_BACK && outcome != Outcome::NO_SESSION {
        // Hidden from LLVM, which otherwise lays out the exits for each known reason: 6.18 then walks 363,000 instructions
        // of `teaparty` instead of 212,000, and 6.1 769,000 instead of 204,000.
        return outcome.opaque(received_ns);
    }
    save_to_scratch(ctx, found, frame_len, received_ns, outcome == Outcome::NO_SESSION)
}

/// T2, in nanoseconds of CLOCK_TAI. Read when it is known that the packet is to one of our ports and not first of
/// all, so that others do not pay for it: the delay is a few nanoseconds, and the same for every packet.
#[inline(always)]
fn read_receive_time() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_tai_ns() }
}

/// [`parse_v4`] for everything but plain frames in one buffer: tags, options, several buffers, what is not UDP at all.
#[inline(always)]
pub(crate) fn parse_slow(ctx: &XdpContext) -> Outcome {
    // SAFETY: a context of this program.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
    let view = Packet::new(ctx, 0);
    let frame = match frame::parse_headers(&view, frame_len) {
        Ok(frame) => frame,
        Err(reason) => return Outcome::end(reason),
    };
    let Some(kernel_config) = kernel_config() else { return Outcome::end(Reason::Internal) };
    if !kernel_config.listens(frame.destination_port) {
        return Outcome::end(Reason::NotOurPort);
    }
    let Some((source, destination)) = frame.addresses(&view) else { return Outcome::end(Reason::MalformedHeader) };
    save_to_scratch(ctx, ParsedHeaders { frame, source, destination }, frame_len, read_receive_time(), false)
}

/// Leaves what was found in working memory.
#[inline(always)]
fn save_to_scratch(
    ctx: &XdpContext,
    found: ParsedHeaders,
    frame_len: usize,
    received_ns: u64,
    is_unknown: bool,
) -> Outcome {
    let Some(scratch) = scratch() else { return Outcome::end(Reason::Internal) };
    scratch.received_ns = received_ns;
    scratch.is_unknown = is_unknown;
    let payload = Packet::new(ctx, found.frame.payload_at());
    scratch.key.source = found.source;
    scratch.key.destination = found.destination;
    scratch.key.source_port = found.frame.source_port;
    scratch.key.destination_port = found.frame.destination_port;
    scratch.key.ssid = reflect::ssid(&payload, found.frame.payload_len, Mode::Unauthenticated);
    scratch.key.reserved = 0;
    scratch.frame_len = frame_len;
    scratch.frame = found.frame;
    Outcome::tail_call(TailCall::Full)
}

/// An Ethernet frame with two tags is within reach.
const _: () = assert!(REACH >= 1514 + 8);
