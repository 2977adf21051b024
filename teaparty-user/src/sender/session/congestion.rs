//! Slowing down when congestion is marked, and coming back (draft-ietf-ippm-stamp-cos-ecn-01 §3.4).
//!
//! The draft demands that a sender slows down and leaves open how. We halve the rate at most once a second, and double
//! it again after ten seconds without a mark, never above what was asked for.

/// When marks were seen last and acted upon.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    changed_at: Option<u64>,
    marked_at: Option<u64>,
}

const SLOWER_AFTER_NS: u64 = 1_000_000_000;
const FASTER_AFTER_NS: u64 = 10_000_000_000;

impl Congestion {
    /// The pace to go on with, as a multiple of the interval asked for.
    pub(super) fn observe(&mut self, is_marked: bool, now_ns: u64, stretch: u32) -> u32 {
        let since = |at: Option<u64>| at.map_or(u64::MAX, |at| now_ns.saturating_sub(at));
        if is_marked {
            self.marked_at = Some(now_ns);
            if since(self.changed_at) >= SLOWER_AFTER_NS {
                self.changed_at = Some(now_ns);
                return stretch.saturating_mul(2).min(super::Schedule::MAX_STRETCH);
            }
        } else if stretch > 1 && since(self.marked_at) >= FASTER_AFTER_NS && since(self.changed_at) >= FASTER_AFTER_NS {
            self.changed_at = Some(now_ns);
            return stretch / 2;
        }
        stretch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_halve_the_rate_once_a_second_and_their_absence_restores_it_c253() {
        let mut congestion = Congestion::default();
        let second = 1_000_000_000;
        assert_eq!(congestion.observe(false, 0, 1), 1);
        assert_eq!(congestion.observe(true, second, 1), 2);
        assert_eq!(congestion.observe(true, second + 1, 2), 2);
        assert_eq!(congestion.observe(true, 2 * second, 2), 4);
        assert_eq!(congestion.observe(false, 11 * second, 4), 4);
        assert_eq!(congestion.observe(false, 12 * second, 4), 2);
        assert_eq!(congestion.observe(false, 13 * second, 2), 2);
        assert_eq!(congestion.observe(false, 22 * second, 2), 1);
        assert_eq!(congestion.observe(true, 40 * second, 64), 64);
    }
}
