//! What a session's samples add up to: distributions, variation, marks seen, and what the clocks claim. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use teaparty_common::wire::{ErrorEstimate, TrafficClass};

use super::clock_claims::ClockClaims;
use super::delays::{NoDelays, Sample};
use super::histogram::{Distribution, DistributionFigures};
use super::reflector_clock::{ClockVerdict, TAI_OFFSET_NS};
use super::variation::Variation;
use crate::net::batch::StampSource;

/// Counts of each value of an octet, and of its changes.
#[derive(Clone, Debug, Default)]
pub struct ValueCounts {
    counts: BTreeMap<u8, u64>,
    last: Option<u8>,
    changes: u64,
}

impl ValueCounts {
    /// Takes in one value; returns the one before it if that was another.
    pub fn record(&mut self, value: u8) -> Option<u8> {
        *self.counts.entry(value).or_default() += 1;
        let before = self.last.replace(value).filter(|before| *before != value);
        self.changes += u64::from(before.is_some());
        before
    }

    /// Values with their counts, by rising value.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u64)> {
        self.counts.iter().map(|(value, count)| (*value, *count))
    }

    /// Times that a value differed from the one before it.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(value, count)| *self.counts.entry(value).or_default() += count);
        self.changes += other.changes;
    }
}

/// The observations of one reply beside its delays.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// Number of the packet, from 0.
    pub index: u64,
    /// Source of T1.
    pub t1_source: StampSource,
    /// Source of T4.
    pub t4_source: StampSource,
    /// Its verdict on the reflector's clock.
    pub reflector_clock: ClockVerdict,
    /// T4 in nanoseconds since 1970.
    pub t4_ns: u64,
    /// True if PTP timestamps lack the offset to TAI.
    pub lacks_tai_offset: bool,
    /// Of our clock.
    pub sender_estimate: ErrorEstimate,
    /// Of the reflector's clock.
    pub reflector_estimate: ErrorEstimate,
    /// TTL or Hop Limit at the reflector.
    pub forward_ttl: Option<u8>,
    /// TTL or Hop Limit of the reply here.
    pub backward_ttl: Option<u8>,
    /// Traffic class at the reflector, where a TLV tells.
    pub forward_class: Option<TrafficClass>,
    /// Traffic class of the reply here.
    pub backward_class: Option<TrafficClass>,
}

/// A time when the reflector's clock was set, and the one-way delays of before.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReflectorClockStep {
    /// T4 of the first reply after it, in nanoseconds since 1970.
    pub at_ns: u64,
    /// The step of the clock, in nanoseconds, up to half of a round trip.
    pub step_ns: i64,
    /// Sender to reflector, since the step before.
    pub forward_ns: Option<DistributionFigures>,
    /// Reflector to sender, with the same fields.
    pub backward_ns: Option<DistributionFigures>,
}

/// Steps that are remembered, each with its delays.
const MOST_STEPS: usize = 16;

/// The statistics of one session, or of several together.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Round trip net of residence.
    pub round_trip: Distribution,
    /// Residence time.
    pub residence: Distribution,
    /// Sender to reflector, since the reflector's clock was last set.
    pub forward: Distribution,
    /// Reflector to sender, with the same fields.
    pub backward: Distribution,
    /// Times when the reflector's clock was set, the first ones.
    pub clock_steps: Vec<ReflectorClockStep>,
    /// All times when it was set.
    pub clock_steps_seen: u64,
    /// Lateness of packets against the schedule: by the kernel's or the network card's T1 where one of them was asked
    /// for it, and then without the packets that they told nothing of; else by ours.
    pub pacing: Distribution,
    /// Packets in `pacing` by the kernel's or the network card's T1.
    pub stamped_pacing: u64,
    /// Of the round trip.
    pub round_trip_variation: Variation,
    /// Of the forward delay; the difference of the clocks cancels out.
    pub forward_variation: Variation,
    /// Of the backward delay; with the same fields.
    pub backward_variation: Variation,
    /// Samples whose T1 is the network card's.
    pub hardware_t1: u64,
    /// Samples whose T4 is the network card's.
    pub hardware_t4: u64,
    /// Samples whose T1 is the kernel's.
    pub kernel_t1: u64,
    /// Samples whose T4 is the kernel's.
    pub kernel_t4: u64,
    /// Replies without a sample because the clock was set while they were under way.
    pub discarded_by_clock_step: u64,
    /// Replies without a sample because their T2 and T3 can't be right.
    pub implausible: u64,
    /// Replies without a sample because T2 and T3 have another format than they say.
    pub wrong_format: u64,
    /// Replies whose PTP timestamps, or ours, lack the offset to TAI.
    pub lacking_tai_offset: u64,
    /// Our clock.
    pub sender_clock: ClockClaims,
    /// The reflector's clock.
    pub reflector_clock: ClockClaims,
    /// TTLs at the reflector.
    pub forward_ttl: ValueCounts,
    /// TTLs of replies.
    pub backward_ttl: ValueCounts,
    /// Traffic classes at the reflector.
    pub forward_class: ValueCounts,
    /// Traffic classes of replies.
    pub backward_class: ValueCounts,
}

