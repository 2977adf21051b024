//! The TLVs of a test packet: U set, everything that the reflector is to fill zero (RFC 8972 §4).

use std::net::IpAddr;

use teaparty_common::tlv::access_report::AccessReport;
use teaparty_common::tlv::class_of_service::{ClassOfService, ClassOfServiceV2, DscpEcn};
use teaparty_common::tlv::destination_port::DestinationPort;
use teaparty_common::tlv::header::Header;
use teaparty_common::tlv::measurement::{DirectMeasurement, FollowUpTelemetry, HistoryEntry, TimestampInformation};
use teaparty_common::tlv::micro_session::MicroSessionId;
use teaparty_common::tlv::reflected_control::ReflectedControl;
use teaparty_common::tlv::return_path::ControlCode;
use teaparty_common::tlv::return_path::sub as return_path;
use teaparty_common::tlv::{HEADER_LEN, Kind, location};
use teaparty_common::wire::{Dscp, Ecn, HMAC_LEN, TrafficClass};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

/// The type that `unrecognized` sends: experimental, and nobody's as far as we know.
pub const UNRECOGNIZED_CODE: u8 = 250;

/// The part of a TLV's Value that differs from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Nothing.
    Fixed,
    /// All of it is random.
    Random,
    /// Its first four octets count the packets sent, this one included (RFC 8972 §4.5).
    Counter,
    /// All of it is the HMAC over the TLVs in front.
    Hmac,
}

/// One TLV of a test packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTlv {
    /// Its kind; `None` for a type that no reflector should know.
    pub kind: Option<Kind>,
    /// The Value as far as it is the same in every packet.
    pub value: Vec<u8>,
    /// The part that differs.
    pub fill: Fill,
}

/// The content of an Access Report (RFC 8972 §4.6), and its persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessReportContent {
    /// Access ID: 1 3GPP, 2 Non-3GPP.
    pub id: u8,
    /// Return Code: 1 network available, 2 unavailable.
    pub return_code: u8,
}

impl RequestTlv {
    /// A TLV with this Value in every packet.
    pub fn fixed(kind: Kind, value: impl Into<Vec<u8>>) -> Self {
        Self { kind: Some(kind), value: value.into(), fill: Fill::Fixed }
    }

    /// Octets on the wire.
    pub fn len(&self) -> usize {
        HEADER_LEN + self.value.len()
    }

    /// Never: a TLV has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Extra Padding of `octets` Value octets, random (as RFC 8972 §4.1 recommends) or zero.
    pub fn padding(octets: u16, is_random: bool) -> Self {
        let fill = if is_random { Fill::Random } else { Fill::Fixed };
        Self { fill, ..Self::fixed(Kind::ExtraPadding, vec![0; octets.into()]) }
    }

    /// A TLV of a type that no reflector should know.
    pub fn unrecognized(octets: u16) -> Self {
        Self { kind: None, value: vec![0; octets.into()], fill: Fill::Random }
    }

    /// Location with the sub-TLVs asked for; everything but types and lengths zero (RFC 8972 §4.2).
    pub fn location(source_mac: bool, destination: bool, source: bool) -> Self {
        let mut value = vec![0; location::FIXED_LEN];
        let subs = [
            (source_mac, location::sub::SOURCE_MAC, 8),
            (destination, location::sub::DESTINATION_IP, 16),
            (source, location::sub::SOURCE_IP, 16),
        ];
        for (_, code, len) in subs.into_iter().filter(|(is_requested, ..)| *is_requested) {
            value.extend_from_slice(Header::sent(code, len).as_bytes());
            value.resize(value.len() + usize::from(len), 0);
        }
        Self::fixed(Kind::Location, value)
    }

    /// Timestamp Information, all zero (RFC 8972 §4.3).
    pub fn timestamp_information() -> Self {
        Self::fixed(Kind::TimestampInformation, [0; size_of::<TimestampInformation>()])
    }

    /// Class of Service: the reply's DSCP and ECN wanted (RFC 8972 §4.4, cos-ecn-01 §3).
    pub fn class_of_service(dscp: Dscp, ecn: Ecn) -> Self {
        Self::fixed(Kind::ClassOfService, ClassOfService::request(dscp, ecn).as_bytes())
    }

    /// Class of Service v2; `sent` is what the packet's IP header is given.
    pub fn class_of_service_v2(sent: TrafficClass, requested: TrafficClass) -> Self {
        let body = ClassOfServiceV2 { sent: sent.0, received: 0, wanted: requested.0, used: 0 };
        Self::fixed(Kind::ClassOfServiceV2, body.as_bytes())
    }

    /// The older request for a reply's DSCP and ECN.
    pub fn dscp_ecn(requested: TrafficClass) -> Self {
        let body = DscpEcn { wanted: requested.0, received: 0, outcome: 0, reserved: 0 };
        Self::fixed(Kind::DscpEcn, body.as_bytes())
    }

