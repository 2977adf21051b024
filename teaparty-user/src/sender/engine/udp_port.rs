//! The sender's sockets: one for each address family in use, and one more where replies may come to another port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use teaparty_common::wire::AUTHENTICATED_LEN;

use super::rx_thread::ReplyReader;
use crate::net::batch::{Outgoing, SendBatch};
use crate::net::poll::wait_writable;
use crate::net::socket::{Options, Socket, SocketError};
use crate::sender::config::{MANY_PPS, SenderConfig};
use crate::sender::session::random::Random;
use crate::sender::session::sender_session::{SenderSession, Variant};
use crate::sender::session::transit::SentPacket;
use crate::sys::clock::{ClockSource, ClockState};

/// Octets for a UDP payload: the longest that there is (65,527 over IPv6), in a whole number of cache lines and not in a
/// power of two of them, so that the datagrams of a batch do not meet in the same places of the cache.
const PAYLOAD: usize = 65_600;
const _: () = assert!(PAYLOAD > AUTHENTICATED_LEN);
/// Transmit timestamps are reported within this many packets of a socket.
const STAMPS: usize = 1 << 16;
/// Octets of the kernel's queues: replies must wait there while we are not scheduled.
const QUEUE_OCTETS: usize = 8 << 20;
/// Source ports that ext-hdr-15 §3.1 wants senders to use.
const DYNAMIC_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// A packet in the batch, and what is needed to write the rest of it.
#[derive(Clone, Copy)]
struct Pending {
    place: usize,
    deadline_ns: u64,
    variant: Variant,
    stamp_id: Option<u32>,
    /// Its number in the session.
    index: u64,
}

/// A socket with the packets that wait to be sent through it.
pub(super) struct Port {
    pub(super) socket: Arc<Socket>,
    pub(super) reader: ReplyReader,
    /// Replies that the kernel dropped so far.
    pub(super) queue_drops: u64,
    /// All that came before this has been taken in (monotonic).
    pub(super) empty_at_ns: u64,
    /// T1 of the last packet (monotonic): no two have the same.
    last_ns: u64,
    is_v6: bool,
    batch: SendBatch,
    pending: Vec<Pending>,
    stamps: Vec<(u32, u64)>,
    next_stamp: u32,
}

/// Opens the sockets that the targets need. The source port is the same on all of them.
pub(super) fn open_all(config: &SenderConfig) -> anyhow::Result<Vec<Port>> {
    let mut ports = Vec::new();
    for is_v6 in [false, true] {
        if !config.targets.iter().any(|target| target.address.is_ipv6() == is_v6) {
            continue;
        }
        let unspecified = if is_v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let source = config.source.filter(|source| source.is_ipv6() == is_v6).unwrap_or(unspecified);
        ports.push(Port::new(open(config, source)?, is_v6, config)?);
        if let Some(port) = config.reply_port {
            let options = options(config, SocketAddr::new(source, port));
            let socket = Socket::open(&options).context("cannot listen where replies were asked to go")?;
            // It only receives: `for_address` finds the one in front of it.
            ports.push(Port::new(socket, is_v6, config)?);
        }
    }
    Ok(ports)
}

