//! The summary of a measurement for people.

use std::fmt::Write;

use teaparty_common::tlv::REGISTRY;
use teaparty_common::wire::TrafficClass;

use super::delay_table::delay_table;
use super::packet_line::HANG;
use crate::layout::{count, fold, nanos};
use crate::sender::config::SenderConfig;
use crate::sender::session::matcher::{Counts, Split};
use crate::sender::session::measurement::FinishedMeasurement;
use crate::sender::session::sender_session::{BitErrors, SenderSession, WrongBits};
use crate::sender::session::stats::{Statistics, ValueCounts};
use crate::sender::tlvs::describe;

/// Returns the summary of all targets, in `columns`.
pub(crate) fn summary(config: &SenderConfig, outcome: &FinishedMeasurement, columns: usize) -> String {
    let mut text = String::new();
    for (session, target) in outcome.sessions.iter().zip(&config.targets) {
        let ssid = if session.ssid == 0 { "no SSID".into() } else { format!("SSID {}", session.ssid) };
        let _ = writeln!(text, "\n--- {} ({}), {ssid} ---", target.name, target.address);
        describe(&mut text, session, config, columns);
    }
    if outcome.sessions.len() > 1 {
        all_targets(&mut text, &outcome.sessions, columns);
    }
    let foreign = outcome.foreign;
    if foreign != Default::default() {
        let _ = writeln!(
            text,
            "of no session: {} foreign, {} unauthenticated, {} malformed datagrams",
            foreign.foreign, foreign.unauthenticated, foreign.malformed
        );
    }
    if outcome.queue_drops > 0 {
        let lost = count(outcome.queue_drops, "datagram");
        let _ = writeln!(text, "lost in our own receive queue: {lost}");
    }
    for step in &outcome.clock_steps_ns {
        let _ = writeln!(text, "the clock was set by {} during the measurement", nanos(*step));
    }
    fold(&text, columns, HANG)
}

fn all_targets(text: &mut String, sessions: &[SenderSession], columns: usize) {
    let mut total = Statistics::default();
    sessions.iter().for_each(|session| total.merge(&session.statistics));
    let sum = |count: fn(Counts) -> u64| sessions.iter().map(|session| count(session.matcher.counts())).sum::<u64>();
    let (sent, received, lost) = (sum(|counts| counts.sent), sum(|counts| counts.received), sum(|counts| counts.lost));
    let settled = sent - sum(|counts| counts.unsettled);
    let _ = writeln!(text, "\n--- all {} targets ---", sessions.len());
    let _ = writeln!(text, "{sent} sent, {received} received, {lost} lost ({})", percent(lost, settled));
    delay_table(text, &total, columns);
}

fn describe(text: &mut String, session: &SenderSession, config: &SenderConfig, columns: usize) {
    let counts = session.matcher.counts();
    let _ = writeln!(
        text,
        "{} sent, {} received, {} lost ({}){}",
        counts.sent,
        counts.received,
        counts.lost,
        percent(counts.lost, counts.sent - counts.unsettled),
        if config.replies_per_packet == 0 {
            "; no reply was asked for".into()
        } else {
            direction(counts, session.matcher.split())
        }
    );
    irregularities(text, session, counts);
    delay_table(text, &session.statistics, columns);
    clocks(text, &session.statistics);
    marks(text, session, config);
    bit_errors(text, session.bit_errors);
    for (name, counts) in session.tlvs(config) {
        let outcomes = [
            (counts.answered, "answered"),
            (counts.unrecognized, unrecognized(&name)),
            (counts.malformed, "malformed"),
            (counts.not_conformant, "not possible"),
            (counts.not_authentic, "not authentic"),
            (counts.skipped, "skipped"),
        ];
        let said: Vec<String> =
            outcomes.iter().filter(|(count, _)| *count > 0).map(|(count, label)| format!("{count} {label}")).collect();
        let last = if counts.words.is_empty() { String::new() } else { format!("; last: {}", counts.words) };
        let _ = writeln!(text, "{name}: {}{last}", said.join(", "));
    }
}

