//! One packet's way through the program.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use teaparty_common::bytes::Bytes;
use teaparty_common::frame::{self, Frame, IPV4_LEN, IPV6_LEN, Plain};
use teaparty_common::maps::{Config, Control, LedgerRequest, RecordKind, Session, SessionKey};
use teaparty_common::reflect::{
    self, Address, Base, Class, Environment, Facts, Plan, Policy, Reason, Steering, Survey, Verdict,
};
use teaparty_common::tlv::location;
use teaparty_common::tlv::measurement::METHOD_SOFTWARE;
use teaparty_common::tlv::{Finisher, Kind, KindSet};
use teaparty_common::wire::{Mode, OPEN_LEN, Timestamp, TimestampFormat};

use crate::maps::{ADDRESSES, CONFIG, CONTROL, SCRATCH};
use crate::packet::{Packet, REACH};
use crate::session::{self, Admitted};
use crate::{punt, reply};

/// What the fast path can do, and what it may ask for.
struct FastPath<'a> {
    ctx: &'a XdpContext,
    frame: &'a Frame,
    view: Packet,
}

impl Environment for FastPath<'_> {
    const KINDS: KindSet = KindSet::finished_by(Finisher::Kernel);
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;

    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        // Addresses of our other interfaces are in the map too, and are this node's all the same (RFC 9503 §3).
        // SAFETY: no reference is kept.
        unsafe { ADDRESSES.get(address) }.is_some()
    }

    #[inline(always)]
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        if N == if self.frame.is_ipv6 { IPV6_LEN } else { IPV4_LEN } {
            self.view.get::<N>(self.frame.ip_at)
        } else {
            None
        }
    }

    #[inline(always)]
    fn location_subs<B: Bytes>(&mut self, _: &mut B, sub: usize, end: usize, _: &Facts, _: &Policy) {
        let mut sub = sub as u32;
        for _ in 0..=Self::MAX_SUBS {
            sub = teaparty_location(self.ctx.ctx, sub, end as u32);
            if sub == 0 {
                break;
            }
        }
    }
}

/// What is known of the packet at hand, in memory of a map because the stack has 512 octets only.
pub(crate) struct Scratch {
    key: SessionKey,
    facts: Facts,
    frame: Frame,
    /// What [`conclude`] made of the verdict: [`ANSWER`] or the number of a reason.
    outcome: u32,
    /// The plan, where the outcome is to answer.
    plan: Plan,
    survey: Survey,
    /// What processing of TLVs changed in the sum of the payload.
    removed: u64,
    added: u64,
    steering: Steering,
    frame_len: usize,
    received_ns: u64,
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    /// Where a new session is put together.
    pub(crate) session: Session,
    /// The ledger's.
    pub(crate) request: LedgerRequest,
}

/// One packet's way, and the maps that it needs on it.
struct Work<'a> {
    ctx: &'a XdpContext,
    scratch: &'a mut Scratch,
    control: &'a Control,
    config: &'a Config,
    admitted: Admitted,
}

impl Work<'_> {
    /// The frame.
    #[inline(always)]
    fn view(&self) -> Packet {
        Packet::new(self.ctx, 0)
    }

    /// The UDP payload.
    #[inline(always)]
    fn payload(&self) -> Packet {
        Packet::new(self.ctx, self.scratch.frame.payload_at())
    }

    #[inline(always)]
    fn format(&self) -> TimestampFormat {
        if self.admitted.flags & Session::PTP != 0 {
            TimestampFormat::Ptp
        } else if self.admitted.flags & Session::NTP != 0 {
            TimestampFormat::Ntp
        } else {
            self.config.policy.format()
        }
    }
}

