//! A session's test packet: a template made once, and what is written into each copy of it (RFC 8762 §4.2).

use teaparty_common::tlv::{CodePoints, HEADER_LEN, Header, Kind};
use teaparty_common::wire::{ErrorEstimate, HMAC_LEN, Mode, Timestamp, sender};
use zerocopy::IntoBytes;
use zerocopy::network_endian::{U16, U32};

use super::random::Random;
use crate::crypto::HmacKey;
use crate::sender::config::Malformed;
use crate::sender::tlvs::request::{Fill, RequestTlv, UNRECOGNIZED_CODE};

/// The common fields of a session's packets.
#[derive(Clone)]
pub struct PacketSettings<'a> {
    /// Layout of the base packet.
    pub mode: Mode,
    /// Key of the base packet; must be there in authenticated mode.
    pub key: Option<HmacKey>,
    /// Key of the HMAC TLV, where there is one.
    pub tlv_key: Option<HmacKey>,
    /// The mapping of TLVs to numbers.
    pub code_points: &'a CodePoints,
    /// Session-Sender Identifier, 0 for none.
    pub ssid: u16,
    /// The TLVs, in order.
    pub tlvs: &'a [RequestTlv],
    /// Something wrong.
    pub malformed: Option<Malformed>,
}

/// A TLV that the code points have no number for.
#[derive(Debug, thiserror::Error)]
#[error("no code point is assigned to the TLV {name}; see --code-point")]
pub struct NoCodePoint {
    name: &'static str,
}

/// Octets to be copied, and where what differs goes.
#[derive(Clone, Debug)]
pub struct Template {
    mode: Mode,
    key: Option<HmacKey>,
    tlv_key: Option<HmacKey>,
    ssid: u16,
    octets: Vec<u8>,
    fills: Vec<(Fill, std::ops::Range<usize>)>,
}

impl Template {
    /// The template of a session.
    pub fn new(settings: &PacketSettings<'_>) -> Result<Self, NoCodePoint> {
        let mut octets = vec![0; settings.mode.base_len()];
        let mut fills = Vec::new();
        for tlv in settings.tlvs {
            let code = match tlv.kind {
                None => UNRECOGNIZED_CODE,
                Some(kind) => settings.code_points.code(kind).ok_or(NoCodePoint { name: kind.entry().name })?,
            };
            octets.extend_from_slice(Header::sent(code, tlv.value.len() as u16).as_bytes());
            let start = octets.len();
            octets.extend_from_slice(&tlv.value);
            if tlv.fill != Fill::Fixed {
                fills.push((tlv.fill, start..octets.len()));
            }
        }
        match settings.malformed {
            Some(Malformed::BadFlags) => octets.extend([0x7f, Kind::ExtraPadding.entry().code, 0, 4, 0, 0, 0, 0]),
            Some(Malformed::BadLength) => octets.extend([0x80, Kind::ExtraPadding.entry().code, 0xff, 0xff]),
            None => {}
        }
        // The HMAC covers what the others fill in.
        fills.sort_by_key(|(fill, _)| *fill == Fill::Hmac);
        let (key, tlv_key) = (settings.key.clone(), settings.tlv_key.clone());
        Ok(Self { mode: settings.mode, key, tlv_key, ssid: settings.ssid, octets, fills })
    }

    /// The octets of a packet before anything is filled in.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Fills in the TLVs of a copy of the template. `count` is the number of packets sent, this one included.
    pub fn fill_tlvs(&self, packet: &mut [u8], sequence_number: u32, count: u32, random: &mut Random) {
        for (fill, range) in &self.fills {
            match fill {
                Fill::Fixed => {}
                Fill::Random => random.fill(&mut packet[range.clone()]),
                Fill::Counter => packet[range.start..range.start + 4].copy_from_slice(&count.to_be_bytes()),
                Fill::Hmac => {
                    let header_at = range.start - HEADER_LEN;
                    let tlvs = &packet[self.mode.base_len()..header_at];
                    let hmac = self
                        .tlv_key
                        .as_ref()
                        .map_or([0; HMAC_LEN], |key| key.tlv_hmac(sequence_number.to_be_bytes(), tlvs));
                    packet[range.clone()].copy_from_slice(&hmac);
                }
            }
        }
    }

