//! The current packet with its session and configuration, and the facts made of it.

use aya_ebpf::programs::XdpContext;
use teaparty_common::frame::Frame;
use teaparty_common::maps::{Config, ControlBlock, Session, SessionKey};
use teaparty_common::packet_buf::PacketBuf;
use teaparty_common::reflect::{self, Address, PacketMeta};
use teaparty_common::wire::TimestampFormat;
use teaparty_common::wire::sender::ReflectedFields;

use crate::packet::Packet;
use crate::scratch::Scratch;
use crate::session::{self, KernelAdmitted};

/// One packet's way, and the maps that it needs on it.
pub(crate) struct PacketCtx<'a> {
    pub(crate) ctx: &'a XdpContext,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) control: &'a ControlBlock,
    pub(crate) config: &'a Config,
    pub(crate) admitted: KernelAdmitted,
}

impl PacketCtx<'_> {
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
        Session::format(self.admitted.flags, &self.config.policy)
    }

    /// Arrival of the packet, in nanoseconds of CLOCK_MONOTONIC.
    #[inline(always)]
    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.control.clock.monotonic_ns(self.scratch.received_ns)
    }
}

/// Fills in what is known about the packet without its session.
#[inline(always)]
pub(crate) fn fill_meta_of(packet: &mut PacketCtx<'_>) {
    let format = packet.format();
    let control = packet.control;
    let view = packet.view();
    let Scratch { key, meta, frame, received_ns, .. } = &mut *packet.scratch;
    let receive_timestamp = control.clock.wire_time(*received_ns, format);
    let received = (control.clock.monotonic_ns(*received_ns), receive_timestamp);
    fill_meta(meta, key, (frame, &view), received, format, control);
}

/// [`fill_meta_of`] with its inputs: `received` is T2, by CLOCK_MONOTONIC and as it is on the wire.
#[inline(always)]
pub(crate) fn fill_meta(
    meta: &mut PacketMeta,
    key: &SessionKey,
    (frame, view): (&Frame, &impl PacketBuf),
    received: (u64, u64),
    format: TimestampFormat,
    control: &ControlBlock,
) {
    fill_simple_meta(meta, &key.destination, frame.traffic_class, control);
    (meta.received_ns, meta.receive_timestamp) = received;
    meta.source = key.source;
    meta.interface = control.interface;
    meta.source_port = key.source_port;
    meta.destination_port = key.destination_port;
    meta.error_estimate = control.clock.error_estimate_of(format);
    // A frame that was located has them.
    meta.source_mac = Frame::source_mac(view).unwrap_or_default();
    meta.ttl = frame.ttl;
}

/// The part of [`fill_meta`] that TLVs of [`reflect::TlvScan::SIMPLE`] ask for. The others are those of an earlier packet.
#[inline(always)]
pub(crate) fn fill_simple_meta(
    meta: &mut PacketMeta,
    destination: &Address,
    traffic_class: u8,
    control: &ControlBlock,
) {
    meta.destination = *destination;
    meta.previous_timestamp = 0;
    meta.sequence = 0;
    // Without a session nothing is counted.
    meta.received = 0;
    meta.transmitted = 0;
    meta.previous_sequence = 0;
    meta.previous_sender_sequence = 0;
    meta.history_tag = 0;
    meta.timestamp_information = control.clock.timestamp_information;
    meta.traffic_class = traffic_class;
    meta.previous_method = 0;
    meta.flags = PacketMeta::HAS_MAC;
}

/// Adds what the session knows to the facts. `replies` is how many it had sent, which is the Sequence Number too.
#[inline(always)]
pub(crate) fn fill_session_meta(meta: &mut PacketMeta, session: *mut Session, replies: u64) {
    // SAFETY: a value of a map, of which whole words are read.
    let session = unsafe { &*session };
    session.fill_meta(meta, replies as u32, (replies + session.unanswered) as u32 + 1);
}

/// A reply that is complete.
pub(crate) struct SentReply {
    pub(crate) sequence: u32,
    pub(crate) reflected: ReflectedFields,
    /// T3 as it is on the wire.
    pub(crate) timestamp: u64,
}

/// Leaves in the session what the next packet is to know, and in its history what the reply that `payload` is says of it.
/// `received_ns` is of CLOCK_MONOTONIC.
#[inline(always)]
pub(crate) fn record_reply(
    session: *mut Session,
    received_ns: u64,
    SentReply { sequence, reflected, timestamp }: SentReply,
    payload: &impl PacketBuf,
    config: &Config,
) {
    // SAFETY: a value of a map. Packets of one session come by one queue; where they do not, the last writer wins.
    let tag = unsafe {
        (*session).last_received_ns = received_ns;
        (*session).previous_timestamp = timestamp;
        (*session).previous_sequence = sequence;
        (*session).sender_sequence = reflected.sequence_number.get();
        (*session).sender_timestamp = reflected.timestamp.bits();
        (*session).flags |= Session::HAS_PREVIOUS;
        (*session).history_tag
    };
    if tag != 0
        && let Some(exchange) = reflect::history_entry(payload)
    {
        session::remember(tag, exchange, config);
    }
}
