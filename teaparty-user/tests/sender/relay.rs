//! The sender and a stateful reflector with a relay between them that follows a seeded script in both directions: what
//! the report says equals what the relay did. Counts exactly; delays within [`DELAY_BOUND_NS`] of how long it held them.
//!
//! With a relay that loses nothing, without the comparison of T1 in `ReplyMatcher::received`, or with `life.numbers += 1` left
//! out of the split, these turn red.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use teaparty_common::wire::Mode;
use teaparty_testing::relay::{Forgery, Leg, Log, Relay, Trip};
use teaparty_testing::sender::{Behaviour, Reflector, teaparty};
use teaparty_user::crypto::HmacKey;
use teaparty_user::sender::session::random::Random;

const PACKETS: u32 = 400;
/// Between two packets.
const INTERVAL: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_millis(700);
/// More than the timeout, and so little that it is over before the last packets are sent.
const LATE: Duration = Duration::from_millis(1_100);
/// Bound on the median delay above the time that the relay held the packet: the loopback interface and how
/// timestamps of three processes differ.
const DELAY_BOUND_NS: i64 = 2_000_000;
const KEY: &[u8] = b"0123456789abcdef";
/// AF11 with ECT(1), as sent, and what it is re-marked to.
const SENT: u8 = 0x29;
const SENT_REMARKED: u8 = 0x21;
/// EF with ECT(0), as the reply is asked to be, and what it is re-marked to.
const BACK: u8 = 0xba;
const BACK_REMARKED: u8 = 0x02;

/// Returns the trip of a packet: one in three has some trouble, each of one kind.
fn trip(random: &mut Random, n: u32, mode: Mode) -> Trip {
    let mut trip = Trip::default();
    let kind = random.bits() % 48;
    let few = 1 + (random.bits() % 6) as u32;
    // The first packet shows where the reflector's numbers begin, and all must be overtaken before the last is sent.
    if n == 0 || n >= PACKETS - 10 {
        return trip;
    }
    // The lowest octet of T1.
    let (t1, sender_t1) = if mode == Mode::Unauthenticated { (11, 35) } else { (23, 71) };
    let forgeries = [Forgery::OtherPort, Forgery::OtherSsid, Forgery::OtherTimestamp, Forgery::NeverSent, Forgery::Cut];
    match kind {
        0 => trip.there.is_lost = true,
        1 => trip.back.is_lost = true,
        2 => trip.there.is_doubled = true,
        3 => trip.back.is_doubled = true,
        4 => trip.there.flip = Some((t1, 0x10)),
        5 => trip.back.flip = Some((sender_t1, 0x10)),
        6 => trip.there.overtaken_by = few,
        7 => trip.back.overtaken_by = few,
        8 if n < PACKETS / 3 => trip.back.delay = LATE,
        9 => trip.there.delay = Duration::from_millis(u64::from(few)),
        10 => trip.back.delay = Duration::from_millis(u64::from(few)),
        11 => trip.there.class = Some(SENT_REMARKED),
        12 => trip.back.class = Some(BACK_REMARKED),
        13 => trip.there.ttl = Some(17),
        14 => trip.back.ttl = Some(99),
        15 | 16 => trip.forgery = Some(forgeries[few as usize % forgeries.len()]),
        _ => {}
    }
    trip
}

struct Run {
    trips: Vec<Trip>,
    log: Log,
    mode: Mode,
    summary: Value,
    /// One for each packet that was answered in time.
    lines: BTreeMap<u32, Value>,
}

fn run(trips: Vec<Trip>, mode: Mode) -> Run {
    let key = || (mode == Mode::Authenticated).then(|| HmacKey::new(KEY).unwrap());
    let behaviour = Behaviour { key: key(), tlv_key: key(), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", behaviour);
    let relay = Relay::start(reflector.address, mode, trips.clone());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), KEY).unwrap();
    let key_option = match mode {
        Mode::Unauthenticated => String::new(),
        Mode::Authenticated => format!("--auth-key-file {}", file.path().display()),
    };
    let (_, text, stderr) = teaparty(&format!(
        "sender {} -c {PACKETS} -i {}us -W {}ms --stateful-reflector --format jsonl {key_option} --dscp af11 --ecn ect1 \
         tlvs class-of-service --dscp ef --ecn ect0",
        relay.address,
        INTERVAL.as_micros(),
        TIMEOUT.as_millis()
    ));
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("{stderr}"))["summary"].take();
    let answered = lines.into_iter().filter(|line| line["fate"] == json!("reply"));
    let lines = answered.map(|line| (line["sequence"].as_u64().unwrap() as u32, line)).collect();
    Run { trips, log: relay.stop(), mode, summary, lines }
}

