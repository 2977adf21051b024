//! A measurement for people: a line for each reply, and the summary.

use std::fmt::Write;

use crate::layout::nanos;
use crate::layout::{count, fold};
use crate::net::batch::StampSource;
use crate::sender::config::SenderConfig;
use crate::sender::session::delays::NoDelays;
use crate::sender::session::histogram::DistributionFigures;
use crate::sender::session::matcher::{Counts, ReplyKind, Split};
use crate::sender::session::measurement::FinishedMeasurement;
use crate::sender::session::record::{PacketOutcome, Record};
use crate::sender::session::sender_session::{BitErrors, SenderSession, WrongBits};
use crate::sender::session::stats::{Statistics, ValueCounts};
use crate::sender::session::variation::Variation;
use crate::sender::tlvs::describe;
use teaparty_common::tlv::REGISTRY;
use teaparty_common::wire::TrafficClass;

/// Returns the line about one packet, folded to `columns`. `name` is the target's, where there are several.
///
/// Its fields depend on `columns` alone and not on their values, so that lines stay aligned.
pub fn line(record: &Record, name: Option<&str>, columns: usize) -> String {
    let head = name.map_or_else(String::new, |name| format!("{name}: "));
    let Some(reply) = &record.reply else {
        return fold(&format!("{head}seq={} {}", record.sequence, record.fate.label()), columns, HANG);
    };
    let fields = LineFields::that_fit(columns.saturating_sub(head.chars().count()));
    let mut line = head;
    if fields.octets {
        let _ = write!(line, "{} octets ", reply.octets);
    }
    let _ = write!(line, "seq={}", record.sequence);
    match &reply.sample {
        Ok(sample) => {
            let _ = write!(line, " rtt={}", nanos(sample.round_trip_ns));
            if fields.residence {
                let _ = write!(line, " residence={}", nanos(sample.residence_ns));
            }
            if fields.one_way {
                let (forward, backward) = (nanos(sample.forward_ns), nanos(sample.backward_ns));
                let _ = write!(line, " forward={forward} backward={backward}");
            }
        }
        Err(NoDelays::ClockStep) => line += " the clock was set since",
        Err(NoDelays::Implausible) => line += " implausible T2 and T3",
        Err(NoDelays::WrongFormat) => line += " T2 and T3 in another format than they say",
    }
    if let Some(ttl) = reply.forward_ttl.filter(|_| fields.ttl) {
        let _ = write!(line, " ttl={ttl}");
        if let Some(back) = reply.backward_ttl {
            let _ = write!(line, "/{back}");
        }
    }
    match record.fate {
        PacketOutcome::Answered(ReplyKind::Reply) | PacketOutcome::Lost | PacketOutcome::Unsettled => {}
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
    fold(&line, columns, HANG)
}

/// Columns by which the rest of a folded line is indented.
const HANG: usize = 4;

/// The fields of a reply's line that are shown beside its number and the round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LineFields {
    one_way: bool,
    ttl: bool,
    residence: bool,
    octets: bool,
}

impl LineFields {
    /// Returns the fields for which there is room, the most important ones first. Widths are those of large values.
    fn that_fit(columns: usize) -> Self {
        let mut fields = Self::default();
        // `seq=99999 rtt=-99.99 µs`, and columns of each further field with the space before it.
        let mut room = columns.saturating_sub("seq=99999 rtt=-99.99 µs".chars().count());
        for (field, width) in [
            (&mut fields.one_way, " forward=-99.99 µs backward=-99.99 µs".chars().count()),
            (&mut fields.ttl, " ttl=255/255".len()),
            (&mut fields.residence, " residence=999.9 µs".chars().count()),
            (&mut fields.octets, "1472 octets ".len()),
        ] {
            *field = width <= room;
            room -= if *field { width } else { 0 };
        }
        fields
    }
}

