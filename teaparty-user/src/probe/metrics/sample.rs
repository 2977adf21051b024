//! The metrics of a made-up probe with one target, of which everything is known: for the reference.

use std::sync::Arc;

use super::{MetricsError, MetricsFormat, encode};
use crate::net::received::StampSource;
use crate::probe::config::ProbeConfig;
use crate::probe::registry::{SourceStatus, TargetRegistry};
use crate::probe::target_state::Watched;
use crate::reflector::keys::KeyLoader;
use crate::sender::session::delays::Sample;
use crate::sender::session::matcher::{Counts, ReplyKind, Split};
use crate::sender::session::record::{PacketOutcome, Record, ReplyRecord, SessionCounters};
use crate::sys::clock::{ClockSource as _, SystemClock};

/// The target, as a file would have it, with periods so short that some end.
const FILE: &str = "[[target]]\naddress = \"192.0.2.1\"\n[sla]\nperiod = \"1s\"\nsmall-interval = \"1s\"\n";
/// The time between two packets, in nanoseconds: several for each period.
const INTERVAL_NS: u64 = 300_000_000;
/// The packets, over more than two periods.
const PACKETS: u64 = 12;

/// Returns metrics in which every family has a series, so that its labels can be seen.
pub fn text() -> Result<Vec<u8>, MetricsError> {
    let registry = Arc::new(TargetRegistry::default());
    if let Ok(config) = ProbeConfig::of(&FILE.into(), &KeyLoader::default(), Default::default()) {
        let (now, agreement) = (SystemClock.realtime_ns(), Arc::new(config.agreement));
        let of_one = |target| Arc::new(watched(target, agreement.clone(), now));
        registry.set_watched(config.targets.into_iter().map(of_one).collect());
    }
    registry.with_sources(|sources| sources.push(SourceStatus { targets: 1, ..SourceStatus::default() }));
    encode(&registry, MetricsFormat::Text)
}

/// Returns a target whose last packets were answered.
fn watched(target: crate::probe::target::TargetSpec, agreement: Arc<crate::sla::SlaConfig>, now_ns: u64) -> Watched {
    let start = now_ns - PACKETS * INTERVAL_NS;
    let watched = Watched::new(1, target, 7, &[0.1], agreement, start);
    watched.begin();
    let split = Split { is_stateful: true, far_end: Some(0), near_end: Some(0), unattributed: 0 };
    for number in 0..PACKETS {
        let at = start + number * INTERVAL_NS;
        watched.record(&reply(number as u32, at), at);
    }
    let counters = SessionCounters {
        counts: Counts { sent: PACKETS, received: PACKETS, ..Counts::default() },
        split: Some(split),
        pacing_error_ns: Some([1_000; 2]),
        ..SessionCounters::default()
    };
    watched.count(counters, now_ns);
    watched
}

fn reply(sequence: u32, at_ns: u64) -> Record {
    let sample = Sample { round_trip_ns: 2_000, residence_ns: 1_000, forward_ns: 1_000, backward_ns: 1_000 };
    Record {
        target: 0,
        ssid: 7,
        fate: PacketOutcome::Answered(ReplyKind::Reply),
        sequence,
        t1: (at_ns, StampSource::Kernel),
        reply: Some(ReplyRecord {
            octets: 44,
            t2: at_ns,
            t3: at_ns,
            t4: (at_ns, StampSource::Kernel),
            reflector_sequence: sequence,
            sample: Ok(sample),
            is_synchronized: true,
            error_ns: Some(1_000),
            forward_ttl: None,
            backward_ttl: None,
            forward_class: None,
            backward_class: None,
            reordering_extent: 0,
            findings: Vec::new(),
        }),
    }
}
