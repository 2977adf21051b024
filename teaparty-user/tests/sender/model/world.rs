//! What a seed makes of a path, a reflector, a clock and a process: events in virtual time, written from RFC 8762 alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use teaparty_user::sender::session::random::Random;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// Our clock's distance from the monotonic one, at first.
const OFFSET_NS: i64 = 1_700_000_000 * SECOND as i64;
/// From 1900 to 1970, in seconds (RFC 5905 §6).
const NTP_EPOCH: u64 = 2_208_988_800;

/// The decisions of a seed before the first packet.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) interval_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) count: Option<u64>,
    pub(crate) duration_ns: Option<u64>,
    /// Percent of packets that get into each kind of trouble.
    trouble: u64,
    one_way_ns: u64,
    /// Starts and ends of the times when the process is stopped.
    pub(crate) stalls: Vec<(u64, u64)>,
    /// Steps of our clock: time and size.
    steps: Vec<(u64, i64)>,
    /// Restarts of the reflector: down, up, and the step of its clock.
    restarts: Vec<(u64, u64, i64)>,
    /// Starts and ends of the times when the host refuses to send.
    refusals: Vec<(u64, u64)>,
    /// Time when somebody stops waiting.
    pub(crate) urgent_ns: Option<u64>,
    first_number: u32,
}

fn between(random: &mut Random, from: u64, to: u64) -> u64 {
    from + random.bits() % (to - from)
}

/// Up to three spans in `(from, to)` that do not meet.
fn spans(random: &mut Random, from: u64, to: u64, longest_ns: u64) -> Vec<(u64, u64)> {
    let count = random.bits() % 4;
    let part = (to - from) / (count + 1);
    let span = |at| {
        let begin = from + part * at + random.bits() % (part / 2);
        (begin, begin + 1 + random.bits() % longest_ns.min(part / 2))
    };
    (0..count).map(span).collect()
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let interval_ns = between(random, 20, 120) * MS;
        let packets = between(random, 250, 400);
        let span_ns = packets * interval_ns;
        let is_counted = random.bits().is_multiple_of(2);
        let one = |random: &mut Random, bits: u64| random.bits().is_multiple_of(bits);
        let stalls = if one(random, 2) { spans(random, SECOND, span_ns, 20 * SECOND) } else { Vec::new() };
        let steps = if one(random, 3) { spans(random, SECOND, span_ns, SECOND) } else { Vec::new() };
        let step = |random: &mut Random| {
            let seconds = between(random, 60, 3_600) as i64;
            if one(random, 2) { seconds } else { -seconds }
        };
        let steps = steps.into_iter().map(|(at, _)| (at, step(random) * SECOND as i64)).collect();
        // Epochs are long enough to be distinguished.
        let restarts = if one(random, 3) {
            let restart = |(at, up)| (at, up, if one(random, 2) { step(random) * SECOND as i64 } else { 0 });
            spans(&mut Random::new(seed + 1), span_ns / 4, span_ns, 30 * interval_ns)
                .into_iter()
                .take(2)
                .map(restart)
                .collect()
        } else {
            Vec::new()
        };
        Self {
            interval_ns,
            timeout_ns: between(random, 300, 2_000) * MS,
            count: is_counted.then_some(packets),
            duration_ns: (!is_counted).then_some(span_ns),
            trouble: random.bits() % 5,
            one_way_ns: between(random, 1, 80) * MS,
            stalls,
            steps,
            restarts,
            refusals: if one(random, 3) { spans(random, SECOND, span_ns, 3 * SECOND) } else { Vec::new() },
            urgent_ns: one(random, 8).then(|| between(random, span_ns / 2, span_ns)),
            first_number: if one(random, 4) { between(random, 1, 1_000) as u32 } else { 0 },
        }
    }

    /// Realtime minus monotonic at a moment, and how often our clock was set before.
    fn offset(&self, at_ns: u64) -> (i64, usize) {
        let before: Vec<_> = self.steps.iter().filter(|(step, _)| *step <= at_ns).collect();
        (OFFSET_NS + before.iter().map(|(_, by)| by).sum::<i64>(), before.len())
    }

    pub(crate) fn offset_ns(&self, at_ns: u64) -> i64 {
        self.offset(at_ns).0
    }

    /// Returns the epoch of our clock at a moment.
    pub(crate) fn clock_life(&self, at_ns: u64) -> usize {
        self.offset(at_ns).1
    }

    /// Returns the time when the process runs that wants to at `at_ns`.
    pub(crate) fn runs_at(&self, at_ns: u64) -> u64 {
        self.stalls.iter().find(|(from, to)| (*from..*to).contains(&at_ns)).map_or(at_ns, |(_, to)| *to)
    }

    pub(crate) fn is_refused(&self, at_ns: u64) -> bool {
        self.refusals.iter().any(|(from, to)| (*from..*to).contains(&at_ns))
    }

    /// The life of the reflector at a moment, and whether it is down.
    fn reflector_life(&self, at_ns: u64) -> (usize, bool) {
        let life = self.restarts.iter().filter(|(down, ..)| *down <= at_ns).count();
        (life, self.restarts.iter().any(|(down, up, _)| (*down..*up).contains(&at_ns)))
    }

    /// Returns true if something is so near that no packet is late, doubled or overtaken: the beginning, the end, a restart.
    fn is_border(&self, index: u64, at_ns: u64) -> bool {
        let near = 20 * self.interval_ns + 2 * self.timeout_ns;
        let is_near = |moment: u64| moment.abs_diff(at_ns) < near;
        index < 20
            || self.count.is_some_and(|count| index + 25 > count)
            || self.duration_ns.is_some_and(is_near)
            || self.urgent_ns.is_some_and(is_near)
            || self.restarts.iter().any(|(down, up, _)| is_near(*down) || is_near(*up))
    }
}

