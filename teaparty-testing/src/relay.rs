//! A path between sender and reflector: a relay that does to each packet, and to its reply, what a script says.
//!
//! What it did is in its log, with the moments at which datagrams came and went: the truth that reports are held against.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use teaparty_common::wire::{Mode, TrafficClass};
use teaparty_user::net::batch::{Outgoing, ReceiveBatch, Received, SendBatch};
use teaparty_user::net::poll::wait;
use teaparty_user::net::socket::{Options, Socket};
use teaparty_user::sys::clock::{ClockSource, SystemClock};

/// The events in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leg {
    /// It does not arrive.
    pub is_lost: bool,
    /// It is held for so long.
    pub delay: Duration,
    /// It is held until this many later ones have passed.
    pub overtaken_by: u32,
    /// It arrives once more, right behind itself.
    pub is_doubled: bool,
    /// These bits of this octet arrive changed.
    pub flip: Option<(usize, u8)>,
    /// It arrives with this traffic class.
    pub class: Option<u8>,
    /// It arrives with this TTL.
    pub ttl: Option<u8>,
}

/// Something that comes with a reply and that a sender must not take for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// The very same from another port.
    OtherPort,
    /// With another SSID.
    OtherSsid,
    /// With another Session-Sender Timestamp.
    OtherTimestamp,
    /// With the Sequence Number of a packet that was never sent.
    NeverSent,
    /// Cut off in the middle of the base packet.
    Cut,
}

/// The events of a packet and of the first reply to it. Further replies pass unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trip {
    /// To the reflector.
    pub there: Leg,
    /// Back to the sender.
    pub back: Leg,
    /// Further replies beside the first one.
    pub forgery: Option<Forgery>,
}

/// A datagram that passed, in the order of passing.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Sequence Number of the packet, or of the one that this replies to.
    pub sequence: u32,
    /// The time in the relay, in nanoseconds.
    pub held_ns: u64,
}

/// The packets that passed.
#[derive(Debug, Default)]
pub struct Log {
    /// To the reflector.
    pub there: Vec<Passed>,
    /// Back to the sender.
    pub back: Vec<Passed>,
}

/// A running relay; ends when dropped.
pub struct Relay {
    /// The address by which senders reach the reflector.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Log>>,
}

impl Relay {
    /// Starts one in front of `reflector`. The n-th packet of a session, from 0, has the n-th trip.
    pub fn start(reflector: SocketAddr, mode: Mode, trips: Vec<Trip>) -> Self {
        let open = || Socket::open(&Options::new(SocketAddr::new(reflector.ip(), 0))).unwrap();
        let (near, far) = (open(), open());
        let address = near.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let other = UdpSocket::bind((reflector.ip(), 0)).unwrap();
        let replies = vec![0; trips.len()];
        let path = Path { near, far, other, reflector, mode, trips, replies, sender: None, held: Vec::new() };
        let thread = std::thread::spawn(move || path.serve(&flag));
        Self { address, stop, thread: Some(thread) }
    }