    /// Direct Measurement: our count of packets, the other two counters zero (RFC 8972 §4.5).
    pub fn direct_measurement() -> Self {
        Self { fill: Fill::Counter, ..Self::fixed(Kind::DirectMeasurement, [0; size_of::<DirectMeasurement>()]) }
    }

    /// Access Report (RFC 8972 §4.6).
    pub fn access_report(access: AccessReportContent) -> Self {
        let body = AccessReport { access_id: access.id << 4, return_code: access.return_code, reserved: U16::ZERO };
        Self::fixed(Kind::AccessReport, body.as_bytes())
    }

    /// Follow-Up Telemetry, all zero (RFC 8972 §4.7).
    pub fn follow_up() -> Self {
        Self::fixed(Kind::FollowUpTelemetry, [0; size_of::<FollowUpTelemetry>()])
    }

    /// HMAC: comes after all TLVs but Extra Padding (RFC 8972 §4.8).
    pub fn hmac() -> Self {
        Self { fill: Fill::Hmac, ..Self::fixed(Kind::Hmac, [0; HMAC_LEN]) }
    }

    /// Destination Node Address (RFC 9503 §3).
    pub fn destination_address(address: IpAddr) -> Self {
        Self::fixed(Kind::DestinationNodeAddress, octets(address))
    }

    /// Return Path with a Control Code: no reply, or one on the link of the request (RFC 9503 §4.1.1).
    pub fn control_code(wants_reply: bool) -> Self {
        let body =
            ControlCode { header: Header::sent(return_path::CONTROL_CODE, 4), flags: U32::new(u32::from(wants_reply)) };
        Self::fixed(Kind::ReturnPath, body.as_bytes())
    }

    /// Return Path with an address, an SR-MPLS label stack or an SRv6 segment list (RFC 9503 §4.1.2 to §4.1.4).
    pub fn return_path(address: Option<IpAddr>, labels: &[u32], segments: &[std::net::Ipv6Addr]) -> Self {
        let mut value = Vec::new();
        let mut sub = |code, body: Vec<u8>| {
            value.extend_from_slice(Header::sent(code, body.len() as u16).as_bytes());
            value.extend(body);
        };
        if let Some(address) = address {
            sub(return_path::RETURN_ADDRESS, octets(address));
        }
        if !labels.is_empty() {
            sub(
                return_path::SR_MPLS,
                labels
                    .iter()
                    .enumerate()
                    .flat_map(|(i, label)| {
                        // RFC 3032 §2.1: label 20 bits, traffic class 3, bottom of stack 1, TTL 8.
                        let is_bottom = u32::from(i + 1 == labels.len());
                        (label << 12 | is_bottom << 8 | 255).to_be_bytes()
                    })
                    .collect(),
            );
        }
        if !segments.is_empty() {
            sub(return_path::SRV6, segments.iter().flat_map(|segment| segment.octets()).collect());
        }
        Self::fixed(Kind::ReturnPath, value)
    }

    /// Micro-session ID: our member link, and the reflector's where known, else 0 (RFC 9534 §3.2).
    pub fn micro_session(sender: u16, reflector: u16) -> Self {
        let body = MicroSessionId { sender_id: U16::new(sender), reflector_id: U16::new(reflector) };
        Self::fixed(Kind::MicroSessionId, body.as_bytes())
    }

    /// Reflected Test Packet Control without groups; padded to the least Length of 12 (RFC 10052 §3).
    pub fn reflected_control(length: u16, count: u16, interval_ns: u32) -> Self {
        let mut value = Vec::with_capacity(12);
        value.extend(length.to_be_bytes());
        value.extend(count.to_be_bytes());
        value.extend(interval_ns.to_be_bytes());
        value.extend([0; 4]);
        Self::fixed(Kind::ReflectedControl, value)
    }

    /// Creates one without padding to the least Length: the fixed part alone, for a reflector that takes no other.
    pub fn reflected_control_short(length: u16, count: u16, interval_ns: u32) -> Self {
        let mut request = Self::reflected_control(length, count, interval_ns);
        request.value.truncate(size_of::<ReflectedControl>());
        request
    }

    /// Changes the interval that a Reflected Test Packet Control asks for. Other TLVs stay as they are.
    pub fn set_reply_interval(&mut self, interval_ns: u32) {
        if self.kind == Some(Kind::ReflectedControl)
            && let Ok((control, _)) = ReflectedControl::mut_from_prefix(self.value.as_mut_slice())
        {
            control.interval_ns = U32::new(interval_ns);
        }
    }

