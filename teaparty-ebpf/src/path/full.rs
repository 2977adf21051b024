//! One packet's way through the program.

use aya_ebpf::helpers::generated::bpf_ktime_get_tai_ns;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use teaparty_common::frame::{IPV4_LEN, UDP_LEN};
use teaparty_common::maps::{Config, RecordKind, Session};
use teaparty_common::reflect::{
    self, Disposition, PacketMeta, Policy, Reason, ReplyFields, ReplyOptions, TlvScan, Verdict, admission,
};
use teaparty_common::wire::checksum::{self, ChecksumDelta, PacketSums};
use teaparty_common::wire::{Mode, TimestampFormat, UNAUTHENTICATED_LEN};

use super::packet_ctx::{PacketCtx, SentReply, fill_meta_of, fill_session_meta, record_reply};
use super::tlv_steps::{KernelEnv, teaparty_apply, teaparty_scan};
use crate::atomic::fetch_add;
use crate::maps::{self, kernel_config};
use crate::outcome::Outcome;
use crate::packet::Packet;
use crate::scratch::{MAX_TLVS, Scratch, scratch};
use crate::session::{self, KernelAdmission};
use crate::{punt, reply};

/// Handles a packet to one of our ports that has been noted in working memory, and returns the [`Reason`] that it
/// ended with.
///
/// The steps are functions of their own (`inline(never)`): their stacks do not add up, and the program's is 512 octets.
/// They pass numbers and not enums, which a BPF function can return in its one register.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> Outcome {
    match reflect(ctx) {
        Ok(reason) => Outcome::end(reason),
        Err(reason) => {
            if let Some(scratch) = scratch() {
                let [high, low] = scratch.key.source.words();
                maps::note_source(reason as u32, high, low, scratch.received_ns);
            }
            Outcome::end(reason)
        }
    }
}

#[inline(always)]
fn reflect(ctx: &XdpContext) -> Result<Reason, Reason> {
    let scratch = scratch().ok_or(Reason::Internal)?;
    let kernel_config = kernel_config().ok_or(Reason::Internal)?;
    let control = &kernel_config.control;
    scratch.active = control.active;
    let config = kernel_config.config(scratch.active);
    if scratch.frame.mixes_families(&scratch.key.source, &scratch.key.destination) {
        return Err(if scratch.key.source.is_ipv4() { Reason::InvalidSource } else { Reason::NotOurAddress });
    }
    scratch.tags = session::check_link(ctx, config, scratch)?;
    if config.policy.has(Policy::NO_TLV | Policy::IGNORE_SSID) {
        // Such a sender's octets there are padding.
        scratch.key.ssid = 0;
    }
    let ssid_authenticated = || {
        let payload = Packet::new(ctx, scratch.frame.payload_at());
        reflect::ssid(&payload, scratch.frame.payload_len, Mode::Authenticated)
    };
    // A session that was not found need not be searched again, unless the key has changed.
    let mut is_unknown = scratch.is_unknown && !config.policy.has(Policy::NO_TLV);
    if config.has(Config::HAS_ANY_SSID) {
        let ssid = session::own_ssid(&scratch.key, config) as u16;
        is_unknown = is_unknown && ssid == scratch.key.ssid;
        scratch.key.ssid = ssid;
    }
    let now_ns = control.clock.monotonic_ns(scratch.received_ns);
    let (key, tags) = (&scratch.key, scratch.tags);
    let mut env = KernelAdmission { key, tags, is_unknown, ssid_authenticated, control, config, now_ns };
    let admitted = match admission::admit(&mut env) {
        Err(Reason::LoopGuard) => return Err(loop_guard(ctx, scratch, &config.policy)),
        other => other?,
    };
    let mut packet = PacketCtx { ctx, scratch, control, config, admitted };
    match decide(&mut packet) {
        PacketAction::Answer => Ok(answer(&mut packet)),
        PacketAction::Punt(reason) => Ok(punt_frame(&mut packet, reason)),
        PacketAction::End(reason) => Err(reason),
    }
}

