//! Reflected Test Packet Control: how many replies, how large, how far apart (RFC 10052 §3).
//!
//! Decides, and marks the sub-TLVs; building and sending the replies is the controller's.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Kind;
use super::header::{Flags, HEADER_LEN, Header};
use super::{Tlv, TlvItem, next_tlv};
use crate::address::Address;
use crate::packet_buf::PacketBuf;
use crate::plan::Plan;
use crate::policy::Policy;

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

    /// The types by name (RFC 10052 §3.1).
    pub const NAMES: &[(u8, &str)] = &[
        (L2_GROUP, "Layer 2 Address Group"),
        (L3_GROUP, "Layer 3 Address Group"),
        (EXTENSION_HEADERS, "IPv6 Extension Header Control"),
    ];
}

/// A Layer 3 Address Group body for IPv4, 8 octets.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct L3Group<const N: usize> {
    prefix_len: u8,
    reserved: [u8; 3],
    prefix: [u8; N],
}

/// The limits set by the operator, and by the outgoing path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most replies to one request.
    pub max_count: u16,
    /// Largest UDP payload of a reply, in octets.
    pub max_len: usize,
    /// Least time between replies, in nanoseconds.
    pub min_interval_ns: u32,
    /// Largest UDP payload that the way out carries unfragmented, in octets.
    pub path_len: usize,
}

/// The groups that this reflector belongs to.
pub trait Members {
    /// Returns true if one of our addresses lies in the prefix. An IPv4 prefix counts from its own first bit.
    fn has_prefix(&self, prefix: &Address, prefix_len: u8) -> bool;
    /// Returns true if one of our MAC addresses with `N` octets is in the group: `MAC & mask == group`.
    fn has_mac<const N: usize>(&self, mask: [u8; N], group: [u8; N]) -> bool;
}

/// The decision on a request that is addressed to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyDecision {
    /// One reply of the request's own size, as if the TLV were not known: its flags say U.
    Ordinary,
    /// Replies.
    Replies(Replies),
}

/// The replies to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replies {
    /// Flags of the TLV in each: none, or C where this is not what was asked for.
    pub flags: Flags,
    /// Their number, at least one.
    pub count: u16,
    /// Octets of UDP payload of each.
    pub len: usize,
    /// From one to the next, in nanoseconds.
    pub interval_ns: u32,
}

impl Replies {
    /// The one reply, no longer than `len`, that a request gets which asks for more than it may have.
    pub const fn refused(len: usize) -> Self {
        Self { flags: Flags::CONFORMANT, count: 1, len, interval_ns: 0 }
    }
}

/// A request as it stands among the TLVs of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The TLV.
    pub tlv: Tlv,
    /// The request.
    pub control: ReflectedControl,
    /// Octets of base packet and TLVs without Extra Padding and trailing zeros: the least that a reply can have.
    pub fixed_len: usize,
    /// True if TLVs after it are malformed, so that what follows them can be neither dropped nor added to.
    pub is_malformed: bool,
}

/// Looks for the request in a packet, of which the first one counts. Call with the [`Plan`] for the same octets.
pub fn find<B: PacketBuf>(payload: &B, plan: &Plan, policy: &Policy) -> Option<Request> {
    let mut at = plan.mode.base_len();
    let mut fixed_len = at;
    let mut is_malformed = false;
    let mut found = None;
    loop {
        let tlv = match next_tlv(payload, at, plan.tlvs_end, policy) {
            TlvItem::Tlv(tlv) if tlv.is_well_formed => tlv,
            TlvItem::End => break,
            TlvItem::Stray | TlvItem::Overrun(_) | TlvItem::Tlv(_) => {
                is_malformed = true;
                break;
            }
        };
        if tlv.number != Kind::ExtraPadding as u8 {
            fixed_len += tlv.end() - tlv.at;
        }
        if tlv.number == Kind::ReflectedControl as u8 && found.is_none() {
            let octets = payload.get::<{ size_of::<ReflectedControl>() }>(tlv.value())?;
            found = Some((tlv, zerocopy::transmute!(octets)));
        }
        at = tlv.end();
    }
    found.map(|(tlv, control)| Request { tlv, control, fixed_len, is_malformed })
}

/// Returns true if a request means us and asks for any reply at all; if not, it gets none. Writes flags into its sub-TLVs.
pub fn is_wanted<B: PacketBuf, M: Members>(payload: &mut B, request: &Request, members: &M) -> bool {
    is_member_of_all(payload, &request.tlv, members) && request.control.count.get() != 0
}

