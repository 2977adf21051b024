//! A packet that was sent, the arrival of its reply, and the time between.

use crate::net::batch::HostTimestamp;

/// No packet waits this long in this host's queues: the clock was set in the meantime.
const MOST_IN_THE_KERNEL_NS: u64 = 1_000_000_000;

/// A packet that was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentPacket {
    /// T1 as it is on the wire.
    pub wire_timestamp: u64,
    /// T1 in nanoseconds since 1970, as this process read it.
    pub realtime_ns: u64,
    /// That moment on the clock of timeouts.
    pub monotonic_ns: u64,
    /// Lateness against the schedule, in nanoseconds.
    pub late_ns: u64,
    /// T1 as the network card or the kernel took it, once they have told.
    pub stamp: Option<HostTimestamp>,
    /// Epoch of the clock; see [`super::timeline`].
    pub epoch: u32,
}

impl SentPacket {
    /// T1 on the clock that timeouts run on: the kernel's or the card's where they have told.
    pub(super) fn left_ns(&self) -> u64 {
        self.monotonic_ns + self.in_the_kernel_ns().unwrap_or(0)
    }

    /// Returns the time in this host's queues; `None` where it is unknown.
    pub(super) fn in_the_kernel_ns(&self) -> Option<u64> {
        let nanos = self.stamp?.nanos.checked_sub(self.realtime_ns)?;
        (nanos < MOST_IN_THE_KERNEL_NS).then_some(nanos)
    }
}

/// The arrival of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// T4.
    pub stamp: HostTimestamp,
    /// Its epoch of the clock, and the same moment on the clock that timeouts run on.
    pub moment: ClockMoment,
    /// The moment if it came before the clock was set. `None` where that is impossible.
    pub earlier: Option<ClockMoment>,
}

/// A moment of one life of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockMoment {
    /// The life; see [`super::timeline`].
    pub epoch: u32,
    /// Nanoseconds on the clock that timeouts run on.
    pub monotonic_ns: u64,
}

impl Arrival {
    /// Returns the time since `departure`. Where it may be of two epochs of the clock, the sooner one that is
    /// after the departure: a step of the clock must not answer a packet that has waited for an hour.
    pub(super) fn after(&self, departure: &SentPacket) -> Elapsed {
        let t1_ns = departure.stamp.map_or(departure.realtime_ns, |stamp| stamp.nanos);
        let left_ns = departure.left_ns();
        let of = |moment: ClockMoment| {
            let elapsed = match moment.epoch == departure.epoch {
                true => self.stamp.nanos.wrapping_sub(t1_ns),
                false => moment.monotonic_ns.wrapping_sub(left_ns),
            };
            (elapsed as i64, moment)
        };
        let now = of(self.moment);
        let earlier = self.earlier.map(of).filter(|(elapsed, _)| *elapsed >= 0);
        let is_sure = earlier.is_none() || now.0 < 0;
        let (elapsed, moment) = match earlier {
            Some(earlier) if now.0 < 0 || earlier.0 < now.0 => earlier,
            _ => now,
        };
        Elapsed {
            nanos: elapsed.max(0) as u64,
            monotonic_ns: moment.monotonic_ns,
            is_one_life: is_sure && moment.epoch == departure.epoch,
        }
    }
}

/// T4 − T1.
pub(super) struct Elapsed {
    pub(super) nanos: u64,
    /// T4.
    pub(super) monotonic_ns: u64,
    /// True if the clock is known not to have been set between.
    pub(super) is_one_life: bool,
}
