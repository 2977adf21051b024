//! How many packets went out and how fast, by the interface's own count: that costs the packets nothing, as a tap does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::net::{End, FAR, Net};

/// Between two looks at the count.
const PAUSE: Duration = Duration::from_millis(5);

/// Packets that went out while something ran.
pub(super) struct Count {
    /// All of them, a few of the system's own included.
    pub(super) packets: u64,
    /// Packets per second, from the first to the last.
    pub(super) rate_pps: f64,
}

/// Counts what the sender's interface sends while `run` runs.
pub(super) fn count<T>(net: &Net, run: impl FnOnce() -> Result<T>) -> Result<(T, Count)> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            net.inside(End::Far, None, || {
                let mut looks = vec![(Instant::now(), transmitted()?)];
                while !is_over.load(Ordering::SeqCst) {
                    std::thread::sleep(PAUSE);
                    looks.push((Instant::now(), transmitted()?));
                }
                Ok(looks)
            })
        });
        let result = run();
        is_over.store(true, Ordering::SeqCst);
        let looks = looks.join().expect("the thread hands its errors on")?;
        Ok((result?, summary(&looks)))
    })
}

/// The rate counts from the look before packets began to that at which the last had gone; without the first and last
/// twentieth, which may be greetings.
fn summary(looks: &[(Instant, u64)]) -> Count {
    let (first, last) = (looks[0].1, looks[looks.len() - 1].1);
    let packets = last - first;
    let begin = looks.iter().find(|(_, count)| *count >= first + packets / 20);
    let end = looks.iter().find(|(_, count)| *count >= last - packets / 20);
    let rate_pps = match (begin, end) {
        (Some(begin), Some(end)) if end.0 > begin.0 => (end.1 - begin.1) as f64 / (end.0 - begin.0).as_secs_f64(),
        _ => 0.0,
    };
    Count { packets, rate_pps }
}

/// Packets that the sender's interface has sent so far, as /proc/net/dev counts them. On a thread in its namespace.
pub(super) fn transmitted() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{FAR}:")).map(str::to_owned));
    let count = line.and_then(|line| line.split_whitespace().nth(9)?.parse().ok());
    count.with_context(|| format!("no count of packets that {FAR} sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_middle() {
        let start = Instant::now();
        let look = |ms: u64, count| (start + Duration::from_millis(ms), count);
        // A greeting, a pause, 1000 packets in 100 ms, and nothing for a while.
        let mut looks = vec![look(0, 7), look(10, 8), look(500, 8)];
        looks.extend((1..=50).map(|step| look(500 + 2 * step, 8 + 20 * step)));
        looks.push(look(2_000, 1_008));
        let Count { packets, rate_pps } = summary(&looks);
        assert_eq!(packets, 1_001);
        assert!((rate_pps - 10_000.0).abs() < 1.0, "{rate_pps}");
        assert_eq!(summary(&looks[..1]).packets, 0);
    }
}