    /// Ends it; returns what passed.
    pub fn stop(mut self) -> Log {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// A datagram on its way.
#[derive(Clone)]
struct Packet {
    way: Way,
    sequence: u32,
    octets: Vec<u8>,
    class: TrafficClass,
    ttl: u8,
    is_doubled: bool,
    arrived_ns: u64,
    due_ns: u64,
    overtaken_by: u32,
}

struct Path {
    /// Towards the sender.
    near: Socket,
    /// Towards the reflector.
    far: Socket,
    /// For what comes from elsewhere.
    other: UdpSocket,
    reflector: SocketAddr,
    mode: Mode,
    trips: Vec<Trip>,
    /// Replies to each packet so far.
    replies: Vec<u32>,
    sender: Option<SocketAddr>,
    held: Vec<Packet>,
}

impl Path {
    fn serve(mut self, stop: &AtomicBool) -> Log {
        let mut log = Log::default();
        let mut batch = ReceiveBatch::new(64, 2_048);
        while !stop.load(Ordering::SeqCst) {
            let now = SystemClock.realtime_ns();
            let next = self.held.iter().filter(|packet| packet.overtaken_by == 0).map(|packet| packet.due_ns).min();
            let pause = next.map_or(20_000_000, |due| due.saturating_sub(now).min(20_000_000));
            wait(&[&self.near, &self.far], Some(Duration::from_nanos(pause))).unwrap();
            for way in [Way::There, Way::Back] {
                let socket = if way == Way::There { &self.near } else { &self.far };
                socket.receive(&mut batch).unwrap();
                for datagram in batch.iter() {
                    self.take(way, &datagram, &mut log);
                }
            }
            self.release(&mut log);
        }
        log
    }

    /// Does what the script says to a datagram that came.
    fn take(&mut self, way: Way, datagram: &Received<'_>, log: &mut Log) {
        let at = match way {
            Way::There => 0,
            Way::Back => self.sender_fields() - 4,
        };
        let octets = datagram.payload.to_vec();
        let sequence = u32::from_be_bytes(octets[at..at + 4].try_into().unwrap());
        let trip = self.trips[sequence as usize];
        let leg = match way {
            Way::There => {
                self.sender = datagram.peer();
                trip.there
            }
            Way::Back => {
                let replies = &mut self.replies[sequence as usize];
                *replies += 1;
                if *replies > 1 { Leg::default() } else { trip.back }
            }
        };
        if let (Way::Back, Some(forgery)) = (way, trip.forgery) {
            self.forge(forgery, octets.clone());
        }
        if leg.is_lost {
            return;
        }
        let arrived_ns = datagram.stamp.map_or_else(|| SystemClock.realtime_ns(), |stamp| stamp.nanos);
        let mut packet = Packet {
            way,
            sequence,
            octets,
            class: leg.class.map_or(datagram.traffic_class.unwrap(), TrafficClass),
            ttl: leg.ttl.unwrap_or(datagram.ttl.unwrap()),
            is_doubled: leg.is_doubled,
            arrived_ns,
            due_ns: arrived_ns + leg.delay.as_nanos() as u64,
            overtaken_by: leg.overtaken_by,
        };
        if let Some((at, bits)) = leg.flip {
            packet.octets[at] ^= bits;
        }
        if leg.overtaken_by > 0 || !leg.delay.is_zero() {
            self.held.push(packet);
            return;
        }
        self.pass(&packet, log);
        // Those that wait for others to overtake them have been overtaken once more.
        let mut overtaken = Vec::new();
        for held in self.held.iter_mut().filter(|held| held.way == way && held.overtaken_by > 0) {
            held.overtaken_by -= 1;
            if held.overtaken_by == 0 {
                overtaken.push(held.sequence);
            }
        }
        for sequence in overtaken {
            let at = self.held.iter().position(|held| held.way == way && held.sequence == sequence).unwrap();
            let held = self.held.remove(at);
            self.pass(&held, log);
        }
    }

    /// Lets those go whose time has come.
    fn release(&mut self, log: &mut Log) {
        let now = SystemClock.realtime_ns();
        let (due, held): (Vec<Packet>, _) =
            self.held.drain(..).partition(|packet| packet.overtaken_by == 0 && packet.due_ns <= now);
        self.held = held;
        due.iter().for_each(|packet| self.pass(packet, log));
    }

    fn pass(&self, packet: &Packet, log: &mut Log) {
        let (socket, to, log) = match packet.way {
            Way::There => (&self.far, self.reflector, &mut log.there),
            Way::Back => (&self.near, self.sender.unwrap(), &mut log.back),
        };
        let outgoing = Outgoing { traffic_class: Some(packet.class), ttl: Some(packet.ttl), ..Outgoing::to(to) };
        let mut batch = SendBatch::new();
        batch.push(&outgoing, &packet.octets);
        if packet.is_doubled {
            batch.push(&outgoing, &packet.octets);
        }
        let held_ns = SystemClock.realtime_ns().saturating_sub(packet.arrived_ns);
        socket.send(&mut batch).unwrap();
        assert!(batch.failed().is_empty(), "{:?}", batch.failed());
        log.push(Passed { sequence: packet.sequence, held_ns });
    }

    fn forge(&self, forgery: Forgery, mut octets: Vec<u8>) {
        let sender = self.sender.unwrap();
        let at = self.sender_fields();
        match forgery {
            Forgery::OtherPort => {
                self.other.send_to(&octets, sender).unwrap();
                return;
            }
            Forgery::OtherSsid => octets[if self.mode == Mode::Unauthenticated { 15 } else { 27 }] ^= 1,
            Forgery::OtherTimestamp => octets[at + if self.mode == Mode::Unauthenticated { 6 } else { 14 }] ^= 1,
            Forgery::NeverSent => octets[at - 4] ^= 0x40,
            Forgery::Cut => octets.truncate(30),
        }
        let mut batch = SendBatch::new();
        batch.push(&Outgoing::to(sender), &octets);
        self.near.send(&mut batch).unwrap();
    }

    /// Returns the offset of the Session-Sender's fields after its Sequence Number in a reply (RFC 8762 §4.3).
    fn sender_fields(&self) -> usize {
        match self.mode {
            Mode::Unauthenticated => 28,
            Mode::Authenticated => 52,
        }
    }
}
