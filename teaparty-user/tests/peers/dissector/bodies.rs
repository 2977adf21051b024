//! The fields of the Values of TLVs and sub-TLVs by the structs of `teaparty-common`.

use std::net::{Ipv4Addr, Ipv6Addr};

use teaparty_common::tlv::access_report::AccessReport;
use teaparty_common::tlv::class_of_service::{ClassOfService, ClassOfServiceV2, DscpEcn};
use teaparty_common::tlv::destination_port::DestinationPort;
use teaparty_common::tlv::location::{self, Location};
use teaparty_common::tlv::measurement::{DirectMeasurement, FollowUpTelemetry, HistoryEntry, TimestampInformation};
use teaparty_common::tlv::micro_session::MicroSessionId;
use teaparty_common::tlv::reflected_control::{self, ReflectedControl};
use teaparty_common::tlv::{HEADER_LEN, Header, Kind, TlvView, return_path};
use teaparty_common::wire::TrafficClass;
use zerocopy::FromBytes;

use super::expected::{Formats, Found, add_header, hex};

/// Reads a struct from the head of a Value that is long enough.
fn read<T: FromBytes>(value: &[u8]) -> T {
    T::read_from_prefix(value).expect("the Length was checked").0
}

/// Adds the Value of a TLV.
pub(crate) fn add(found: &mut Found, view: &TlvView<'_>, formats: Formats) {
    let value = view.value;
    let Some(kind) = view.kind().filter(|kind| kind.entry().length.allows(view.tlv.length)) else {
        return found.add_octets("tlv.value", value);
    };
    match kind {
        Kind::ExtraPadding => found.add_octets("padding", value),
        Kind::Location => {
            let head: Location = read(value);
            found.add("location.destination_port", head.destination_port);
            found.add("location.source_port", head.source_port);
            add_subs(found, &value[location::FIXED_LEN..], &[], location_sub);
        }
        Kind::TimestampInformation => {
            let body: TimestampInformation = read(value);
            found.add("time_info.sync_in", body.sync_source_in);
            found.add("time_info.method_in", body.timestamp_in);
            found.add("time_info.sync_out", body.sync_source_out);
            found.add("time_info.method_out", body.timestamp_out);
        }
        Kind::ClassOfService => class_of_service(found, read(value)),
        Kind::DirectMeasurement => {
            let body: DirectMeasurement = read(value);
            found.add("direct.sender_tx", body.sender_tx_counter);
            found.add("direct.reflector_rx", body.reflector_rx_counter);
            found.add("direct.reflector_tx", body.reflector_tx_counter);
        }
        Kind::AccessReport => {
            let body: AccessReport = read(value);
            found.add("access.id", body.id());
            found.add("access.reserved", body.access_id & 0xf);
            found.add("access.code", body.return_code);
            found.add_octets("reserved", &value[2..]);
        }
        Kind::FollowUpTelemetry => {
            let body: FollowUpTelemetry = read(value);
            found.add("followup.seq", body.sequence_number);
            found.add_time("followup.timestamp", body.follow_up_timestamp, formats.reflector);
            found.add("followup.mode", body.timestamp_mode);
            found.add_octets("reserved", &body.reserved);
        }
        Kind::Hmac => found.add_octets("tlv_hmac", value),
        Kind::DestinationNodeAddress => add_address(found, "destination", value),
        Kind::ReturnPath => add_subs(found, value, &[], return_path_sub),
        Kind::MicroSessionId => {
            let body: MicroSessionId = read(value);
            found.add("micro.sender", body.sender_id);
            found.add("micro.reflector", body.reflector_id);
        }
        Kind::ReflectedControl => {
            let head: ReflectedControl = read(value);
            found.add("control.length", head.length);
            found.add("control.count", head.count);
            found.add("control.interval", head.interval_ns);
            add_subs(found, &value[size_of::<ReflectedControl>()..], &[0; HEADER_LEN], control_sub);
        }
        Kind::BitErrorPattern => found.add_octets("ber.pattern", value),
        Kind::BitErrorCount => found.add("ber.count", number(value)),
        Kind::BitErrorBurst => found.add("ber.burst", number(value)),
        Kind::Heartbeat => {
            found.add("heartbeat.mac", colons(&value[..6]));
            found.add_octets("reserved", &value[6..]);
        }
        Kind::DestinationPort => {
            let body: DestinationPort = read(value);
            found.add("destination_port", body.port);
            found.add_octets("reserved", &value[2..]);
        }
        Kind::History => history(found, value, formats),
        Kind::ReflectedExtensionHeader => {
            found.add("extension_header.next", value[0]);
            found.add("extension_header.length", value[1]);
            found.add_octets("extension_header.data", &value[2..]);
        }
        Kind::ReflectedFixedHeader => fixed_header(found, value),
        Kind::ClassOfServiceV2 => {
            let body: ClassOfServiceV2 = read(value);
            traffic_class(found, "cos2.sent", body.sent);
            traffic_class(found, "cos2.received", body.received);
            traffic_class(found, "cos2.wanted", body.wanted);
            traffic_class(found, "cos2.used", body.used);
        }
        Kind::DscpEcn => {
            let body: DscpEcn = read(value);
            traffic_class(found, "dscp_ecn.wanted", body.wanted);
            traffic_class(found, "dscp_ecn.received", body.received);
            found.add("dscp_ecn.outcome", body.outcome);
            found.add_octets("reserved", &[body.reserved]);
        }
    }
}

