//! A measurement for programs: one JSON object with what a reader needs a year later. Keys are stable; `docs/reference/json.md` lists them.

use serde_json::{Map, Value, json};

use crate::sender::config::SenderConfig;
use crate::sender::session::clock_claims::ClockClaims;
use crate::sender::session::matcher::{Counts, Split};
use crate::sender::session::measurement::FinishedMeasurement;
use crate::sender::session::record::Ignored;
use crate::sender::session::sender_session::{BitErrors, SenderSession};
use crate::sender::session::stats::{Statistics, ValueCounts};
use crate::sys::clock::claimed_bound_ns;

/// Version of the document's shape; grows when a key changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// Ranges of a target's `round_trip_histogram`.
const RANGES: usize = 80;

/// The summary. At its top stand the figures of all targets together; `targets` has those of each.
pub(crate) fn summary(config: &SenderConfig, outcome: &FinishedMeasurement) -> Value {
    let mut total = Statistics::default();
    let mut counts = Counts::default();
    let mut split = Split { is_stateful: true, far_end: Some(0), near_end: Some(0), unattributed: 0 };
    let mut ignored = outcome.foreign;
    for session in &outcome.sessions {
        total.merge(&session.statistics);
        add(&mut counts, session.matcher.counts());
        add_split(&mut split, session.matcher.split());
        add_ignored(&mut ignored, session.ignored);
    }
    let mut document = json!({
        "schema": SCHEMA,
        "program": "teaparty",
        "version": env!("CARGO_PKG_VERSION"),
        "started_ns": outcome.started_ns,
        "ended_ns": outcome.ended_ns,
        "duration_ns": outcome.duration_ns,
        "host": host(),
        "clock": {
            "synchronized": outcome.clock.is_synchronized,
            "estimated_error_ns": claimed_bound_ns(outcome.clock.estimated_error_ns),
            "maximum_error_ns": claimed_bound_ns(outcome.clock.maximum_error_ns),
            "tai_offset_s": outcome.clock.tai_offset_s,
            "steps_ns": outcome.clock_steps_ns,
        },
        "configuration": config.describe(),
        "receive_queue_drops": outcome.queue_drops,
    });
    let object = document.as_object_mut().expect("it was written as an object above");
    object.extend(figures(&total, counts, split, ignored));
    let skipped: u64 = outcome.sessions.iter().map(|session| session.schedule_skipped).sum();
    object.insert("schedule_skipped".into(), json!(skipped));
    let targets: Vec<Value> = outcome
        .sessions
        .iter()
        .zip(&config.targets)
        .map(|(session, target)| one(session, config, &target.name))
        .collect();
    object.insert("targets".into(), Value::Array(targets));
    document
}

fn one(session: &SenderSession, config: &SenderConfig, name: &str) -> Value {
    let mut object = Map::new();
    object.insert("target".into(), json!(name));
    object.insert("address".into(), json!(session.address));
    object.insert("ssid".into(), json!(session.ssid));
    object.extend(figures(&session.statistics, session.matcher.counts(), session.matcher.split(), session.ignored));
    object.insert("round_trip_histogram".into(), json!(session.statistics.round_trip.histogram(RANGES)));
    object.insert("tlvs".into(), json!(session.tlvs(config)));
    object.insert("send_errors".into(), json!(session.send_errors.0));
    object.insert("send_error".into(), json!(session.send_errors.1));
    object.insert("schedule_skipped".into(), json!(session.schedule_skipped));
    object.insert("network_refusals".into(), json!(session.refusals));
    object.insert("bit_errors".into(), bit_errors(session.bit_errors));
    object.insert("congestion_slowdowns".into(), json!(session.slowdowns));
    object.insert("final_interval_factor".into(), json!(session.stretch()));
    Value::Object(object)
}