impl Statistics {
    /// Takes in one reply with its delays, or without.
    pub fn record(&mut self, seen: &Observation, sample: Result<Sample, NoDelays>) {
        match sample {
            Ok(sample) => self.record_sample(seen, sample),
            Err(reason) => self.record_none(reason),
        }
        self.sender_clock.record(seen.sender_estimate);
        self.reflector_clock.record(seen.reflector_estimate);
        if seen.lacks_tai_offset {
            self.lacking_tai_offset += 1;
            self.reflector_clock.raise(TAI_OFFSET_NS);
        }
        for (counts, value) in [
            (&mut self.forward_ttl, seen.forward_ttl),
            (&mut self.backward_ttl, seen.backward_ttl),
            (&mut self.forward_class, seen.forward_class.map(|class| class.0)),
            (&mut self.backward_class, seen.backward_class.map(|class| class.0)),
        ] {
            if let Some(value) = value {
                counts.record(value);
            }
        }
    }

    /// Takes in a further reply to a packet: its way back is another one, all else is the first reply's.
    pub fn record_further(&mut self, sample: Result<Sample, NoDelays>) {
        match sample {
            Ok(sample) => self.backward.record(sample.backward_ns),
            Err(reason) => self.record_none(reason),
        }
    }

    fn record_none(&mut self, reason: NoDelays) {
        match reason {
            NoDelays::ClockStep => self.discarded_by_clock_step += 1,
            NoDelays::Implausible => self.implausible += 1,
            NoDelays::WrongFormat => self.wrong_format += 1,
        }
    }

    fn record_sample(&mut self, seen: &Observation, sample: Sample) {
        self.round_trip.record(sample.round_trip_ns);
        self.residence.record(sample.residence_ns);
        self.round_trip_variation.record(seen.index, sample.round_trip_ns);
        if let ClockVerdict::Step(step_ns) = seen.reflector_clock {
            self.begin_after_step(seen.t4_ns, step_ns);
        }
        // One-way delays of before a step and after it have nothing in common.
        if seen.reflector_clock != ClockVerdict::Earlier {
            self.forward.record(sample.forward_ns);
            self.backward.record(sample.backward_ns);
            self.forward_variation.record(seen.index, sample.forward_ns);
            self.backward_variation.record(seen.index, sample.backward_ns);
        }
        self.hardware_t1 += u64::from(seen.t1_source == StampSource::Hardware);
        self.hardware_t4 += u64::from(seen.t4_source == StampSource::Hardware);
        self.kernel_t1 += u64::from(seen.t1_source == StampSource::Kernel);
        self.kernel_t4 += u64::from(seen.t4_source == StampSource::Kernel);
    }

    fn begin_after_step(&mut self, at_ns: u64, step_ns: i64) {
        let (forward, backward) = (std::mem::take(&mut self.forward), std::mem::take(&mut self.backward));
        self.clock_steps_seen += 1;
        if self.clock_steps.len() < MOST_STEPS {
            let (forward_ns, backward_ns) = (forward.figures(), backward.figures());
            self.clock_steps.push(ReflectorClockStep { at_ns, step_ns, forward_ns, backward_ns });
        }
        self.forward_variation.interrupt();
        self.backward_variation.interrupt();
    }

