//! A small Session-Reflector on the shared core, with a path in front of it that a test scripts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use teaparty_common::packet_buf::{PacketBuf, SliceBuf};
use teaparty_common::reflect::{
    Address, PacketMeta, Plan, Policy, ReflectorEnv, ReplyOptions, Tlv, TlvIntegrity, Verdict, apply, plan, ssid, stamp,
};
use teaparty_common::tlv::{HandledBy, Kind, KindSet};
use teaparty_common::wire::{ErrorEstimate, Mode, TimestampFormat, TrafficClass};
use teaparty_user::crypto::HmacKey;
use teaparty_user::net::batch::{Outgoing, ReceiveBatch, SendBatch};
use teaparty_user::net::poll::wait;
use teaparty_user::net::socket::{Options, Socket};
use teaparty_user::sys::clock::{ClockSource, ClockState, SystemClock};

use crate::program::program;

/// The action of the path on a packet and its reply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Act {
    /// Lost on the way there.
    pub lost_there: bool,
    /// Lost on the way back.
    pub lost_back: bool,
    /// Comes back twice.
    pub doubled: bool,
    /// Comes back with a bit of T1 changed.
    pub corrupted: bool,
    /// Takes so long on the way back.
    pub delay: Duration,
    /// Arrives there with this traffic class.
    pub remark: Option<u8>,
    /// The reflector forgets all sessions before it.
    pub restart: bool,
}

/// The behaviour of the reflector.
pub struct Behaviour {
    /// True if it numbers its replies itself.
    pub is_stateful: bool,
    /// Of its clock, against ours.
    pub clock_offset_ns: i64,
    /// Format of its timestamps.
    pub format: TimestampFormat,
    /// Authenticated mode.
    pub key: Option<HmacKey>,
    /// Key of the HMAC TLV.
    pub tlv_key: Option<HmacKey>,
    /// Changes each reply before it is sent.
    pub edit: fn(&mut Vec<u8>),
    /// Act for the n-th packet of a sender, by its address and port. Counted over all senders, acts on every second
    /// packet could meet one of two senders only.
    pub script: Box<dyn FnMut(u64) -> Act + Send>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            is_stateful: true,
            clock_offset_ns: 0,
            format: TimestampFormat::Ntp,
            key: None,
            tlv_key: None,
            edit: |_| {},
            script: Box::new(|_| Act::default()),
        }
    }
}

/// A running reflector; ends when dropped.
pub struct Reflector {
    /// Its address.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Vec<u8>>>>,
}

impl Reflector {
    /// Starts one on a free port of this address.
    pub fn start(ip: &str, behaviour: Behaviour) -> Self {
        let bind = SocketAddr::new(ip.parse().unwrap(), 0);
        // Room for all that a fast test sends before this has its turn.
        let options = Options { queue_octets: Some(1 << 20), ..Options::new(bind) };
        let socket = Socket::open(&options).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || Core::new(socket, behaviour).serve(&flag));
        Self { address, stop, thread: Some(thread) }
    }

    /// Ends it; returns the payloads of all requests that arrived.
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Core {
    socket: Socket,
    behaviour: Behaviour,
    sessions: BTreeMap<(SocketAddr, u16), PacketMeta>,
    waiting: Vec<(Instant, SocketAddr, TrafficClass, Vec<u8>)>,
    requests: Vec<Vec<u8>>,
    /// Packets by sender.
    arrived: BTreeMap<SocketAddr, u64>,
}

/// The environment of the core; records the offset of the HMAC TLV.
struct Host {
    destination: Address,
    hmac_at: Option<usize>,
}

impl ReflectorEnv for Host {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel).with(Kind::Hmac.set());
    const MAX_SUBS: usize = 16;
    const CAN_GROW: bool = true;
    fn is_local(&self, address: &Address) -> bool {
        *address == self.destination
    }
    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        None
    }
    fn finish<B: PacketBuf>(&mut self, payload: &mut B, tlv: Tlv, _: &Plan, _: &PacketMeta, _: &Policy) {
        if tlv.number == Kind::Hmac as u8 {
            payload.put(tlv.at, [0]);
            self.hmac_at = Some(tlv.at);
        }
    }
}

impl Core {
    fn new(socket: Socket, behaviour: Behaviour) -> Self {
        Self {
            socket,
            behaviour,
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
            requests: Vec::new(),
            arrived: BTreeMap::new(),
        }
    }