/// Adds sub-TLVs up to the first error. Octets that begin with `filling` are padding.
fn add_subs(found: &mut Found, mut rest: &[u8], filling: &[u8], show: fn(&mut Found, u8, &[u8]) -> bool) {
    while !rest.is_empty() {
        if rest.len() < HEADER_LEN {
            return found.add_octets("stray", rest);
        }
        if !filling.is_empty() && rest.starts_with(filling) {
            return found.add_octets("padding", rest);
        }
        let (header, after) = Header::read_from_prefix(rest).unwrap();
        let length = usize::from(header.length.get());
        add_header(found, "sub", header.flags.0, header.code, header.length.get());
        let Some((value, after)) = after.split_at_checked(length) else {
            return found.add_octets("sub.value", after);
        };
        if !show(found, header.code, value) {
            found.add_octets("sub.value", value);
        }
        rest = after;
    }
}

fn location_sub(found: &mut Found, code: u8, value: &[u8]) -> bool {
    use location::sub::*;
    match (code, value.len()) {
        (SOURCE_MAC, 8) | (SOURCE_IP | DESTINATION_IP, 16) => found.add_octets("mbz", value),
        (SOURCE_EUI48, 8) => {
            found.add("location.mac", colons(&value[..6]));
            found.add_octets("mbz", &value[6..]);
        }
        (SOURCE_EUI64, 8) => found.add_octets("location.eui64", value),
        (SOURCE_IPV4 | DESTINATION_IPV4, 16) => {
            add_address(found, "location", &value[..4]);
            found.add_octets("mbz", &value[4..]);
        }
        (SOURCE_IPV6 | DESTINATION_IPV6, 16) => add_address(found, "location", value),
        _ => return false,
    }
    true
}

fn return_path_sub(found: &mut Found, code: u8, value: &[u8]) -> bool {
    use return_path::sub::*;
    match (code, value.len()) {
        (CONTROL_CODE, 4) => {
            found.add("return_path.control", number(value));
            found.add("return_path.same_link", number(value) & 1);
        }
        (RETURN_ADDRESS, 4 | 16) => add_address(found, "return_path", value),
        (SR_MPLS, length) if length > 0 && length.is_multiple_of(4) => {
            for entry in value.chunks_exact(4).map(number) {
                found.add("return_path.label", entry >> 12);
                found.add("return_path.label.tc", entry >> 9 & 7);
                found.add("return_path.label.s", entry >> 8 & 1);
                found.add("return_path.label.ttl", entry & 0xff);
            }
        }
        (SRV6, length) if length > 0 && length.is_multiple_of(16) => {
            for segment in value.chunks_exact(16) {
                found.add("return_path.segment", address(segment));
            }
        }
        _ => return false,
    }
    true
}

