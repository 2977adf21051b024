//! What the loaded program is to do with a frame, said by the core on the host: for differential tests.
//!
//! The model shares `teaparty_common` with the program and nothing else. What is the program's own is written again here:
//! order of decisions, session state, limits of the fast path.

use std::collections::{HashMap, HashSet};

use teaparty_common::frame::{self, Frame};
use teaparty_common::maps::{Config, ControlBlock, LocalAddress, SessionKey};
use teaparty_common::packet_buf::{PacketBuf, SliceBuf};
use teaparty_common::reflect::{
    self, Address, Disposition, PacketMeta, Policy, Reason, ReflectorEnv, ReplyOptions, TlvIntegrity, TlvScan, Verdict,
};
use teaparty_common::tlv::{HandledBy, KindSet};
use teaparty_common::wire::checksum;
use teaparty_common::wire::{Mode, Timestamp, TimestampFormat, UNAUTHENTICATED_LEN, error_estimate};

use crate::frame::OUR_MAC;

/// The program's reach from the frame's start.
const REACH: usize = 2047;
/// TLVs that the program surely answers.
const FEWEST_TLVS: usize = 8;
/// TLVs that it may answer; more are surely punted.
const MOST_TLVS: usize = 9;

/// The program's configuration and the state of its sessions.
#[derive(Clone)]
pub struct Model {
    /// The configuration, as the program has it.
    pub config: Config,
    /// The state beside the program.
    pub control: ControlBlock,
    /// Ports that it listens on.
    pub ports: HashSet<u16>,
    /// Addresses that are answered.
    pub addresses: HashSet<Address>,
    /// Addresses of this node's other interfaces.
    pub elsewhere: HashSet<Address>,
    sessions: HashMap<SessionKey, State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    replies: u64,
    unanswered: u64,
    previous: Option<(u32, u64)>,
    /// T1 of the last request that was answered here.
    sender_timestamp: u64,
}

impl State {
    /// The state that a request with this Sequence Number and T1 finds: that of a new session, where it is 30 seconds later than
    /// the last one and has number 0.
    fn found_by(self, (sequence, timestamp): (u32, u64), restart_s: u64) -> Self {
        let is_later = timestamp.wrapping_sub(self.sender_timestamp) as i64 > (restart_s << 32) as i64;
        let is_known = timestamp != 0 && self.sender_timestamp != 0 && restart_s != 0;
        if sequence == 0 && is_known && is_later {
            return Self { sender_timestamp: self.sender_timestamp, ..Self::default() };
        }
        self
    }
}

/// The expected treatment of a frame.
#[derive(Debug)]
pub struct Prediction {
    /// The expected reason.
    pub reason: Reason,
    /// True if punting it for having many TLVs would be right as well.
    pub may_be_too_many: bool,
    /// The metadata, where the packet came that far.
    pub meta: Option<PacketMeta>,
    /// The metadata without the session's part.
    pub bare_facts: Option<PacketMeta>,
    /// The reply's payload and how it is sent, where it is answered.
    pub reply: Option<(Vec<u8>, ReplyOptions)>,
    /// The place of the datagram.
    pub frame: Option<Frame>,
    /// The key of its session.
    pub key: SessionKey,
    /// Its Sequence Number and T1.
    run: (u32, u64),
}

/// The UDP payload in a frame, seen as the program sees it: with what follows it, and no further than it reaches.
struct View<'a> {
    octets: SliceBuf<'a>,
    base: usize,
}

impl PacketBuf for View<'_> {
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.octets.get(at)
    }
    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> bool {
        self.octets.put(at, octets)
    }
    fn holds(&self, len: usize) -> bool {
        self.octets.holds(len) && self.base + len <= REACH
    }
    fn is_zero(&self, at: usize, len: usize) -> bool {
        self.octets.is_zero(at, len)
    }
}

struct Host<'a> {
    model: &'a Model,
    ip_header: Vec<u8>,
}

impl ReflectorEnv for Host<'_> {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 4;
    const CAN_GROW: bool = false;

    fn is_local(&self, address: &Address) -> bool {
        self.model.addresses.contains(address) || self.model.elsewhere.contains(address)
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        self.ip_header.clone().try_into().ok()
    }
}

impl Model {
    /// Without sessions.
    pub fn new(config: Config, control: ControlBlock) -> Self {
        let addresses = ["198.51.100.20", "2001:db8:1::20"];
        let addresses = addresses.map(|ip| crate::vectors::address(ip.parse().expect("an address")));
        Self {
            config,
            control,
            ports: HashSet::from([862]),
            addresses: HashSet::from(addresses),
            elsewhere: HashSet::new(),
            sessions: HashMap::new(),
        }
    }

    /// Forgets all sessions.
    pub fn forget(&mut self) {
        self.sessions.clear();
    }

