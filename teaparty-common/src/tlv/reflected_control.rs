//! Reflected Test Packet Control: how many replies, how large, how far apart (RFC 10052 §3).
//!
//! Decides, and marks the sub-TLVs; building and sending the replies is the controller's.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Flags, HEADER_LEN, Header};
use crate::bytes::Bytes;
use crate::reflect::{Address, Tlv};

/// The fixed head of the body, 8 octets; sub-TLVs follow, or four octets of filling where there are none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct ReflectedControl {
    /// Length of the Reflected Packet: octets of UDP payload.
    pub length: U16,
    /// Number of the Reflected Packets.
    pub count: U16,
    /// Interval Between the Reflected Packets, in nanoseconds.
    pub interval_ns: U32,
}

/// Sub-TLV types (RFC 10052 §3.1; the last is experimental).
pub mod sub {
    /// Layer 2 Address Group: a mask and a group of 2, 6 or 8 octets each.
    pub const L2_GROUP: u8 = 10;
    /// Layer 3 Address Group: a prefix.
    pub const L3_GROUP: u8 = 11;
    /// IPv6 Extension Header Control: asks for extension headers in the reply.
    pub const EXTENSION_HEADERS: u8 = 240;
}

/// A Layer 3 Address Group body for IPv4, 8 octets.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct L3Group<const N: usize> {
    prefix_len: u8,
    reserved: [u8; 3],
    prefix: [u8; N],
}

/// What an operator allows, and what the way out can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most replies to one request.
    pub max_count: u16,
    /// Largest UDP payload of a reply, in octets.
    pub max_len: usize,
    /// Least time between replies, in nanoseconds.
    pub min_interval_ns: u32,
    /// Most octets of UDP payload for one request.
    pub max_volume: usize,
    /// Largest UDP payload that the way out carries unfragmented, in octets.
    pub path_len: usize,
}

/// What we are, for address groups.
pub trait Members {
    /// Whether an address of ours lies in the prefix. An IPv4 prefix counts from its own first bit.
    fn has_prefix(&self, prefix: &Address, prefix_len: u8) -> bool;
    /// Whether a MAC address of ours with `N` octets is in the group: `MAC & mask == group`.
    fn has_mac<const N: usize>(&self, mask: [u8; N], group: [u8; N]) -> bool;
}

/// What is to be done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No reply at all.
    Silence,
    /// One reply of the request's own size, as if the TLV were not known: its flags say U.
    Ordinary,
    /// Replies.
    Replies {
        /// Flags of the TLV in each.
        flags: Flags,
        /// How many.
        count: u16,
        /// Octets of UDP payload of each.
        len: usize,
        /// From one to the next, in nanoseconds.
        interval_ns: u32,
    },
}

/// Decides about the request in `tlv`, and writes flags into its sub-TLVs.
///
/// * `fixed_len`: octets of base packet and TLVs without Extra Padding: the least that a reply can have.
/// * `is_repeated`: the Sequence Number is not above that of the session's previous packet (RFC 10052 §5).
/// * `is_contradicted`: a Return Path in the same packet asks for no reply (RFC 10052 §4.3).
pub fn decide<B: Bytes, M: Members>(
    payload: &mut B,
    tlv: &Tlv,
    fixed_len: usize,
    limits: &Limits,
    members: &M,
    is_repeated: bool,
    is_contradicted: bool,
) -> Decision {
    let Some(octets) = payload.get::<{ size_of::<ReflectedControl>() }>(tlv.value()) else {
        return Decision::Ordinary;
    };
    let control: ReflectedControl = zerocopy::transmute!(octets);
    let groups = mark_subs(payload, tlv, members);
    if groups == Groups::Missed || control.count.get() == 0 {
        return Decision::Silence;
    }
    if is_repeated || is_contradicted {
        return Decision::Ordinary;
    }
    let wanted = usize::from(control.length.get()).next_multiple_of(4).max(fixed_len);
    let (count, interval_ns) = (control.count.get(), control.interval_ns.get());
    let refused = |len: usize| Decision::Replies { flags: Flags::CONFORMANT, count: 1, len, interval_ns: 0 };
    if wanted > limits.path_len {
        return refused(limits.path_len.min(limits.max_len.max(fixed_len)));
    }
    let is_above_limits = wanted > limits.max_len.max(fixed_len)
        || count > limits.max_count
        || (count > 1 && interval_ns < limits.min_interval_ns)
        || usize::from(count) * wanted > limits.max_volume;
    if is_above_limits {
        return refused(wanted.min(limits.max_len.max(fixed_len)));
    }
    Decision::Replies { flags: Flags::NONE, count, len: wanted, interval_ns }
}

/// Whether the address groups of a request, if it has any, mean us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Groups {
    None,
    Missed,
    Met,
}

