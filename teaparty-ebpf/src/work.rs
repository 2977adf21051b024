//! What is known of the packet at hand: working memory that its steps share, and the facts made of it.

use aya_ebpf::programs::XdpContext;
use teaparty_common::bytes::Bytes;
use teaparty_common::frame::{Frame, Tags};
use teaparty_common::maps::{Config, Control, LedgerRequest, Session, SessionKey};
use teaparty_common::reflect::{self, Address, Facts, Plan, Steering, Survey, Tlv};
use teaparty_common::wire::checksum::Difference;
use teaparty_common::wire::sender::Echo;
use teaparty_common::wire::{Split, TimestampFormat, error_estimate};

use crate::packet::Packet;
use crate::reflect::MAX_TLVS;
use crate::session::{self, Admitted};

/// What is known of the packet at hand, in memory of a map because the stack has 512 octets only.
pub(crate) struct Scratch {
    pub(crate) key: SessionKey,
    pub(crate) facts: Facts,
    pub(crate) frame: Frame,
    /// What [`conclude`] made of the verdict: [`ANSWER`] or the number of a reason.
    pub(crate) outcome: u32,
    /// The plan, where the outcome is to answer.
    pub(crate) plan: Plan,
    pub(crate) survey: Survey,
    /// The TLVs of a packet that takes the short way.
    pub(crate) tlvs: [Tlv; MAX_TLVS],
    /// What processing of TLVs changed in the sum of the payload.
    pub(crate) difference: Difference,
    pub(crate) steering: Steering,
    /// Which configuration holds for this packet, whatever the controller does meanwhile.
    pub(crate) active: u32,
    pub(crate) frame_len: usize,
    /// VLAN tags of the frame.
    pub(crate) tags: Tags,
    /// T2, in nanoseconds of CLOCK_TAI.
    pub(crate) received_ns: u64,
    /// Whether the map of sessions made by packets has been looked into, and has none for this key.
    pub(crate) is_unknown: bool,
    /// Where a new session is put together.
    pub(crate) session: Session,
    /// The ledger's.
    pub(crate) request: LedgerRequest,
}

/// One packet's way, and the maps that it needs on it.
pub(crate) struct Work<'a> {
    pub(crate) ctx: &'a XdpContext,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) control: &'a Control,
    pub(crate) config: &'a Config,
    pub(crate) admitted: Admitted,
}

impl Work<'_> {
    /// The frame.
    #[inline(always)]
    pub(crate) fn view(&self) -> Packet {
        Packet::new(self.ctx, 0)
    }

    /// The UDP payload.
    #[inline(always)]
    pub(crate) fn payload(&self) -> Packet {
        Packet::new(self.ctx, self.scratch.frame.payload_at())
    }

    /// The format of the timestamps in this session.
    #[inline(always)]
    pub(crate) fn format(&self) -> TimestampFormat {
        format(self.admitted.flags, self.config)
    }

    /// When the packet came, in nanoseconds of CLOCK_MONOTONIC.
    #[inline(always)]
    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.control.clock.monotonic_ns(self.scratch.received_ns)
    }
}

/// The format of the timestamps in a session with these flags.
#[inline(always)]
pub(crate) fn format(flags: u32, config: &Config) -> TimestampFormat {
    if flags & Session::PTP != 0 {
        TimestampFormat::Ptp
    } else if flags & Session::NTP != 0 {
        TimestampFormat::Ntp
    } else {
        config.policy.format()
    }
}

/// Fills in what is known about the packet without its session.
#[inline(always)]
pub(crate) fn fill(work: &mut Work<'_>) {
    let format = work.format();
    let control = work.control;
    let view = work.view();
    let Scratch { key, facts, frame, received_ns, .. } = &mut *work.scratch;
    let receive_timestamp = wire_time(*received_ns, format, control);
    let received = (control.clock.monotonic_ns(*received_ns), receive_timestamp);
    fill_facts(facts, key, (frame, &view), received, format, control);
}

