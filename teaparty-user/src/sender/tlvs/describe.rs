//! What the TLVs of a reply say, in words and as JSON.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use serde_json::{Value, json};
use teaparty_common::tlv::access_report::AccessReport;
use teaparty_common::tlv::class_of_service::{ClassOfService, ClassOfServiceV2, DscpEcn};
use teaparty_common::tlv::destination_port::DestinationPort;
use teaparty_common::tlv::measurement::{DirectMeasurement, FollowUpTelemetry, HistoryEntry, TimestampInformation};
use teaparty_common::tlv::micro_session::MicroSessionId;
use teaparty_common::tlv::reflected_control::ReflectedControl;
use teaparty_common::tlv::{Kind, location};
use teaparty_common::wire::{Dscp, Ecn, TrafficClass};
use zerocopy::FromBytes;

use super::reply::{ReplyTlv, TlvOutcome, body, subs};
use super::request::UNRECOGNIZED_CODE;

/// The finding of one TLV of one reply.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TlvFinding {
    /// Name in the registry, or the type's number where we don't know it.
    pub tlv: String,
    /// The verdict on its Value.
    pub outcome: TlvOutcome,
    /// In words.
    pub words: String,
    /// Its fields; null unless it was answered.
    pub value: Value,
}

/// The marks of a packet's way, to compare the TLVs with.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// As we sent the packet.
    pub sent: TrafficClass,
    /// As the reply arrived, if the kernel told.
    pub reply: Option<TrafficClass>,
    /// True if the HMAC TLV could be verified: nobody can without a key.
    pub has_key: bool,
}

/// DSCP in words: its name, or its number.
pub fn dscp(dscp: Dscp) -> String {
    match dscp.name() {
        Some("voiceadmit") => "VOICE-ADMIT".into(),
        Some(name) => name.to_ascii_uppercase(),
        None => dscp.value().to_string(),
    }
}

/// ECN as RFC 3168 writes it.
pub fn ecn(ecn: Ecn) -> &'static str {
    match ecn.value() {
        0 => "Not-ECT",
        1 => "ECT(1)",
        2 => "ECT(0)",
        _ => "CE",
    }
}

/// Both in words.
pub fn class(class: TrafficClass) -> String {
    format!("DSCP {} ECN {}", dscp(class.dscp()), ecn(class.ecn()))
}

fn class_json(class: TrafficClass) -> Value {
    json!({ "dscp": class.dscp().value(), "ecn": class.ecn().name() })
}

/// Name of a TLV in the registry; of types that we don't know, the one that we send has a name too.
pub fn name(answer: &ReplyTlv<'_>) -> String {
    match answer.kind {
        Some(kind) => kind.entry().name.into(),
        None if answer.code == UNRECOGNIZED_CODE => "unrecognized".into(),
        None => answer.code.to_string(),
    }
}

/// Returns the finding of a TLV.
pub fn finding(answer: &ReplyTlv<'_>, marks: Marks) -> TlvFinding {
    let described = match (answer.outcome, answer.kind) {
        (TlvOutcome::Answered, Some(kind)) => describe(kind, answer.value, marks),
        _ => None,
    };
    let (words, value) = described.unwrap_or_else(|| (unusable(answer), Value::Null));
    TlvFinding { tlv: name(answer), outcome: answer.outcome, words, value }
}

/// Why a TLV's Value may not be used.
///
/// U comes back from a reflector that does not know a TLV, and from one that knows it and may not do what it asks.
fn unusable(answer: &ReplyTlv<'_>) -> String {
    let label = answer.outcome.label();
    match (answer.outcome, answer.kind.and_then(|kind| kind.entry().allowed_by)) {
        (TlvOutcome::Unrecognized, Some(_)) if answer.kind == Some(Kind::Hmac) => {
            format!("{label}: the reflector has no key for it (`--tlv-key-file` there)")
        }
        (TlvOutcome::Unrecognized, Some(option)) => format!("not recognised or not allowed (`{option}` there)"),
        (TlvOutcome::NotAuthentic, _) => format!("{label}: the keys differ, or the reflector has none"),
        _ => label.into(),
    }
}