    /// Predicts the treatment of `octets`. `times` are T2 and T3 as on the wire, which only the program can know.
    pub fn predict(&mut self, octets: &[u8], times: (u64, u64)) -> Prediction {
        let mut octets = octets.to_vec();
        let mut prediction = Prediction {
            reason: Reason::Internal,
            may_be_too_many: false,
            meta: None,
            bare_facts: None,
            reply: None,
            frame: None,
            key: SessionKey::default(),
            run: (0, 0),
        };
        prediction.reason = self.follow(&mut octets, times, &mut prediction);
        prediction
    }

    fn follow(&mut self, octets: &mut [u8], times: (u64, u64), prediction: &mut Prediction) -> Reason {
        let len = octets.len();
        let whole = SliceBuf(octets);
        let frame = match frame::parse_headers(&whole, len) {
            Ok(frame) => frame,
            Err(reason) => return reason,
        };
        if !self.ports.contains(&frame.destination_port) {
            return Reason::NotOurPort;
        }
        let source_mac = Frame::source_mac(&whole).expect("a located frame has it");
        let (source, destination) = frame.addresses(&whole).expect("a located frame has them");
        if frame.mixes_families(&source, &destination) {
            return if source.is_ipv4() { Reason::InvalidSource } else { Reason::NotOurAddress };
        }
        let is_ours = self.addresses.contains(&destination);
        let is_tagged = frame.tags(&whole).is_some_and(|tags| !tags.is_none());
        if is_tagged && !(is_ours && self.config.has(Config::ANY_VLAN)) {
            return Reason::NotOurVlan;
        }
        if whole.get::<6>(0) != Some(OUR_MAC) {
            return Reason::NotOurAddress;
        }
        if source_mac[0] & 1 != 0 {
            return Reason::InvalidSource;
        }
        let is_intact = self.is_intact(&frame, octets, (&source, &destination));
        let ip_header = octets[frame.ip_at..][..if frame.is_ipv6 { 40 } else { 20 }].to_vec();
        let mut payload = View { octets: SliceBuf(&mut octets[frame.payload_at()..]), base: frame.payload_at() };
        let policy = self.config.policy;
        let has_no_tlvs = policy.has(Policy::NO_TLV);
        let ssid = if policy.has(Policy::NO_TLV | Policy::IGNORE_SSID) {
            0
        } else {
            reflect::ssid(&payload, frame.payload_len, Mode::Unauthenticated)
        };
        let key = SessionKey {
            source,
            destination,
            source_port: frame.source_port,
            destination_port: frame.destination_port,
            ssid,
            reserved: 0,
        };
        prediction.frame = Some(frame);
        prediction.key = key;
        prediction.run = (payload.get(0).map_or(0, u32::from_be_bytes), payload.get(4).map_or(0, u64::from_be_bytes));
        if !is_ours {
            return Reason::NotOurAddress;
        }
        let is_own = self.addresses.contains(&source) || self.elsewhere.contains(&source);
        let known = is_own.then(LocalAddress::default);
        if reflect::is_invalid_source(&source, frame.source_port, known, false) {
            return Reason::InvalidSource;
        }
        if self.ports.contains(&frame.source_port) {
            return Reason::LoopGuard;
        }
        if frame.is_ipv6 && frame.checksum == 0 {
            return Reason::ChecksumMissing;
        }
        let mut meta = self.meta(&key, &frame, source_mac, times.0);
        if reflect::is_reply_to_ours(&payload, frame.payload_len, Mode::Unauthenticated, || {
            self.receive_timestamp(times.0)
        }) {
            return Reason::ReplyLoop;
        }
        if frame.has_extras {
            prediction.meta = Some(meta);
            return Reason::IpOptions;
        }
        if !is_intact {
            return Reason::ChecksumWrong;
        }
        let mut host = Host { model: self, ip_header };
        let len = frame.payload_len;
        let mut verdict = reflect::plan(&payload, len, Mode::Unauthenticated, &policy, TlvIntegrity::NotAsked, &host);
        let can_have_tlvs = len > UNAUTHENTICATED_LEN && !has_no_tlvs && payload.holds(len);
        if can_have_tlvs && !matches!(verdict, Verdict::Drop(Reason::ZeroMultiplier)) {
            let count = count_tlvs(&payload, len, &policy, &host);
            prediction.may_be_too_many = count > FEWEST_TLVS;
            if count > MOST_TLVS {
                verdict = Verdict::Punt(Reason::ManyTlvs);
            }
        }
        let plan = match verdict {
            Verdict::Reflect(plan) => plan,
            Verdict::Punt(reason) | Verdict::Drop(reason) => {
                prediction.meta = Some(meta);
                return reason;
            }
        };
        prediction.bare_facts = Some(meta);
        let mut reply_options = ReplyOptions::new(meta.traffic_class);
        if self.config.has(Config::STATEFUL) {
            self.assign(&key, prediction.run, &mut meta);
        }
        reflect::apply(&mut payload, &plan, &meta, &policy, &mut host, &mut reply_options);
        reflect::stamp(&mut payload, Mode::Unauthenticated, (&meta).into(), times.1).expect("a base packet");
        prediction.reply = Some((payload.octets.0[..len].to_vec(), reply_options));
        prediction.meta = Some(meta);
        Reason::Reflected
    }