/// [`fill`] with what it goes by: `received` is T2, by CLOCK_MONOTONIC and as it goes on the wire.
#[inline(always)]
pub(crate) fn fill_facts(
    facts: &mut Facts,
    key: &SessionKey,
    (frame, view): (&Frame, &impl Bytes),
    received: (u64, u64),
    format: TimestampFormat,
    control: &Control,
) {
    fill_simple(facts, &key.destination, frame.traffic_class, control);
    (facts.received_ns, facts.receive_timestamp) = received;
    facts.source = key.source;
    facts.interface = control.interface;
    facts.source_port = key.source_port;
    facts.destination_port = key.destination_port;
    facts.error_estimate = estimate(format, control);
    // A frame that was located has them.
    facts.source_mac = Frame::source_mac(view).unwrap_or_default();
    facts.ttl = frame.ttl;
}

/// The part of [`fill_facts`] that TLVs of [`Survey::SIMPLE`] ask for. The others are those of an earlier packet.
#[inline(always)]
pub(crate) fn fill_simple(facts: &mut Facts, destination: &Address, traffic_class: u8, control: &Control) {
    facts.destination = *destination;
    facts.previous_timestamp = 0;
    facts.sequence = 0;
    // Without a session nothing is counted.
    facts.received = 0;
    facts.transmitted = 0;
    facts.previous_sequence = 0;
    facts.previous_sender_sequence = 0;
    facts.history_tag = 0;
    facts.timestamp_information = control.clock.timestamp_information;
    facts.traffic_class = traffic_class;
    facts.previous_method = 0;
    facts.flags = Facts::HAS_MAC;
}

/// Adds what the session knows to the facts. `replies` is how many it had sent, which is the Sequence Number too.
#[inline(always)]
pub(crate) fn assign(facts: &mut Facts, session: *mut Session, replies: u64) {
    // SAFETY: a value of a map, of which whole words are read.
    let session = unsafe { &*session };
    session.tell(facts, replies as u32, (replies + session.unanswered) as u32 + 1);
}

/// Leaves in the session what the next packet is to know, and in its history what the reply that `payload` is says of it.
/// `received_ns` is of CLOCK_MONOTONIC.
#[inline(always)]
pub(crate) fn settle(
    session: *mut Session,
    received_ns: u64,
    (sequence, echo, timestamp): (u32, Echo, u64),
    payload: &impl Bytes,
    config: &Config,
) {
    // SAFETY: a value of a map. Packets of one session come by one queue; where they do not, the last writer wins.
    let tag = unsafe {
        (*session).last_received_ns = received_ns;
        (*session).previous_timestamp = timestamp;
        (*session).previous_sequence = sequence;
        (*session).sender_sequence = echo.sequence_number.get();
        (*session).sender_timestamp = echo.timestamp.bits();
        (*session).flags |= Session::HAS_PREVIOUS;
        (*session).history_tag
    };
    if tag != 0
        && let Some(exchange) = reflect::recount(payload)
    {
        session::remember(tag, exchange, config);
    }
}

/// The Error Estimate for timestamps of this format.
#[inline(always)]
pub(crate) fn estimate(format: TimestampFormat, control: &Control) -> u16 {
    match format {
        TimestampFormat::Ntp => control.clock.error_estimate,
        TimestampFormat::Ptp => control.clock.error_estimate | error_estimate::Z,
    }
}

/// A reading of CLOCK_TAI as it goes on the wire: NTP counts UTC, PTP counts TAI.
#[inline(always)]
pub(crate) fn wire_time(tai_ns: u64, format: TimestampFormat, control: &Control) -> u64 {
    split(tai_ns, format, control).timestamp(format).bits()
}

/// [`wire_time`] half-way.
#[inline(always)]
pub(crate) fn split(tai_ns: u64, format: TimestampFormat, control: &Control) -> Split {
    Split::new(match format {
        TimestampFormat::Ntp => tai_ns.wrapping_sub(control.clock.tai_offset_ns),
        TimestampFormat::Ptp => tai_ns,
    })
}
