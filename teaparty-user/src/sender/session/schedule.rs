//! When packets are due: absolute deadlines, so that lateness of one packet never moves the next. No clock in here.

use super::random::Random;
use crate::sender::config::{Pattern, SchedulePlan};

/// Lateness up to which due packets are made up for (or an interval): a busy host. A later process was stopped.
const MISSED_NS: u64 = 50_000_000;
/// So long after the end of a schedule its last packets may leave.
const OVERTIME_NS: u64 = 10_000_000;
/// Random intervals that are drawn at once at most, to learn how many were missed.
const MOST_DRAWN: u64 = 1 << 20;

/// The deadlines of a session, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    plan: SchedulePlan,
    start_ns: u64,
    issued: u64,
    /// Start of the present pace, and the number of its deadlines.
    base_ps: u128,
    since_base: u64,
    /// The present pace: the plan's interval, times this.
    stretch: u32,
    random: Random,
}

impl Schedule {
    /// The slowest pace, as a multiple of the plan's interval.
    pub(crate) const MAX_STRETCH: u32 = 64;

    /// Deadlines from `start_ns` on, on the clock of the caller's choice. `seed` decides about Poisson intervals.
    pub(crate) fn new(plan: SchedulePlan, start_ns: u64, seed: u64) -> Self {
        Self { plan, start_ns, issued: 0, base_ps: 0, since_base: 0, stretch: 1, random: Random::new(seed) }
    }

    /// Moves the start of a schedule whose first packet has not left.
    pub(crate) fn start_at(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
    }

    /// The present pace as a multiple of the plan's interval; 1 unless congestion was reported.
    pub(crate) fn stretch(&self) -> u32 {
        self.stretch
    }

    /// Changes the pace for the deadlines to come, up to [`Self::MAX_STRETCH`] times the plan's interval.
    pub(crate) fn set_stretch(&mut self, stretch: u32) {
        let stretch = stretch.clamp(1, Self::MAX_STRETCH);
        if stretch != self.stretch {
            self.base_ps = self.elapsed_ps();
            self.since_base = 0;
            self.stretch = stretch;
        }
    }

    /// Moves the deadlines to come by so much, because something had to be waited for.
    pub(crate) fn delay(&mut self, by_ns: u64) {
        self.base_ps += u128::from(by_ns) * 1_000;
    }

    /// Returns true if a packet due at `due_ns` was missed by `now_ns`: this process was stopped, or this host is too
    /// slow.
    ///
    /// Shorter delays than an interval and 50 ms are made up for. After the end of the schedule nothing is.
    pub(crate) fn is_missed(&self, due_ns: u64, now_ns: u64) -> bool {
        let late_ns = now_ns.saturating_sub(due_ns);
        late_ns > MISSED_NS.max(self.interval_ps() / 1_000) || late_ns > OVERTIME_NS && self.is_past_end(now_ns)
    }

    fn is_past_end(&self, now_ns: u64) -> bool {
        self.plan.duration_ns.is_some_and(|duration| now_ns.saturating_sub(self.start_ns) >= duration)
    }

    /// Skips what was missed: the deadline `due_ns`, which was handed out, and all after it but the last one that has come.
    ///
    /// Returns that one, or `None` if the schedule is over by `now_ns`, and how many packets are skipped. Those do not count
    /// as handed out.
    pub(crate) fn skip_missed(&mut self, due_ns: u64, now_ns: u64) -> (Option<u64>, u64) {
        let is_over = self.is_past_end(now_ns);
        let now_ps = u128::from(now_ns.saturating_sub(self.start_ns)) * 1_000;
        let until_ps = match self.plan.duration_ns.filter(|_| is_over) {
            // The last picosecond before the end.
            Some(duration) => (u128::from(duration) * 1_000).saturating_sub(1),
            None => now_ps,
        };
        let (last_ps, passed) = match self.plan.pattern {
            Pattern::Poisson => self.skip_random(until_ps),
            Pattern::Fixed => self.skip_fixed(1, until_ps),
            Pattern::Burst(size) => self.skip_fixed(size.max(1), until_ps),
        };
        if is_over {
            let left = self.plan.count.map_or(u64::MAX, |count| count - self.issued);
            self.issued -= 1;
            return (None, 1 + passed.min(left));
        }
        match last_ps {
            Some(last_ps) => {
                let last_ns = u64::try_from(last_ps / 1_000).unwrap_or(u64::MAX);
                (Some(self.start_ns.saturating_add(last_ns)), passed)
            }
            None => (Some(due_ns), 0),
        }
    }