/// Ends a packet that is from one of our ports: the controller is notified, unless it is a heartbeat.
#[inline(always)]
fn loop_guard(ctx: &XdpContext, scratch: &Scratch, policy: &Policy) -> Reason {
    let payload = Packet::new(ctx, scratch.frame.payload_at());
    if reflect::is_heartbeat(&payload, scratch.frame.payload_len, policy) {
        return Reason::Heartbeat;
    }
    if session::is_loop_due(scratch.received_ns) {
        punt::report(RecordKind::LoopGuard, 0, &scratch.key, &scratch.meta);
    }
    Reason::LoopGuard
}

/// The decision on a packet that has been parsed.
enum PacketAction {
    /// It is answered, by the verdict in [`Scratch`].
    Answer,
    Punt(Reason),
    End(Reason),
}

#[inline(always)]
fn decide(packet: &mut PacketCtx<'_>) -> PacketAction {
    let frame = &packet.scratch.frame;
    if frame.is_ipv6 && frame.checksum == 0 {
        return PacketAction::End(Reason::ChecksumMissing);
    }
    if packet.admitted.flags & Session::AUTHENTICATED != 0 {
        return PacketAction::Punt(Reason::Authenticated);
    }
    // Before the controller gets it, which would find it out too late for the reply's number.
    let receive_timestamp = || packet.control.clock.wire_time(packet.scratch.received_ns, packet.format());
    if reflect::is_reply_to_ours(&packet.payload(), frame.payload_len, Mode::Unauthenticated, receive_timestamp) {
        return PacketAction::End(Reason::ReplyLoop);
    }
    if frame.has_extras {
        return PacketAction::Punt(Reason::IpOptions);
    }
    // What is punted before this, the controller verifies.
    if !is_intact(packet) {
        return PacketAction::End(Reason::ChecksumWrong);
    }
    if packet.scratch.frame.payload_len <= UNAUTHENTICATED_LEN || packet.admitted.flags & Session::NO_TLV != 0 {
        // A session of a TWAMP-Light sender with random padding has no TLVs, whatever it looks like.
        plan_bare(packet);
    } else {
        plan_tlvs(packet);
    }
    if packet.scratch.outcome == Outcome::PROCEED {
        return PacketAction::Answer;
    }
    let reason = packet.scratch.outcome.reason();
    if reason.disposition() == Disposition::Punt {
        return PacketAction::Punt(reason);
    }
    if let Some(session) = packet.admitted.session {
        // SAFETY: `unanswered` of a map value, eight octets, aligned.
        unsafe { fetch_add(&raw mut (*session.as_ptr()).unanswered, 1) };
    }
    PacketAction::End(reason)
}

/// Verifies the checksums of IPv4 header and UDP datagram, as far as the whole packet is there and that is asked for.
#[inline(never)]
fn is_intact(packet: &PacketCtx<'_>) -> bool {
    let Scratch { frame, key, .. } = &*packet.scratch;
    let (view, udp_len) = (packet.view(), frame.payload_len + UDP_LEN);
    // Without options, or it would have been punted.
    let header = if frame.is_ipv6 { Some(PacketSums::NO_HEADER) } else { view.sum_of::<IPV4_LEN>(frame.ip_at) };
    let Some(header) = header else { return true };
    let addresses = key.source.sum(frame.is_ipv6) + key.destination.sum(frame.is_ipv6);
    let pseudo = checksum::pseudo_header(addresses, udp_len as u16);
    let mut sums = PacketSums { header, pseudo, datagram: 0 };
    if !packet.config.verifies() || frame.checksum == 0 {
        return sums.is_header_right();
    }
    let (at, len) = (frame.payload_at() + UNAUTHENTICATED_LEN, frame.payload_len.wrapping_sub(UNAUTHENTICATED_LEN));
    let sum = |at, len| reply::frame_sum(packet.ctx, at, len);
    let datagram = if frame.payload_len == UNAUTHENTICATED_LEN {
        view.sum_of::<{ UDP_LEN + UNAUTHENTICATED_LEN }>(frame.udp_at)
    } else if frame.payload_len > UNAUTHENTICATED_LEN {
        view.sum_of::<{ UDP_LEN + UNAUTHENTICATED_LEN }>(frame.udp_at).and_then(|base| Some(base + sum(at, len)?))
    } else {
        sum(frame.udp_at, udp_len)
    };
    // Of a packet in several buffers, which is punted, the controller sees all.
    let Some(datagram) = datagram else { return sums.is_header_right() };
    sums.datagram = datagram;
    sums.are_right(frame.checksum, 0)
}

