//! One packet's way through the program.

use aya_ebpf::helpers::generated::bpf_ktime_get_tai_ns;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use teaparty_common::frame::{IPV4_LEN, UDP_LEN};
use teaparty_common::maps::{Config, RecordKind, Session};
use teaparty_common::reflect::{self, Base, Class, Facts, Policy, Reason, Steering, Survey, Verdict};
use teaparty_common::wire::checksum::{self, Difference, PacketSums};
use teaparty_common::wire::{Mode, OPEN_LEN, TimestampFormat};

use crate::maps::{board, scratch};
use crate::packet::Packet;
use crate::turns::{FastPath, teaparty_apply, teaparty_survey};
use crate::work::{Scratch, Work, assign, estimate, fill, settle, wire_time};
use crate::{punt, reply, session};

/// Handles a packet to a port of ours that has been noted in working memory, and gives the number of the [`Reason`] that it
/// ended with.
///
/// The steps are functions of their own (`inline(never)`): their stacks do not add up, and the program's is 512 octets.
/// They pass numbers and not enums, which a BPF function can return in its one register.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> u32 {
    match reflect(ctx) {
        Ok(reason) | Err(reason) => reason as u32,
    }
}

#[inline(always)]
fn reflect(ctx: &XdpContext) -> Result<Reason, Reason> {
    let scratch = scratch().ok_or(Reason::Internal)?;
    let board = board().ok_or(Reason::Internal)?;
    let control = &board.control;
    scratch.active = control.active;
    let config = board.config(scratch.active);
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
    // What has been looked for in vain need not be looked for again, but for a key that has changed since.
    let mut is_unknown = scratch.is_unknown && !config.policy.has(Policy::NO_TLV);
    if config.has(Config::HAS_ANY_SSID) {
        let ssid = session::own_ssid(&scratch.key, config) as u16;
        is_unknown = is_unknown && ssid == scratch.key.ssid;
        scratch.key.ssid = ssid;
    }
    let now_ns = control.clock.monotonic_ns(scratch.received_ns);
    let key = (&scratch.key, scratch.tags);
    let admitted = match session::admit(key, is_unknown, ssid_authenticated, control, config, now_ns) {
        Err(Reason::LoopGuard) => return Err(guard(ctx, scratch, &config.policy)),
        other => other?,
    };
    let mut work = Work { ctx, scratch, control, config, admitted };
    match decide(&mut work) {
        Fate::Answer => Ok(answer(&mut work)),
        Fate::Punt(reason) => Ok(punt_frame(&mut work, reason)),
        Fate::End(reason) => Err(reason),
    }
}

/// Ends a packet that is from a port of ours: the controller is told, unless it is a heartbeat.
#[inline(always)]
fn guard(ctx: &XdpContext, scratch: &Scratch, policy: &Policy) -> Reason {
    let payload = Packet::new(ctx, scratch.frame.payload_at());
    if reflect::is_heartbeat(&payload, scratch.frame.payload_len, policy) {
        return Reason::Heartbeat;
    }
    if session::is_loop_due(scratch.received_ns) {
        punt::report(RecordKind::LoopGuard, 0, &scratch.key, &scratch.facts);
    }
    Reason::LoopGuard
}

/// What is to become of a packet that has been looked at.
enum Fate {
    /// It is answered, by the verdict in [`Scratch`].
    Answer,
    Punt(Reason),
    End(Reason),
}

#[inline(always)]
fn decide(work: &mut Work<'_>) -> Fate {
    let frame = &work.scratch.frame;
    if frame.is_ipv6 && frame.checksum == 0 {
        return Fate::End(Reason::ChecksumMissing);
    }
    if work.admitted.flags & Session::AUTHENTICATED != 0 {
        return Fate::Punt(Reason::Authenticated);
    }
    // Before the controller gets it, which would find it out too late for the reply's number.
    let receive_timestamp = || wire_time(work.scratch.received_ns, work.format(), work.control);
    if reflect::is_reply_to_ours(&work.payload(), frame.payload_len, Mode::Open, receive_timestamp) {
        return Fate::End(Reason::ReplyLoop);
    }
    if frame.has_extras {
        return Fate::Punt(Reason::IpOptions);
    }
    // What is punted before this, the controller verifies.
    if !is_intact(work) {
        return Fate::End(Reason::ChecksumWrong);
    }
    if work.scratch.frame.payload_len <= OPEN_LEN || work.admitted.flags & Session::NO_TLV != 0 {
        // A session of a TWAMP-Light sender with random padding has no TLVs, whatever it looks like.
        plan_bare(work);
    } else {
        plan_tlvs(work);
    }
    if work.scratch.outcome == ANSWER {
        return Fate::Answer;
    }
    let reason = Reason::from_number(work.scratch.outcome).unwrap_or(Reason::Internal);
    if reason.class() == Class::Punt {
        return Fate::Punt(reason);
    }
    if let Some(session) = work.admitted.session {
        // SAFETY: `unanswered` of a map value, eight octets, aligned.
        unsafe { session::fetch_add(&raw mut (*session.as_ptr()).unanswered, 1) };
    }
    Fate::End(reason)
}

