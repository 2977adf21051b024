//! What only the controller can do for a TLV: keys, memory, extension headers, other destinations.

use teaparty_common::frame::Tags;
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{Address, PacketMeta, Plan, Policy, ReflectorEnv, Tlv, TlvIntegrity};
use teaparty_common::tlv::bit_error::{self, BitErrorResult};
use teaparty_common::tlv::reflected_control::ReplyDecision;
use teaparty_common::tlv::return_path::{self, ReturnPathRequest, Segments};
use teaparty_common::tlv::{Flags, HandledBy, Kind, KindSet, history, reflected_header};

use crate::reflector::pipeline::segment_routing::{MAX_SEGMENTS, overhead};
use crate::reflector::session::session_store::SessionStore;
use crate::reflector::snapshot::ConfigSnapshot;

/// The IP headers of a packet as received, as far as they are in sight.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    /// The IPv4 header without options, or the IPv6 header.
    pub fixed: Option<&'a [u8]>,
    /// The IPv6 extension headers, outer to inner.
    pub extensions: &'a [u8],
    /// VLAN tags of the frame.
    pub tags: Tags,
}

/// The controller as the environment of the shared core, for one packet.
pub struct ControllerEnv<'a> {
    snapshot: &'a ConfigSnapshot,
    headers: Headers<'a>,
    store: &'a dyn SessionStore,
    has_segments: &'a dyn Fn() -> bool,
    bit_errors: Option<BitErrorResult>,
    used_headers: reflected_header::Used,
    has_return_path: bool,
    has_control: bool,
    /// The decision on an effective Reflected Test Packet Control.
    pub control: Option<ReplyDecision>,
    /// Offset of the reply's HMAC TLV, if it has one.
    pub hmac_at: Option<usize>,
    /// The request of a Return Path that is obeyed.
    pub path_request: Option<ReturnPathRequest>,
}

impl<'a> ControllerEnv<'a> {
    /// The environment for a packet with these headers.
    pub fn new(
        snapshot: &'a ConfigSnapshot,
        headers: Headers<'a>,
        store: &'a dyn SessionStore,
        has_segments: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            snapshot,
            headers,
            store,
            has_segments,
            bit_errors: None,
            used_headers: reflected_header::Used::default(),
            has_return_path: false,
            has_control: false,
            control: None,
            hmac_at: None,
            path_request: None,
        }
    }

    /// Looks at what must be seen before any TLV is changed. To be called between `plan` and `apply`.
    ///
    /// `pattern` is what padding is compared with where the packet does not say.
    pub fn prepare<B: PacketBuf>(&mut self, payload: &B, plan: &Plan, policy: &Policy, pattern: &[u8]) {
        let asked = Kind::BitErrorPattern.set().with(Kind::BitErrorCount.set()).with(Kind::BitErrorBurst.set());
        // Replies of another size have other padding, in which errors cannot be distinguished from the change.
        let is_resized = matches!(self.control, Some(ReplyDecision::Replies(_)));
        if plan.integrity != TlvIntegrity::Failed && plan.seen.meets(asked) && !is_resized {
            self.bit_errors = bit_error::measure(payload, plan.mode.base_len(), plan.len, policy, pattern);
        }
    }

    /// Does what must wait until all TLVs are finished. To be called after `apply`.
    pub fn complete<B: PacketBuf>(&self, payload: &mut B, pattern: &[u8]) {
        if let Some(BitErrorResult::Measured { padding, pattern: stated, .. }) = self.bit_errors {
            bit_error::repair(payload, padding, stated, pattern);
        }
    }

    /// Flags and value of the TLVs that report bit errors.
    fn bit_errors<B: PacketBuf>(&self, payload: &mut B, tlv: &Tlv) -> Flags {
        let Some(BitErrorResult::Measured { errors, burst, .. }) = self.bit_errors else { return Flags::CONFORMANT };
        if tlv.number == Kind::BitErrorCount as u8 {
            payload.put(tlv.value(), errors.to_be_bytes());
        } else if tlv.number == Kind::BitErrorBurst as u8 {
            payload.put(tlv.value(), burst.to_be_bytes());
        }
        Flags::NONE
    }

    /// A Reflected Test Packet Control: the first one counts.
    fn reflected_control(&mut self) -> Flags {
        match (self.control, std::mem::replace(&mut self.has_control, true)) {
            (Some(ReplyDecision::Replies(replies)), false) => replies.flags,
            (Some(ReplyDecision::Replies(_)), true) => Flags::CONFORMANT,
            (Some(ReplyDecision::Ordinary) | None, _) => Flags::UNRECOGNIZED,
        }
    }

    /// A Return Path: the first one counts, and it is obeyed if policy allows and it is possible (RFC 9503 §4).
    fn return_path<B: PacketBuf>(
        &mut self,
        payload: &mut B,
        tlv: &Tlv,
        plan: &Plan,
        meta: &PacketMeta,
        policy: &Policy,
    ) -> Flags {
        if std::mem::replace(&mut self.has_return_path, true) {
            // Not used, and nothing wrong with it (RFC 9503 §4).
            return Flags::NONE;
        }
        if plan.control_conflict {
            return Flags::UNRECOGNIZED;
        }
        match return_path::read(payload, tlv) {
            path_request @ ReturnPathRequest::SameLink => self.path_request = Some(path_request),
            path_request @ ReturnPathRequest::Address(address)
                if policy.has(Policy::RETURN_ADDRESS) && is_reachable(&address, &meta.destination) =>
            {
                self.path_request = Some(path_request);
            }
            path_request @ ReturnPathRequest::Segments(segments)
                if policy.has(Policy::RETURN_ADDRESS) && self.can_take(payload, &segments, plan, meta) =>
            {
                self.path_request = Some(path_request);
            }
            _ => return Flags::UNRECOGNIZED,
        }
        Flags::NONE
    }

    /// Returns true if one of our replies can take this way: over IPv6, to unicast addresses, in one packet.
    fn can_take<B: PacketBuf>(&self, payload: &B, segments: &Segments, plan: &Plan, meta: &PacketMeta) -> bool {
        let addresses = (0..segments.count).map(|n| payload.get::<16>(segments.at + n * 16).map(Address));
        let mut addresses = addresses.chain(segments.address.map(Some));
        !meta.destination.is_ipv4()
            && segments.count <= MAX_SEGMENTS
            && addresses.all(|one| one.is_some_and(|one| is_reachable(&one, &meta.destination)))
            && plan.len.max(plan.mode.base_len()) + overhead(segments.count) <= self.snapshot.interface.mtu as usize
            && (self.has_segments)()
    }
}