/// Leaves a verdict in working memory. Field by field: of the enum as a whole, LLVM would write what a variant does not
/// use too, and the verifier refuses that where it happens to be a pointer.
#[inline(always)]
fn record_verdict(scratch: &mut Scratch, verdict: Verdict) {
    match verdict {
        Verdict::Reflect(plan) => {
            scratch.plan = plan;
            scratch.outcome = Outcome::PROCEED;
        }
        Verdict::Punt(reason) | Verdict::Drop(reason) => scratch.outcome = Outcome::end(reason),
    }
}

/// Asks the core about a packet without TLVs.
#[inline(always)]
fn plan_bare(packet: &mut PacketCtx<'_>) {
    let len = packet.scratch.frame.payload_len;
    let env = KernelEnv { ctx: packet.ctx, frame: &packet.scratch.frame, view: packet.view() };
    let policy = &packet.config.policy;
    let verdict = reflect::plan_bare(&packet.payload(), len, Mode::Unauthenticated, policy, &env);
    record_verdict(packet.scratch, verdict);
}

/// Asks the core about a packet that may have TLVs.
#[inline(never)]
fn plan_tlvs(packet: &mut PacketCtx<'_>) {
    plan_bare(packet);
    if packet.scratch.outcome != Outcome::PROCEED || packet.config.policy.has(Policy::NO_TLV) {
        return;
    }
    packet.scratch.plan.has_tlvs = true;
    packet.scratch.scan = TlvScan::new(Mode::Unauthenticated);
    // As many turns as `apply_tlvs` will take: a TLV that it does not reach would come back as it was.
    for _ in 0..=MAX_TLVS {
        if teaparty_scan(packet.ctx.ctx) == 0 {
            break;
        }
    }
    let Scratch { scan, plan, .. } = &*packet.scratch;
    // The turn after the last TLV finds the end.
    let verdict =
        if !scan.is_over() { Verdict::Punt(Reason::ManyTlvs) } else { scan.finish(*plan, &packet.config.policy) };
    record_verdict(packet.scratch, verdict);
}

/// Turns the packet into its reply.
#[inline(always)]
fn answer(packet: &mut PacketCtx<'_>) -> Reason {
    let mut replies = 0;
    if packet.config.has(Config::STATEFUL) {
        if packet.admitted.session.is_none() {
            log_new_session(packet);
        }
        let (now_ns, run) = (packet.monotonic_ns(), session::restart_marks(&packet.payload()));
        let session = &mut packet.scratch.session;
        let Some(session) =
            session::find_or_make(session, &packet.admitted, run, packet.control, packet.config, now_ns)
        else {
            return Reason::TableFull;
        };
        packet.admitted.session = Some(session);
        // SAFETY: `replies` of a map value, eight octets, aligned.
        replies = unsafe { fetch_add(&raw mut (*session.as_ptr()).replies, 1) };
    } else {
        packet.admitted.session = None;
    }
    let Scratch { frame, received_ns, reply_options, .. } = &mut *packet.scratch;
    let (ttl, received_ns) = (frame.ttl, *received_ns);
    *reply_options = ReplyOptions::new(frame.traffic_class);
    if packet.scratch.plan.has_tlvs {
        apply_tlvs(packet, replies);
    }
    let format = packet.format();
    let fields = ReplyFields {
        is_stateful: packet.admitted.session.is_some(),
        sequence: replies as u32,
        receive_timestamp: packet.control.clock.wire_time(received_ns, format),
        error_estimate: packet.control.clock.error_estimate_of(format),
        ttl,
    };
    send(packet, fields, format)
}

/// Says that a session is being made; at debug level, which the controller sets when it loads the program.
#[inline(never)]
fn log_new_session(packet: &PacketCtx<'_>) {
    let key = &packet.scratch.key;
    debug!(packet.ctx, "new session from {:i} port {}, SSID {}", key.source.0, key.source_port, key.ssid);
}

