//! Loops between reflectors: a request that is really the reply to one of our replies.
//!
//! A Session-Reflector repeats T1 of what it answers. Where that was one of our replies, its T1 was our T3. So
//! whatever reflector answers us, on whatever ports, shows us a time of our own clock from a moment ago in a place
//! where a Session-Sender's packet has zeros (RFC 8762 §4.2.1). No state is needed for that.

use core::mem::offset_of;

use crate::packet_buf::PacketBuf;
use crate::wire::{Mode, reflector};

/// Age up to which our T3 marks a packet that repeats it as a reply to ours, in seconds. A loop that takes
/// longer for each turn does no harm.
pub const WINDOW_S: u64 = 8;

/// Returns the offset of the T1 that a reflector repeats in its packet.
#[inline(always)]
const fn sender_timestamp_at(mode: Mode) -> usize {
    match mode {
        Mode::Unauthenticated => offset_of!(reflector::UnauthenticatedReply, sender_timestamp),
        Mode::Authenticated => offset_of!(reflector::AuthenticatedReply, sender_timestamp),
    }
}

/// Returns true if a base packet in unauthenticated mode, all of which is there, may be a reply to ours, so that a closer look is due: what
/// an ordinary request never is, since it has zeros in that place.
#[inline(always)]
pub fn may_be_reply<B: PacketBuf>(payload: &B) -> bool {
    payload.get::<8>(sender_timestamp_at(Mode::Unauthenticated)).is_none_or(|octets| u64::from_ne_bytes(octets) != 0)
}

/// Returns true if a payload of `len` octets is the reply to one of our replies: it repeats a T3 of the last
/// [`WINDOW_S`] seconds.
///
/// `receive_timestamp` gives T2 of the packet, in the format in which we answered. Pseudo-random octets in that place, as
/// TWAMP-Light senders put them there (RFC 4656 §4.1.2), are taken for one in 2^29 cases: the upper half of the
/// timestamp counts seconds, and eight of 2^32 are within the window.
#[inline(always)]
pub fn is_reply_to_ours<B: PacketBuf>(
    payload: &B,
    len: usize,
    mode: Mode,
    receive_timestamp: impl FnOnce() -> u64,
) -> bool {
    let at = sender_timestamp_at(mode);
    if len < at + 8 {
        return false;
    }
    let Some(octets) = payload.get::<8>(at) else { return false };
    let repeated = u64::from_be_bytes(octets);
    // In both formats the upper half counts seconds; times that are not in the past are far above the window.
    repeated != 0 && receive_timestamp().wrapping_sub(repeated) < WINDOW_S << 32
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::packet_buf::ReadOnlyBuf;
    use crate::wire::{NANOS_PER_SEC, Timestamp, TimestampFormat};

    #[test]
    fn a_time_of_ours_from_the_last_seconds_is_known_in_its_place() {
        let now = 1_746_049_288_271_330_430;
        for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
            for (mode, len, at) in
                [(Mode::Unauthenticated, 44, 28), (Mode::Authenticated, 112, 64), (Mode::Unauthenticated, 36, 28)]
            {
                let is_reply = |age_ns: i64, len: usize, at: usize| {
                    let repeated = Timestamp::from_nanos((now as i64 - age_ns) as u64, format).bits();
                    let mut octets = std::vec![0x5a; 128];
                    octets[at..at + 8].copy_from_slice(&repeated.to_be_bytes());
                    let receive_timestamp = || Timestamp::from_nanos(now, format).bits();
                    is_reply_to_ours(&ReadOnlyBuf(&octets), len, mode, receive_timestamp)
                };
                const SECOND: i64 = NANOS_PER_SEC as i64;
                for age in [0, 1, 40_000, SECOND / 3, SECOND, 3 * SECOND, 7 * SECOND] {
                    assert!(is_reply(age, len, at), "{format:?} {mode:?} {age}");
                    assert!(!is_reply(age, len, at - 1), "{format:?} {mode:?} {age} at another place");
                    assert!(!is_reply(age, at + 7, at), "{format:?} {mode:?} {age} after the packet's end");
                }
                for age in [9 * SECOND, 37 * SECOND, 1_000_000 * SECOND, -SECOND / 2, -3 * SECOND, -37 * SECOND] {
                    assert!(!is_reply(age, len, at), "{format:?} {mode:?} {age}");
                }
            }
        }
    }

    #[test]
    fn zeros_and_random_padding_are_no_reply() {
        let receive_timestamp = 0xebbd_1788_4575_e93b_u64;
        let mut octets = [0; 44];
        assert!(!may_be_reply(&ReadOnlyBuf(&octets)));
        assert!(!is_reply_to_ours(&ReadOnlyBuf(&octets), 44, Mode::Unauthenticated, || receive_timestamp));
        // A million of paddings from a generator with a fixed seed: one in 2^29 would be taken.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1_000_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            octets[28..36].copy_from_slice(&state.to_be_bytes());
            assert!(may_be_reply(&ReadOnlyBuf(&octets)));
            assert!(
                !is_reply_to_ours(&ReadOnlyBuf(&octets), 44, Mode::Unauthenticated, || receive_timestamp),
                "{state:x}"
            );
        }
    }
}
