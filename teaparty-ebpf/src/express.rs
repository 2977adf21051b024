//! The short way of the commonest packets: of a session that is known, in a plain frame, with simple TLVs or none.
//!
//! Headers and base packet are at constant offsets, proved to be there by one comparison, and what is known of a packet
//! without TLVs stays in registers. What is answered here is answered by the same functions as everywhere else; whatever
//! is not so plain takes the long way, before anything has been changed.

use aya_ebpf::helpers::generated::bpf_ktime_get_tai_ns;
use aya_ebpf::programs::XdpContext;
use teaparty_common::bytes::Bytes;
use teaparty_common::frame::Plain;
use teaparty_common::maps::{Config, Control, Session, SessionKey};
use teaparty_common::reflect::{self, Base, Environment, Facts, Plan, Policy, Reason, Steering, Survey, Verdict};
use teaparty_common::tlv::KindSet;
use teaparty_common::wire::{Mode, NANOS_PER_SEC, OPEN_LEN, Split, TimestampFormat};
use zerocopy::transmute;

use crate::maps::{CONFIG, CONTROL, SCRATCH};
use crate::packet::{Difference, Held, Packet};
use crate::reflect::MAX_TLVS;
use crate::turns::{FastPath, Padding, Simple};
use crate::work::{Scratch, assign, estimate, fill_facts, format, settle, split, wire_time};
use crate::{punt, reply, session, table};

/// Not a packet for the short way.
pub(crate) const NO: u32 = u32::MAX;

/// The same, and the map of sessions made by packets has no entry for it.
pub(crate) const UNKNOWN: u32 = u32::MAX - 1;

/// What the configuration must have, and must not have.
const MUST: u32 = Config::STATEFUL;
const MUST_NOT: u32 = Config::HAS_AUTHENTICATED;

/// Answers the packet whose datagram is `found`, received at `received_ns` of CLOCK_TAI, and returns the number of a
/// reason; or returns [`NO`] or [`UNKNOWN`] with nothing changed. `HEADERS` octets stand before the payload, `FRAME` are held by `view`.
#[inline(always)]
pub(crate) fn answer<const FRAME: usize, const HEADERS: usize>(
    ctx: &XdpContext,
    view: &mut Held<FRAME>,
    found: &Plain,
    received_ns: u64,
) -> u32 {
    let Some(control) = CONTROL.get(0) else { return NO };
    let Some(config) = CONFIG.get(control.active & 1) else { return NO };
    if config.flags & (MUST | MUST_NOT) != MUST || config.policy.has(Policy::NO_TLV) {
        return NO;
    }
    if !config.has(Config::ANY_MAC) && found.destination_mac != config.mac {
        return NO;
    }
    if found.frame.is_ipv6 && found.frame.checksum == 0 {
        return NO;
    }
    let mut whole = Packet::new(ctx, HEADERS).without_zeros();
    let Some(plan) = plan(&whole, found.frame.payload_len, &config.policy) else { return NO };
    let payload = view.part::<HEADERS, OPEN_LEN>();
    let key = SessionKey {
        source: found.source,
        destination: found.destination,
        source_port: found.frame.source_port,
        destination_port: found.frame.destination_port,
        ssid: reflect::ssid(&payload, OPEN_LEN, Mode::Open),
        reserved: 0,
    };
    let found_session = match table::find_near(&key, &control.table) {
        Ok(session) => session,
        Err(true) => return NO,
        Err(false) if config.has(Config::HAS_PROVISIONED) => {
            if plan.has_tlvs {
                // Another map's entry is another way for the verifier: with its TLVs it would walk 835,000 instructions.
                return NO;
            }
            match session::provisioned(&key) {
                Some(session) => session,
                None => return UNKNOWN,
            }
        }
        Err(false) => return UNKNOWN,
    };
    let session = found_session.as_ptr();
    // SAFETY: a value of a map, looked up above; the entry stays readable until the program ends.
    let (flags, generation) = unsafe { ((*session).flags, (*session).generation) };
    if generation != control.generation || flags & (Session::AUTHENTICATED | Session::NO_TLV) != 0 {
        return NO;
    }
    if config.rate_interval_ns != 0
        && let Err(reason) = session::limit(&key.source, control, config, received_ns)
    {
        return reason as u32;
    }
    // SAFETY: `replies` of a map value, eight octets, aligned.
    let replies = unsafe { session::fetch_add(&raw mut (*session).replies, 1) };
    let format = format(flags, config);
    let received = split(received_ns, format, control);
    let base = Base {
        is_stateful: true,
        sequence: replies as u32,
        receive_timestamp: received.timestamp(format).bits(),
        error_estimate: estimate(format, control),
        ttl: found.frame.ttl,
    };
    let exchange = Exchange { session, config, control, key: &key, found, received_ns, received, format, base };
    if !plan.has_tlvs {
        // A sending of its own: nothing of such a packet has to go through memory.
        return exchange.send(ctx, view, payload, Difference::NONE, &Steering::new(found.frame.traffic_class));
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return Reason::Internal as u32 };
    // SAFETY: this processor's own, and the program is not re-entered.
    let scratch = unsafe { &mut *scratch };
    if plan.seen.without(Padding::KINDS) != KindSet::EMPTY {
        // Padding asks for no facts.
        exchange.fill(&mut scratch.facts);
        assign(&mut scratch.facts, session, replies);
    }
    // In memory: of a local one, LLVM would move what a variant does not use too, see `conclude`.
    scratch.steering = Steering::new(found.frame.traffic_class);
    let mut environment = Simple(FastPath { ctx, frame: &found.frame, view: Packet::new(ctx, 0) });
    let Scratch { facts, steering, .. } = &mut *scratch;
    let mut at = OPEN_LEN;
    for _ in 0..MAX_TLVS {
        match reflect::apply_turn(&mut whole, at, &plan, facts, &config.policy, &mut environment, steering) {
            Some(next) => at = next,
            None => break,
        }
    }
    let reason = exchange.send(ctx, view, payload, whole.difference(), &scratch.steering);
    if let Some(report) = scratch.steering.access_report {
        punt::report_access(report, &key, &scratch.facts);
    }
    reason
}

