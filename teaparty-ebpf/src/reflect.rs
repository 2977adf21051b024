//! One packet's way through the program.

use aya_ebpf::helpers::generated::{bpf_ktime_get_tai_ns, bpf_xdp_get_buff_len};
use aya_ebpf::programs::XdpContext;
use teaparty_common::bytes::Bytes;
use teaparty_common::frame::{self, Frame, IPV4_LEN, IPV6_LEN, Ip};
use teaparty_common::maps::{Config, Control, HistorySlot, LocalAddress, PuntHeader, RecordKind, Session, SessionKey};
use teaparty_common::reflect::{self, Address, Environment, Facts, Integrity, Plan, Policy, Reason, Verdict};
use teaparty_common::tlv::measurement::METHOD_SOFTWARE;
use teaparty_common::tlv::{Finisher, KindSet};
use teaparty_common::wire::{Mode, Timestamp, TimestampFormat};

use crate::maps::{ADDRESSES, CONFIG, CONTROL};
use crate::packet::{Packet, REACH};
use crate::session::{self, Admitted};
use crate::{punt, reply};

/// What the fast path can do, and what it may ask for.
struct FastPath<'a> {
    frame: &'a Frame,
}

impl Environment for FastPath<'_> {
    const KINDS: KindSet = KindSet::finished_by(Finisher::Kernel);
    const MAX_TLVS: usize = 8;
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;

    #[inline(always)]
    fn is_local(&self, address: &Address) -> bool {
        // SAFETY: no reference is kept.
        unsafe { ADDRESSES.get(address) }.is_some_and(|found| found.flags & LocalAddress::ANSWERED != 0)
    }

    #[inline(always)]
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        let mut octets = [0; N];
        match self.frame.ip {
            Ip::V4(ip) if N == IPV4_LEN => {
                let header: [u8; IPV4_LEN] = zerocopy::transmute!(ip);
                octets.copy_from_slice(&header);
            }
            Ip::V6(ip) if N == IPV6_LEN => {
                let header: [u8; IPV6_LEN] = zerocopy::transmute!(ip);
                octets.copy_from_slice(&header);
            }
            _ => return None,
        }
        Some(octets)
    }
}

/// Everything about one packet that is settled before the decision.
struct Packets<'a> {
    ctx: &'a XdpContext,
    frame: Frame,
    frame_len: usize,
    key: SessionKey,
    received_ns: u64,
    control: &'a Control,
    config: &'a Config,
}

/// Handles the packet of `ctx` and says how it ended.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Reason {
    let (data, end) = (ctx.data(), ctx.data_end());
    // SAFETY: a context of this program.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
    let frame = match frame::locate(&Packet::new(data, end, 0), frame_len) {
        Ok(frame) => frame,
        Err(reason) => return reason,
    };
    if !session::listens(frame.udp.destination_port.get()) {
        return Reason::NotOurPort;
    }
    // T2. Read here and not first of all, so that packets that are not ours do not pay for it: what lies between is a
    // few nanoseconds, and the same for every packet.
    // SAFETY: a helper without arguments.
    let received_ns = unsafe { bpf_ktime_get_tai_ns() };
    let Some(control) = CONTROL.get(0) else { return Reason::Internal };
    let Some(config) = CONFIG.get(control.active & 1) else { return Reason::Internal };
    let payload = Packet::new(data, end, frame.payload_at());
    let ssid = if config.policy.has(Policy::NO_TLV) {
        // Such a sender's octets there are padding.
        0
    } else {
        reflect::ssid(&payload, frame.payload_len(), Mode::Open)
    };
    let key = SessionKey {
        source: frame.source(),
        destination: frame.destination(),
        source_port: frame.udp.source_port.get(),
        destination_port: frame.udp.destination_port.get(),
        ssid,
        reserved: 0,
    };
    decide(Packets { ctx, frame, frame_len, key, received_ns, control, config }, payload)
}

#[inline(always)]
fn decide(packet: Packets<'_>, payload: Packet) -> Reason {
    let Packets { key, control, config, frame, .. } = &packet;
    let admitted = match session::admit(key, frame, control, config, packet.received_ns) {
        Ok(admitted) => admitted,
        Err(reason) => return reason,
    };
    if matches!(frame.ip, Ip::V6(_)) && frame.udp.checksum.get() == 0 {
        return Reason::ChecksumMissing;
    }
    if admitted.flags & Session::AUTHENTICATED != 0 {
        return punt_frame(&packet, &admitted, Reason::Authenticated);
    }
    if frame.has_extras {
        return punt_frame(&packet, &admitted, Reason::IpOptions);
    }
    let environment = FastPath { frame };
    let len = frame.payload_len();
    let mut verdict = reflect::plan(&payload, len, Mode::Open, &config.policy, Integrity::NotAsked, &environment);
    if let Verdict::Reflect(plan) = &mut verdict {
        plan.has_tlvs &= admitted.flags & Session::NO_TLV == 0;
    }
    match verdict {
        Verdict::Drop(reason) => {
            if let Some(session) = admitted.session {
                // SAFETY: `unanswered` of a map value, eight octets, aligned.
                unsafe { session::fetch_add(&raw mut (*session).unanswered, 1) };
            }
            reason
        }
        Verdict::Punt(reason) => punt_frame(&packet, &admitted, reason),
        Verdict::Reflect(plan) => answer(packet, payload, admitted, plan),
    }
}