fn figures(statistics: &Statistics, counts: Counts, split: Split, ignored: Ignored) -> Map<String, Value> {
    let document = json!({
        "sent": counts.sent,
        "received": counts.received,
        "lost": counts.lost,
        "lost_far_end": split.far_end,
        "lost_near_end": split.near_end,
        "lost_unattributed": split.unattributed,
        "loss": counts.loss(),
        "unsettled": counts.unsettled,
        "loss_bursts": counts.loss_bursts,
        "loss_burst_max": counts.loss_burst_max,
        "duplicates": counts.duplicates,
        "reordered": counts.reordered,
        "reordering_extent_max": counts.reordering_extent_max,
        "late": counts.late,
        "further_replies": counts.further,
        "further_replies_lost": counts.further_lost,
        "implausible": statistics.implausible,
        "wrong_format": statistics.wrong_format,
        "lacking_tai_offset": statistics.lacking_tai_offset,
        "reflector_clock_steps": statistics.clock_steps,
        "unmatched": counts.unmatched,
        "corrupted": counts.corrupted,
        "ignored": ignored,
        "reflector_stateful": split.is_stateful,
        "reflector_restarts": counts.reflector_restarts,
        "round_trip_ns": statistics.round_trip.figures(),
        "residence_ns": statistics.residence.figures(),
        "forward_ns": statistics.forward.figures(),
        "backward_ns": statistics.backward.figures(),
        "pacing_error_ns": statistics.pacing.figures(),
        "variation_ns": {
            "round_trip": &statistics.round_trip_variation,
            "forward": &statistics.forward_variation,
            "backward": &statistics.backward_variation,
        },
        "one_way": {
            "reliable": statistics.sender_clock.is_synchronized() && statistics.reflector_clock.is_synchronized(),
            "sender_clock": claims(statistics.sender_clock),
            "reflector_clock": claims(statistics.reflector_clock),
        },
        "samples": {
            "total": statistics.round_trip.count(),
            "hardware_t1": statistics.hardware_t1,
            "hardware_t4": statistics.hardware_t4,
            "kernel_t1": statistics.kernel_t1,
            "kernel_t4": statistics.kernel_t4,
            "pacing_by_kernel": statistics.stamped_pacing,
            "discarded_by_clock_step": statistics.discarded_by_clock_step,
        },
        "ttl": { "forward": value_counts(&statistics.forward_ttl), "backward": value_counts(&statistics.backward_ttl) },
        "traffic_class": { "forward": value_counts(&statistics.forward_class), "backward": value_counts(&statistics.backward_class) },
    });
    match document {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// Bit errors of both directions; null what was not measured.
fn bit_errors(BitErrors { forward, backward }: BitErrors) -> Value {
    json!({
        "forward": forward.measured(),
        "forward_octets": forward.octets,
        "forward_burst_max": forward.burst_max,
        "backward": backward.measured(),
        "backward_octets": backward.octets,
        "backward_burst_max": backward.burst_max,
    })
}

fn claims(claims: ClockClaims) -> Value {
    json!({
        "synchronized": claims.is_synchronized(),
        "error_ns_max": claims.error_ns_max(),
        "packets_without_bound": claims.unknown_bounds,
        "packets_synchronized": claims.synchronized,
        "packets_unsynchronized": claims.unsynchronized,
    })
}

fn value_counts(counts: &ValueCounts) -> Value {
    let seen: Map<String, Value> = counts.iter().map(|(value, count)| (value.to_string(), json!(count))).collect();
    json!({ "seen": seen, "changes": counts.changes() })
}

/// The host that measured: its name and kernel.
fn host() -> Value {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.map_or(Value::Null, |text| json!(text.trim()))
    };
    json!({ "name": read("hostname"), "kernel": read("osrelease"), "architecture": std::env::consts::ARCH })
}

fn add(total: &mut Counts, counts: Counts) {
    total.sent += counts.sent;
    total.received += counts.received;
    total.lost += counts.lost;
    total.unsettled += counts.unsettled;
    total.duplicates += counts.duplicates;
    total.reordered += counts.reordered;
    total.reordering_extent_max = total.reordering_extent_max.max(counts.reordering_extent_max);
    total.late += counts.late;
    total.further += counts.further;
    total.further_lost += counts.further_lost;
    total.unmatched += counts.unmatched;
    total.corrupted += counts.corrupted;
    total.reflector_restarts += counts.reflector_restarts;
    total.loss_bursts += counts.loss_bursts;
    total.loss_burst_max = total.loss_burst_max.max(counts.loss_burst_max);
}

/// Adds a split; a field that is unknown for one target is unknown for all.
fn add_split(total: &mut Split, split: Split) {
    let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
    total.is_stateful &= split.is_stateful;
    total.far_end = sum(total.far_end, split.far_end);
    total.near_end = sum(total.near_end, split.near_end);
    total.unattributed += split.unattributed;
}

fn add_ignored(total: &mut Ignored, ignored: Ignored) {
    total.foreign += ignored.foreign;
    total.unauthenticated += ignored.unauthenticated;
    total.malformed += ignored.malformed;
    total.other_link += ignored.other_link;
}