    /// Takes in all of another session's.
    pub fn merge(&mut self, other: &Self) {
        for (into, from) in [
            (&mut self.round_trip, &other.round_trip),
            (&mut self.residence, &other.residence),
            (&mut self.forward, &other.forward),
            (&mut self.backward, &other.backward),
            (&mut self.pacing, &other.pacing),
        ] {
            into.merge(from);
        }
        for (into, from) in [
            (&mut self.round_trip_variation, &other.round_trip_variation),
            (&mut self.forward_variation, &other.forward_variation),
            (&mut self.backward_variation, &other.backward_variation),
        ] {
            into.merge(from);
        }
        for (into, from) in [
            (&mut self.forward_ttl, &other.forward_ttl),
            (&mut self.backward_ttl, &other.backward_ttl),
            (&mut self.forward_class, &other.forward_class),
            (&mut self.backward_class, &other.backward_class),
        ] {
            into.merge(from);
        }
        self.stamped_pacing += other.stamped_pacing;
        self.hardware_t1 += other.hardware_t1;
        self.hardware_t4 += other.hardware_t4;
        self.kernel_t1 += other.kernel_t1;
        self.kernel_t4 += other.kernel_t4;
        self.discarded_by_clock_step += other.discarded_by_clock_step;
        self.implausible += other.implausible;
        self.wrong_format += other.wrong_format;
        self.lacking_tai_offset += other.lacking_tai_offset;
        self.clock_steps.extend(other.clock_steps.iter().take(MOST_STEPS - self.clock_steps.len().min(MOST_STEPS)));
        self.clock_steps_seen += other.clock_steps_seen;
        self.sender_clock.merge(&other.sender_clock);
        self.reflector_clock.merge(&other.reflector_clock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(index: u64) -> Observation {
        Observation {
            index,
            t1_source: StampSource::Kernel,
            t4_source: StampSource::Kernel,
            reflector_clock: ClockVerdict::Same,
            t4_ns: index,
            lacks_tai_offset: false,
            sender_estimate: ErrorEstimate::from_bits(0x8a05),
            reflector_estimate: ErrorEstimate::from_bits(0x8a05),
            forward_ttl: Some(64),
            backward_ttl: Some(63),
            forward_class: None,
            backward_class: None,
        }
    }

    /// An hour at 1,000 packets/s, replayed in a second: what memory holds after a tenth of it is what it holds in the end.
    #[test]
    fn memory_is_flat_in_the_number_of_samples() {
        const TENTH: u64 = 360_000;
        let mut random = super::super::random::Random::new(7);
        let mut statistics = Statistics::default();
        let mut held = Vec::new();
        for index in 0..10 * TENTH {
            // 100 µs to 16 ms, most of them short; the reflector's clock is 50 ms behind.
            let delay = 100_000 + (-(random.unit().ln()) * 1e6).min(16e6) as i64;
            let sample = Sample {
                round_trip_ns: 2 * delay,
                residence_ns: delay / 8,
                forward_ns: delay - 50_000_000,
                backward_ns: delay + 50_000_000,
            };
            statistics.record(&seen(index), Ok(sample));
            if (index + 1) % TENTH == 0 {
                let all = [&statistics.round_trip, &statistics.residence, &statistics.forward, &statistics.backward];
                held.push(all.map(Distribution::bucket_octets).iter().sum::<usize>());
            }
        }
        assert_eq!(statistics.round_trip.count(), 10 * TENTH);
        // A page more for a delay that is rarer than one in 360,000 is no growth with the number.
        assert!(held[9] <= held[0] + 8 * 2_048 && held[9] < 256 * 1_024, "{held:?}");
    }

    #[test]
    fn tallies_count_changes_and_name_the_value_before() {
        let mut counts = ValueCounts::default();
        assert_eq!([64, 64, 63, 64].map(|ttl| counts.record(ttl)), [None, None, Some(64), Some(63)]);
        assert_eq!((counts.iter().collect::<Vec<_>>(), counts.changes()), (vec![(63, 1), (64, 3)], 2));
    }

    #[test]
    fn one_way_delays_are_those_of_one_side_of_a_step() {
        let mut statistics = Statistics::default();
        let at = |clock_ns: i64| Sample {
            round_trip_ns: 20,
            residence_ns: 1,
            forward_ns: 10 + clock_ns,
            backward_ns: 10 - clock_ns,
        };
        statistics.record(&seen(0), Ok(at(0)));
        statistics.record(&Observation { reflector_clock: ClockVerdict::Step(5_000), ..seen(2) }, Ok(at(5_000)));
        statistics.record(&Observation { reflector_clock: ClockVerdict::Earlier, ..seen(1) }, Ok(at(0)));
        statistics.record(&seen(3), Ok(at(5_000)));
        let [step] = statistics.clock_steps[..] else { panic!("{:?}", statistics.clock_steps) };
        assert_eq!((step.at_ns, step.step_ns, step.forward_ns.unwrap().max), (2, 5_000, 10));
        let forward = statistics.forward.figures().unwrap();
        assert_eq!((forward.min, forward.max, statistics.round_trip.count()), (5_010, 5_010, 4));
        assert_eq!(statistics.forward_variation.jitter(), Some(0.0));
    }
}