/// Returns true if a reply from our address can go to this one at all.
fn is_reachable(address: &Address, ours: &Address) -> bool {
    let is_elsewhere = address.is_loopback() && !ours.is_loopback();
    address.is_ipv4() == ours.is_ipv4() && !address.is_never_unicast() && !is_elsewhere
}

impl ReflectorEnv for ControllerEnv<'_> {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel).with(KindSet::handled_by(HandledBy::Controller));
    // More than a UDP datagram can hold.
    const MAX_SUBS: usize = 1 << 16;
    const CAN_GROW: bool = true;

    fn is_local(&self, address: &Address) -> bool {
        self.snapshot.book.is_node(address, self.headers.tags)
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        self.headers.fixed?.try_into().ok()
    }

    fn finish<B: PacketBuf>(&mut self, payload: &mut B, tlv: Tlv, plan: &Plan, meta: &PacketMeta, policy: &Policy) {
        let is = |kind: Kind| tlv.number == kind as u8;
        let flags = if is(Kind::Hmac) {
            self.hmac_at = Some(tlv.at);
            Flags::NONE
        } else if is(Kind::History) {
            let ring = self.store.history_ring(meta.history_tag);
            history::reflect(payload, &tlv, meta, |sequence| ring?.remembered(meta.history_tag, sequence));
            Flags::NONE
        } else if is(Kind::BitErrorPattern) || is(Kind::BitErrorCount) || is(Kind::BitErrorBurst) {
            self.bit_errors(payload, &tlv)
        } else if is(Kind::ReflectedControl) {
            self.reflected_control()
        } else if is(Kind::ReturnPath) {
            self.return_path(payload, &tlv, plan, meta, policy)
        } else if is(Kind::ReflectedExtensionHeader) {
            if plan.headers_out_of_order {
                Flags::CONFORMANT
            } else {
                reflected_header::reflect(payload, &tlv, self.headers.extensions, &mut self.used_headers)
            }
        } else {
            Flags::UNRECOGNIZED
        };
        payload.put(tlv.at, [flags.0]);
    }
}