/// Verifies the checksums of IPv4 header and UDP datagram, as far as the whole packet is there and that is asked for.
#[inline(never)]
fn is_intact(work: &Work<'_>) -> bool {
    let Scratch { frame, key, .. } = &*work.scratch;
    let (view, udp_len) = (work.view(), frame.payload_len + UDP_LEN);
    // Without options, or it would have been punted.
    let header = if frame.is_ipv6 { Some(PacketSums::NO_HEADER) } else { view.sum_of::<IPV4_LEN>(frame.ip_at) };
    let Some(header) = header else { return true };
    let addresses = key.source.sum(frame.is_ipv6) + key.destination.sum(frame.is_ipv6);
    let pseudo = checksum::pseudo_header(addresses, udp_len as u16);
    let mut sums = PacketSums { header, pseudo, datagram: 0 };
    if !work.config.verifies() || frame.checksum == 0 {
        return sums.is_header_right();
    }
    let (at, len) = (frame.payload_at() + OPEN_LEN, frame.payload_len.wrapping_sub(OPEN_LEN));
    let sum = |at: usize, len: usize| match reply::teaparty_sum(work.ctx.ctx, at as u32, len as u32) {
        reply::NO_SUM => None,
        sum => Some(u64::from(sum)),
    };
    let datagram = if frame.payload_len == OPEN_LEN {
        view.sum_of::<{ UDP_LEN + OPEN_LEN }>(frame.udp_at)
    } else if frame.payload_len > OPEN_LEN {
        view.sum_of::<{ UDP_LEN + OPEN_LEN }>(frame.udp_at).and_then(|base| Some(base + sum(at, len)?))
    } else {
        sum(frame.udp_at, udp_len)
    };
    // Of a packet in several buffers, which is punted, the controller sees all.
    let Some(datagram) = datagram else { return sums.is_header_right() };
    sums.datagram = datagram;
    sums.are_right(frame.checksum, 0)
}

/// The outcome of a packet that is answered: a number that is no reason.
const ANSWER: u32 = u32::MAX;

/// Leaves a verdict in working memory. Field by field: of the enum as a whole, LLVM would write what a variant does not
/// use too, and the verifier refuses that where it happens to be a pointer.
#[inline(always)]
fn conclude(scratch: &mut Scratch, verdict: Verdict) {
    match verdict {
        Verdict::Reflect(plan) => {
            scratch.plan = plan;
            scratch.outcome = ANSWER;
        }
        Verdict::Punt(reason) | Verdict::Drop(reason) => scratch.outcome = reason as u32,
    }
}

/// Asks the core about a packet without TLVs.
#[inline(always)]
fn plan_bare(work: &mut Work<'_>) {
    let len = work.scratch.frame.payload_len;
    let environment = FastPath { ctx: work.ctx, frame: &work.scratch.frame, view: work.view() };
    let policy = &work.config.policy;
    let verdict = reflect::plan_bare(&work.payload(), len, Mode::Open, policy, &environment);
    conclude(work.scratch, verdict);
}

/// TLVs that the fast path walks. The verifier looks at one turn of a walk and not at all of them, so that this is a
/// limit of time and not of complexity.
pub(crate) const MAX_TLVS: usize = 8;

/// Asks the core about a packet that may have TLVs.
#[inline(never)]
fn plan_tlvs(work: &mut Work<'_>) {
    plan_bare(work);
    if work.scratch.outcome != ANSWER || work.config.policy.has(Policy::NO_TLV) {
        return;
    }
    work.scratch.plan.has_tlvs = true;
    work.scratch.survey = Survey::new(Mode::Open);
    // As many turns as `process` will take: a TLV that it does not reach would come back as it was.
    for _ in 0..=MAX_TLVS {
        if teaparty_survey(work.ctx.ctx) == 0 {
            break;
        }
    }
    let Scratch { survey, plan, .. } = &*work.scratch;
    // The turn after the last TLV finds the end.
    let verdict =
        if !survey.is_over() { Verdict::Punt(Reason::ManyTlvs) } else { survey.conclude(*plan, &work.config.policy) };
    conclude(work.scratch, verdict);
}

