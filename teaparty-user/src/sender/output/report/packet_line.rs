//! The line about one packet, for people.

use std::fmt::Write;

use crate::layout::{fold, nanos};
use crate::sender::session::delays::NoDelays;
use crate::sender::session::matcher::ReplyKind;
use crate::sender::session::record::{PacketOutcome, Record};

/// Returns the line about one packet, folded to `columns`. `name` is the target's, where there are several.
///
/// Its fields depend on `columns` alone and not on their values, so that lines stay aligned.
pub(crate) fn packet_line(record: &Record, name: Option<&str>, columns: usize) -> String {
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
pub(super) const HANG: usize = 4;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::batch::StampSource;
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
            assert_eq!(packet_line(&answered(), None, columns), expected, "{columns}");
        }
        let named = packet_line(&answered(), Some("a.example"), 80);
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
            let text = packet_line(&record, Some("2001:db8:1:2:3:4:5:6"), columns);
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{text}");
            assert!(text.contains("(duplicate)") && text.contains("\n    dscp-ecn: "), "{text}");
        }
    }
}