/// Handles the packet of `ctx` and says how it ended.
///
/// The steps are functions of their own (`inline(never)`): their stacks do not add up, and the program's is 512 octets.
#[inline(always)]
pub(crate) fn run(ctx: &XdpContext) -> Reason {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return Reason::Internal };
    // SAFETY: this processor's own, and the program is not re-entered.
    let scratch = unsafe { &mut *scratch };
    let mut seen = look_v4(ctx, scratch);
    if seen == NOT_PLAIN {
        seen = look_v6(ctx, scratch);
    }
    if seen == NOT_PLAIN {
        seen = look_closely(ctx, scratch);
    }
    if let Err(reason) = reason_of(seen) {
        return reason;
    }
    let Some(control) = CONTROL.get(0) else { return Reason::Internal };
    let Some(config) = CONFIG.get(control.active & 1) else { return Reason::Internal };
    if !config.has(Config::ANY_MAC) && scratch.destination_mac != config.mac {
        return Reason::NotOurAddress;
    }
    if config.policy.has(Policy::NO_TLV) {
        // Such a sender's octets there are padding.
        scratch.key.ssid = 0;
    }
    let admitted = match session::admit(&scratch.key, control, config, scratch.received_ns) {
        Ok(admitted) => admitted,
        Err(reason) => return reason,
    };
    let mut work = Work { ctx, scratch, control, config, admitted };
    match decide(&mut work) {
        Fate::Answer => answer(&mut work),
        Fate::Punt(reason) => punt_frame(&mut work, reason),
        Fate::End(reason) => reason,
    }
}

/// What [`look_v4`] and [`look_v6`] return for a frame that is not plain: [`look_closely`] looks at it.
const NOT_PLAIN: u32 = u32::MAX - 1;

/// What they return for a packet that goes on: a number that is no reason.
const GOES_ON: u32 = u32::MAX;

#[inline(always)]
fn reason_of(number: u32) -> Result<(), Reason> {
    if number == GOES_ON { Ok(()) } else { Err(Reason::from_number(number).unwrap_or(Reason::Internal)) }
}

/// Finds the datagram of a plain IPv4 frame and notes when it came, whence and whither. Returns [`GOES_ON`],
/// [`NOT_PLAIN`] or the number of a reason to pass.
#[inline(never)]
fn look_v4(ctx: &XdpContext, scratch: &mut Scratch) -> u32 {
    let view = Packet::new(ctx, 0);
    finish_look(ctx, scratch, frame::locate_plain_v4(&view, view.len()), view.len())
}

/// [`look_v4`] for plain IPv6 frames.
#[inline(never)]
fn look_v6(ctx: &XdpContext, scratch: &mut Scratch) -> u32 {
    let view = Packet::new(ctx, 0);
    finish_look(ctx, scratch, frame::locate_plain_v6(&view, view.len()), view.len())
}

#[inline(always)]
fn finish_look(ctx: &XdpContext, scratch: &mut Scratch, found: Option<Plain>, frame_len: usize) -> u32 {
    let Some(found) = found else { return NOT_PLAIN };
    if !session::listens(found.frame.destination_port) {
        return Reason::NotOurPort as u32;
    }
    note(ctx, scratch, found, frame_len);
    GOES_ON
}

/// [`look_v4`] for everything but plain frames in one buffer: tags, options, several buffers, what is not UDP at all.
#[inline(never)]
fn look_closely(ctx: &XdpContext, scratch: &mut Scratch) -> u32 {
    // SAFETY: a context of this program.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
    let view = Packet::new(ctx, 0);
    let frame = match frame::locate(&view, frame_len) {
        Ok(frame) => frame,
        Err(reason) => return reason as u32,
    };
    if !session::listens(frame.destination_port) {
        return Reason::NotOurPort as u32;
    }
    let Some((source_mac, destination_mac)) = Frame::macs(&view) else { return Reason::MalformedHeader as u32 };
    let Some((source, destination)) = frame.addresses(&view) else { return Reason::MalformedHeader as u32 };
    note(ctx, scratch, Plain { frame, source, destination, source_mac, destination_mac }, frame_len);
    GOES_ON
}

