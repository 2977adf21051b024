//! What this process uses, as the system tells it.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

/// Figures of one moment. One that the system does not tell is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// Processor time, user and system, in seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Memory that is in use, in octets.
    pub(crate) resident_bytes: Option<f64>,
    /// Open descriptors.
    pub(crate) open_fds: Option<f64>,
    /// The limit of descriptors.
    pub(crate) max_fds: Option<f64>,
    /// Threads.
    pub(crate) threads: Option<f64>,
    /// Start time, in seconds since 1970.
    pub(crate) start_seconds: Option<f64>,
}

impl Process {
    /// Looks.
    pub(crate) fn read() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        let cpu_us = usage.map(|usage| (usage.user_time() + usage.system_time()).num_microseconds());
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            cpu_seconds: cpu_us.map(|us| us as f64 / 1e6),
            resident_bytes: resident_bytes(),
            // Closed to a process without root that forbids dumps.
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft as f64),
            threads: field(&stat, 20),
            start_seconds: start_seconds(&stat),
        }
    }
}

/// A field of proc_pid_stat(5), by its number there. The second one may hold anything, spaces and parentheses included.
fn field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * sysconf(SysconfVar::PAGE_SIZE).ok()?? as f64)
}

fn start_seconds(stat: &str) -> Option<f64> {
    let ticks = field(stat, 22)?;
    let per_second = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
    let seconds = |clock| {
        let time = clock_gettime(clock).ok()?;
        Some(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
    };
    let booted = seconds(ClockId::CLOCK_REALTIME)? - seconds(ClockId::CLOCK_BOOTTIME)?;
    Some(booted + ticks / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_all_of_it() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|octets| octets > 100_000.0), "{process:?}");
        assert!(process.threads.is_some_and(|threads| threads >= 1.0), "{process:?}");
        assert!(process.open_fds.is_some_and(|fds| fds >= 3.0) && process.max_fds.is_some(), "{process:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.start_seconds.unwrap();
        assert!((-1.0..86_400.0).contains(&age), "{age}");
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds >= 0.0 && seconds < age.max(1.0) * 1024.0));
    }
}
