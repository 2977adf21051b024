//! The fast path for the most common packets: of a session that is known, in a plain frame, with simple TLVs or none.
//!
//! Headers and base packet are at constant offsets, proved to be there by one comparison, and what is known of a packet
//! without TLVs stays in registers. What is answered here is answered by the same functions as everywhere else; whatever
//! is not plain takes the generic path, before anything has been changed.

use aya_ebpf::helpers::generated::bpf_ktime_get_tai_ns;
use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::{Frame, ParsedHeaders};
use teaparty_common::maps::{Config, ControlBlock, Session, SessionKey};
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{
    self, PacketMeta, Plan, Policy, Reason, ReflectorEnv, ReplyFields, ReplyOptions, Tlv, TlvScan,
};
use teaparty_common::tlv::Kind;
use teaparty_common::wire::checksum::{ChecksumDelta, PacketSums};
use teaparty_common::wire::{Mode, NANOS_PER_SEC, TimeParts, TimestampFormat, UNAUTHENTICATED_LEN};

use super::packet_ctx::{SentReply, fill_meta, fill_session_meta, fill_simple_meta, record_reply};
use super::tlv_steps::{KernelEnv, PaddingEnv, SimpleTlvEnv};
use crate::atomic::fetch_add;
use crate::outcome::Outcome;
use crate::packet::ip_family::IpFamily;
use crate::packet::{CheckedHeader, Packet, opaque_to_verifier};
use crate::scratch::{Scratch, scratch};
use crate::session::{self, table};
use crate::{maps, punt, reply};

/// Returns true if a packet may be answered here, as far as is known without its session.
#[inline(always)]
pub(crate) fn is_plain(view: &impl PacketBuf, config: &Config, frame: &Frame) -> bool {
    let has_checksum = !frame.is_ipv6 || frame.checksum != 0;
    config.has(Config::PLAIN)
        && frame.payload_len >= UNAUTHENTICATED_LEN
        && has_checksum
        && config.is_addressed_by(view)
}

/// A packet to one of our ports, as far as it was parsed.
pub(crate) struct ParsedPacket<'a> {
    pub(crate) control: &'a ControlBlock,
    pub(crate) config: &'a Config,
    /// Its datagram.
    pub(crate) found: &'a ParsedHeaders,
    /// T2, in nanoseconds of CLOCK_TAI.
    pub(crate) received_ns: u64,
}