/// Reads T2 and leaves what was found in working memory.
#[inline(always)]
fn note(ctx: &XdpContext, scratch: &mut Scratch, found: Plain, frame_len: usize) {
    // T2. Read here and not first of all, so that packets that are not ours do not pay for it: what lies between is a
    // few nanoseconds, and the same for every packet.
    // SAFETY: a helper without arguments.
    scratch.received_ns = unsafe { bpf_ktime_get_tai_ns() };
    let payload = Packet::new(ctx, found.frame.payload_at());
    scratch.key.source = found.source;
    scratch.key.destination = found.destination;
    scratch.key.source_port = found.frame.source_port;
    scratch.key.destination_port = found.frame.destination_port;
    scratch.key.ssid = reflect::ssid(&payload, found.frame.payload_len, Mode::Open);
    scratch.key.reserved = 0;
    scratch.source_mac = found.source_mac;
    scratch.destination_mac = found.destination_mac;
    scratch.frame_len = frame_len;
    scratch.frame = found.frame;
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
    if frame.has_extras {
        return Fate::Punt(Reason::IpOptions);
    }
    if frame.payload_len <= OPEN_LEN || work.admitted.flags & Session::NO_TLV != 0 {
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
        unsafe { session::fetch_add(&raw mut (*session).unanswered, 1) };
    }
    Fate::End(reason)
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
const MAX_TLVS: usize = 8;

/// Asks the core about a packet that may have TLVs.
#[inline(never)]
fn plan_tlvs(work: &mut Work<'_>) {
    plan_bare(work);
    if work.scratch.outcome != ANSWER || work.config.policy.has(Policy::NO_TLV) {
        return;
    }
    work.scratch.plan.has_tlvs = true;
    let payload = work.payload().without_zeros();
    let mut survey = Survey::new(Mode::Open);
    for _ in 0..=MAX_TLVS {
        if !survey.skim(&payload, work.scratch.frame.payload_len, &work.config.policy) {
            break;
        }
    }
    work.scratch.survey = survey;
    if !work.scratch.survey.is_over() {
        for _ in 0..=MAX_TLVS {
            if teaparty_survey(work.ctx.ctx) == 0 {
                break;
            }
        }
    }
    let Scratch { survey, plan, .. } = &*work.scratch;
    // The turn after the last TLV finds the end.
    let verdict =
        if !survey.is_over() { Verdict::Punt(Reason::ManyTlvs) } else { survey.conclude(*plan, &work.config.policy) };
    conclude(work.scratch, verdict);
}

/// One turn of the survey; 0 when there is no more. A global function: the verifier looks at it once, for all that its
/// working memory may hold.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_survey(ctx: *mut xdp_md) -> u32 {
    let Some((scratch, config)) = working_memory() else { return 0 };
    let ctx = XdpContext::new(ctx);
    let payload = Packet::new(&ctx, scratch.frame.payload_at());
    let environment = FastPath { ctx: &ctx, frame: &scratch.frame, view: Packet::new(&ctx, 0) };
    u32::from(scratch.survey.turn(&payload, scratch.frame.payload_len, &config.policy, &environment))
}

/// One turn of applying TLVs to the one at `at`; gives where the next one begins, or 0 when there is no more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_apply(ctx: *mut xdp_md, at: u32) -> u32 {
    let Some((scratch, config)) = working_memory() else { return 0 };
    let ctx = XdpContext::new(ctx);
    // The survey has found where a tail of zeros begins, and the plan ends there.
    let mut payload = Packet::new(&ctx, scratch.frame.payload_at()).without_zeros();
    let Scratch { plan, facts, frame, steering, .. } = &mut *scratch;
    let mut environment = FastPath { ctx: &ctx, frame, view: Packet::new(&ctx, 0) };
    let policy = &config.policy;
    let next = reflect::apply_turn(&mut payload, at as usize, plan, facts, policy, &mut environment, steering);
    let (removed, added) = payload.difference();
    scratch.removed += removed;
    scratch.added += added;
    next.map_or(0, |next| next as u32)
}

/// One turn over the sub-TLVs of a Location: the one at `sub`, of a body that ends at `end`. Gives where the next one
/// begins, or 0 when there is no more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teaparty_location(ctx: *mut xdp_md, sub: u32, end: u32) -> u32 {
    let Some((scratch, config)) = working_memory() else { return 0 };
    let ctx = XdpContext::new(ctx);
    let mut payload = Packet::new(&ctx, scratch.frame.payload_at());
    let next = location::turn(&mut payload, sub as usize, end as usize, &scratch.facts, &config.policy);
    let (removed, added) = payload.difference();
    scratch.removed += removed;
    scratch.added += added;
    next.map_or(0, |next| next as u32)
}

