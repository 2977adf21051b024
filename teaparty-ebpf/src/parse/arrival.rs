//! The arrival of a packet: its time, and what was found of it in working memory.

use aya_ebpf::helpers::generated::bpf_ktime_get_tai_ns;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::ParsedHeaders;
use teaparty_common::maps::TailCall;
use teaparty_common::reflect::{self, Reason};
use teaparty_common::wire::Mode;

use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::scratch::scratch;

/// T2, in nanoseconds of CLOCK_TAI. Read when it is known that the packet is to one of our ports and not first of
/// all, so that others do not pay for it: the delay is a few nanoseconds, and the same for every packet.
#[inline(always)]
pub(super) fn read_receive_time() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_tai_ns() }
}

/// Leaves what was found in working memory.
#[inline(always)]
pub(super) fn save_to_scratch(
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
