//! The ledger: entries that the controller asks for in sessions that the kernel owns (design rule R4).

use aya_ebpf::programs::XdpContext;
use teaparty_common::bytes::Bytes;
use teaparty_common::frame::ETHERNET_LEN;
use teaparty_common::maps::{HistorySlot, LedgerOperation, LedgerRequest, Session};

use crate::maps::{CONFIG, CONTROL, PROVISIONED, SESSIONS};
use crate::packet::Packet;
use crate::session::{self, Admitted};

/// Carries out the request behind the (empty) Ethernet header and writes the answer over it.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<()> {
    let mut packet = Packet::new(ctx.data(), ctx.data_end(), ETHERNET_LEN);
    let mut request: LedgerRequest = zerocopy::transmute!(packet.get::<{ size_of::<LedgerRequest>() }>(0)?);
    let control = CONTROL.get(0)?;
    let config = CONFIG.get(control.active & 1)?;
    let existing = match PROVISIONED.get_ptr_mut(request.key) {
        Some(session) => Some(session),
        None => SESSIONS.get_ptr_mut(request.key),
    };
    let session = if request.operation == LedgerOperation::Claim as u32 && request.count != 0 {
        session::entry(&request.key, &Admitted { flags: request.flags, session: existing }, control, config)?
    } else {
        existing?
    };
    // SAFETY: a value of a map; `replies` and `unanswered` are eight octets, aligned.
    unsafe {
        request.flags = (*session).flags;
        request.history_tag = (*session).history_tag;
        request.previous_timestamp = (*session).previous_timestamp;
        request.previous_sender_sequence = (*session).sender_sequence;
        if request.operation == LedgerOperation::Claim as u32 {
            if request.count == 0 {
                session::fetch_add(&raw mut (*session).unanswered, 1);
            }
            let replies = session::fetch_add(&raw mut (*session).replies, u64::from(request.count));
            request.sequence = replies as u32;
            request.received = (replies + (*session).unanswered) as u32 + (request.count != 0) as u32;
            (*session).last_received_ns = request.received_ns;
        } else {
            let exchange = HistorySlot { tag: (*session).history_tag, ..request.exchange };
            (*session).previous_timestamp = exchange.timestamp;
            (*session).sender_sequence = exchange.sender_sequence;
            (*session).last_received_ns = request.received_ns;
            (*session).flags |= Session::HAS_PREVIOUS;
            session::remember(exchange, config);
        }
    }
    request.is_found = 1;
    let answer: [u8; size_of::<LedgerRequest>()] = zerocopy::transmute!(request);
    packet.put(0, answer);
    Some(())
}