/// What the turns work on.
#[inline(always)]
fn working_memory() -> Option<(&'static mut Scratch, &'static Config)> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    let control = CONTROL.get(0)?;
    let config = CONFIG.get(control.active & 1)?;
    // SAFETY: this processor's own. Whoever calls a turn touches it again only after that has returned.
    Some((unsafe { &mut *scratch }, config))
}

/// Turns the packet into its reply.
#[inline(always)]
fn answer(work: &mut Work<'_>) -> Reason {
    let mut replies = 0;
    if work.config.has(Config::STATEFUL) {
        if work.admitted.session.is_none() {
            tell_new_session(work);
        }
        let Scratch { key, session, .. } = &mut *work.scratch;
        let Some(session) = session::entry(key, session, &work.admitted, work.control, work.config) else {
            return Reason::TableFull;
        };
        work.admitted.session = Some(session);
        // SAFETY: `replies` of a map value, eight octets, aligned.
        replies = unsafe { session::fetch_add(&raw mut (*session).replies, 1) };
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
        error_estimate: error_estimate(format, work.control),
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
    (work.scratch.removed, work.scratch.added) = (0, 0);
    if work.scratch.plan.seen.without(Padding::KINDS) == KindSet::EMPTY {
        return process_padding(work);
    }
    fill(work);
    if let Some(session) = work.admitted.session {
        assign(&mut work.scratch.facts, session, replies);
    }
    let mut at = OPEN_LEN as u32;
    for _ in 0..=MAX_TLVS {
        at = teaparty_apply(work.ctx.ctx, at);
        if at == 0 {
            break;
        }
    }
}

/// What a packet asks for whose TLVs are padding, and perhaps some that nobody knows: flags, and no facts.
struct Padding;

impl Environment for Padding {
    const KINDS: KindSet = Kind::ExtraPadding.set();
    const MAX_SUBS: usize = 0;
    const CAN_GROW: bool = false;

    fn is_local(&self, _: &Address) -> bool {
        false
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        None
    }
}

/// [`process`] for packets without other known TLVs.
#[inline(always)]
fn process_padding(work: &mut Work<'_>) {
    let mut payload = work.payload().without_zeros();
    let mut at = OPEN_LEN;
    for _ in 0..=MAX_TLVS {
        let Scratch { plan, facts, steering, .. } = &mut *work.scratch;
        let policy = &work.config.policy;
        match reflect::apply_turn(&mut payload, at, plan, facts, policy, &mut Padding, steering) {
            Some(next) => at = next,
            None => break,
        }
    }
    (work.scratch.removed, work.scratch.added) = payload.difference();
}

/// Stamps and addresses the reply, and leaves in the session what the next packet is to know.
#[inline(never)]
fn send(work: &mut Work<'_>, base: Base, format: TimestampFormat) -> Reason {
    let mut payload = work.payload();
    // T3, as late as the checksum allows.
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_tai_ns() };
    let timestamp = wire_time(now_ns, format, work.control);
    let Some(echo) = reflect::stamp(&mut payload, Mode::Open, base, timestamp) else { return Reason::Internal };
    if work.scratch.plan.has_tlvs {
        payload.add_difference(work.scratch.removed, work.scratch.added);
    }
    let Scratch { frame, key, steering, received_ns, source_mac, destination_mac, .. } = &*work.scratch;
    let mut view = work.view();
    view.put(0, *source_mac);
    view.put(6, *destination_mac);
    if reply::address(&mut view, frame, key, &payload, steering).is_none() {
        return Reason::Internal;
    }
    if let Some(session) = work.admitted.session {
        let sender_sequence = echo.sequence_number.get();
        let tag = settle(session, *received_ns, sender_sequence, timestamp);
        session::remember(tag, base.sequence, work.config, |slot| {
            slot.sender_timestamp = echo.timestamp.bits();
            slot.receive_timestamp = base.receive_timestamp;
            slot.timestamp = timestamp;
            slot.sender_sequence = sender_sequence;
        });
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
    let frame_len = work.scratch.frame_len;
    let mut space = match punt::reserve(frame_len) {
        Ok(space) => space,
        Err(reason) => return reason,
    };
    fill(work);
    let Scratch { key, session: scratch, facts, frame, .. } = &mut *work.scratch;
    if work.admitted.flags & Session::AUTHENTICATED != 0 {
        facts.flags |= Facts::UNASSIGNED;
    } else if work.config.has(Config::STATEFUL) {
        facts.flags |= Facts::STATEFUL | Facts::UNASSIGNED;
        if is_certain && let Some(session) = session::entry(key, scratch, &work.admitted, work.control, work.config) {
            facts.flags &= !Facts::UNASSIGNED;
            // SAFETY: `replies` of a map value, eight octets, aligned.
            let replies = unsafe { session::fetch_add(&raw mut (*session).replies, 1) };
            assign(facts, session, replies);
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

/// Fills in what is known about the packet without its session.
#[inline(always)]
fn fill(work: &mut Work<'_>) {
    let format = work.format();
    let control = work.control;
    let Scratch { key, facts, frame, received_ns, source_mac, .. } = &mut *work.scratch;
    facts.received_ns = *received_ns;
    facts.receive_timestamp = wire_time(*received_ns, format, control);
    facts.previous_timestamp = 0;
    facts.source = key.source;
    facts.destination = key.destination;
    facts.sequence = 0;
    // Without a session there is nothing but this packet to count.
    facts.received = 1;
    facts.transmitted = 0;
    facts.previous_sequence = 0;
    facts.previous_sender_sequence = 0;
    facts.history_tag = 0;
    facts.interface = control.interface;
    facts.source_port = key.source_port;
    facts.destination_port = key.destination_port;
    facts.error_estimate = error_estimate(format, control);
    facts.source_mac = *source_mac;
    facts.timestamp_information = control.clock.timestamp_information;
    facts.ttl = frame.ttl;
    facts.traffic_class = frame.traffic_class;
    facts.previous_method = 0;
    facts.flags = Facts::HAS_MAC;
}

/// Adds what the session knows to the facts. `replies` is how many it had sent, which is the Sequence Number too.
#[inline(always)]
fn assign(facts: &mut Facts, session: *mut Session, replies: u64) {
    // SAFETY: a value of a map, of which whole words are read.
    let session = unsafe { &*session };
    facts.flags |= Facts::STATEFUL;
    facts.sequence = replies as u32;
    facts.transmitted = replies as u32;
    facts.received = (replies + session.unanswered) as u32 + 1;
    facts.history_tag = session.history_tag;
    if session.flags & Session::HAS_PREVIOUS != 0 {
        facts.flags |= Facts::HAS_PREVIOUS;
        facts.previous_sequence = (replies as u32).wrapping_sub(1);
        facts.previous_timestamp = session.previous_timestamp;
        facts.previous_method = METHOD_SOFTWARE;
        facts.previous_sender_sequence = session.sender_sequence;
    }
}

/// Leaves in the session what the next packet is to know; gives the tag of its history.
#[inline(always)]
fn settle(session: *mut Session, received_ns: u64, sender_sequence: u32, timestamp: u64) -> u32 {
    // SAFETY: a value of a map. Packets of one session come by one queue; where they do not, the last writer wins.
    unsafe {
        (*session).last_received_ns = received_ns;
        (*session).previous_timestamp = timestamp;
        (*session).sender_sequence = sender_sequence;
        (*session).flags |= Session::HAS_PREVIOUS;
        (*session).history_tag
    }
}

/// The Error Estimate for timestamps of this format.
#[inline(always)]
fn error_estimate(format: TimestampFormat, control: &Control) -> u16 {
    match format {
        TimestampFormat::Ntp => control.clock.error_estimate,
        TimestampFormat::Ptp => control.clock.error_estimate | teaparty_common::wire::error_estimate::Z,
    }
}

/// A reading of CLOCK_TAI as it goes on the wire: NTP counts UTC, PTP counts TAI.
#[inline(always)]
fn wire_time(tai_ns: u64, format: TimestampFormat, control: &Control) -> u64 {
    let nanos = match format {
        TimestampFormat::Ntp => tai_ns.wrapping_sub(control.clock.tai_offset_ns),
        TimestampFormat::Ptp => tai_ns,
    };
    Timestamp::from_nanos(nanos, format).bits()
}

/// An Ethernet frame with two tags is within reach.
const _: () = assert!(REACH >= 1514 + 8);