fn describe(kind: Kind, value: &[u8], marks: Marks) -> Option<(String, Value)> {
    Some(match kind {
        Kind::ClassOfService => class_of_service(body(value)?, marks),
        Kind::ClassOfServiceV2 => class_of_service_v2(body(value)?, marks),
        Kind::DscpEcn => dscp_ecn(body(value)?, marks),
        Kind::TimestampInformation => timestamp_information(body(value)?),
        Kind::DirectMeasurement => {
            let body: DirectMeasurement = body(value)?;
            let (sent, received, replied) =
                (body.sender_tx_counter.get(), body.reflector_rx_counter.get(), body.reflector_tx_counter.get());
            (
                format!("sent {sent}, reflector received {received} and had replied {replied}"),
                json!({ "sender_tx": sent, "reflector_rx": received, "reflector_tx": replied }),
            )
        }
        Kind::FollowUpTelemetry => {
            let body: FollowUpTelemetry = body(value)?;
            let (sequence, time) = (body.sequence_number.get(), body.follow_up_timestamp.bits());
            let words = if time == 0 {
                "no earlier reply on record".into()
            } else {
                format!(
                    "the reply before this one, number {sequence}, left at {time:#018x} ({})",
                    method(body.timestamp_mode)
                )
            };
            (words, json!({ "sequence": sequence, "timestamp": time, "method": body.timestamp_mode }))
        }
        Kind::AccessReport => {
            let body: AccessReport = body(value)?;
            (
                format!("access {} with return code {} is acknowledged", access(body.id()), body.return_code),
                json!({ "access_id": body.id(), "return_code": body.return_code }),
            )
        }
        Kind::MicroSessionId => {
            let body: MicroSessionId = body(value)?;
            let (ours, theirs) = (body.sender_id.get(), body.reflector_id.get());
            (format!("our link {ours}, the reflector's {theirs}"), json!({ "sender": ours, "reflector": theirs }))
        }
        Kind::DestinationPort => {
            let body: DestinationPort = body(value)?;
            (format!("the reply was sent to port {}", body.port.get()), json!({ "port": body.port.get() }))
        }
        Kind::Location => location_words(value)?,
        Kind::History => history(value),
        Kind::BitErrorCount => {
            let count = u32::from_be_bytes(value.try_into().ok()?);
            (format!("{count} wrong bits on the way forward"), json!(count))
        }
        Kind::BitErrorBurst => {
            let count = u32::from_be_bytes(value.try_into().ok()?);
            (format!("longest run of wrong bits {count}"), json!(count))
        }
        Kind::DestinationNodeAddress => {
            let address = address(value)?;
            (format!("{address} is the reflector's"), json!(address))
        }
        Kind::ReflectedFixedHeader | Kind::ReflectedExtensionHeader => {
            let hex: String = value.iter().map(|octet| format!("{octet:02x}")).collect();
            (format!("as it arrived there: {hex}"), json!(hex))
        }
        Kind::ReturnPath => ("the return path was used as asked".into(), Value::Null),
        Kind::ReflectedControl => {
            let (body, _) = ReflectedControl::read_from_prefix(value).ok()?;
            let (length, count, interval) = (body.length.get(), body.count.get(), body.interval_ns.get());
            (
                format!("{count} replies to each packet, of {length} octets or more, {interval} ns apart"),
                json!({ "length": length, "count": count, "interval_ns": interval }),
            )
        }
        Kind::Hmac if marks.has_key => ("verified".into(), Value::Null),
        Kind::Hmac => ("not checked: no key".into(), Value::Null),
        Kind::ExtraPadding => (format!("{} octets came back", value.len()), json!(value.len())),
        Kind::BitErrorPattern => ("taken".into(), Value::Null),
        Kind::Heartbeat => ("a reflector's sign of life".into(), Value::Null),
    })
}

