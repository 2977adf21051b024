//! When packets are due: absolute deadlines, so that lateness of one packet never moves the next. No clock in here.

use serde::Serialize;

/// How packets are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// The same interval between any two packets.
    Fixed,
    /// Exponentially distributed intervals around the mean (RFC 2330 §11.1.1).
    Poisson,
    /// This many packets at once, the interval between bursts.
    Burst(u32),
}

/// What limits a schedule, and how dense it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Spread over time.
    pub pattern: Pattern,
    /// Interval (mean interval, interval between bursts) in picoseconds, so that 300,000 packets/s are not 300,300.
    pub interval_ps: u64,
    /// Packets in all; `None` for no limit.
    pub count: Option<u64>,
    /// Nothing is due so long after the start; `None` for no limit.
    pub duration_ns: Option<u64>,
}

/// The deadlines of a session, one after the other.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    start_ns: u64,
    issued: u64,
    /// Sum of the Poisson intervals so far.
    elapsed_ps: u128,
    random: Random,
}

impl Schedule {
    /// Deadlines from `start_ns` on, on the clock of the caller's choice. `seed` decides about Poisson intervals.
    pub fn new(plan: Plan, start_ns: u64, seed: u64) -> Self {
        Self { plan, start_ns, issued: 0, elapsed_ps: 0, random: Random::new(seed) }
    }

    /// Deadlines handed out so far.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    fn deadline(&mut self) -> u64 {
        let ps = match self.plan.pattern {
            Pattern::Fixed => u128::from(self.issued) * u128::from(self.plan.interval_ps),
            Pattern::Burst(size) => {
                u128::from(self.issued / u64::from(size.max(1))) * u128::from(self.plan.interval_ps)
            }
            Pattern::Poisson => {
                if self.issued > 0 {
                    let interval = -self.random.unit().ln() * self.plan.interval_ps as f64;
                    self.elapsed_ps += interval as u128;
                }
                self.elapsed_ps
            }
        };
        self.start_ns.saturating_add(u64::try_from(ps / 1_000).unwrap_or(u64::MAX))
    }
}

impl Iterator for Schedule {
    type Item = u64;

    /// The next packet's deadline in nanoseconds; `None` when the schedule is over.
    fn next(&mut self) -> Option<u64> {
        if self.plan.count.is_some_and(|count| self.issued >= count) {
            return None;
        }
        let deadline = self.deadline();
        if self.plan.duration_ns.is_some_and(|duration| deadline - self.start_ns >= duration) {
            return None;
        }
        self.issued += 1;
        Some(deadline)
    }
}

/// A small generator (SplitMix64) for schedules and padding. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose values are decided by `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator with a seed that differs from run to run.
    pub fn from_entropy() -> Self {
        use std::hash::{BuildHasher, Hasher};
        Self(std::hash::RandomState::new().build_hasher().finish())
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly distributed over (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Fills a slice.
    pub fn fill(&mut self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            let bits = self.bits().to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Plan = Plan { pattern: Pattern::Fixed, interval_ps: 0, count: None, duration_ns: None };

    #[test]
    fn fixed_deadlines_do_not_drift() {
        // A third of a million packets a second: the interval is no whole number of nanoseconds.
        let plan = Plan { interval_ps: 3_333_333, count: Some(300_001), ..FIXED };
        let last = Schedule::new(plan, 7, 0).last().unwrap();
        assert_eq!(last, 7 + 3_333_333 * 300_000 / 1_000);
    }

    #[test]
    fn count_and_duration_end_a_schedule_whichever_comes_first() {
        let plan = Plan { interval_ps: 1_000_000, count: Some(3), duration_ns: Some(10_000), ..FIXED };
        assert_eq!(Schedule::new(plan, 0, 0).collect::<Vec<_>>(), [0, 1_000, 2_000]);
        let plan = Plan { count: Some(100), duration_ns: Some(2_500), ..plan };
        assert_eq!(Schedule::new(plan, 0, 0).collect::<Vec<_>>(), [0, 1_000, 2_000]);
        let plan = Plan { duration_ns: Some(2_000), ..plan };
        assert_eq!(Schedule::new(plan, 5, 0).collect::<Vec<_>>(), [5, 1_005]);
        assert_eq!(Schedule::new(Plan { count: Some(0), ..plan }, 0, 0).next(), None);
    }

    #[test]
    fn bursts_share_a_deadline() {
        let plan = Plan { pattern: Pattern::Burst(3), interval_ps: 1_000_000, count: Some(7), ..FIXED };
        assert_eq!(Schedule::new(plan, 0, 0).collect::<Vec<_>>(), [0, 0, 0, 1_000, 1_000, 1_000, 2_000]);
    }

    #[test]
    fn poisson_intervals_have_the_mean_and_the_spread_of_the_exponential_distribution() {
        let plan = Plan { pattern: Pattern::Poisson, interval_ps: 1_000_000_000, count: Some(100_001), ..FIXED };
        let deadlines: Vec<u64> = Schedule::new(plan, 0, 42).collect();
        let gaps: Vec<f64> = deadlines.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
        // Memoryless: e^-1 of the gaps exceed the mean.
        let above = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((above - (-1f64).exp()).abs() < 0.01, "{above}");
        assert_ne!(deadlines, Schedule::new(plan, 0, 43).collect::<Vec<_>>());
    }
}