/// Returns the summary of all targets, in `columns`.
pub fn summary(config: &SenderConfig, outcome: &FinishedMeasurement, columns: usize) -> String {
    let mut text = String::new();
    for (session, target) in outcome.sessions.iter().zip(&config.targets) {
        let ssid = if session.ssid == 0 { "no SSID".into() } else { format!("SSID {}", session.ssid) };
        let _ = writeln!(text, "\n--- {} ({}), {ssid} ---", target.name, target.address);
        describe(&mut text, session, config, columns);
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
        delays(&mut text, &total, columns);
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

fn describe(text: &mut String, session: &SenderSession, config: &SenderConfig, columns: usize) {
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
    delays(text, &session.statistics, columns);
    clocks(text, &session.statistics);
    marks(text, session, config);
    bit_errors(text, session.bit_errors);
    for (name, tally) in session.tlvs(config) {
        let outcomes = [
            (tally.answered, "answered"),
            (tally.unrecognized, unrecognized(&name)),
            (tally.malformed, "malformed"),
            (tally.not_conformant, "not possible"),
            (tally.not_authentic, "not authentic"),
            (tally.skipped, "skipped"),
        ];
        let counts: Vec<String> =
            outcomes.iter().filter(|(count, _)| *count > 0).map(|(count, label)| format!("{count} {label}")).collect();
        let last = if tally.words.is_empty() { String::new() } else { format!("; last: {}", tally.words) };
        let _ = writeln!(text, "{name}: {}{last}", counts.join(", "));
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

/// Columns of a table's label, and of each of its figures.
const LABEL: usize = 12;
const FIGURE: usize = 11;

/// A figure of a distribution: its name, and how to take it from a distribution and its variation.
type Figure = (&'static str, fn(&DistributionFigures, &Variation) -> Option<i64>);

/// The figures of a row in their order.
const FIGURES: [Figure; 8] = [
    ("min", |figures, _| Some(figures.min)),
    ("mean", |figures, _| Some(figures.mean.round() as i64)),
    ("p50", |figures, _| Some(figures.p50)),
    ("p90", |figures, _| Some(figures.p90)),
    ("p99", |figures, _| Some(figures.p99)),
    ("p99.9", |figures, _| Some(figures.p99_9)),
    ("max", |figures, _| Some(figures.max)),
    ("jitter", |_, variation| variation.jitter().map(|jitter| jitter.round() as i64)),
];

/// Columns by importance: as many as fit are shown.
const IMPORTANCE: [&str; 8] = ["p50", "p99", "max", "jitter", "min", "mean", "p99.9", "p90"];

/// Returns the figures that a table of this many columns has.
fn shown(columns: usize) -> Vec<Figure> {
    let most = (columns.saturating_sub(LABEL) / FIGURE).clamp(1, FIGURES.len());
    FIGURES.into_iter().filter(|(name, _)| IMPORTANCE[..most].contains(name)).collect()
}

fn delays(text: &mut String, statistics: &Statistics, columns: usize) {
    if statistics.round_trip.count() == 0 {
        return;
    }
    let shown = shown(columns);
    let names: String = shown.iter().map(|(name, _)| format!("{name:>FIGURE$}")).collect();
    let _ = writeln!(text, "{:LABEL$}{names}", "");
    let none = Variation::default();
    for (label, distribution, variation) in [
        ("round trip", &statistics.round_trip, &statistics.round_trip_variation),
        ("residence", &statistics.residence, &none),
        ("forward", &statistics.forward, &statistics.forward_variation),
        ("backward", &statistics.backward, &statistics.backward_variation),
        ("pacing error", &statistics.pacing, &none),
    ] {
        let Some(figures) = distribution.figures() else { continue };
        let figure = |(_, take): &Figure| take(&figures, variation).map_or_else(String::new, nanos);
        let row: String = shown.iter().map(|one| format!("{:>FIGURE$}", figure(one))).collect();
        let _ = writeln!(text, "{}", format!("{label:<LABEL$}{row}").trim_end());
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
    let list = |tally: &ValueCounts, say: &dyn Fn(u8) -> String| {
        let values: Vec<String> = tally.iter().map(|(value, count)| format!("{} ×{count}", say(value))).collect();
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

/// Returns the name of a timestamp's source, for streams.
pub(super) fn stamp_label(source: StampSource) -> &'static str {
    match source {
        StampSource::Hardware => "hardware",
        StampSource::Kernel => "kernel",
        StampSource::User => "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::session::delays::Times;
    use crate::sender::session::record::ReplyRecord;
    use crate::sender::tlvs::describe::TlvFinding;
    use crate::sender::tlvs::reply::TlvOutcome;

    /// A reply with large values everywhere, over an asymmetric path.
    fn answered() -> Record {
        let times = Times { t1: 1_000_000_000, t2: 1_052_340_000, t3: 1_058_640_000, t4: 1_123_450_000 };
        Record {
            target: 0,
            ssid: 1,
            fate: PacketOutcome::Answered(ReplyKind::Reply),
            sequence: 12_345,
            t1: (times.t1, StampSource::Kernel),
            reply: Some(ReplyRecord {
                octets: 1_472,
                t2: times.t2,
                t3: times.t3,
                t4: (times.t4, StampSource::User),
                reflector_sequence: 6,
                sample: Ok(times.sample()),
                is_synchronized: false,
                error_ns: Some(16),
                forward_ttl: Some(255),
                backward_ttl: Some(248),
                forward_class: None,
                backward_class: None,
                reordering_extent: 0,
                findings: Vec::new(),
            }),
        }
    }

    #[test]
    fn a_reply_has_a_line_that_fits_and_wider_ones_have_more() {
        let cases = [
            (40, "seq=12345 rtt=117.2 ms ttl=255/248"),
            (80, "seq=12345 rtt=117.2 ms forward=52.34 ms backward=64.81 ms ttl=255/248"),
            (
                200,
                "1472 octets seq=12345 rtt=117.2 ms residence=6.300 ms forward=52.34 ms backward=64.81 ms ttl=255/248",
            ),
        ];
        for (columns, expected) in cases {
            assert_eq!(line(&answered(), None, columns), expected, "{columns}");
        }
        let named = line(&answered(), Some("a.example"), 80);
        assert_eq!(named, "a.example: seq=12345 rtt=117.2 ms forward=52.34 ms backward=64.81 ms");
    }

    #[test]
    fn long_words_about_tlvs_are_folded_below_their_line() {
        let mut record = answered();
        let words = "reply came back with DSCP AF21 ECN ECT(0) as asked; the path changed ECN from ECT(1) to CE".into();
        let finding =
            TlvFinding { tlv: "dscp-ecn".into(), outcome: TlvOutcome::Answered, words, value: serde_json::Value::Null };
        record.reply.as_mut().unwrap().findings.push(finding);
        record.fate = PacketOutcome::Answered(ReplyKind::Duplicate);
        for columns in [40, 80, 200] {
            let text = line(&record, Some("2001:db8:1:2:3:4:5:6"), columns);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            assert!(text.contains("(duplicate)") && text.contains("\n    dscp-ecn: "), "{text}");
        }
    }

    #[test]
    fn a_table_has_the_most_important_figures_that_fit() {
        let names = |columns| shown(columns).iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(40), ["p50", "p99"]);
        assert_eq!(names(80), ["min", "mean", "p50", "p99", "max", "jitter"]);
        assert_eq!(names(200), ["min", "mean", "p50", "p90", "p99", "p99.9", "max", "jitter"]);
    }
}