/// Decides about a request that means us, in a packet of `len` octets.
///
/// * `is_repeated`: the Sequence Number is not above that of the session's previous packet (RFC 10052 §5).
/// * `is_contradicted`: a Return Path in the same packet asks for no reply (RFC 10052 §4.3).
pub fn decide(
    request: &Request,
    len: usize,
    limits: &Limits,
    is_repeated: bool,
    is_contradicted: bool,
) -> ReplyDecision {
    if is_repeated || is_contradicted {
        return ReplyDecision::Ordinary;
    }
    if request.is_malformed {
        // No text says what such a packet gets. Everything from a malformed TLV on goes back as it came (RFC 8972 §4).
        return ReplyDecision::Replies(Replies::refused(len));
    }
    let ReflectedControl { length, count, interval_ns } = request.control;
    let (count, interval_ns) = (count.get(), interval_ns.get());
    let fixed_len = request.fixed_len;
    let wanted = usize::from(length.get()).next_multiple_of(4).max(fixed_len);
    let max_len = limits.max_len.max(fixed_len);
    if wanted > limits.path_len {
        return ReplyDecision::Replies(Replies::refused(limits.path_len.clamp(fixed_len, max_len)));
    }
    let is_above_limits =
        wanted > max_len || count > limits.max_count || (count > 1 && interval_ns < limits.min_interval_ns);
    ReplyDecision::Replies(if is_above_limits {
        Replies::refused(wanted.min(max_len))
    } else {
        Replies { flags: Flags::NONE, count, len: wanted, interval_ns }
    })
}

/// Returns true if we are in every address group that a request names (RFC 10052 §3.1).
///
/// Writes the flags of its sub-TLVs: 0 where understood, U where not, C for the extension headers, which our replies have
/// none of. One that is malformed gets M, and what follows it is not touched (RFC 8972 §4.2.1, §4).
fn is_member_of_all<B: PacketBuf, M: Members>(payload: &mut B, tlv: &Tlv, members: &M) -> bool {
    let mut is_member = true;
    let mut at = tlv.value() + size_of::<ReflectedControl>();
    while at < tlv.end() {
        let Some(octets) = payload.get::<HEADER_LEN>(at).filter(|_| at + HEADER_LEN <= tlv.end()) else {
            payload.put(at, [Flags::MALFORMED.0]);
            break;
        };
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
                is_member &= is_met;
                Flags::NONE
            }
            (sub::L2_GROUP | sub::L3_GROUP, None) => Flags::MALFORMED,
            (sub::EXTENSION_HEADERS, None) => Flags::CONFORMANT,
            _ => Flags::UNRECOGNIZED,
        };
        payload.put(at, [flags.0]);
        if flags == Flags::MALFORMED {
            break;
        }
        at = value + len;
    }
    is_member
}