/// What is to be done with a payload of `len` octets, where it is to be answered and every TLV in it is simple.
#[inline(always)]
fn plan(payload: &Packet, len: usize, policy: &Policy) -> Option<Plan> {
    let Verdict::Reflect(mut plan) = reflect::plan_bare(payload, len, Mode::Open, policy, &Padding) else {
        return None;
    };
    if len > OPEN_LEN {
        let mut survey = Survey::new(Mode::Open);
        for _ in 0..MAX_TLVS {
            if !survey.skim(payload, len, policy) {
                break;
            }
        }
        if !survey.is_over() {
            return None;
        }
        survey.conclude_skimmed(&mut plan);
    }
    Some(plan)
}

/// What is known of a packet that is being answered.
struct Exchange<'a> {
    session: *mut Session,
    config: &'a Config,
    control: &'a Control,
    key: &'a SessionKey,
    found: &'a Plain,
    received_ns: u64,
    received: Split,
    format: TimestampFormat,
    base: Base,
}

impl Exchange<'_> {
    /// The facts about the packet that its session does not know.
    #[inline(always)]
    fn fill(&self, facts: &mut Facts) {
        let Self { key, found, control, .. } = self;
        let received = (self.received_ns, self.base.receive_timestamp);
        fill_facts(facts, key, &found.frame, found.source_mac, received, self.format, control);
    }

    /// Stamps and addresses the reply, and leaves in the session what the next packet is to know. `difference` is what was
    /// changed behind the base packet.
    #[inline(always)]
    fn send<const FRAME: usize>(
        &self,
        ctx: &XdpContext,
        view: &mut Held<FRAME>,
        mut base: Held<OPEN_LEN>,
        mut difference: Difference,
        steering: &Steering,
    ) -> u32 {
        let Self { session, config, control, key, found, received_ns, received, format, .. } = *self;
        let (sequence, receive_timestamp) = (self.base.sequence, self.base.receive_timestamp);
        // T3, as late as the checksum allows.
        // SAFETY: a helper without arguments.
        let now_ns = unsafe { bpf_ktime_get_tai_ns() };
        let elapsed = now_ns.wrapping_sub(received_ns);
        let timestamp = if elapsed < NANOS_PER_SEC {
            received.later(elapsed).timestamp(format).bits()
        } else {
            // The clock was set meanwhile.
            wire_time(now_ns, format, control)
        };
        let Some(echo) = reflect::stamp(&mut base, Mode::Open, self.base, timestamp) else {
            return Reason::Internal as u32;
        };
        // Both at once: the words of the frame are less than fields of six octets.
        let macs: [u8; 12] = transmute!([found.source_mac, found.destination_mac]);
        view.put(0, macs);
        difference.add(base.difference());
        if reply::address(view, &found.frame, key, (ctx, difference), steering).is_none() {
            return Reason::Internal as u32;
        }
        let sender_sequence = echo.sequence_number.get();
        let tag = settle(session, received_ns, sequence, sender_sequence, timestamp);
        session::remember(tag, sequence, config, |slot| {
            slot.sender_timestamp = echo.timestamp.bits();
            slot.receive_timestamp = receive_timestamp;
            slot.timestamp = timestamp;
            slot.sender_sequence = sender_sequence;
        });
        Reason::Reflected as u32
    }
}