/// Turns the packet into its reply.
#[inline(always)]
fn answer(work: &mut Work<'_>) -> Reason {
    let mut replies = 0;
    if work.config.has(Config::STATEFUL) {
        if work.admitted.session.is_none() {
            tell_new_session(work);
        }
        let (now_ns, run) = (work.monotonic_ns(), session::run(&work.payload()));
        let session = &mut work.scratch.session;
        let Some(session) = session::entry(session, &work.admitted, run, work.control, work.config, now_ns) else {
            return Reason::TableFull;
        };
        work.admitted.session = Some(session);
        // SAFETY: `replies` of a map value, eight octets, aligned.
        replies = unsafe { session::fetch_add(&raw mut (*session.as_ptr()).replies, 1) };
    } else {
        work.admitted.session = None;
    }
    let Scratch { frame, received_ns, steering, .. } = &mut *work.scratch;
    let (ttl, received_ns) = (frame.ttl, *received_ns);
    *steering = Steering::new(frame.traffic_class);
    if work.scratch.plan.has_tlvs {
        process(work, replies);
    }
    let format = work.format();
    let base = Base {
        is_stateful: work.admitted.session.is_some(),
        sequence: replies as u32,
        receive_timestamp: wire_time(received_ns, format, work.control),
        error_estimate: estimate(format, work.control),
        ttl,
    };
    send(work, base, format)
}

/// Says that a session is being made; at debug level, which the controller sets when it loads the program.
#[inline(never)]
fn tell_new_session(work: &Work<'_>) {
    let key = &work.scratch.key;
    debug!(work.ctx, "new session from {:i} port {}, SSID {}", key.source.0, key.source_port, key.ssid);
}

/// Processes the TLVs.
#[inline(never)]
fn process(work: &mut Work<'_>, replies: u64) {
    work.scratch.difference = Difference::NONE;
    fill(work);
    if let Some(session) = work.admitted.session {
        assign(&mut work.scratch.facts, session.as_ptr(), replies);
    }
    let mut at = OPEN_LEN as u32;
    for _ in 0..=MAX_TLVS {
        at = teaparty_apply(work.ctx.ctx, at);
        if at == 0 {
            break;
        }
    }
}

/// Stamps and addresses the reply, and leaves in the session what the next packet is to know.
#[inline(never)]
fn send(work: &mut Work<'_>, base: Base, format: TimestampFormat) -> Reason {
    let mut payload = work.payload();
    // T3, as late as the checksum allows.
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_tai_ns() };
    let timestamp = wire_time(now_ns, format, work.control);
    let Some(stamped) = reflect::stamp(&mut payload, Mode::Open, base, timestamp) else { return Reason::Internal };
    let mut difference = stamped.difference;
    if work.scratch.plan.has_tlvs {
        difference.add(work.scratch.difference);
    }
    let Scratch { frame, key, steering, .. } = &*work.scratch;
    let mut view = work.view();
    if reply::address(&mut view, frame, (&key.source, &key.destination), (work.ctx, difference), steering).is_none() {
        return Reason::Internal;
    }
    if let Some(session) = work.admitted.session {
        let exchange = (base.sequence, stamped.echo, timestamp);
        settle(session.as_ptr(), work.monotonic_ns(), exchange, &payload, work.config);
    }
    if let Some(report) = steering.access_report {
        punt::report_access(report, key, &work.scratch.facts);
    }
    Reason::Reflected
}

/// Hands the untouched frame to the controller. A session that the kernel owns gets its Sequence Number here where it is
/// certain that there will be a reply (design rule R4); else the controller claims it through the ledger.
#[inline(never)]
fn punt_frame(work: &mut Work<'_>, reason: Reason) -> Reason {
    let is_certain = match reason {
        Reason::ShortPacket => true,
        Reason::ControllerTlv => !work.config.policy.has(Policy::REFLECTED_CONTROL),
        _ => false,
    };
    if work.config.limits_punts(work.admitted.flags) && !punt::is_within_budget(work.config, work.monotonic_ns()) {
        return Reason::PuntLimited;
    }
    let frame_len = work.scratch.frame_len;
    let mut space = match punt::reserve(frame_len) {
        Ok(space) => space,
        Err(reason) => return reason,
    };
    fill(work);
    let (now_ns, run) = (work.monotonic_ns(), session::run(&work.payload()));
    let Scratch { key, session: scratch, facts, frame, .. } = &mut *work.scratch;
    if work.admitted.flags & Session::AUTHENTICATED != 0 {
        facts.flags |= Facts::UNASSIGNED;
    } else if work.config.has(Config::STATEFUL) {
        facts.flags |= Facts::STATEFUL | Facts::UNASSIGNED;
        if is_certain
            && let Some(session) = session::entry(scratch, &work.admitted, run, work.control, work.config, now_ns)
        {
            facts.flags &= !Facts::UNASSIGNED;
            // SAFETY: `replies` of a map value, eight octets, aligned.
            let replies = unsafe { session::fetch_add(&raw mut (*session.as_ptr()).replies, 1) };
            assign(facts, session.as_ptr(), replies);
        }
    }
    let head = space.head();
    head.kind = RecordKind::Frame as u32;
    head.reason = reason as u32;
    head.frame_len = frame_len as u32;
    head.payload_len = frame.payload_len as u32;
    head.ip_at = frame.ip_at as u16;
    head.payload_at = frame.payload_at() as u16;
    head.session_flags = work.admitted.flags;
    head.key = *key;
    head.facts = *facts;
    if space.submit(work.ctx, frame_len) { reason } else { Reason::PuntUnavailable }
}