/// Returns the meaning of U for a TLV: a reflector may know it, and require permission for it.
fn unrecognized(name: &str) -> &'static str {
    match REGISTRY.iter().find(|entry| entry.name == name).and_then(|entry| entry.allowed_by) {
        Some(_) => "not recognised or not allowed",
        None => "not recognised",
    }
}

fn direction(counts: Counts, split: Split) -> String {
    if counts.lost == 0 {
        return String::new();
    }
    match (split.far_end, split.near_end) {
        (Some(far), Some(near)) => {
            let unknown = match split.unattributed {
                0 => String::new(),
                count => format!(", unattributed {count}"),
            };
            format!(": far end {far}, near end {near}{unknown}")
        }
        _ if split.is_stateful => "; direction unknown: the reflector's numbers contradict each other".into(),
        _ => "; direction unknown: the reflector does not show that it counts".into(),
    }
}

fn irregularities(text: &mut String, session: &SenderSession, counts: Counts) {
    let ignored = session.ignored;
    let notes = [
        (counts.duplicates, "duplicate", "duplicates"),
        (counts.reordered, "reordered", "reordered"),
        (counts.late, "late", "late"),
        (counts.further, "further reply", "further replies"),
        (counts.further_lost, "further reply missing", "further replies missing"),
        (counts.corrupted, "corrupted or forged", "corrupted or forged"),
        (counts.unmatched - counts.corrupted, "fits no packet", "fit no packet"),
        (ignored.foreign, "from elsewhere", "from elsewhere"),
        (ignored.unauthenticated, "with a wrong HMAC: the keys differ", "with a wrong HMAC: the keys differ"),
        (ignored.malformed, "malformed", "malformed"),
        (ignored.other_link, "for another link", "for another link"),
        (counts.reflector_restarts, "reflector restart", "reflector restarts"),
        (counts.unsettled, "unsettled when it was stopped", "unsettled when it was stopped"),
        (session.schedule_skipped, "of the schedule skipped", "of the schedule skipped"),
        (session.refusals, "refused by the network", "refused by the network"),
        (session.slowdowns, "slowdown for congestion", "slowdowns for congestion"),
        (
            session.statistics.discarded_by_clock_step,
            "without delays as the clock was set",
            "without delays as the clock was set",
        ),
        (
            session.statistics.implausible,
            "without delays as T2 and T3 are implausible",
            "without delays as T2 and T3 are implausible",
        ),
        (
            session.statistics.wrong_format,
            "without delays as T2 and T3 have another format than they say",
            "without delays as T2 and T3 have another format than they say",
        ),
    ];
    let said = |(count, one, many): &(u64, &str, &str)| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let notes: Vec<String> = notes.iter().filter_map(said).collect();
    if !notes.is_empty() {
        let _ = writeln!(text, "{}", notes.join(", "));
    }
    if counts.lost > 0 {
        let bursts = count(counts.loss_bursts, "burst");
        let _ = writeln!(text, "{bursts} of loss, the longest of {}", count(counts.loss_burst_max, "packet"));
    }
    if let (count @ 1.., Some(reason)) = (session.send_errors.0, &session.send_errors.1) {
        let _ = writeln!(text, "{count} could not be sent: {reason}");
    }
}