impl Run {
    /// Returns true if a genuine reply came in time.
    fn is_answered(&self, n: u32) -> bool {
        let Trip { there, back, .. } = self.trips[n as usize];
        !there.is_lost && !back.is_lost && there.flip.is_none() && back.flip.is_none() && back.delay != LATE
    }

    fn count(&self, has: impl Fn(&Trip) -> bool) -> u64 {
        self.trips.iter().filter(|trip| has(trip)).count() as u64
    }

    /// Packets in the order in which their first usable replies were sent to the sender.
    fn arrivals(&self) -> Vec<u32> {
        let mut seen = BTreeSet::new();
        let passed = self.log.back.iter().map(|passed| passed.sequence);
        passed.filter(|n| self.is_answered(*n) && seen.insert(*n)).collect()
    }

    /// Returns counts of each value on answered packets, and of its changes.
    fn seen(&self, value: impl Fn(&Trip) -> u8) -> Value {
        let values: Vec<u8> = self.arrivals().iter().map(|n| value(&self.trips[*n as usize])).collect();
        let mut counts = BTreeMap::new();
        values.iter().for_each(|value| *counts.entry(value.to_string()).or_insert(0u64) += 1);
        json!({ "seen": counts, "changes": values.windows(2).filter(|pair| pair[0] != pair[1]).count() })
    }

    fn check_loss(&self) {
        let lost: Vec<bool> = (0..PACKETS).map(|n| !self.is_answered(n)).collect();
        let bursts: Vec<usize> = lost.split(|is_lost| !is_lost).map(<[bool]>::len).filter(|len| *len > 0).collect();
        let corrupted_there = self.count(|trip| trip.there.flip.is_some());
        let corrupted_back = self.count(|trip| trip.back.flip.is_some());
        let lost_there = self.count(|trip| trip.there.is_lost);
        let lost_back = self.count(|trip| trip.back.is_lost);
        let late = self.count(|trip| trip.back.delay == LATE);
        // An open reflector can't tell a corrupted packet and answers; one with a key discards it.
        let far = lost_there + if self.mode == Mode::Unauthenticated { 0 } else { corrupted_there };
        self.expect("sent", u64::from(PACKETS));
        self.expect("lost", lost.iter().filter(|is_lost| **is_lost).count() as u64);
        self.expect("received", lost.iter().filter(|is_lost| !**is_lost).count() as u64);
        self.expect("lost_far_end", far);
        self.expect("lost_near_end", lost_there + lost_back + corrupted_there + corrupted_back + late - far);
        self.expect("lost_unattributed", 0);
        self.expect("late", late);
        self.expect("loss_bursts", bursts.len() as u64);
        self.expect("loss_burst_max", bursts.iter().max().copied().unwrap_or(0) as u64);
        self.expect("duplicates", self.count(|trip| trip.there.is_doubled || trip.back.is_doubled));
        self.expect("reflector_restarts", 0);
    }

    fn check_forgeries(&self) {
        let of = |forgery| self.count(|trip| trip.forgery == Some(forgery));
        let flipped = [self.count(|trip| trip.there.flip.is_some()), self.count(|trip| trip.back.flip.is_some())];
        let ignored = &self.summary["ignored"];
        match self.mode {
            Mode::Unauthenticated => {
                let corrupted = of(Forgery::OtherTimestamp) + flipped[0] + flipped[1];
                self.expect("corrupted", corrupted);
                self.expect("unmatched", corrupted + of(Forgery::NeverSent));
                assert_eq!(ignored["foreign"], json!(of(Forgery::OtherPort) + of(Forgery::OtherSsid)));
                assert_eq!(ignored["unauthenticated"], json!(0));
            }
            Mode::Authenticated => {
                self.expect("unmatched", 0);
                // The same from another port has a right HMAC.
                assert_eq!(ignored["foreign"], json!(of(Forgery::OtherPort)));
                let forged = of(Forgery::OtherSsid) + of(Forgery::OtherTimestamp) + of(Forgery::NeverSent);
                assert_eq!(ignored["unauthenticated"], json!(forged + flipped[1]));
            }
        }
        assert_eq!(ignored["malformed"], json!(of(Forgery::Cut)));
    }

