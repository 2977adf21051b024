//! One line for each packet while the measurement runs, as JSON or as comma-separated values. All times are nanoseconds.

use serde_json::{Value, json};
use teaparty_common::wire::TrafficClass;

use crate::net::batch::StampSource;
use crate::sender::session::delays::Sample;
use crate::sender::session::record::{Record, ReplyRecord};

/// The names of the columns, which are the keys of the JSON lines too.
pub(crate) const COLUMNS: [&str; 26] = [
    "target",
    "epoch_ns",
    "sequence",
    "fate",
    "t1_ns",
    "t2_ns",
    "t3_ns",
    "t4_ns",
    "t1_source",
    "t4_source",
    "round_trip_ns",
    "residence_ns",
    "forward_ns",
    "backward_ns",
    "synchronized",
    "error_ns",
    "reflector_sequence",
    "octets",
    "forward_ttl",
    "backward_ttl",
    "forward_class",
    "backward_class",
    "reordering_extent",
    "tlvs",
    "ssid",
    "elapsed_ns",
];
/// Index of the TLV column.
const TLVS: usize = 23;

/// One packet as values in the order of [`COLUMNS`]; null for what is not known. `start_ns` is when the run began.
fn values(record: &Record, name: &str, start_ns: u64) -> [Value; COLUMNS.len()] {
    let reply = record.reply.as_ref();
    // Time of the record: T4, or for a loss T1, so that a reader can place it in time either way.
    let epoch_ns = reply.map_or(record.t1.0, |reply| reply.t4.0);
    let of = |field: &dyn Fn(&ReplyRecord) -> Value| reply.map_or(Value::Null, field);
    let delay = |field: &dyn Fn(&Sample) -> i64| {
        reply.and_then(|reply| reply.sample.as_ref().ok()).map_or(Value::Null, |sample| json!(field(sample)))
    };
    let class = |class: Option<TrafficClass>| class.map_or(Value::Null, |class| json!(class.0));
    [
        json!(name),
        json!(epoch_ns),
        json!(record.sequence),
        json!(record.fate.label()),
        json!(record.t1.0),
        of(&|reply| json!(reply.t2)),
        of(&|reply| json!(reply.t3)),
        of(&|reply| json!(reply.t4.0)),
        json!(stamp_label(record.t1.1)),
        of(&|reply| json!(stamp_label(reply.t4.1))),
        delay(&|sample| sample.round_trip_ns),
        delay(&|sample| sample.residence_ns),
        delay(&|sample| sample.forward_ns),
        delay(&|sample| sample.backward_ns),
        of(&|reply| json!(reply.is_synchronized)),
        of(&|reply| json!(reply.error_ns)),
        of(&|reply| json!(reply.reflector_sequence)),
        of(&|reply| json!(reply.octets)),
        of(&|reply| json!(reply.forward_ttl)),
        of(&|reply| json!(reply.backward_ttl)),
        of(&|reply| class(reply.forward_class)),
        of(&|reply| class(reply.backward_class)),
        of(&|reply| json!(reply.reordering_extent)),
        of(&|reply| json!(reply.findings)),
        json!(record.ssid),
        // Exact in a double, as nanoseconds since 1970 are not.
        json!(epoch_ns.saturating_sub(start_ns)),
    ]
}

/// A line of JSON, without its newline.
pub(crate) fn jsonl(record: &Record, name: &str, start_ns: u64) -> String {
    let pairs = COLUMNS.iter().map(|column| (*column).to_owned()).zip(values(record, name, start_ns));
    Value::Object(pairs.collect()).to_string()
}

/// The first line of a file of comma-separated values.
pub(crate) fn csv_header() -> String {
    COLUMNS.join(",")
}

/// A line of comma-separated values (RFC 4180), without its newline. How TLVs came back is one column.
pub(crate) fn csv(record: &Record, name: &str, start_ns: u64) -> String {
    let mut values = values(record, name, start_ns);
    if let Some(reply) = &record.reply {
        let outcomes = reply.findings.iter().map(|finding| format!("{}: {}", finding.tlv, finding.outcome.label()));
        values[TLVS] = json!(outcomes.collect::<Vec<_>>().join("; "));
    }
    let fields = values.iter().map(|value| match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    fields.collect::<Vec<_>>().join(",")
}

/// Returns the name of a timestamp's source, for streams.
fn stamp_label(source: StampSource) -> &'static str {
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
    use crate::sender::session::matcher::ReplyKind;
    use crate::sender::session::record::{PacketOutcome, ReplyRecord};

    fn answered() -> Record {
        let times = Times { t1: 100, t2: 1_130, t3: 1_150, t4: 180 };
        Record {
            target: 0,
            ssid: 4_321,
            fate: PacketOutcome::Answered(ReplyKind::Reply),
            sequence: 7,
            t1: (100, StampSource::Kernel),
            reply: Some(ReplyRecord {
                octets: 44,
                t2: 1_130,
                t3: 1_150,
                t4: (180, StampSource::User),
                reflector_sequence: 6,
                sample: Ok(times.sample()),
                is_synchronized: false,
                error_ns: Some(16),
                forward_ttl: Some(64),
                backward_ttl: None,
                forward_class: None,
                backward_class: Some(TrafficClass(0xb8)),
                reordering_extent: 0,
                findings: Vec::new(),
            }),
        }
    }

    #[test]
    fn a_reply_is_one_line_with_every_column() {
        assert_eq!(COLUMNS[TLVS], "tlvs");
        let line = csv(&answered(), "a", 0);
        assert_eq!(
            line,
            "a,180,7,reply,100,1130,1150,180,kernel,user,60,20,1030,-970,false,16,6,44,64,,,184,0,,4321,180"
        );
        assert_eq!(line.split(',').count(), COLUMNS.len());
        let object: Value = serde_json::from_str(&jsonl(&answered(), "a", 0)).unwrap();
        assert_eq!(object.as_object().unwrap().len(), COLUMNS.len());
        assert_eq!((&object["round_trip_ns"], &object["forward_class"]), (&json!(60), &Value::Null));
    }

    #[test]
    fn a_loss_has_no_times_but_t1_and_names_are_quoted_where_they_must() {
        let lost = Record { fate: PacketOutcome::Lost, reply: None, ..answered() };
        let line = csv(&lost, "odd,\"name\"", 0);
        assert!(line.starts_with("\"odd,\"\"name\"\"\",100,7,lost,100,,,,kernel,,"), "{line}");
    }
}