    /// Moves to the last interval that has begun by `until_ps`, with bursts of `size`. Returns its deadline, and how many
    /// deadlines lie before that one or, at the end of the schedule, are left.
    fn skip_fixed(&mut self, size: u32, until_ps: u128) -> (Option<u128>, u64) {
        let Some(since_base_ps) = until_ps.checked_sub(self.base_ps) else { return (None, 0) };
        let intervals = since_base_ps / u128::from(self.interval_ps().max(1));
        let first = u64::try_from(intervals).unwrap_or(u64::MAX).saturating_mul(u64::from(size));
        if self.is_past_end_ps(until_ps) {
            let left = first.saturating_add(u64::from(size)).saturating_sub(self.since_base);
            self.since_base = self.since_base.saturating_add(left);
            return (None, left);
        }
        // The deadline that was handed out last has the number before this one.
        if first < self.since_base {
            return (None, 0);
        }
        let skipped = first + 1 - self.since_base;
        self.since_base = first + 1;
        (Some(self.base_ps + intervals * u128::from(self.interval_ps())), skipped)
    }

    /// Skips random intervals, which are drawn one by one up to a number that takes no time.
    fn skip_random(&mut self, until_ps: u128) -> (Option<u128>, u64) {
        let (mut last_ps, mut passed) = (None, 0);
        while self.base_ps <= until_ps {
            if passed == MOST_DRAWN {
                let rest = (until_ps - self.base_ps) / u128::from(self.interval_ps().max(1));
                passed += rest as u64;
                self.base_ps = until_ps;
            }
            last_ps = Some(self.base_ps);
            passed += 1;
            self.draw();
        }
        (last_ps, passed)
    }

    /// Returns true if `until_ps` is the last moment of the schedule.
    fn is_past_end_ps(&self, until_ps: u128) -> bool {
        self.plan.duration_ns.is_some_and(|duration| until_ps + 1 == u128::from(duration) * 1_000)
    }

    /// Moves on by a random interval.
    fn draw(&mut self) {
        let interval = -self.random.unit().ln() * self.interval_ps() as f64;
        self.base_ps += interval as u128;
    }

    fn interval_ps(&self) -> u64 {
        self.plan.interval_ps.saturating_mul(u64::from(self.stretch))
    }

    /// Returns the time of the next packet, in picoseconds since the start.
    fn elapsed_ps(&self) -> u128 {
        let intervals = match self.plan.pattern {
            Pattern::Fixed => self.since_base,
            Pattern::Burst(size) => self.since_base / u64::from(size.max(1)),
            // Its base moves with each packet.
            Pattern::Poisson => 0,
        };
        self.base_ps + u128::from(intervals) * u128::from(self.interval_ps())
    }
}

impl Iterator for Schedule {
    type Item = u64;