    fn serve(mut self, stop: &AtomicBool) -> Vec<Vec<u8>> {
        let mut batch = ReceiveBatch::new(64, 9_216);
        while !stop.load(Ordering::SeqCst) {
            let pause = if self.waiting.is_empty() { 20_000 } else { 200 };
            wait(&[&self.socket], Some(Duration::from_micros(pause))).unwrap();
            self.socket.receive(&mut batch).unwrap();
            for datagram in batch.iter() {
                self.requests.push(datagram.payload.to_vec());
                let peer = datagram.peer().unwrap();
                let arrived = self.arrived.entry(peer).or_default();
                let act = (self.behaviour.script)(*arrived);
                *arrived += 1;
                let class = act.remark.map_or(datagram.traffic_class.unwrap(), TrafficClass);
                let stamp = datagram.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
                if act.restart {
                    self.sessions.clear();
                }
                if act.lost_there {
                    continue;
                }
                let ttl = datagram.ttl.unwrap();
                let Some((class, reply)) = self.reflect(datagram.payload, peer, class, ttl, stamp) else { continue };
                self.send_later(peer, class, reply, act);
            }
            let now = Instant::now();
            let (due, waiting) = self.waiting.drain(..).partition(|entry| entry.0 <= now);
            self.waiting = waiting;
            let due: Vec<_> = due;
            let mut replies = SendBatch::new();
            for (_, peer, class, reply) in &due {
                replies.push(&Outgoing { traffic_class: Some(*class), ..Outgoing::to(*peer) }, reply);
            }
            self.socket.send(&mut replies).unwrap();
        }
        self.requests
    }

    fn send_later(&mut self, peer: SocketAddr, class: TrafficClass, mut reply: Vec<u8>, act: Act) {
        if act.lost_back {
            return;
        }
        if act.corrupted {
            // An octet of the Session-Sender Timestamp in an open reply.
            reply[30] ^= 0x10;
        }
        let at = Instant::now() + act.delay;
        if act.doubled {
            self.waiting.push((at, peer, class, reply.clone()));
        }
        self.waiting.push((at, peer, class, reply));
    }

    fn reflect(
        &mut self,
        request: &[u8],
        peer: SocketAddr,
        class: TrafficClass,
        ttl: u8,
        received_ns: u64,
    ) -> Option<(TrafficClass, Vec<u8>)> {
        let behaviour = &self.behaviour;
        let mode = if behaviour.key.is_some() { Mode::Authenticated } else { Mode::Unauthenticated };
        if behaviour.key.as_ref().is_some_and(|key| !key.verify_base(request)) {
            return None;
        }
        let mut octets = request.to_vec();
        let len = octets.len();
        octets.resize(len.max(mode.base_len()), 0);
        let destination = match self.socket.local_addr().unwrap().ip() {
            std::net::IpAddr::V4(address) => Address::v4(address.octets()),
            std::net::IpAddr::V6(address) => Address(address.octets()),
        };
        let mut host = Host { destination, hmac_at: None };
        let policy = Policy::DEFAULT;
        // Whether TLVs are authentic is known before anything else; our senders put the HMAC where it belongs.
        let integrity = match &behaviour.tlv_key {
            Some(_) => TlvIntegrity::Verified,
            None => TlvIntegrity::NotAsked,
        };
        let verdict = plan(&SliceBuf(&mut octets), len, mode, &policy, integrity, &host);
        let Verdict::Reflect(plan) = verdict else { return None };
        let key = (peer, ssid(&SliceBuf(&mut octets), len, mode));
        let clock = ClockState { is_synchronized: behaviour.clock_offset_ns == 0, ..SystemClock.state() };
        let wire =
            |ns: u64| clock.timestamp(ns.saturating_add_signed(behaviour.clock_offset_ns), behaviour.format).bits();
        let meta = self.sessions.entry(key).or_default();
        meta.received += 1;
        meta.flags = if behaviour.is_stateful { PacketMeta::STATEFUL } else { 0 };
        meta.receive_timestamp = wire(received_ns);
        meta.destination = destination;
        meta.error_estimate = ErrorEstimate::new(behaviour.clock_offset_ns == 0, behaviour.format, 1_000).bits();
        meta.ttl = ttl;
        meta.traffic_class = class.0;
        meta.timestamp_information = [5, 2, 5, 2];
        meta.source_port = peer.port();
        let mut reply_options = ReplyOptions::new(class.0);
        apply(&mut SliceBuf(&mut octets), &plan, meta, &policy, &mut host, &mut reply_options);
        let t3 = wire(SystemClock.realtime_ns());
        stamp(&mut SliceBuf(&mut octets), mode, (&*meta).into(), t3);
        (meta.previous_sequence, meta.previous_timestamp) = (meta.sequence, t3);
        meta.sequence += 1;
        meta.transmitted += 1;
        if let (Some(at), Some(key)) = (host.hmac_at, &behaviour.tlv_key) {
            let sequence: [u8; 4] = octets[..4].try_into().unwrap();
            let hmac = key.tlv_hmac(sequence, &octets[mode.base_len()..at]);
            octets[at + 4..at + 20].copy_from_slice(&hmac);
        }
        (behaviour.edit)(&mut octets);
        if let Some(key) = &behaviour.key {
            key.sign_base(&mut octets);
        }
        Some((reply_options.traffic_class, octets))
    }
}

/// `teaparty` with these arguments, run to its end: exit status, standard output and standard error.
pub fn teaparty(arguments: &str) -> (i32, String, String) {
    let output = std::process::Command::new(program())
        .args(arguments.split_whitespace())
        .env_remove("TEAPARTY_LOG")
        .output()
        .unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs with `--format json`: exit status and the summary.
pub fn summary(arguments: &str) -> (i32, serde_json::Value) {
    let (code, stdout, stderr) = teaparty(arguments);
    let summary = serde_json::from_str(&stdout);
    (code, summary.unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}
