//! A measurement for people: a line for each reply, and the summary.

use std::fmt::Write;

use super::super::config::Config;
use super::super::engine::Outcome;
use super::super::event::{Fate, Record};
use super::super::exchange::{Counts, Kind, Split};
use super::super::histogram::Distribution;
use super::super::sample::NoDelays;
use super::super::session::Session;
use super::super::stats::{Statistics, Tally};
use super::super::tlvs::words;
use super::super::variation::Variation;
use super::nanos;
use crate::net::batch::StampSource;
use teaparty_common::wire::TrafficClass;

/// The line about one packet. `name` is the target's, where there are several.
pub fn line(record: &Record, name: Option<&str>) -> String {
    let mut line = name.map_or_else(String::new, |name| format!("{name}: "));
    let Some(reply) = &record.reply else {
        let _ = write!(line, "seq={} {}", record.sequence, record.fate.label());
        return line;
    };
    let _ = write!(line, "{} octets seq={}", reply.octets, record.sequence);
    match &reply.sample {
        Ok(sample) => {
            let _ = write!(
                line,
                " rtt={} residence={} there={} back={} ({})",
                nanos(sample.round_trip_ns),
                nanos(sample.residence_ns),
                nanos(sample.forward_ns),
                nanos(sample.backward_ns),
                trust(reply.is_synchronized, reply.error_ns)
            );
        }
        Err(NoDelays::ClockStep) => line += " the clock was set meanwhile",
        Err(NoDelays::Implausible) => line += " implausible T2 and T3",
    }
    if let Some(ttl) = reply.forward_ttl {
        let _ = write!(line, " ttl={ttl}");
        if let Some(back) = reply.backward_ttl {
            let _ = write!(line, "/{back}");
        }
    }
    match record.fate {
        Fate::Answered(Kind::Reply) | Fate::Lost | Fate::Unsettled => {}
        fate => {
            let _ = write!(line, " ({})", fate.label());
        }
    }
    if reply.reordering_extent > 0 {
        let _ = write!(line, " (overtaken by {})", reply.reordering_extent);
    }
    for finding in &reply.findings {
        let _ = write!(line, "\n    {}: {}", finding.tlv, finding.words);
    }
    line
}

/// What one-way delays rest on, in a few words.
fn trust(is_synchronized: bool, error_ns: u64) -> String {
    let error = nanos(i64::try_from(error_ns).unwrap_or(i64::MAX));
    if is_synchronized {
        format!("one way ± {error}, both clocks synchronised")
    } else {
        format!("one way unreliable: clocks not synchronised, ± {error}")
    }
}

/// The summary of all targets.
pub fn summary(config: &Config, outcome: &Outcome) -> String {
    let mut text = String::new();
    for (session, target) in outcome.sessions.iter().zip(&config.targets) {
        let ssid = if session.ssid == 0 { "no SSID".into() } else { format!("SSID {}", session.ssid) };
        let _ = writeln!(text, "\n--- {} ({}), {ssid} ---", target.name, target.address);
        describe(&mut text, session, config);
    }
    if outcome.sessions.len() > 1 {
        let mut total = Statistics::default();
        outcome.sessions.iter().for_each(|session| total.merge(&session.statistics));
        let (settled, received, lost) = outcome.sessions.iter().map(|session| session.exchange.counts()).fold(
            (0, 0, 0),
            |(settled, received, lost), counts| {
                (settled + counts.sent - counts.unsettled, received + counts.received, lost + counts.lost)
            },
        );
        let sent: u64 = outcome.sessions.iter().map(|session| session.exchange.counts().sent).sum();
        let _ = writeln!(text, "\n--- all {} targets ---", outcome.sessions.len());
        let _ = writeln!(text, "{sent} sent, {received} received, {lost} lost ({})", percent(lost, settled));
        delays(&mut text, &total);
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
        let _ = writeln!(text, "{} datagrams were lost in our own receive queue", outcome.queue_drops);
    }
    for step in &outcome.clock_steps_ns {
        let _ = writeln!(text, "the clock was set by {} during the measurement", nanos(*step));
    }
    text
}

fn describe(text: &mut String, session: &Session, config: &Config) {
    let counts = session.exchange.counts();
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
            direction(counts, session.exchange.split())
        }
    );
    irregularities(text, session, counts);
    delays(text, &session.statistics);
    clocks(text, &session.statistics);
    marks(text, session, config);
    for (name, tally) in session.tlvs(config) {
        let outcomes = [
            (tally.answered, "answered"),
            (tally.unrecognized, "not recognised"),
            (tally.malformed, "malformed"),
            (tally.not_conformant, "not possible"),
            (tally.not_authentic, "not authentic"),
            (tally.skipped, "skipped"),
        ];
        let counts: Vec<String> =
            outcomes.iter().filter(|(count, _)| *count > 0).map(|(count, label)| format!("{count} {label}")).collect();
        let _ = writeln!(text, "{name}: {}; last: {}", counts.join(", "), tally.words);
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
                count => format!(", {count} unknown"),
            };
            format!(": {far} on the way there, {near} on the way back{unknown}")
        }
        _ if split.is_stateful => "; direction unknown: the reflector's numbers contradict each other".into(),
        _ => "; direction unknown: the reflector does not show that it counts".into(),
    }
}