    /// RFC 4737 §3.3 and §4.2.1, by their definitions.
    fn check_order(&self) {
        let arrivals = self.arrivals();
        let extents = arrivals.iter().enumerate().filter_map(|(at, n)| {
            let first_later = arrivals[..at].iter().position(|earlier| earlier > n)?;
            Some((at - first_later) as u64)
        });
        let extents: Vec<u64> = extents.collect();
        self.expect("reordered", extents.len() as u64);
        self.expect("reordering_extent_max", extents.iter().max().copied().unwrap_or(0));
    }

    fn check_marks(&self) {
        let (class, ttl) = (&self.summary["traffic_class"], &self.summary["ttl"]);
        assert_eq!(class["forward"], self.seen(|trip| trip.there.class.unwrap_or(SENT)));
        assert_eq!(class["backward"], self.seen(|trip| trip.back.class.unwrap_or(BACK)));
        assert_eq!(ttl["forward"], self.seen(|trip| trip.there.ttl.unwrap_or(255)));
        assert_eq!(ttl["backward"], self.seen(|trip| trip.back.ttl.unwrap_or(255)));
    }

    fn check_delays(&self) {
        for (quantity, passed) in [("forward_ns", &self.log.there), ("backward_ns", &self.log.back)] {
            let mut excess: Vec<i64> = Vec::new();
            for (n, line) in &self.lines {
                // The first, where there are two.
                let held = passed.iter().find(|passed| passed.sequence == *n).unwrap().held_ns as i64;
                excess.push(line[quantity].as_i64().unwrap() - held);
            }
            excess.sort_unstable();
            let (least, median) = (excess[0], excess[excess.len() / 2]);
            // All clocks are one here, so that no delay can be less than what the relay adds, except rounding.
            assert!(least > -1_000, "{quantity}: {least} ns");
            assert!(median < DELAY_BOUND_NS, "{quantity}: {median} ns");
        }
    }

    fn expect(&self, key: &str, value: u64) {
        assert_eq!(self.summary[key], json!(value), "{key} in {:?}: {:#}", self.mode, self.summary);
    }

    fn check(&self) {
        self.check_loss();
        self.check_forgeries();
        self.check_order();
        self.check_marks();
        self.check_delays();
    }
}

#[test]
fn an_open_session_reports_what_the_path_did() {
    check_seeds(Mode::Unauthenticated, &[11, 12]);
}

#[test]
fn an_authenticated_session_reports_what_the_path_did() {
    check_seeds(Mode::Authenticated, &[21, 22]);
}

fn check_seeds(mode: Mode, seeds: &[u64]) {
    std::thread::scope(|scope| {
        for seed in seeds {
            scope.spawn(move || {
                let mut random = Random::new(*seed);
                let trips: Vec<Trip> = (0..PACKETS).map(|n| trip(&mut random, n, mode)).collect();
                println!("seed {seed}");
                run(trips, mode).check();
            });
        }
    });
}

#[test]
fn every_kind_of_trouble_is_in_the_scripts() {
    for (mode, seeds) in [(Mode::Unauthenticated, [11, 12]), (Mode::Authenticated, [21, 22])] {
        let trips = |seed| {
            let mut random = Random::new(seed);
            (0..PACKETS).map(|n| trip(&mut random, n, mode)).collect::<Vec<_>>()
        };
        let trips: Vec<Trip> = seeds.into_iter().flat_map(trips).collect();
        let leg_kinds: [fn(&Leg) -> bool; 7] = [
            |leg| leg.is_lost,
            |leg| leg.is_doubled,
            |leg| leg.flip.is_some(),
            |leg| leg.overtaken_by > 1,
            |leg| !leg.delay.is_zero() && leg.delay < LATE,
            |leg| leg.class.is_some(),
            |leg| leg.ttl.is_some(),
        ];
        for (kind, has) in leg_kinds.iter().enumerate() {
            assert!(trips.iter().any(|trip| has(&trip.there)), "{mode:?}: {kind} on the way there");
            assert!(trips.iter().any(|trip| has(&trip.back)), "{mode:?}: {kind} on the way back");
        }
        assert!(trips.iter().any(|trip| trip.back.delay == LATE));
        let forged: BTreeSet<String> = trips.iter().filter_map(|trip| Some(format!("{:?}", trip.forgery?))).collect();
        assert_eq!(forged.len(), 5, "{forged:?}");
    }
}