fn control_sub(found: &mut Found, code: u8, value: &[u8]) -> bool {
    use reflected_control::sub::*;
    match (code, value.len()) {
        (L2_GROUP, length @ (4 | 12 | 16)) => {
            found.add_octets("control.mask", &value[..length / 2]);
            found.add_octets("control.group", &value[length / 2..]);
        }
        (L3_GROUP, 8 | 20) => {
            found.add("control.prefix_length", value[0]);
            found.add_octets("reserved", &value[1..4]);
            add_address(found, "control.prefix", &value[4..]);
        }
        (EXTENSION_HEADERS, _) => found.add_octets("sub.value", value),
        _ => return false,
    }
    true
}

fn class_of_service(found: &mut Found, body: ClassOfService) {
    found.add("cos.dscp1", body.dscp1().value());
    found.add("cos.dscp2", body.dscp2().value());
    found.add("cos.ec2", body.ec2().value());
    found.add("cos.rpd", body.rpd());
    found.add("cos.ec1", body.ec1().value());
    found.add("cos.rpe", body.rpe());
    found.add("cos.reserved", body.0.get() & 0xfff);
}

fn traffic_class(found: &mut Found, name: &str, octet: u8) {
    let class = TrafficClass(octet);
    found.add(name, octet);
    found.add(&format!("{name}.dscp"), class.dscp().value());
    found.add(&format!("{name}.ecn"), class.ecn().value());
}

fn history(found: &mut Found, value: &[u8], formats: Formats) {
    for entry in value.chunks(size_of::<HistoryEntry>()) {
        let mut whole = entry.to_vec();
        whole.resize(size_of::<HistoryEntry>(), 0);
        let body: HistoryEntry = read(&whole);
        let has = |octets: usize| entry.len() >= octets;
        if has(4) {
            found.add("history.seq", body.reflector_sequence_number);
        }
        if has(8) {
            found.add("history.sender_seq", body.sender_sequence_number);
        }
        if has(16) {
            found.add_time("history.t2", body.receive_timestamp, formats.reflector);
        }
        if has(24) {
            found.add_time("history.t1", body.sender_timestamp, formats.sender);
        }
        if has(32) {
            found.add_time("history.t3", body.timestamp, formats.reflector);
        }
    }
}

fn fixed_header(found: &mut Found, value: &[u8]) {
    found.add_octets("fixed_header", value);
    if value.iter().all(|octet| *octet == 0) {
        return;
    }
    found.add("fixed_header.version", value[0] >> 4);
    let (head, width) = if value.len() == 20 { (12, 4) } else { (8, 16) };
    let name = if width == 4 { "ipv4" } else { "ipv6" };
    for (at, end) in [(head, "source"), (head + width, "destination")] {
        found.add(&format!("fixed_header.{name}.{end}"), address(&value[at..at + width]));
    }
}

fn add_address(found: &mut Found, name: &str, octets: &[u8]) {
    let version = if octets.len() == 4 { "ipv4" } else { "ipv6" };
    found.add(&format!("{name}.{version}"), address(octets));
}

fn address(octets: &[u8]) -> String {
    match <[u8; 4]>::try_from(octets) {
        Ok(v4) => Ipv4Addr::from(v4).to_string(),
        Err(_) => Ipv6Addr::from(read::<[u8; 16]>(octets)).to_string(),
    }
}

fn number(octets: &[u8]) -> u32 {
    u32::from_be_bytes(read(octets))
}

fn colons(octets: &[u8]) -> String {
    octets.iter().map(|octet| hex(&[*octet])).collect::<Vec<_>>().join(":")
}