/// Describes changes of our marking by the path, given what the reflector says it received.
fn forward(received: TrafficClass, marks: Marks) -> String {
    let mut changes = Vec::new();
    if received.dscp() != marks.sent.dscp() {
        changes.push(format!("DSCP from {} to {}", dscp(marks.sent.dscp()), dscp(received.dscp())));
    }
    if received.ecn() != marks.sent.ecn() {
        changes.push(format!("ECN from {} to {}", ecn(marks.sent.ecn()), ecn(received.ecn())));
    }
    if changes.is_empty() {
        format!("the path kept {}", class(received))
    } else {
        format!("the path changed {}", changes.join(" and "))
    }
}

/// The marking that was requested for a reply.
struct ExpectedMarking {
    dscp: Dscp,
    /// `None` where the reflector promises nothing about it.
    ecn: Option<Ecn>,
    /// True if that is what we asked for.
    is_as_requested: bool,
}

impl ExpectedMarking {
    fn all(class: TrafficClass, requested: TrafficClass) -> Self {
        Self { dscp: class.dscp(), ecn: Some(class.ecn()), is_as_requested: class == requested }
    }

    /// Not-ECT goes without saying.
    fn say(dscp: Dscp, ecn: Option<Ecn>) -> String {
        match ecn.filter(|ecn| ecn.value() != 0) {
            Some(mark) => format!("DSCP {} ECN {}", self::dscp(dscp), self::ecn(mark)),
            None => format!("DSCP {}", self::dscp(dscp)),
        }
    }

    /// Describes the marking of the reply as it arrived.
    fn words(&self, marks: Marks) -> String {
        let expected = Self::say(self.dscp, self.ecn);
        let Some(reply) = marks.reply else { return format!("reply was to have {expected}") };
        if reply.dscp() != self.dscp || self.ecn.is_some_and(|ecn| ecn != reply.ecn()) {
            return format!("reply came back with {} instead of {}", class(reply), class_of(self));
        }
        format!("reply came back with {expected}{}", if self.is_as_requested { " as asked" } else { "" })
    }
}

/// In full, to stand beside what came instead.
fn class_of(expected: &ExpectedMarking) -> String {
    class(TrafficClass::new(expected.dscp, expected.ecn.unwrap_or_default()))
}

fn class_of_service(body: ClassOfService, marks: Marks) -> (String, Value) {
    let received = TrafficClass::new(body.dscp2(), body.ec2());
    let is_dscp_refused = body.rpd() == 1;
    let is_ecn_refused = body.rpe() == 0b10;
    let expected = ExpectedMarking {
        dscp: if is_dscp_refused { received.dscp() } else { body.dscp1() },
        // RPE 0 comes from a reflector that knows RFC 8972 alone, which promises nothing about ECN.
        ecn: match body.rpe() {
            0b11 => Some(body.ec1()),
            0b10 => Some(Ecn::default()),
            _ => None,
        },
        is_as_requested: !is_dscp_refused && !is_ecn_refused,
    };
    let mut words = expected.words(marks);
    if is_dscp_refused {
        words += &format!(", policy refused DSCP {}", dscp(body.dscp1()));
    }
    if is_ecn_refused {
        words += &format!(", ECN {} could not be set", ecn(body.ec1()));
    }
    words = format!("{words}; {}", forward(received, marks));
    let value = json!({
        "wanted": class_json(TrafficClass::new(body.dscp1(), body.ec1())),
        "received": class_json(received),
        "reply": marks.reply.map(class_json),
        "rpd": body.rpd(),
        "rpe": body.rpe(),
    });
    (words, value)
}

fn class_of_service_v2(body: ClassOfServiceV2, marks: Marks) -> (String, Value) {
    let [received, requested, used] = [body.received, body.wanted, body.used].map(TrafficClass);
    let mut words = ExpectedMarking::all(used, requested).words(marks);
    if used != requested {
        words += &format!(", refused was {}", class(requested));
    }
    let value = json!({
        "sent": class_json(TrafficClass(body.sent)), "received": class_json(received),
        "wanted": class_json(requested), "used": class_json(used), "reply": marks.reply.map(class_json),
    });
    (format!("{words}; {}", forward(received, marks)), value)
}