fn mac_group<B: PacketBuf, M: Members, const N: usize>(payload: &B, at: usize, members: &M) -> Option<bool> {
    Some(members.has_mac::<N>(payload.get::<N>(at)?, payload.get::<N>(at + N)?))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::packet_buf::SliceBuf;

    struct Us;

    impl Members for Us {
        fn has_prefix(&self, prefix: &Address, prefix_len: u8) -> bool {
            *prefix == Address::v4([198, 51, 100, 0]) && prefix_len == 24
        }
        fn has_mac<const N: usize>(&self, mask: [u8; N], _: [u8; N]) -> bool {
            mask == [0; N]
        }
    }

    const LIMITS: Limits = Limits { max_count: 16, max_len: 1472, min_interval_ns: 1_000, path_len: 1472 };

    /// Returns the decision for a packet with these octets after its base packet; `None` where it gets no reply.
    fn answer(tail: &[u8]) -> Option<ReplyDecision> {
        let mut octets = [0u8; 256];
        let len = 44 + tail.len();
        octets[44..len].copy_from_slice(tail);
        let plan = Plan { has_tlvs: true, ..Plan::without_tlvs(len, crate::wire::Mode::Unauthenticated) };
        let mut payload = SliceBuf(&mut octets[..len]);
        let request = find(&payload, &plan, &Policy::DEFAULT).expect("the TLV is there");
        is_wanted(&mut payload, &request, &Us).then(|| decide(&request, len, &LIMITS, false, false))
    }

    fn tlv(length: u16, count: u16, interval: u32, subs: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x80, 12, 0, 8 + subs.len() as u8];
        octets.extend([length.to_be_bytes(), count.to_be_bytes()].concat());
        octets.extend(interval.to_be_bytes());
        octets.extend(subs);
        octets
    }

    fn ask(length: u16, count: u16, interval: u32, subs: &[u8]) -> Option<ReplyDecision> {
        answer(&tlv(length, count, interval, subs))
    }

    fn replies(flags: Flags, count: u16, len: usize, interval_ns: u32) -> Option<ReplyDecision> {
        Some(ReplyDecision::Replies(Replies { flags, count, len, interval_ns }))
    }

    #[test]
    fn length_is_rounded_up_and_never_below_what_must_be_there_c232() {
        assert_eq!(ask(0, 1, 0, &[0; 4]), replies(Flags::NONE, 1, 60, 0));
        assert_eq!(ask(97, 1, 0, &[0; 4]), replies(Flags::NONE, 1, 100, 0));
        assert_eq!(ask(128, 3, 1_000_000, &[0; 4]), replies(Flags::NONE, 3, 128, 1_000_000));
        // Extra Padding on both sides and zeros at the end do not count.
        let tail = [&[0x80, 1, 0, 2, 9, 9][..], &tlv(0, 1, 0, &[0; 4]), &[0x80, 1, 0, 1, 9], &[0; 9]].concat();
        assert_eq!(answer(&tail), replies(Flags::NONE, 1, 60, 0));
    }

    #[test]
    fn what_is_too_much_is_answered_once_with_c_c233_c236() {
        assert_eq!(ask(9000, 1, 0, &[0; 4]), replies(Flags::CONFORMANT, 1, 1472, 0));
        assert_eq!(ask(128, 17, 1_000_000, &[0; 4]), replies(Flags::CONFORMANT, 1, 128, 0));
        assert_eq!(ask(128, 2, 999, &[0; 4]), replies(Flags::CONFORMANT, 1, 128, 0));
    }

    #[test]
    fn count_zero_and_foreign_groups_get_silence_c237_c239_c240() {
        assert_eq!(ask(128, 0, 0, &[0; 4]), None);
        let ours = [0x80, 11, 0, 8, 24, 0, 0, 0, 198, 51, 100, 0];
        let foreign = [0x80, 11, 0, 8, 24, 0, 0, 0, 203, 0, 113, 0];
        assert_eq!(ask(128, 1, 0, &ours), replies(Flags::NONE, 1, 128, 0));
        assert_eq!(ask(128, 1, 0, &foreign), None);
        // Several must all match (RFC 10052 §3.1).
        assert_eq!(ask(128, 1, 0, &[foreign, ours].concat()), None);
        assert_eq!(ask(128, 1, 0, &[ours, foreign].concat()), None);
        let our_mac = [0x80, 10, 0, 4, 0, 0, 1, 2];
        assert_eq!(ask(128, 1, 0, &[&ours[..], &our_mac].concat()), replies(Flags::NONE, 1, 128, 0));
        assert_eq!(ask(128, 1, 0, &[&our_mac[..], &foreign].concat()), None);
        assert_eq!(ask(128, 1, 0, &[0x80, 10, 0, 4, 0, 0, 1, 2]), replies(Flags::NONE, 1, 128, 0));
        assert_eq!(ask(128, 1, 0, &[0x80, 10, 0, 4, 1, 0, 1, 2]), None);
    }

    #[test]
    fn repetitions_and_contradictions_get_one_ordinary_reply_c241_c242() {
        let mut octets = [&[0; 44][..], &tlv(128, 3, 1_000_000, &[0; 4])].concat();
        let plan = Plan { has_tlvs: true, ..Plan::without_tlvs(60, crate::wire::Mode::Unauthenticated) };
        let request = find(&SliceBuf(&mut octets), &plan, &Policy::DEFAULT).unwrap();
        assert_eq!(decide(&request, 60, &LIMITS, true, false), ReplyDecision::Ordinary);
        assert_eq!(decide(&request, 60, &LIMITS, false, true), ReplyDecision::Ordinary);
    }

    #[test]
    fn a_malformed_tlv_keeps_the_reply_as_long_as_its_request() {
        let tail = [&tlv(128, 3, 1_000_000, &[0; 4])[..], &[0x80, 3, 0, 3, 1, 2, 3, 0x80, 1, 0, 0]].concat();
        assert_eq!(answer(&tail), replies(Flags::CONFORMANT, 1, 44 + tail.len(), 0));
    }
}