    /// The next packet's deadline in nanoseconds; `None` when the schedule is over.
    fn next(&mut self) -> Option<u64> {
        if self.plan.count.is_some_and(|count| self.issued >= count) {
            return None;
        }
        let elapsed_ns = u64::try_from(self.elapsed_ps() / 1_000).unwrap_or(u64::MAX);
        if self.plan.duration_ns.is_some_and(|duration| elapsed_ns >= duration) {
            return None;
        }
        self.issued += 1;
        self.since_base += 1;
        if self.plan.pattern == Pattern::Poisson {
            self.draw();
        }
        Some(self.start_ns.saturating_add(elapsed_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: SchedulePlan =
        SchedulePlan { pattern: Pattern::Fixed, interval_ps: 0, count: None, duration_ns: None };

    #[test]
    fn fixed_deadlines_do_not_drift() {
        // A third of a million packets a second: the interval is no whole number of nanoseconds.
        let plan = SchedulePlan { interval_ps: 3_333_333, count: Some(300_001), ..FIXED };
        let last = Schedule::new(plan, 7, 0).last().unwrap();
        assert_eq!(last, 7 + 3_333_333 * 300_000 / 1_000);
    }

    #[test]
    fn count_and_duration_end_a_schedule_whichever_comes_first() {
        let plan = SchedulePlan { interval_ps: 1_000_000, count: Some(3), duration_ns: Some(10_000), ..FIXED };
        assert_eq!(Schedule::new(plan, 0, 0).collect::<Vec<_>>(), [0, 1_000, 2_000]);
        let plan = SchedulePlan { count: Some(100), duration_ns: Some(2_500), ..plan };
        assert_eq!(Schedule::new(plan, 0, 0).collect::<Vec<_>>(), [0, 1_000, 2_000]);
        let plan = SchedulePlan { duration_ns: Some(2_000), ..plan };
        assert_eq!(Schedule::new(plan, 5, 0).collect::<Vec<_>>(), [5, 1_005]);
        assert_eq!(Schedule::new(SchedulePlan { count: Some(0), ..plan }, 0, 0).next(), None);
    }

    #[test]
    fn a_stretched_schedule_goes_on_from_where_it_is() {
        let mut schedule = Schedule::new(SchedulePlan { interval_ps: 1_000_000, ..FIXED }, 0, 0);
        assert_eq!(schedule.by_ref().take(3).collect::<Vec<_>>(), [0, 1_000, 2_000]);
        schedule.set_stretch(4);
        assert_eq!(schedule.by_ref().take(3).collect::<Vec<_>>(), [3_000, 7_000, 11_000]);
        schedule.set_stretch(1);
        assert_eq!(schedule.by_ref().take(2).collect::<Vec<_>>(), [15_000, 16_000]);
        schedule.set_stretch(1_000);
        assert_eq!(schedule.stretch(), Schedule::MAX_STRETCH);
    }

    /// Takes `count` deadlines, and then skips what was missed by `now`.
    fn skip_after(plan: SchedulePlan, count: usize, now: u64) -> (Option<u64>, u64, Vec<u64>) {
        let mut schedule = Schedule::new(plan, 0, 5);
        let due = schedule.by_ref().take(count).last().unwrap();
        let (next, skipped) = schedule.skip_missed(due, now);
        (next, skipped, schedule.take(3).collect())
    }

    #[test]
    fn what_was_missed_is_skipped_but_for_the_last_deadline_that_has_come() {
        let plan = SchedulePlan { interval_ps: 1_000_000, ..FIXED };
        // 2,000 was to be next: 2,000 to 7,000 are skipped.
        assert_eq!(skip_after(plan, 3, 8_999), (Some(8_000), 6, vec![9_000, 10_000, 11_000]));
        assert_eq!(skip_after(plan, 3, 2_999), (Some(2_000), 0, vec![3_000, 4_000, 5_000]), "nothing else has come");
        let bursts = SchedulePlan { pattern: Pattern::Burst(3), ..plan };
        // The second packet of the first burst was to be next: two of that and three whole bursts are skipped.
        assert_eq!(skip_after(bursts, 2, 4_100), (Some(4_000), 11, vec![4_000, 4_000, 5_000]));
        assert_eq!(skip_after(bursts, 2, 999), (Some(0), 0, vec![0, 1_000, 1_000]));
    }

    #[test]
    fn skipping_leaves_the_count_and_not_the_end() {
        let plan = SchedulePlan { interval_ps: 1_000_000, count: Some(5), ..FIXED };
        assert_eq!(skip_after(plan, 3, 8_000), (Some(8_000), 6, vec![9_000, 10_000]), "five in all");
        let plan = SchedulePlan { count: None, duration_ns: Some(10_000), ..plan };
        assert_eq!(skip_after(plan, 3, 9_500), (Some(9_000), 7, vec![]));
        assert_eq!(skip_after(plan, 3, 10_000), (None, 8, vec![]), "2,000 to 9,000");
        let plan = SchedulePlan { count: Some(5), ..plan };
        assert_eq!(skip_after(plan, 3, 10_000), (None, 3, vec![]), "no more than there were to be");
    }

    #[test]
    fn a_schedule_is_behind_after_an_interval_and_what_a_busy_host_takes() {
        let ms = 1_000_000;
        let schedule = |interval_ms: u64, duration_ns| {
            Schedule::new(SchedulePlan { interval_ps: interval_ms * 1_000 * ms, duration_ns, ..FIXED }, 0, 0)
        };
        let fast = schedule(1, None);
        assert_eq!([49, 50, 51].map(|late| fast.is_missed(ms, ms + late * ms)), [false, false, true]);
        let slow = schedule(100, None);
        assert_eq!([60, 100, 101].map(|late| slow.is_missed(ms, ms + late * ms)), [false, false, true]);
        let ending = schedule(1, Some(1_000 * ms));
        assert_eq!([1_005, 1_010, 1_012].map(|now| ending.is_missed(999 * ms, now * ms)), [false, true, true]);
    }

    #[test]
    fn random_deadlines_are_the_same_whether_skipped_or_not() {
        let plan = SchedulePlan { pattern: Pattern::Poisson, interval_ps: 1_000_000, ..FIXED };
        let all: Vec<u64> = Schedule::new(plan, 0, 5).take(200).collect();
        let now = all[120] + 1;
        let last = all.iter().rposition(|due| *due <= now).unwrap();
        let (next, skipped, rest) = skip_after(plan, 10, now);
        assert_eq!((next, skipped), (Some(all[last]), last as u64 - 9));
        assert_eq!(rest, all[last + 1..last + 4]);
        let ending = SchedulePlan { duration_ns: Some(all[150]), ..plan };
        assert_eq!(skip_after(ending, 10, all[160]), (None, 141, vec![]));
        // A day at a million packets a second takes no day.
        let (next, skipped, _) = skip_after(plan, 10, 86_400_000_000_000);
        assert!(next.is_some() && (86_000_000_000..87_000_000_000).contains(&skipped), "{skipped}");
    }

    #[test]
    fn bursts_share_a_deadline() {
        let plan = SchedulePlan { pattern: Pattern::Burst(3), interval_ps: 1_000_000, count: Some(7), ..FIXED };
        assert_eq!(Schedule::new(plan, 0, 0).collect::<Vec<_>>(), [0, 0, 0, 1_000, 1_000, 1_000, 2_000]);
    }

    #[test]
    fn poisson_intervals_have_the_mean_and_the_spread_of_the_exponential_distribution() {
        let plan =
            SchedulePlan { pattern: Pattern::Poisson, interval_ps: 1_000_000_000, count: Some(100_001), ..FIXED };
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