fn dscp_ecn(body: DscpEcn, marks: Marks) -> (String, Value) {
    let [requested, received] = [body.wanted, body.received].map(TrafficClass);
    let is_refused = body.outcome & DscpEcn::REFUSED != 0;
    let words = if is_refused {
        format!("{} was refused", class(requested))
    } else {
        ExpectedMarking::all(requested, requested).words(marks)
    };
    let value = json!({
        "wanted": class_json(requested), "received": class_json(received), "refused": is_refused,
        "reply": marks.reply.map(class_json),
    });
    (format!("{words}; {}", forward(received, marks)), value)
}

fn timestamp_information(body: TimestampInformation) -> (String, Value) {
    let words = format!(
        "in: {}, {}; out: {}, {}",
        source(body.sync_source_in),
        method(body.timestamp_in),
        source(body.sync_source_out),
        method(body.timestamp_out)
    );
    let value = json!({
        "sync_source_in": body.sync_source_in, "timestamp_in": body.timestamp_in,
        "sync_source_out": body.sync_source_out, "timestamp_out": body.timestamp_out,
    });
    (words, value)
}

/// Synchronization Source (RFC 8972 §5.4).
fn source(number: u8) -> String {
    match number {
        1 => "synchronised by NTP".into(),
        2 => "synchronised by PTP".into(),
        3 => "synchronised by SSU/BITS".into(),
        4 => "synchronised by satellites".into(),
        5 => "free-running clock".into(),
        other => format!("synchronisation source {other}"),
    }
}

/// Timestamping Method (RFC 8972 §5.5).
fn method(number: u8) -> String {
    match number {
        1 => "stamped by hardware".into(),
        2 => "stamped by software".into(),
        3 => "stamped by the control plane".into(),
        other => format!("timestamping method {other}"),
    }
}

fn access(id: u8) -> String {
    match id {
        1 => "3GPP".into(),
        2 => "Non-3GPP".into(),
        other => other.to_string(),
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(*value.first_chunk()?).into()),
        16 => Some(Ipv6Addr::from(*value.first_chunk()?).into()),
        _ => None,
    }
}

fn location_words(value: &[u8]) -> Option<(String, Value)> {
    let (ports, rest) = location::Location::read_from_prefix(value).ok()?;
    let mut words =
        vec![format!("seen from port {} to port {}", ports.source_port.get(), ports.destination_port.get())];
    let mut fields =
        json!({ "source_port": ports.source_port.get(), "destination_port": ports.destination_port.get() });
    for (header, value) in subs(rest) {
        let (name, key, text) = match header.code {
            location::sub::SOURCE_EUI48 => {
                let mac: Vec<String> = value.iter().take(6).map(|octet| format!("{octet:02x}")).collect();
                ("source MAC", "source_mac", mac.join(":"))
            }
            location::sub::SOURCE_EUI64 => ("source MAC", "source_mac", "none".into()),
            location::sub::DESTINATION_IPV4 => ("destination", "destination", address(value.get(..4)?)?.to_string()),
            location::sub::DESTINATION_IPV6 => ("destination", "destination", address(value)?.to_string()),
            location::sub::SOURCE_IPV4 => ("source", "source", address(value.get(..4)?)?.to_string()),
            location::sub::SOURCE_IPV6 => ("source", "source", address(value)?.to_string()),
            _ => continue,
        };
        words.push(format!("{name} {text}"));
        fields[key] = json!(text);
    }
    Some((words.join(", "), fields))
}

fn history(value: &[u8]) -> (String, Value) {
    let entries: Vec<Value> = value
        .chunks_exact(size_of::<HistoryEntry>())
        .filter_map(|chunk| HistoryEntry::read_from_bytes(chunk).ok())
        .filter(|entry| entry.timestamp.bits() != 0)
        .map(|entry| {
            json!({
                "reflector_sequence": entry.reflector_sequence_number.get(),
                "sender_sequence": entry.sender_sequence_number.get(),
                "t1": entry.sender_timestamp.bits(),
                "t2": entry.receive_timestamp.bits(),
                "t3": entry.timestamp.bits(),
            })
        })
        .collect();
    (format!("{} earlier exchanges on record", entries.len()), json!(entries))
}

#[cfg(test)]
mod tests;
