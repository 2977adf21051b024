//! Entries that the controller asks for in sessions that the kernel owns, so that each session has one writer.

use core::ptr::{self, NonNull};

use aya_ebpf::helpers::generated::{bpf_xdp_load_bytes, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::ETHERNET_LEN;
use teaparty_common::maps::{Session, SessionOp, SessionOpRequest};

use super::admission::KernelAdmitted;
use super::history::remember;
use super::lifecycle::find_or_make;
use super::table;
use crate::atomic::fetch_add;
use crate::maps::{PROVISIONED, kernel_config};
use crate::scratch::{Scratch, scratch};

/// Octets of a request.
const LEN: u32 = size_of::<SessionOpRequest>() as u32;

/// Carries out the request after the (empty) Ethernet header and writes the answer over it.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> Option<()> {
    let scratch = scratch()?;
    let Scratch { request, session, key, .. } = scratch;
    // SAFETY: the request has room for its own octets, and any are a valid request.
    let failed = unsafe { bpf_xdp_load_bytes(ctx.ctx, ETHERNET_LEN as u32, ptr::from_mut(request).cast(), LEN) };
    if failed != 0 {
        return None;
    }
    *key = request.key;
    apply(request, session)?;
    request.is_found = 1;
    // SAFETY: as above.
    unsafe { bpf_xdp_store_bytes(ctx.ctx, ETHERNET_LEN as u32, ptr::from_mut(request).cast(), LEN) };
    Some(())
}

/// Carries out a request; its key is the one in working memory.
#[inline(always)]
fn apply(request: &mut SessionOpRequest, new: &mut Session) -> Option<()> {
    let kernel_config = kernel_config()?;
    let control = &kernel_config.control;
    let config = kernel_config.config(control.active);
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value, the key is copied to the stack")]
    let existing = match PROVISIONED.get_ptr_mut(&request.key) {
        Some(session) => Some(session),
        None => table::find().map(NonNull::as_ptr),
    };
    // SAFETY: a value of a map. A wildcard keeps no state; a packet from port 0 has its key.
    let existing =
        existing.and_then(NonNull::new).filter(|found| unsafe { found.as_ref() }.flags & Session::WILDCARD == 0);
    let is_claim = request.operation == SessionOp::Claim as u32;
    let is_again = request.operation == SessionOp::Again as u32;
    let session = if is_claim && request.count != 0 {
        let admitted = KernelAdmitted { flags: request.flags, session: existing };
        let run = (request.exchange.sender_sequence, request.exchange.sender_timestamp);
        find_or_make(new, &admitted, run, control, config, request.received_ns)?
    } else {
        existing?
    };
    let session = session.as_ptr();
    // SAFETY: a value of a map; `replies` and `unanswered` are eight octets, aligned.
    unsafe {
        request.flags = (*session).flags;
        request.history_tag = (*session).history_tag;
        request.previous_timestamp = (*session).previous_timestamp;
        request.previous_sequence = (*session).previous_sequence;
        request.previous_sender_sequence = (*session).sender_sequence;
        (*session).last_received_ns = request.received_ns;
        if is_claim || is_again {
            // How many packets were received is the sum of both counters: a claim adds one, another reply none.
            let count = u64::from(request.count);
            let more = u64::from(is_claim).wrapping_sub(count);
            let unanswered = fetch_add(&raw mut (*session).unanswered, more);
            let replies = fetch_add(&raw mut (*session).replies, count);
            request.sequence = replies as u32;
            request.received = replies.wrapping_add(unanswered) as u32 + u32::from(is_claim);
        } else {
            let sequence = request.exchange.reflector_sequence;
            let is_known = (*session).flags & Session::HAS_PREVIOUS != 0;
            // The kernel may have answered a later packet while the controller was busy with this one.
            if !is_known || sequence.wrapping_sub((*session).previous_sequence) as i32 > 0 {
                (*session).previous_timestamp = request.exchange.timestamp;
                (*session).previous_sequence = sequence;
            }
            (*session).sender_sequence = request.exchange.sender_sequence;
            (*session).sender_timestamp = request.exchange.sender_timestamp;
            (*session).flags |= Session::HAS_PREVIOUS;
            let done = &request.exchange;
            remember((*session).history_tag, *done, config);
        }
    }
    Some(())
}
