//! The rate limit in virtual time, with clocks that are set, and with threads.

extern crate std;

use core::sync::atomic::{AtomicU64, Ordering};

use super::super::Clock;
use super::*;

const SECOND: u64 = 1_000_000_000;
/// 1,000 packets a second, 100 at once.
const RATE: TokenRate = TokenRate { interval_ns: 1_000_000, burst_ns: 99_000_000 };

fn source(n: u8) -> Address {
    Address::v4([192, 0, 2, n])
}

fn row() -> SharedBucketSet {
    core::array::from_fn(|_| AtomicU64::new(0))
}

#[test]
fn a_row_of_buckets_limits_each_source_and_forgets_the_one_that_loses_least() {
    let row = row();
    let admit = |n: u8, now: u64| admit(&row, &source(n), now, TokenRate { interval_ns: 10, burst_ns: 25 });
    // Three at once, then one each interval.
    assert_eq!([0, 0, 0, 0].map(|_| admit(1, 1000)), [true, true, true, false]);
    assert_eq!([1010, 1010].map(|now| admit(1, now)), [true, false]);
    // Three others have places of their own; a fifth source takes that of one with less debt than the first.
    assert!((2..=5).all(|n| admit(n, 1010)));
    assert!(!admit(1, 1010), "what it owes is remembered");
}

/// A host whose clock is set, with the kernel's view of its time: TAI less the published offset.
struct Host {
    monotonic: u64,
    clock: Clock,
    /// CLOCK_TAI minus CLOCK_MONOTONIC as it is.
    offset: u64,
    row: SharedBucketSet,
}

impl Host {
    fn new(uptime: u64) -> Self {
        let offset = 1_800_000_000 * SECOND;
        let clock = Clock { monotonic_offset_ns: offset, ..Clock::default() };
        Self { monotonic: uptime, clock, offset, row: row() }
    }

    fn step(&mut self, seconds: i64) {
        self.offset = self.offset.wrapping_add_signed(seconds * SECOND as i64);
    }

    fn publish(&mut self) {
        self.clock.monotonic_offset_ns = self.offset;
    }

    /// Sends `count` packets in this many seconds, evenly; returns how many were admitted.
    fn send(&mut self, seconds: u64, count: u64) -> u64 {
        let mut admitted = 0;
        for _ in 0..count {
            let tai = self.monotonic.wrapping_add(self.offset);
            admitted += u64::from(admit(&self.row, &source(1), self.clock.monotonic_ns(tai), RATE));
            self.monotonic += seconds * SECOND / count;
        }
        admitted
    }
}

/// Steps in seconds: the two, a leap second of a host that gets TAI wrong, the TAI offset set at last, years.
const STEPS: [i64; 8] = [-120, 7200, -1, 1, 37, -37, 400_000_000, -400_000_000];

#[test]
fn a_step_of_the_clock_stops_nobody_and_frees_nobody_from_the_limit() {
    // With an uptime below the step, the time that the kernel computes is negative for a moment.
    for (step, uptime) in STEPS.iter().flat_map(|step| [(*step, 50 * SECOND), (*step, 1_000_000 * SECOND)]) {
        let mut host = Host::new(uptime);
        assert_eq!(host.send(1, 900), 900, "below the limit");
        host.step(step);
        // The moment before the controller has published the new offset.
        assert_eq!(host.send(1, 900), 900, "{step}: nobody below the limit is stopped");
        host.publish();
        assert_eq!(host.send(1, 900), 900, "{step}: nor when the offset follows");
        // At ten times the limit: the rate, and one burst for each of the two jumps at most.
        let mut host = Host::new(uptime);
        host.send(1, 10_000);
        host.step(step);
        let between = host.send(1, 10_000);
        assert!((890..=1_101).contains(&between), "{step}: {between} while the offset is old");
        host.publish();
        let after = host.send(10, 100_000);
        assert!((9_890..=10_101).contains(&after), "{step}: {after} afterwards");
    }
}

#[test]
fn a_step_without_a_controller_costs_one_burst() {
    for step in STEPS {
        let mut host = Host::new(1_000_000 * SECOND);
        host.send(1, 10_000);
        host.step(step);
        let admitted = host.send(60, 600_000);
        assert!((59_890..=60_101).contains(&admitted), "{step}: {admitted}");
    }
}

#[test]
fn sources_are_counted_by_prefix() {
    let v6 = |a: u16, b: u16| {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0x20, 0x01]);
        octets[6..8].copy_from_slice(&a.to_be_bytes());
        octets[14..].copy_from_slice(&b.to_be_bytes());
        Address(octets)
    };
    let by = SourcePrefix::DEFAULT;
    assert_eq!(by.of(&v6(1, 2)), by.of(&v6(1, 3)));
    assert_ne!(by.of(&v6(1, 2)), by.of(&v6(2, 2)));
    assert_eq!(by.of(&source(7)), source(7));
    let by = SourcePrefix::new(128, 24);
    assert_ne!(by.of(&v6(1, 2)), by.of(&v6(1, 3)));
    assert_eq!(by.of(&source(7)), source(0));
    let by = SourcePrefix::new(56, 0);
    assert_eq!(by.of(&v6(1, 2)), by.of(&v6(0xff, 3)));
    assert_ne!(by.of(&v6(1, 2)), by.of(&v6(0x100, 3)));
    assert_eq!(by.of(&source(7)), Address::v4([0; 4]), "all of IPv4, and no IPv6 address");
}

#[test]
fn threads_admit_together_what_one_would() {
    const THREADS: u64 = 4;
    const EACH: u64 = 50_000;
    let row = row();
    // Virtual time that all threads move on: at four times the limit.
    let time = AtomicU64::new(SECOND);
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let now = time.fetch_add(RATE.interval_ns / 4, Ordering::Relaxed);
                    if admit(&row, &source(1), now, RATE) {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let admitted = admitted.load(Ordering::Relaxed);
    let expected = THREADS * EACH / 4 + 100;
    // A source that is new to two threads at once gets a packet more; a time that is taken late, one less. Without the
    // exchange it would be nearly twice as many.
    assert!(admitted.abs_diff(expected) <= expected / 20, "{admitted} of {expected}");
}