    /// Returns true if the checksums that the program verifies are right.
    fn is_intact(&self, frame: &Frame, octets: &[u8], (source, destination): (&Address, &Address)) -> bool {
        let header = &octets[frame.ip_at..frame.udp_at];
        if !frame.is_ipv6 && checksum::fold(checksum::sum(header)) != 0xffff {
            return false;
        }
        let udp = &octets[frame.udp_at..frame.payload_at() + frame.payload_len];
        let addresses = source.sum(frame.is_ipv6) + destination.sum(frame.is_ipv6);
        let pseudo = checksum::pseudo_header(addresses, udp.len() as u16);
        let is_partial = frame.checksum == checksum::fold(pseudo);
        let is_right = checksum::fold(pseudo + checksum::sum(udp)) == 0xffff;
        !self.config.verifies() || frame.checksum == 0 || is_partial || is_right
    }

    /// Makes true what the program did with the packet: `reason` is its own.
    pub fn settle(&mut self, prediction: &mut Prediction, reason: Reason, timestamp: u64) {
        if !self.config.has(Config::STATEFUL) {
            return;
        }
        let key = prediction.key;
        match reason {
            Reason::Reflected => {
                let restart_s = self.config.session_restart_s;
                let state = self.sessions.entry(key).or_default();
                *state = state.found_by(prediction.run, restart_s);
                state.previous = Some((state.replies as u32, timestamp));
                state.replies += 1;
                state.sender_timestamp = prediction.run.1;
            }
            // Answered for certain, though not here: the program gives these their Sequence Number.
            Reason::ShortPacket => self.assign_punt(prediction),
            Reason::ControllerTlv if !self.config.policy.has(Policy::REFLECTED_CONTROL) => self.assign_punt(prediction),
            _ if reason.disposition() == Disposition::Punt => {
                if let Some(meta) = &mut prediction.meta {
                    meta.flags |= PacketMeta::STATEFUL | PacketMeta::UNASSIGNED;
                }
            }
            Reason::TooShort | Reason::ZeroMultiplier | Reason::NoReplyWanted | Reason::MicroSession => {
                if let Some(state) = self.sessions.get_mut(&key) {
                    state.unanswered += 1;
                }
            }
            _ => {}
        }
    }

    fn assign_punt(&mut self, prediction: &mut Prediction) {
        let (key, run, restart_s) = (prediction.key, prediction.run, self.config.session_restart_s);
        if let Some(meta) = &mut prediction.meta {
            self.assign(&key, run, meta);
        }
        let state = self.sessions.entry(key).or_default();
        *state = state.found_by(run, restart_s);
        state.replies += 1;
    }

    /// T2 as the program has it, to the second: what a reply says, or else by the clock.
    fn receive_timestamp(&self, stated: u64) -> u64 {
        if stated != 0 {
            return stated;
        }
        let format = self.config.policy.format();
        let offset = match format {
            TimestampFormat::Ntp => self.control.clock.tai_offset_ns,
            TimestampFormat::Ptp => 0,
        };
        Timestamp::from_nanos(crate::packets::now_tai() - offset, format).bits()
    }

    /// Returns the metadata of the packet without its session.
    fn meta(&self, key: &SessionKey, frame: &Frame, source_mac: [u8; 6], receive_timestamp: u64) -> PacketMeta {
        let ptp = match self.config.policy.format() {
            TimestampFormat::Ntp => 0,
            TimestampFormat::Ptp => error_estimate::Z,
        };
        PacketMeta {
            receive_timestamp,
            source: key.source,
            destination: key.destination,
            interface: self.control.interface,
            source_port: key.source_port,
            destination_port: key.destination_port,
            error_estimate: self.control.clock.error_estimate | ptp,
            source_mac,
            timestamp_information: self.control.clock.timestamp_information,
            ttl: frame.ttl,
            traffic_class: frame.traffic_class,
            flags: PacketMeta::HAS_MAC,
            ..PacketMeta::default()
        }
    }

    /// Adds what the session knows.
    fn assign(&self, key: &SessionKey, run: (u32, u64), meta: &mut PacketMeta) {
        let state = self.sessions.get(key).copied().unwrap_or_default();
        let state = state.found_by(run, self.config.session_restart_s);
        meta.flags |= PacketMeta::STATEFUL;
        meta.sequence = state.replies as u32;
        meta.transmitted = state.replies as u32;
        meta.received = (state.replies + state.unanswered + 1) as u32;
        if let Some((sequence, timestamp)) = state.previous {
            meta.flags |= PacketMeta::HAS_PREVIOUS;
            meta.previous_sequence = sequence;
            meta.previous_timestamp = timestamp;
            meta.previous_method = 2;
        }
    }
}

/// TLVs that a walk meets.
fn count_tlvs<B: PacketBuf, E: ReflectorEnv>(payload: &B, len: usize, policy: &Policy, env: &E) -> usize {
    let mut scan = TlvScan::new(Mode::Unauthenticated);
    let mut count = 0;
    while scan.step(payload, len, policy, env) {
        count += 1;
    }
    count
}