/// Looks at the sub-TLVs and writes their flags: 0 where understood, U where not, M where the Length is wrong, C for the
/// extension headers, which our replies have none of.
fn mark_subs<B: Bytes, M: Members>(payload: &mut B, tlv: &Tlv, members: &M) -> Groups {
    let mut groups = Groups::None;
    let mut at = tlv.value() + size_of::<ReflectedControl>();
    while at + HEADER_LEN <= tlv.end() {
        let Some(octets) = payload.get::<HEADER_LEN>(at) else { break };
        // A request without sub-TLVs fills up with four zero octets.
        if octets == [0; HEADER_LEN] {
            break;
        }
        let header: Header = zerocopy::transmute!(octets);
        let len = usize::from(header.length.get());
        let value = at + HEADER_LEN;
        if value + len > tlv.end() {
            payload.put(at, [Flags::MALFORMED.0]);
            break;
        }
        let is_met = match (header.code, len) {
            (sub::L2_GROUP, 4) => mac_group::<B, M, 2>(payload, value, members),
            (sub::L2_GROUP, 12) => mac_group::<B, M, 6>(payload, value, members),
            (sub::L2_GROUP, 16) => mac_group::<B, M, 8>(payload, value, members),
            (sub::L3_GROUP, 8) => payload.get::<8>(value).map(|octets| {
                let group: L3Group<4> = zerocopy::transmute!(octets);
                members.has_prefix(&Address::v4(group.prefix), group.prefix_len)
            }),
            (sub::L3_GROUP, 20) => payload.get::<20>(value).map(|octets| {
                let group: L3Group<16> = zerocopy::transmute!(octets);
                members.has_prefix(&Address(group.prefix), group.prefix_len)
            }),
            _ => None,
        };
        let flags = match (header.code, is_met) {
            (_, Some(is_met)) => {
                if is_met {
                    groups = Groups::Met;
                } else if groups == Groups::None {
                    groups = Groups::Missed;
                }
                Flags::NONE
            }
            (sub::L2_GROUP | sub::L3_GROUP, None) => Flags::MALFORMED,
            (sub::EXTENSION_HEADERS, None) => Flags::CONFORMANT,
            _ => Flags::UNRECOGNIZED,
        };
        payload.put(at, [flags.0]);
        at = value + len;
    }
    groups
}

fn mac_group<B: Bytes, M: Members, const N: usize>(payload: &B, at: usize, members: &M) -> Option<bool> {
    Some(members.has_mac::<N>(payload.get::<N>(at)?, payload.get::<N>(at + N)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::SliceBytes;

    struct Us;

    impl Members for Us {
        fn has_prefix(&self, prefix: &Address, prefix_len: u8) -> bool {
            *prefix == Address::v4([198, 51, 100, 0]) && prefix_len == 24
        }
        fn has_mac<const N: usize>(&self, mask: [u8; N], _: [u8; N]) -> bool {
            mask == [0; N]
        }
    }

    const LIMITS: Limits =
        Limits { max_count: 16, max_len: 1472, min_interval_ns: 1_000, max_volume: 16 * 1472, path_len: 1472 };

    fn ask(length: u16, count: u16, interval: u32, subs: &[u8]) -> Decision {
        let mut octets = [0u8; 128];
        octets[4..6].copy_from_slice(&length.to_be_bytes());
        octets[6..8].copy_from_slice(&count.to_be_bytes());
        octets[8..12].copy_from_slice(&interval.to_be_bytes());
        octets[12..12 + subs.len()].copy_from_slice(subs);
        let tlv = Tlv { at: 0, length: 8 + subs.len() as u16, code: 12, number: 12, is_well_formed: true };
        decide(&mut SliceBytes(&mut octets), &tlv, 68, &LIMITS, &Us, false, false)
    }

    fn replies(flags: Flags, count: u16, len: usize, interval_ns: u32) -> Decision {
        Decision::Replies { flags, count, len, interval_ns }
    }

    #[test]
    fn length_is_rounded_up_and_never_below_what_must_be_there_c232() {
        assert_eq!(ask(0, 1, 0, &[0; 4]), replies(Flags::NONE, 1, 68, 0));
        assert_eq!(ask(97, 1, 0, &[0; 4]), replies(Flags::NONE, 1, 100, 0));
        assert_eq!(ask(128, 3, 1_000_000, &[0; 4]), replies(Flags::NONE, 3, 128, 1_000_000));
    }

    #[test]
    fn what_is_too_much_is_answered_once_with_c_c233_c236() {
        assert_eq!(ask(9000, 1, 0, &[0; 4]), replies(Flags::CONFORMANT, 1, 1472, 0));
        assert_eq!(ask(128, 17, 1_000_000, &[0; 4]), replies(Flags::CONFORMANT, 1, 128, 0));
        assert_eq!(ask(128, 2, 999, &[0; 4]), replies(Flags::CONFORMANT, 1, 128, 0));
    }

    #[test]
    fn count_zero_and_foreign_groups_get_silence_c237_c239_c240() {
        assert_eq!(ask(128, 0, 0, &[0; 4]), Decision::Silence);
        let ours = [0x80, 11, 0, 8, 24, 0, 0, 0, 198, 51, 100, 0];
        let foreign = [0x80, 11, 0, 8, 24, 0, 0, 0, 203, 0, 113, 0];
        assert_eq!(ask(128, 1, 0, &ours), replies(Flags::NONE, 1, 128, 0));
        assert_eq!(ask(128, 1, 0, &foreign), Decision::Silence);
        let both: [u8; 24] = core::array::from_fn(|i| if i < 12 { foreign[i] } else { ours[i - 12] });
        assert_eq!(ask(128, 1, 0, &both), replies(Flags::NONE, 1, 128, 0));
        assert_eq!(ask(128, 1, 0, &[0x80, 10, 0, 4, 0, 0, 1, 2]), replies(Flags::NONE, 1, 128, 0));
        assert_eq!(ask(128, 1, 0, &[0x80, 10, 0, 4, 1, 0, 1, 2]), Decision::Silence);
    }
}