fn clocks(text: &mut String, statistics: &Statistics) {
    let samples = statistics.round_trip.count();
    if samples == 0 {
        return;
    }
    let claim = |is_synchronized| if is_synchronized { "synchronised" } else { "not synchronised" };
    let (ours, theirs) = (statistics.sender_clock, statistics.reflector_clock);
    let bound = |ns: Option<u64>| match ns {
        Some(ns) => format!("± {}", nanos(i64::try_from(ns).unwrap_or(i64::MAX))),
        None => "error unknown".into(),
    };
    let together = ours.error_ns_max().zip(theirs.error_ns_max()).map(|(ours, theirs)| ours.saturating_add(theirs));
    let trust = match (ours.is_synchronized() && theirs.is_synchronized(), together) {
        (true, Some(_)) => format!("one way {}", bound(together)),
        (_, Some(_)) => format!("one way unreliable, {} claimed", bound(together)),
        (_, None) => "one way unreliable".into(),
    };
    let _ = writeln!(
        text,
        "{trust}: our clock {} ({}), the reflector's {} ({})",
        claim(ours.is_synchronized()),
        bound(ours.error_ns_max()),
        claim(theirs.is_synchronized()),
        bound(theirs.error_ns_max()),
    );
    for step in &statistics.clock_steps {
        let sign = if step.step_ns < 0 { "back" } else { "forward" };
        let by = nanos(i64::try_from(step.step_ns.unsigned_abs()).unwrap_or(i64::MAX));
        let _ = writeln!(text, "the reflector's clock was set {sign} by {by}; one-way delays are of after that");
    }
    let t1 = sources(samples, statistics.hardware_t1, statistics.kernel_t1);
    let t4 = sources(samples, statistics.hardware_t4, statistics.kernel_t4);
    let _ = writeln!(text, "T1 by {t1}, T4 by {t4}");
}

/// Returns the sources of timestamps: of all of them, or of some.
fn sources(samples: u64, hardware: u64, kernel: u64) -> String {
    let counts =
        [(hardware, "the network card"), (kernel, "the kernel"), (samples - hardware - kernel, "this process")];
    let takers: Vec<&str> = counts.iter().filter(|(count, _)| *count > 0).map(|(_, taker)| *taker).collect();
    takers.join(" or ")
}

fn marks(text: &mut String, session: &SenderSession, config: &SenderConfig) {
    let statistics = &session.statistics;
    let class = |octet: u8| describe::class(TrafficClass(octet));
    let list = |counts: &ValueCounts, say: &dyn Fn(u8) -> String| {
        let values: Vec<String> = counts.iter().map(|(value, count)| format!("{} ×{count}", say(value))).collect();
        values.join(", ")
    };
    let number = |ttl: u8| ttl.to_string();
    if statistics.forward_ttl.iter().next().is_some() {
        let _ = writeln!(
            text,
            "TTL sent {}, forward {}, backward {}",
            config.ttl,
            list(&statistics.forward_ttl, &number),
            list(&statistics.backward_ttl, &number)
        );
    }
    let is_plain = config.traffic_class.0 == 0 && statistics.backward_class.iter().all(|(octet, _)| octet == 0);
    if !is_plain && statistics.round_trip.count() > 0 {
        let forward = match statistics.forward_class.iter().next() {
            Some(_) => format!(", forward {}", list(&statistics.forward_class, &class)),
            None => String::new(),
        };
        let backward = list(&statistics.backward_class, &class);
        let _ = writeln!(text, "sent with {}{forward}, backward {backward}", describe::class(config.traffic_class));
    }
}

fn bit_errors(text: &mut String, BitErrors { forward, backward }: BitErrors) {
    if forward.measured().or(backward.measured()).is_none() {
        return;
    }
    let said = |bits: WrongBits| match (bits.measured(), bits.burst_max) {
        (None, _) => "not measured".to_owned(),
        (Some(wrong @ 1..), Some(longest)) => {
            format!("{wrong} in {}, at most {longest} in a row", count(bits.octets, "octet"))
        }
        (Some(wrong), _) => format!("{wrong} in {}", count(bits.octets, "octet")),
    };
    let _ = writeln!(text, "bit errors: forward {}; backward {}", said(forward), said(backward));
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "of none".into() } else { format!("{:.3} %", part as f64 / whole as f64 * 100.0) }
}