    /// Writes the base packet, as late as possible because it holds T1, and signs it in authenticated mode.
    pub fn write_base(&self, packet: &mut [u8], sequence_number: u32, timestamp: Timestamp, estimate: ErrorEstimate) {
        let sequence_number = U32::new(sequence_number);
        let ssid = U16::new(self.ssid);
        match self.mode {
            Mode::Unauthenticated => {
                let base = sender::UnauthenticatedPacket {
                    sequence_number,
                    timestamp,
                    error_estimate: estimate,
                    ssid,
                    mbz: [0; 28],
                };
                packet[..size_of_val(&base)].copy_from_slice(base.as_bytes());
            }
            Mode::Authenticated => {
                let base = sender::AuthenticatedPacket {
                    sequence_number,
                    mbz_after_sequence: [0; 12],
                    timestamp,
                    error_estimate: estimate,
                    ssid,
                    mbz: [0; 68],
                    hmac: [0; HMAC_LEN],
                };
                packet[..size_of_val(&base)].copy_from_slice(base.as_bytes());
                if let Some(key) = &self.key {
                    key.sign_base(packet);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use teaparty_common::tlv::Profile;
    use teaparty_common::wire::{Dscp, Ecn, TimestampFormat};

    use super::*;

    const POINTS: CodePoints = CodePoints::new(Profile::Current);

    fn settings(tlvs: &[RequestTlv]) -> PacketSettings<'_> {
        PacketSettings {
            mode: Mode::Unauthenticated,
            key: None,
            tlv_key: None,
            code_points: &POINTS,
            ssid: 0x1234,
            tlvs,
            malformed: None,
        }
    }

    fn write(template: &Template, sequence: u32) -> Vec<u8> {
        let mut packet = template.octets().to_vec();
        // What is not written must not be what lay there before.
        packet[..template.mode.base_len()].fill(0xa5);
        template.fill_tlvs(&mut packet, sequence, sequence + 1, &mut Random::new(7));
        let estimate = ErrorEstimate::new(true, TimestampFormat::Ntp, 1_000);
        template.write_base(&mut packet, sequence, Timestamp::from_bits(0x0102_0304_0506_0708), estimate);
        packet
    }

    #[test]
    fn open_packet_is_44_octets_with_zeros_behind_the_ssid_c011_c021_c022() {
        let packet = write(&Template::new(&settings(&[])).unwrap(), 5);
        assert_eq!(packet.len(), 44);
        assert_eq!(packet[..12], [0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(packet[14..16], [0x12, 0x34]);
        assert_eq!(packet[16..], [0; 28]);
        assert_ne!(packet[13], 0, "C021: Multiplier is never 0");
    }

    #[test]
    fn authenticated_packet_has_its_fields_and_a_right_hmac_c024_c025() {
        let key = HmacKey::new(b"key").unwrap();
        let template =
            Template::new(&PacketSettings { mode: Mode::Authenticated, key: Some(key.clone()), ..settings(&[]) })
                .unwrap();
        let packet = write(&template, 5);
        assert_eq!(packet.len(), 112);
        assert_eq!((&packet[..4], &packet[16..24]), (&[0, 0, 0, 5][..], &[1, 2, 3, 4, 5, 6, 7, 8][..]));
        assert_eq!(packet[26..28], [0x12, 0x34]);
        assert!(packet[4..16].iter().chain(&packet[28..96]).all(|octet| *octet == 0));
        assert!(key.verify_base(&packet));
    }

    #[test]
    fn every_tlv_goes_out_with_u_alone_c072_c073() {
        let tlvs = [
            RequestTlv::timestamp_information(),
            RequestTlv::class_of_service(Dscp::from_low6(46), Ecn::default()),
            RequestTlv::unrecognized(4),
        ];
        let packet = write(&Template::new(&settings(&tlvs)).unwrap(), 0);
        assert_eq!(packet[44..48], [0x80, 3, 0, 4]);
        assert_eq!(packet[52..60], [0x80, 4, 0, 4, 0xb8, 0, 0, 0]);
        assert_eq!(packet[60..64], [0x80, UNRECOGNIZED_CODE, 0, 4]);
    }

    #[test]
    fn direct_measurement_counts_this_packet_and_the_hmac_covers_it_c128_c167() {
        let key = HmacKey::new(b"tlv key").unwrap();
        let tlvs = [RequestTlv::direct_measurement(), RequestTlv::padding(9, true), RequestTlv::hmac()];
        let template = Template::new(&PacketSettings { tlv_key: Some(key.clone()), ..settings(&tlvs) }).unwrap();
        let packet = write(&template, 41);
        assert_eq!(packet[48..60], [0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0]);
        let hmac_at = 44 + 16 + 13;
        assert_eq!(packet[hmac_at..hmac_at + 4], [0x80, 8, 0, 16]);
        assert!(key.verify_tlvs([0, 0, 0, 41], &packet[44..hmac_at], &packet[hmac_at + 4..]));
    }

    #[test]
    fn padding_differs_from_packet_to_packet_and_is_reproducible_c100_c102() {
        let template = Template::new(&settings(&[RequestTlv::padding(64, true)])).unwrap();
        let mut random = Random::new(1);
        let mut fill = || {
            let mut packet = template.octets().to_vec();
            template.fill_tlvs(&mut packet, 0, 1, &mut random);
            packet
        };
        let (first, second) = (fill(), fill());
        assert_ne!(first[48..], second[48..]);
        assert_eq!(first[..48], second[..48]);
        random = Random::new(1);
        let mut again = template.octets().to_vec();
        template.fill_tlvs(&mut again, 0, 1, &mut random);
        assert_eq!(again, first);
    }

    #[test]
    fn an_unassigned_code_point_is_named() {
        let mut points = POINTS;
        points.assign(Kind::History, Kind::ClassOfServiceV2.entry().code);
        let tlvs = [RequestTlv::class_of_service_v2(Default::default(), Default::default())];
        let error = Template::new(&PacketSettings { code_points: &points, ..settings(&tlvs) }).unwrap_err();
        assert!(error.to_string().contains("class-of-service-v2"), "{error}");
    }

    #[test]
    fn malformed_packets_are_wrong_as_asked() {
        let bad = |malformed| {
            Template::new(&PacketSettings { malformed: Some(malformed), ..settings(&[]) }).unwrap().octets()[44..]
                .to_vec()
        };
        assert_eq!(bad(Malformed::BadLength), [0x80, 1, 0xff, 0xff]);
        assert_eq!(bad(Malformed::BadFlags)[0], 0x7f);
    }
}