/// Processes the TLVs.
#[inline(never)]
fn apply_tlvs(packet: &mut PacketCtx<'_>, replies: u64) {
    packet.scratch.delta = ChecksumDelta::NONE;
    fill_meta_of(packet);
    if let Some(session) = packet.admitted.session {
        fill_session_meta(&mut packet.scratch.meta, session.as_ptr(), replies);
    }
    let mut at = UNAUTHENTICATED_LEN as u32;
    for _ in 0..=MAX_TLVS {
        at = teaparty_apply(packet.ctx.ctx, at);
        if at == 0 {
            break;
        }
    }
}

/// Stamps and addresses the reply, and leaves in the session what the next packet is to know.
#[inline(never)]
fn send(packet: &mut PacketCtx<'_>, fields: ReplyFields, format: TimestampFormat) -> Reason {
    let mut payload = packet.payload();
    // T3, as late as the checksum allows.
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_tai_ns() };
    let timestamp = packet.control.clock.wire_time(now_ns, format);
    let Some(stamped) = reflect::stamp(&mut payload, Mode::Unauthenticated, fields, timestamp) else {
        return Reason::Internal;
    };
    let mut delta = stamped.delta;
    if packet.scratch.plan.has_tlvs {
        delta.add(packet.scratch.delta);
    }
    let Scratch { frame, key, reply_options, .. } = &*packet.scratch;
    let mut view = packet.view();
    if reply::address(&mut view, frame, (&key.source, &key.destination), (packet.ctx, delta), reply_options).is_none() {
        return Reason::Internal;
    }
    if let Some(session) = packet.admitted.session {
        let sent = SentReply { sequence: fields.sequence, reflected: stamped.reflected, timestamp };
        record_reply(session.as_ptr(), packet.monotonic_ns(), sent, &payload, packet.config);
    }
    if let Some(report) = reply_options.access_report {
        punt::report_access(report, key, &packet.scratch.meta);
    }
    Reason::Reflected
}

/// Hands the untouched frame to the controller. A session that the kernel owns gets its Sequence Number here where it is
/// certain that there will be a reply (one writer per session); else the controller claims it by a session operation.
#[inline(never)]
fn punt_frame(packet: &mut PacketCtx<'_>, reason: Reason) -> Reason {
    let is_certain = match reason {
        Reason::ShortPacket => true,
        Reason::ControllerTlv => !packet.config.policy.has(Policy::REFLECTED_CONTROL),
        _ => false,
    };
    if packet.config.limits_punts(packet.admitted.flags)
        && !punt::is_within_budget(packet.config, packet.monotonic_ns())
    {
        return Reason::PuntLimited;
    }
    let frame_len = packet.scratch.frame_len;
    let mut space = match punt::reserve(frame_len) {
        Ok(space) => space,
        Err(reason) => return reason,
    };
    fill_meta_of(packet);
    let (now_ns, run) = (packet.monotonic_ns(), session::restart_marks(&packet.payload()));
    let Scratch { key, session: scratch, meta, frame, .. } = &mut *packet.scratch;
    if packet.admitted.flags & Session::AUTHENTICATED != 0 {
        meta.flags |= PacketMeta::UNASSIGNED;
    } else if packet.config.has(Config::STATEFUL) {
        meta.flags |= PacketMeta::STATEFUL | PacketMeta::UNASSIGNED;
        if is_certain
            && let Some(session) =
                session::find_or_make(scratch, &packet.admitted, run, packet.control, packet.config, now_ns)
        {
            meta.flags &= !PacketMeta::UNASSIGNED;
            // SAFETY: `replies` of a map value, eight octets, aligned.
            let replies = unsafe { fetch_add(&raw mut (*session.as_ptr()).replies, 1) };
            fill_session_meta(meta, session.as_ptr(), replies);
        }
    }
    let head = space.head();
    head.kind = RecordKind::Frame as u32;
    head.reason = reason as u32;
    head.frame_len = frame_len as u32;
    head.payload_len = frame.payload_len as u32;
    head.ip_at = frame.ip_at as u16;
    head.payload_at = frame.payload_at() as u16;
    head.session_flags = packet.admitted.flags;
    head.key = *key;
    head.meta = *meta;
    if space.submit(packet.ctx, frame_len) { reason } else { Reason::PuntUnavailable }
}