fn irregularities(text: &mut String, session: &Session, counts: Counts) {
    let ignored = session.ignored;
    let notes = [
        (counts.duplicates, "duplicates"),
        (counts.reordered, "reordered"),
        (counts.late, "late"),
        (counts.further, "further replies as asked"),
        (counts.further_lost, "further replies missing"),
        (counts.corrupted, "corrupted or forged"),
        (counts.unmatched - counts.corrupted, "fit no packet"),
        (ignored.foreign, "from elsewhere"),
        (ignored.unauthenticated, "with a wrong HMAC"),
        (ignored.malformed, "malformed"),
        (ignored.other_link, "for another link"),
        (counts.reflector_restarts, "reflector restarts"),
        (counts.unsettled, "unsettled when it was stopped"),
        (session.schedule_skipped, "of the schedule skipped"),
        (session.refusals, "refused by the network"),
        (session.slowdowns, "slowdowns for congestion"),
        (session.statistics.discarded_by_clock_step, "without delays as the clock was set"),
        (session.statistics.implausible, "without delays as T2 and T3 are implausible"),
    ];
    let notes: Vec<String> =
        notes.iter().filter(|(count, _)| *count > 0).map(|(count, label)| format!("{count} {label}")).collect();
    if !notes.is_empty() {
        let _ = writeln!(text, "{}", notes.join(", "));
    }
    if counts.lost > 0 {
        let _ = writeln!(text, "{} bursts of loss, the longest of {}", counts.loss_bursts, counts.loss_burst_max);
    }
    if let (count @ 1.., Some(reason)) = (session.send_errors.0, &session.send_errors.1) {
        let _ = writeln!(text, "{count} could not be sent: {reason}");
    }
}

fn delays(text: &mut String, statistics: &Statistics) {
    if statistics.round_trip.count() == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "{:<12}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "", "min", "mean", "p50", "p90", "p99", "p99.9", "max", "jitter"
    );
    let none = Variation::default();
    row(text, "round trip", &statistics.round_trip, &statistics.round_trip_variation);
    row(text, "residence", &statistics.residence, &none);
    row(text, "there", &statistics.forward, &statistics.forward_variation);
    row(text, "back", &statistics.backward, &statistics.backward_variation);
    row(text, "sent late", &statistics.pacing, &none);
}

fn row(text: &mut String, label: &str, distribution: &Distribution, variation: &Variation) {
    let Some(figures) = distribution.figures() else { return };
    let _ = write!(text, "{label:<12}");
    let values =
        [figures.min, figures.mean.round() as i64, figures.p50, figures.p90, figures.p99, figures.p99_9, figures.max];
    for value in values {
        let _ = write!(text, "{:>11}", nanos(value));
    }
    if let Some(jitter) = variation.jitter() {
        let _ = write!(text, "{:>11}", nanos(jitter.round() as i64));
    }
    text.push('\n');
}

fn clocks(text: &mut String, statistics: &Statistics) {
    let samples = statistics.round_trip.count();
    if samples == 0 {
        return;
    }
    let claim = |is_synchronized| if is_synchronized { "synchronised" } else { "not synchronised" };
    let (ours, theirs) = (statistics.sender_clock, statistics.reflector_clock);
    let error = nanos(ours.error_ns_max.saturating_add(theirs.error_ns_max).min(i64::MAX as u64) as i64);
    let _ = writeln!(
        text,
        "one-way delays rest on: our clock {} (± {}), the reflector's {} (± {}); together ± {error}",
        claim(ours.is_synchronized()),
        nanos(ours.error_ns_max.min(i64::MAX as u64) as i64),
        claim(theirs.is_synchronized()),
        nanos(theirs.error_ns_max.min(i64::MAX as u64) as i64),
    );
    let t1 = sources(samples, statistics.hardware_t1, statistics.kernel_t1);
    let t4 = sources(samples, statistics.hardware_t4, statistics.kernel_t4);
    let _ = writeln!(text, "T1 by {t1}, T4 by {t4}");
}

/// Who took so many timestamps: all of them, or some.
fn sources(samples: u64, hardware: u64, kernel: u64) -> String {
    let counts =
        [(hardware, "the network card"), (kernel, "the kernel"), (samples - hardware - kernel, "this process")];
    let takers: Vec<&str> = counts.iter().filter(|(count, _)| *count > 0).map(|(_, taker)| *taker).collect();
    takers.join(" or ")
}

fn marks(text: &mut String, session: &Session, config: &Config) {
    let statistics = &session.statistics;
    let class = |octet: u8| words::class(TrafficClass(octet));
    let list = |tally: &Tally, say: &dyn Fn(u8) -> String| {
        let values: Vec<String> = tally.iter().map(|(value, count)| format!("{} ×{count}", say(value))).collect();
        values.join(", ")
    };
    let number = |ttl: u8| ttl.to_string();
    if statistics.forward_ttl.iter().next().is_some() {
        let _ = writeln!(
            text,
            "TTL sent {}, there {}, back {}",
            config.ttl,
            list(&statistics.forward_ttl, &number),
            list(&statistics.backward_ttl, &number)
        );
    }
    let is_plain = config.traffic_class.0 == 0 && statistics.backward_class.iter().all(|(octet, _)| octet == 0);
    if !is_plain && statistics.round_trip.count() > 0 {
        let there = match statistics.forward_class.iter().next() {
            Some(_) => format!(", there {}", list(&statistics.forward_class, &class)),
            None => String::new(),
        };
        let back = list(&statistics.backward_class, &class);
        let _ = writeln!(text, "sent with {}{there}, back {back}", words::class(config.traffic_class));
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "of none".into() } else { format!("{:.3} %", part as f64 / whole as f64 * 100.0) }
}

/// Who took a timestamp, for streams.
pub(super) fn stamp_label(source: StampSource) -> &'static str {
    match source {
        StampSource::Hardware => "hardware",
        StampSource::Kernel => "kernel",
        StampSource::User => "user",
    }
}