/// A reply that waits in our socket.
pub(crate) struct Datagram {
    pub(crate) octets: [u8; 44],
    /// Monotonic.
    pub(crate) came_ns: u64,
    /// T4 by our clock.
    pub(crate) t4_ns: u64,
}

/// A packet as an omniscient observer sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packet {
    /// Monotonic.
    pub(crate) t1_ns: u64,
    pub(crate) is_refused: bool,
    /// Of each reply that was sent to it: the reflector's life and number.
    pub(crate) replies: Vec<(usize, u32)>,
    /// Arrivals of replies, each with its index in `replies`.
    pub(crate) arrivals: Vec<(u64, usize)>,
}

enum Event {
    /// A packet arrives at the reflector: its index, and what happens to its reply.
    There(u64, Back),
    /// A reply arrives at the sender.
    Back(u64, usize, [u8; 44]),
}

#[derive(Clone, Copy)]
struct Back {
    delay_ns: u64,
    is_lost: bool,
    is_doubled: bool,
}

pub(crate) struct World {
    pub(crate) script: Script,
    pub(crate) packets: Vec<Packet>,
    pub(crate) socket: VecDeque<Datagram>,
    requests: Vec<Vec<u8>>,
    random: Random,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: Vec<Option<Event>>,
    /// The reflector's life and its next number.
    reflector: (usize, u32),
    /// No trouble before this packet.
    calm_until: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let script = Script::new(seed);
        let reflector = (0, script.first_number);
        Self {
            script,
            packets: Vec::new(),
            socket: VecDeque::new(),
            requests: Vec::new(),
            random: Random::new(seed ^ 0x5eed),
            events: BinaryHeap::new(),
            bodies: Vec::new(),
            reflector,
            calm_until: 0,
        }
    }

    /// Returns the time of the next event.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.events.peek().map(|Reverse((at_ns, _))| *at_ns)
    }

    fn push(&mut self, at_ns: u64, event: Event) {
        self.events.push(Reverse((at_ns, self.bodies.len() as u64)));
        self.bodies.push(Some(event));
    }

    /// A packet is handed to the host; whether it leaves.
    pub(crate) fn send(&mut self, at_ns: u64, octets: &[u8]) -> bool {
        let index = self.packets.len() as u64;
        let is_refused = self.script.is_refused(at_ns);
        self.packets.push(Packet { t1_ns: at_ns, is_refused, ..Packet::default() });
        self.requests.push(octets.to_vec());
        if is_refused {
            return false;
        }
        let jitter = |random: &mut Random, of: u64| random.bits() % of;
        let base = self.script.one_way_ns;
        let interval = self.script.interval_ns;
        let mut back = Back { delay_ns: base + jitter(&mut self.random, MS), is_lost: false, is_doubled: false };
        let mut there_ns = base + jitter(&mut self.random, MS);
        let is_border = self.script.is_border(index, at_ns);
        let roll = self.random.bits() % 100 / self.script.trouble.max(1);
        let few = 1 + self.random.bits() % 5;
        let is_calm = index < self.calm_until || self.script.trouble == 0;
        let mut copy = None;
        match roll {
            _ if is_calm => {}
            0 => return true,
            1 => back.is_lost = true,
            _ if is_border => {}
            2 => back.is_doubled = true,
            3 => copy = Some(there_ns + jitter(&mut self.random, 3 * interval)),
            4 => back.delay_ns += few * interval,
            5 => there_ns += few * interval,
            6 => back.delay_ns = self.script.timeout_ns + jitter(&mut self.random, self.script.timeout_ns / 4),
            _ => {}
        }
        if matches!(roll, 3 | 5) && !is_calm && !is_border {
            // Who overtakes on the way there comes back, and so does what is overtaken.
            self.calm_until = index + 16;
        }
        self.push(at_ns + there_ns, Event::There(index, back));
        if let Some(delay_ns) = copy {
            self.push(at_ns + delay_ns, Event::There(index, back));
        }
        true
    }

    /// Lets the next event happen.
    pub(crate) fn step(&mut self) {
        let Some(Reverse((now, body))) = self.events.pop() else { return };
        match self.bodies[body as usize].take() {
            Some(Event::There(index, back)) => self.reflect(now, index, back),
            Some(Event::Back(index, reply, octets)) => {
                let t4_ns = now.wrapping_add_signed(self.script.offset_ns(now));
                self.packets[index as usize].arrivals.push((now, reply));
                self.socket.push_back(Datagram { octets, came_ns: now, t4_ns });
            }
            None => {}
        }
    }

    /// A stateful Session-Reflector (RFC 8762 §4.3.1): its replies have the numbers 0, 1, 2 of their own.
    fn reflect(&mut self, now: u64, index: u64, back: Back) {
        let (life, is_down) = self.script.reflector_life(now);
        if is_down {
            return;
        }
        if life != self.reflector.0 {
            self.reflector = (life, 0);
        }
        let number = self.reflector.1;
        self.reflector.1 += 1;
        let packet = &mut self.packets[index as usize];
        packet.replies.push((life, number));
        let reply = packet.replies.len() - 1;
        if back.is_lost {
            return;
        }
        let clock = OFFSET_NS + self.script.restarts.iter().take(life).map(|(_, _, by)| by).sum::<i64>();
        let octets = reply_to(&self.requests[index as usize], number, now.wrapping_add_signed(clock));
        self.push(now + back.delay_ns, Event::Back(index, reply, octets));
        if back.is_doubled {
            self.push(now + back.delay_ns + MS / 2, Event::Back(index, reply, octets));
        }
    }
}

/// The reply of RFC 8762 §4.3.1, Figure 5, with SSID (RFC 8972 §3): T2 and T3 are the same moment.
fn reply_to(request: &[u8], number: u32, at_ns: u64) -> [u8; 44] {
    let mut reply = [0; 44];
    let seconds = at_ns / SECOND + NTP_EPOCH;
    let fraction = (u128::from(at_ns % SECOND) << 32).div_ceil(u128::from(SECOND)) as u64;
    let now = ((seconds << 32) + fraction).to_be_bytes();
    reply[..4].copy_from_slice(&number.to_be_bytes());
    reply[4..12].copy_from_slice(&now);
    // S, and a Multiplier of 1.
    reply[12..14].copy_from_slice(&[0x80, 1]);
    reply[14..16].copy_from_slice(&request[14..16]);
    reply[16..24].copy_from_slice(&now);
    reply[24..28].copy_from_slice(&request[..4]);
    reply[28..36].copy_from_slice(&request[4..12]);
    reply[36..38].copy_from_slice(&request[12..14]);
    reply[40] = 255;
    reply
}