    /// Pattern, count and burst of residual bit errors, and the padding that they are about (stamp-ber-07 §4).
    ///
    /// The padding is whole repetitions of the pattern, `octets` of it or a little less. It comes last, so that an HMAC
    /// TLV does not cover it.
    pub fn bit_errors(pattern: &[u8], octets: u16) -> [Self; 4] {
        let repeats = usize::from(octets) / pattern.len().max(1);
        [
            Self::fixed(Kind::BitErrorPattern, pattern),
            Self::fixed(Kind::BitErrorCount, [0; 4]),
            Self::fixed(Kind::BitErrorBurst, [0; 4]),
            Self::fixed(Kind::ExtraPadding, pattern.repeat(repeats)),
        ]
    }

    /// Destination Port: the reply is to arrive at this port of the sender.
    pub fn destination_port(port: u16) -> Self {
        let body = DestinationPort { port: U16::new(port), reserved: U16::ZERO };
        Self::fixed(Kind::DestinationPort, body.as_bytes())
    }

    /// History: room for the last `exchanges`.
    pub fn history(exchanges: u16) -> Self {
        Self::fixed(Kind::History, vec![0; usize::from(exchanges) * size_of::<HistoryEntry>()])
    }

    /// An IPv6 extension header of `octets` octets as received (ext-hdr-15 §4).
    pub fn extension_header(octets: u16) -> Self {
        Self::fixed(Kind::ReflectedExtensionHeader, vec![0; octets.into()])
    }

    /// The IP header as received: 20 octets of IPv4, 40 of IPv6 (ext-hdr-15 §6).
    pub fn fixed_header(is_v6: bool) -> Self {
        Self::fixed(Kind::ReflectedFixedHeader, vec![0; if is_v6 { 40 } else { 20 }])
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_those_of_the_fact_sheet() {
        // STAMP.md 3.4: DSCP1 in the upper six bits; EC1 in bits 16 and 17.
        let cos = RequestTlv::class_of_service(Dscp::from_low6(46), Ecn::from_low2(2));
        assert_eq!(cos.value, [0xb8, 0, 0x80, 0]);
        assert_eq!(RequestTlv::micro_session(0x0102, 0).value, [1, 2, 0, 0]);
        assert_eq!(RequestTlv::destination_port(983).value, [0x03, 0xd7, 0, 0]);
        assert_eq!(RequestTlv::access_report(AccessReportContent { id: 1, return_code: 2 }).value, [0x10, 2, 0, 0]);
        assert_eq!(RequestTlv::control_code(true).value, [0x80, 1, 0, 4, 0, 0, 0, 1]);
        assert_eq!(
            RequestTlv::reflected_control(128, 3, 1_000_000).value,
            [0, 128, 0, 3, 0, 0x0f, 0x42, 0x40, 0, 0, 0, 0]
        );
        let short = RequestTlv::reflected_control_short(128, 3, 1_000_000);
        assert_eq!(short.value, [0, 128, 0, 3, 0, 0x0f, 0x42, 0x40]);
        assert_eq!(RequestTlv::history(3).value, [0; 96]);
        let address = RequestTlv::return_path(Some("192.0.2.7".parse().unwrap()), &[], &[]);
        assert_eq!(address.value, [0x80, 2, 0, 4, 192, 0, 2, 7]);
        let labels = RequestTlv::return_path(None, &[16, 17], &[]);
        assert_eq!(labels.value, [0x80, 3, 0, 8, 0, 1, 0, 0xff, 0, 1, 0x11, 0xff]);
    }

    #[test]
    fn location_asks_with_zeros() {
        let location = RequestTlv::location(true, false, true);
        let mut expected = vec![0, 0, 0, 0, 0x80, 1, 0, 8];
        expected.extend([0; 8]);
        expected.extend([0x80, 7, 0, 16]);
        expected.extend([0; 16]);
        assert_eq!(location.value, expected);
    }

    #[test]
    fn every_request_has_a_length_that_the_registry_allows() {
        let tc = TrafficClass(0);
        let all = [
            RequestTlv::padding(0, true),
            RequestTlv::location(false, false, false),
            RequestTlv::timestamp_information(),
            RequestTlv::class_of_service(Dscp::default(), Ecn::default()),
            RequestTlv::class_of_service_v2(tc, tc),
            RequestTlv::dscp_ecn(tc),
            RequestTlv::direct_measurement(),
            RequestTlv::access_report(AccessReportContent { id: 1, return_code: 1 }),
            RequestTlv::follow_up(),
            RequestTlv::hmac(),
            RequestTlv::destination_address("::1".parse().unwrap()),
            RequestTlv::control_code(false),
            RequestTlv::micro_session(1, 0),
            RequestTlv::reflected_control(0, 1, 0),
            RequestTlv::destination_port(983),
            RequestTlv::history(3),
            RequestTlv::extension_header(8),
            RequestTlv::fixed_header(false),
            RequestTlv::fixed_header(true),
        ];
        for request in all.into_iter().chain(RequestTlv::bit_errors(&[0xff, 0], 64)) {
            let entry = request.kind.unwrap().entry();
            assert!(entry.length.allows(request.value.len() as u16), "{}", entry.name);
        }
    }
}