/// Answers a packet; or returns [`Outcome::FALL_BACK`] or [`Outcome::NO_SESSION`] with nothing changed.
#[inline(always)]
pub(crate) fn answer<F: IpFamily<FRAME, HEADERS>, const FRAME: usize, const HEADERS: usize>(
    ctx: &XdpContext,
    view: &mut CheckedHeader<FRAME>,
    ParsedPacket { control, config, found, received_ns }: ParsedPacket<'_>,
) -> Outcome {
    let payload = view.part::<HEADERS, UNAUTHENTICATED_LEN>();
    if reflect::may_be_reply(&payload) {
        return Outcome::FALL_BACK;
    }
    let Some((plan, tail)) = plan(ctx, found, &config.policy, received_ns) else { return Outcome::FALL_BACK };
    let key = SessionKey {
        source: found.source,
        destination: found.destination,
        source_port: found.frame.source_port,
        destination_port: found.frame.destination_port,
        ssid: if config.policy.has(Policy::IGNORE_SSID) {
            0
        } else {
            reflect::ssid(&payload, UNAUTHENTICATED_LEN, Mode::Unauthenticated)
        },
        reserved: 0,
    };
    let found_session = match table::find_near(&key, &control.table) {
        Ok(session) => session,
        Err(true) => return Outcome::FALL_BACK,
        Err(false) if config.has(Config::HAS_PROVISIONED) => {
            // A copy, so that the key itself is in memory only where this is asked.
            match session::provisioned(&SessionKey::from_words(key.words())) {
                Some(session) => session,
                None => return Outcome::NO_SESSION,
            }
        }
        Err(false) => return Outcome::NO_SESSION,
    };
    let session = found_session.as_ptr();
    // SAFETY: a value of a map, looked up above; the entry stays readable until the program ends.
    let (flags, generation) = unsafe { ((*session).flags, (*session).generation) };
    if generation != control.generation || flags & (Session::AUTHENTICATED | Session::NO_TLV | Session::TAGGED) != 0 {
        return Outcome::FALL_BACK;
    }
    // Damage takes no number: the generic path finds out what is wrong.
    let Some(sums) = F::sums(view) else { return Outcome::FALL_BACK };
    if !is_intact(ctx, &sums, &found.frame, config) {
        return Outcome::FALL_BACK;
    }
    let (sequence, sender_timestamp) = session::restart_marks(&payload);
    // SAFETY: as above.
    if sequence == 0 && unsafe { (*session).is_restart(sequence, sender_timestamp, config.session_restart_s) } {
        return Outcome::FALL_BACK;
    }
    if config.source_rate.is_limited()
        && !session::is_within_rate(&key.source, control, config, control.clock.monotonic_ns(received_ns))
    {
        let [high, low] = key.source.words();
        maps::note_source(Reason::RateLimited as u32, high, low, received_ns);
        return Outcome::end(Reason::RateLimited);
    }
    // SAFETY: `replies` of a map value, eight octets, aligned.
    let replies = unsafe { fetch_add(&raw mut (*session).replies, 1) };
    let format = Session::format(flags, &config.policy);
    let received = control.clock.time_parts(received_ns, format);
    let exchange = ReplyCtx { session, config, control, received_ns, received, format, sequence: replies as u32 };
    // Sendings of their own: nothing of such packets has to go through memory.
    let (scratch, count) = match tail {
        TlvShape::None => {
            let Some(found) = F::reparse(view) else { return Outcome::end(Reason::Internal) };
            let reply_options = ReplyOptions::new(found.frame.traffic_class);
            return exchange.send::<FRAME, 0>(ctx, view, payload, &found, ChecksumDelta::NONE, &reply_options);
        }
        TlvShape::Padding(tlv) => {
            let Some(found) = F::reparse(view) else { return Outcome::end(Reason::Internal) };
            let mut reply_options = ReplyOptions::new(found.frame.traffic_class);
            let mut whole = Packet::new(ctx, HEADERS).assume_no_zero_tail();
            let (meta, policy) = (PacketMeta::default(), &config.policy);
            reflect::apply_tlv(&mut whole, tlv, &plan, &meta, policy, &mut PaddingEnv, &mut reply_options);
            return exchange.send::<FRAME, 1>(ctx, view, payload, &found, whole.delta(), &reply_options);
        }
        TlvShape::Tlvs(scratch, count) => (scratch, count),
    };
    if plan.seen.has(Kind::AccessReport as u8) {
        // The controller gets it with its metadata.
        exchange.fill(&mut scratch.meta, &key, (found, view));
        scratch.key = key;
    } else {
        fill_simple_meta(&mut scratch.meta, &key.destination, found.frame.traffic_class, control);
    }
    fill_session_meta(&mut scratch.meta, session, replies);
    // In memory: of a local one, LLVM would move what a variant does not use too, see `record_verdict`.
    scratch.reply_options = ReplyOptions::new(found.frame.traffic_class);
    let mut whole = Packet::new(ctx, HEADERS).assume_no_zero_tail();
    let mut env = SimpleTlvEnv(KernelEnv { ctx, frame: &found.frame, view: Packet::new(ctx, 0) });
    let Scratch { meta, reply_options, tlvs, .. } = &mut *scratch;
    for (i, tlv) in tlvs.iter().enumerate() {
        if i >= count {
            break;
        }
        reflect::apply_tlv(&mut whole, *tlv, &plan, meta, &config.policy, &mut env, reply_options);
    }
    let Some(found) = F::reparse(view) else { return Outcome::end(Reason::Internal) };
    let outcome = exchange.send::<FRAME, 2>(ctx, view, payload, &found, whole.delta(), &scratch.reply_options);
    if let Some(report) = scratch.reply_options.access_report {
        punt::report_access(report, &scratch.key, &scratch.meta);
    }
    outcome
}

/// Verifies the checksums of a plain packet; `sums` are those up to the end of its base packet.
#[inline(always)]
fn is_intact(ctx: &XdpContext, sums: &PacketSums, frame: &Frame, config: &Config) -> bool {
    let len = frame.payload_len;
    if !config.verifies() {
        return sums.is_header_right();
    }
    let mut rest = 0;
    if len != UNAUTHENTICATED_LEN {
        let at = frame.payload_at() + UNAUTHENTICATED_LEN;
        let Some(tail) = reply::frame_sum(ctx, at, len - UNAUTHENTICATED_LEN) else { return false };
        rest = tail;
    }
    sums.are_right(frame.checksum, rest)
}

/// The octets after a base packet.
enum TlvShape<'a> {
    /// Nothing.
    None,
    /// One TLV, of a kind of [`PaddingEnv::KINDS`]: what most packets have that are not of the base length.
    Padding(Tlv),
    /// So many simple TLVs, which are in working memory.
    Tlvs(&'a mut Scratch, usize),
}

