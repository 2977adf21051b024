//! The beginning of a session, and its beginning again.

use core::mem::offset_of;
use core::ptr::NonNull;

use teaparty_common::maps::{Config, ControlBlock, Session};
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::wire::sender::UnauthenticatedPacket;

use super::admission::KernelAdmitted;
use super::history::next_tag;
use super::table;

/// Sequence Number and T1 of a request in unauthenticated mode: by these a sender that has started again is known.
#[inline(always)]
pub(crate) fn restart_marks(payload: &impl PacketBuf) -> (u32, u64) {
    const TIMESTAMP: usize = offset_of!(UnauthenticatedPacket, timestamp);
    let sequence = payload.get::<4>(0).map_or(0, u32::from_be_bytes);
    (sequence, payload.get::<8>(TIMESTAMP).map_or(0, u64::from_be_bytes))
}

/// Has a session count from 0 again, and forget what it remembered: [`Session::reset`] in the kernel.
#[inline(always)]
fn restart(session: *mut Session, config: &Config) {
    let history_tag = if config.has(Config::HISTORY) { next_tag() } else { 0 };
    // SAFETY: a value of a map. Whole words are written, and a packet of the run before that comes at the same moment may
    // take a number of the new one, as it may where the controller has a session start over.
    unsafe {
        (*session).flags &= !Session::HAS_PREVIOUS;
        (*session).unanswered = 0;
        (*session).previous_timestamp = 0;
        (*session).previous_sequence = 0;
        (*session).history_tag = history_tag;
        (*session).replies = 0;
    }
}

/// The session's entry, made if there is none: of the key in working memory and of `scratch`, which is its session there.
/// A session whose sender has restarted starts over. `received_ns` is of CLOCK_MONOTONIC.
#[inline(always)]
pub(crate) fn find_or_make(
    scratch: &mut Session,
    admitted: &KernelAdmitted,
    (sequence, sender_timestamp): (u32, u64),
    control: &ControlBlock,
    config: &Config,
    received_ns: u64,
) -> Option<NonNull<Session>> {
    if let Some(session) = admitted.session {
        // SAFETY: a value of a map, of which whole words are read.
        if sequence == 0 && unsafe { session.as_ref() }.is_restart(sequence, sender_timestamp, config.session_restart_s)
        {
            restart(session.as_ptr(), config);
        }
        return admitted.session;
    }
    let history_tag = if config.has(Config::HISTORY) { next_tag() } else { 0 };
    *scratch = Session {
        flags: admitted.flags,
        generation: control.generation,
        history_tag,
        last_received_ns: received_ns,
        ..Session::default()
    };
    table::make()
}