/// Turns the packet into its reply.
#[inline(always)]
fn answer(packet: Packets<'_>, mut payload: Packet, admitted: Admitted, plan: Plan) -> Reason {
    let Packets { frame, key, control, config, .. } = &packet;
    let format = format(admitted.flags, config);
    let session = if config.has(Config::STATEFUL) {
        match session::entry(key, &admitted, control, config) {
            Some(session) => Some(session),
            None => return Reason::TableFull,
        }
    } else {
        None
    };
    let mut facts = facts(&packet, format);
    if let Some(session) = session {
        assign(&mut facts, session);
    }
    payload.is_tail_known = true;
    let mut environment = FastPath { frame };
    let steering = reflect::apply(&mut payload, plan, &facts, &config.policy, &mut environment);
    let Some(octets) = payload.get::<12>(0) else { return Reason::Internal };
    let sender_sequence = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
    // T3, as late as the checksum allows.
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_tai_ns() };
    let timestamp = wire_time(now_ns, format, control);
    reflect::stamp(&mut payload, Mode::Open, &facts, timestamp);
    let mut view = Packet::new(packet.ctx.data(), packet.ctx.data_end(), 0);
    if reply::address(&mut view, frame, &payload, &steering).is_none() {
        return Reason::Internal;
    }
    if let Some(session) = session {
        settle(session, &facts, sender_sequence, timestamp);
        let sender_timestamp = u64::from_be_bytes([
            octets[4], octets[5], octets[6], octets[7], octets[8], octets[9], octets[10], octets[11],
        ]);
        session::remember(
            HistorySlot {
                tag: facts.history_tag,
                reflector_sequence: facts.sequence,
                sender_timestamp,
                receive_timestamp: facts.receive_timestamp,
                timestamp,
                sender_sequence,
                reserved: 0,
            },
            config,
        );
    }
    if let Some(report) = steering.access_report {
        punt::report_access(report, key, &facts);
    }
    Reason::Reflected
}

/// Hands the untouched frame to the controller. A session that the kernel owns gets its Sequence Number here where it is
/// certain that there will be a reply (design rule R4); else the controller claims it through the ledger.
#[inline(never)]
fn punt_frame(packet: &Packets<'_>, admitted: &Admitted, reason: Reason) -> Reason {
    let Packets { frame, key, control, config, .. } = packet;
    let is_authenticated = admitted.flags & Session::AUTHENTICATED != 0;
    let is_certain = match reason {
        Reason::ShortPacket => true,
        Reason::ControllerTlv => !config.policy.has(Policy::REFLECTED_CONTROL),
        _ => false,
    };
    let space = match punt::reserve(packet.frame_len) {
        Ok(space) => space,
        Err(reason) => return reason,
    };
    let mut facts = facts(packet, format(admitted.flags, config));
    let mut session_flags = admitted.flags;
    if is_authenticated {
        facts.flags |= Facts::UNASSIGNED;
    } else if config.has(Config::STATEFUL) {
        facts.flags |= Facts::STATEFUL | Facts::UNASSIGNED;
        if is_certain && let Some(session) = session::entry(key, admitted, control, config) {
            facts.flags &= !Facts::UNASSIGNED;
            assign(&mut facts, session);
            // SAFETY: a value of a map.
            session_flags = unsafe { (*session).flags };
        }
    }
    let header = PuntHeader {
        kind: RecordKind::Frame as u32,
        reason: reason as u32,
        frame_len: packet.frame_len as u32,
        payload_len: frame.payload_len() as u32,
        ip_at: frame.ip_at as u16,
        payload_at: frame.payload_at() as u16,
        session_flags,
        key: *key,
        facts,
    };
    punt::submit(packet.ctx, space, header, packet.frame_len)
}

/// What is known about the packet without its session.
#[inline(always)]
fn facts(packet: &Packets<'_>, format: TimestampFormat) -> Facts {
    let Packets { frame, key, control, .. } = packet;
    let ptp = match format {
        TimestampFormat::Ntp => 0,
        TimestampFormat::Ptp => teaparty_common::wire::error_estimate::Z,
    };
    Facts {
        received_ns: packet.received_ns,
        receive_timestamp: wire_time(packet.received_ns, format, control),
        source: key.source,
        destination: key.destination,
        interface: control.interface,
        source_port: key.source_port,
        destination_port: key.destination_port,
        error_estimate: control.clock.error_estimate | ptp,
        source_mac: frame.ethernet.source,
        timestamp_information: control.clock.timestamp_information,
        ttl: frame.ttl(),
        traffic_class: frame.traffic_class(),
        flags: Facts::HAS_MAC,
        ..Facts::default()
    }
}

/// Assigns the session's next Sequence Number and adds what the session knows to the facts.
#[inline(always)]
fn assign(facts: &mut Facts, session: *mut Session) {
    // SAFETY: `replies` of a map value, eight octets, aligned; the other fields are plain words of the same value.
    unsafe {
        let replies = session::fetch_add(&raw mut (*session).replies, 1);
        let session = &*session;
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
}

/// Leaves in the session what the next packet is to know.
#[inline(always)]
fn settle(session: *mut Session, facts: &Facts, sender_sequence: u32, timestamp: u64) {
    // SAFETY: a value of a map. Packets of one session come by one queue; where they do not, the last writer wins.
    unsafe {
        (*session).last_received_ns = facts.received_ns;
        (*session).previous_timestamp = timestamp;
        (*session).sender_sequence = sender_sequence;
        if facts.flags & Facts::HAS_PREVIOUS == 0 {
            (*session).flags |= Session::HAS_PREVIOUS;
        }
    }
}

/// The format of the timestamps in this session.
#[inline(always)]
fn format(session_flags: u32, config: &Config) -> TimestampFormat {
    if session_flags & Session::PTP != 0 {
        TimestampFormat::Ptp
    } else if session_flags & Session::NTP != 0 {
        TimestampFormat::Ntp
    } else {
        config.policy.format()
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

const _: () = assert!(REACH >= 1514 + 8);