/// Decides on the payload of `found`, where it is to be answered and every TLV in it is simple. [`is_plain`] has
/// checked its size and its base packet.
#[inline(always)]
fn plan(
    ctx: &XdpContext,
    found: &ParsedHeaders,
    policy: &Policy,
    received_ns: u64,
) -> Option<(Plan, TlvShape<'static>)> {
    let len = found.frame.payload_len;
    let mut plan = Plan::without_tlvs(len, Mode::Unauthenticated);
    if len == UNAUTHENTICATED_LEN {
        return Some((plan, TlvShape::None));
    }
    let payload = &Packet::new(ctx, found.frame.payload_at()).assume_no_zero_tail();
    if !payload.holds(len) {
        return None;
    }
    let mut scan = TlvScan::new(Mode::Unauthenticated);
    let first = scan.next_simple(payload, len, policy)?;
    if scan.is_over() && PaddingEnv::KINDS.has(first.number) {
        scan.finish_simple(&mut plan);
        return Some((plan, TlvShape::Padding(first)));
    }
    let scratch = scratch()?;
    let tlvs = &mut scratch.tlvs;
    tlvs[0] = first;
    let mut count = 1;
    for place in &mut tlvs[1..] {
        if scan.is_over() {
            break;
        }
        *place = scan.next_simple(payload, len, policy)?;
        count += 1;
    }
    if !scan.is_over() {
        return None;
    }
    scan.finish_simple(&mut plan);
    Some((plan, TlvShape::Tlvs(scratch, opaque_to_verifier(count, received_ns))))
}

/// A packet that is being answered.
struct ReplyCtx<'a> {
    session: *mut Session,
    config: &'a Config,
    control: &'a ControlBlock,
    received_ns: u64,
    received: TimeParts,
    format: TimestampFormat,
    sequence: u32,
}

impl ReplyCtx<'_> {
    /// T2 as it goes on the wire.
    #[inline(always)]
    fn receive_timestamp(&self) -> u64 {
        self.received.timestamp(self.format).bits()
    }

    /// The facts about the packet that its session does not know.
    #[inline(always)]
    fn fill(&self, meta: &mut PacketMeta, key: &SessionKey, (found, view): (&ParsedHeaders, &impl PacketBuf)) {
        let received = (self.control.clock.monotonic_ns(self.received_ns), self.receive_timestamp());
        fill_meta(meta, key, (&found.frame, view), received, self.format, self.control);
    }

    /// Stamps and addresses the reply, and leaves in the session what the next packet is to know. `delta` is what was
    /// changed after the base packet. The `VARIANT` keeps LLVM from making one sending of three.
    #[inline(always)]
    fn send<const FRAME: usize, const VARIANT: u32>(
        &self,
        ctx: &XdpContext,
        view: &mut CheckedHeader<FRAME>,
        mut payload: CheckedHeader<UNAUTHENTICATED_LEN>,
        found: &ParsedHeaders,
        mut delta: ChecksumDelta,
        reply_options: &ReplyOptions,
    ) -> Outcome {
        let Self { session, config, control, received_ns, received, format, sequence } = *self;
        let fields = ReplyFields {
            is_stateful: true,
            sequence,
            receive_timestamp: self.receive_timestamp(),
            error_estimate: control.clock.error_estimate_of(format),
            ttl: found.frame.ttl,
        };
        // T3, as late as the checksum allows.
        // SAFETY: a helper without arguments.
        let now_ns = unsafe { bpf_ktime_get_tai_ns() };
        let elapsed = now_ns.wrapping_sub(received_ns);
        let timestamp = if elapsed < NANOS_PER_SEC {
            received.later(elapsed).timestamp(format).bits()
        } else {
            // The clock was set in the meantime.
            control.clock.wire_time(now_ns, format)
        };
        let Some(stamped) = reflect::stamp(&mut payload, Mode::Unauthenticated, fields, timestamp) else {
            return Outcome::end(Reason::Internal);
        };
        delta.add(stamped.delta);
        let addresses = (&found.source, &found.destination);
        if reply::address(view, &found.frame, addresses, (ctx, delta), reply_options).is_none() {
            return Outcome::end(Reason::Internal);
        }
        let received_ns = control.clock.monotonic_ns(received_ns);
        let sent = SentReply { sequence, reflected: stamped.reflected, timestamp };
        record_reply(session, received_ns, sent, &payload, config);
        Outcome::end(Reason::Reflected)
    }
}
