//! Parses everything but plain frames in one buffer: tags, options, several buffers, what is not UDP at all.

use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{self, ParsedHeaders};
use teaparty_common::reflect::Reason;

use super::arrival::{read_receive_time, save_to_scratch};
use crate::capture;
use crate::maps::kernel_config;
use crate::outcome::Outcome;
use crate::packet::{Packet, REACH};

/// [`super::plain::parse_v4`] for all other frames.
#[inline(always)]
pub(crate) fn parse_slow<const CAPTURE: bool>(ctx: &XdpContext) -> Outcome {
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
    let received_ns = read_receive_time();
    if CAPTURE {
        capture::begin(ctx, &frame, frame_len, received_ns);
    }
    save_to_scratch(ctx, ParsedHeaders { frame, source, destination }, frame_len, received_ns, false)
}

/// An Ethernet frame with two tags is within reach.
const _: () = assert!(REACH >= 1514 + 8);