fn open(config: &SenderConfig, source: IpAddr) -> anyhow::Result<Socket> {
    if config.source_port != 0 {
        return Ok(Socket::open(&options(config, SocketAddr::new(source, config.source_port)))?);
    }
    let mut random = Random::from_entropy();
    for _ in 0..16 {
        let span = u64::from(DYNAMIC_PORTS.end() - DYNAMIC_PORTS.start()) + 1;
        let port = DYNAMIC_PORTS.start() + (random.bits() % span) as u16;
        if config.targets.iter().any(|target| target.address.port() == port) {
            continue;
        }
        match Socket::open(&options(config, SocketAddr::new(source, port))) {
            Err(SocketError::Bind { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse => {}
            result => return Ok(result?),
        }
    }
    // A crowded host; the system knows which ones are free.
    Ok(Socket::open(&options(config, SocketAddr::new(source, 0)))?)
}

fn options(config: &SenderConfig, bind: SocketAddr) -> Options {
    Options {
        device: config.interface.clone(),
        transmit_stamps: config.kernel_transmit_stamps,
        hardware_stamps: config.hardware_stamps,
        report_errors: true,
        join_received: config.has_trains,
        ttl: config.ttl,
        fragmentation: config.fragmentation,
        queue_octets: Some(QUEUE_OCTETS),
        omit_checksum: config.omit_checksum,
        ..Options::new(bind)
    }
}

/// The port that sends to an address.
pub(super) fn for_address(ports: &mut [Port], address: SocketAddr) -> &mut Port {
    let at = ports.iter().position(|port| port.is_v6 == address.is_ipv6());
    &mut ports[at.expect("a socket was opened for each family of the targets")]
}

/// The local port that packets to an address leave from.
pub(super) fn source_port(ports: &[Port], address: SocketAddr) -> Option<u16> {
    let port = ports.iter().find(|port| port.is_v6 == address.is_ipv6())?;
    port.socket.local_addr().ok().map(|local| local.port())
}

impl Port {
    fn new(socket: Socket, is_v6: bool, config: &SenderConfig) -> anyhow::Result<Self> {
        let socket = Arc::new(socket);
        let is_alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
        let reader = match config.plan.packets_per_second(config.targets.len()) >= MANY_PPS && !is_alone {
            true => ReplyReader::beside(&socket, PAYLOAD, config.is_realtime)
                .context("cannot start a thread that takes replies in")?,
            false => ReplyReader::here(PAYLOAD),
        };
        Ok(Self {
            socket,
            reader,
            queue_drops: 0,
            empty_at_ns: 0,
            last_ns: 0,
            is_v6,
            batch: if config.has_trains { SendBatch::with_gso() } else { SendBatch::new() },
            pending: Vec::new(),
            stamps: vec![(u32::MAX, 0); STAMPS],
            next_stamp: 0,
        })
    }

    /// Returns true if no packet waits to be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Notes that nothing was left in the socket at `now_ns` (monotonic), where that is known.
    pub(super) fn note_empty(&mut self, now_ns: u64) {
        if self.reader.is_here() {
            self.empty_at_ns = self.empty_at_ns.max(now_ns);
        }
    }

    /// The session and the packet whose transmit timestamp has this number.
    pub(super) fn stamped(&self, id: u32) -> (usize, u64) {
        let (place, index) = self.stamps[id as usize % STAMPS];
        (place as usize, index)
    }

    /// Forgets the packets of a session that gives its place to another one: their timestamps may still be reported.
    pub(super) fn forget(&mut self, place: usize) {
        let of_it = self.stamps.iter_mut().filter(|(other, _)| *other as usize == place);
        of_it.for_each(|stamp| *stamp = (u32::MAX, 0));
    }

    /// Puts the session's next packet into the batch, all but its base packet.
    pub(super) fn enqueue(
        &mut self,
        session: &mut SenderSession,
        place: usize,
        config: &SenderConfig,
        random: &mut Random,
        now_ns: u64,
    ) {
        let Some((deadline_ns, variant)) = session.take_due(now_ns) else { return };
        let stamp_id = config.kernel_transmit_stamps.then_some(self.next_stamp);
        self.next_stamp = self.next_stamp.wrapping_add(1);
        let outgoing = Outgoing {
            traffic_class: Some(config.traffic_class),
            hop_by_hop: &config.hop_by_hop,
            destination_options: &config.destination_options,
            stamp_id,
            hardware_stamp: config.hardware_stamps,
            ..Outgoing::to(session.address)
        };
        let ahead = self.pending.iter().filter(|pending| pending.place == place).count() as u64;
        let index = session.matcher.next_index() + ahead;
        let template = session.template(variant);
        let at = self.batch.push(&outgoing, template.octets());
        let sequence = session.matcher.sequence(index);
        template.fill_tlvs(self.batch.payload_mut(at), sequence, index as u32 + 1, random);
        self.pending.push(Pending { place, deadline_ns, variant, stamp_id, index });
    }

    /// Writes T1 into each packet of the batch and hands them all to the kernel.
    pub(super) fn send(
        &mut self,
        sessions: &mut [SenderSession],
        clock: &impl ClockSource,
        state: &ClockState,
        config: &SenderConfig,
        epoch: u32,
    ) -> anyhow::Result<()> {
        let estimate = state.error_estimate(config.timestamp_format);
        // Between the two clocks there is the same difference for all of the batch; one look for each packet is enough.
        let since_1970 = clock.realtime_ns().wrapping_sub(clock.monotonic_ns());
        for (at, pending) in self.pending.iter_mut().enumerate() {
            let session = &mut sessions[pending.place];
            let sequence = session.matcher.sequence(session.matcher.next_index());
            let monotonic_ns = clock.monotonic_ns().max(self.last_ns + 1);
            self.last_ns = monotonic_ns;
            let realtime_ns = monotonic_ns.wrapping_add(since_1970);
            let timestamp = state.timestamp(realtime_ns, config.timestamp_format);
            session.template(pending.variant).write_base(self.batch.payload_mut(at), sequence, timestamp, estimate);
            let wire_timestamp = timestamp.bits();
            let late_ns = monotonic_ns.saturating_sub(pending.deadline_ns);
            let packet = SentPacket { wire_timestamp, realtime_ns, monotonic_ns, late_ns, stamp: None, epoch };
            pending.index = session.matcher.sent(packet);
            match pending.stamp_id {
                Some(id) => self.stamps[id as usize % STAMPS] = (pending.place as u32, pending.index),
                // Nobody will tell when it really left.
                None => session.statistics.pacing.record(late_ns as i64),
            }
        }
        self.flush()?;
        for (at, error) in self.batch.failed() {
            let Pending { place, index, .. } = self.pending[*at];
            let session = &mut sessions[place];
            session.matcher.not_sent(index);
            let (count, reason) = &mut session.send_errors;
            *count += 1;
            reason.get_or_insert_with(|| error.to_string());
        }
        self.batch.clear();
        self.pending.clear();
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        while let Err(error) = self.socket.send(&mut self.batch) {
            if error.kind() != std::io::ErrorKind::WouldBlock {
                return Err(error).context("cannot send");
            }
            // The send queue is full: the network takes packets more slowly than they are due.
            wait_writable(&self.socket, Some(Duration::from_millis(100))).context("cannot wait for the send queue")?;
        }
        Ok(())
    }
}
