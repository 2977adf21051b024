//! From the words of `tlvs …` to the TLVs of a packet and what a sender must know about them.

use super::*;
use crate::sender::tlvs::chain::Chain;

impl Tlvs {
    /// The whole chain. `sent` is what packets are marked with, `is_ipv6` whether all of them go by IPv6.
    pub fn chain(self, sent: TrafficClass, is_v6: bool) -> anyhow::Result<Chain> {
        let mut chain = Chain { is_v6, ..Chain::default() };
        let mut rest = self.first.add(&mut chain, sent);
        while !rest.is_empty() {
            // Behind the first `--` clap leaves the others as they are. Each ends one TLV's words.
            let words: Vec<OsString> = rest.iter().take_while(|word| *word != "--").cloned().collect();
            rest.drain(..(words.len() + 1).min(rest.len()));
            // A `tlvs` in front of each TLV is fine too.
            let words = words.into_iter().skip_while(|word| *word == "tlvs");
            let _: Vec<OsString> = Next::try_parse_from(words)?.tlv.add(&mut chain, sent);
        }
        chain.check()?;
        Ok(chain)
    }
}

impl TlvCommand {
    /// Adds it to the chain; returns the words after it.
    fn add(self, chain: &mut Chain, sent: TrafficClass) -> Vec<OsString> {
        let (request, more) = match self {
            Self::Padding { size, zero, more } => (RequestTlv::padding(size, !zero), more),
            Self::Location { source, destination, mac, more } => {
                let is_default = !(source || destination || mac);
                (RequestTlv::location(mac, destination, source || is_default), more)
            }
            Self::Time { more } => (RequestTlv::timestamp_information(), more),
            Self::ClassOfService { marks, more } => (RequestTlv::class_of_service(marks.dscp, marks.ecn), more),
            Self::ClassOfServiceV2 { marks, more } => {
                (RequestTlv::class_of_service_v2(sent, TrafficClass::new(marks.dscp, marks.ecn)), more)
            }
            Self::DscpEcn { dscp, ecn, more } => (RequestTlv::dscp_ecn(TrafficClass::new(dscp, ecn)), more),
            Self::DirectMeasurement { more } => (RequestTlv::direct_measurement(), more),
            Self::AccessReport { access_id, return_code, timer, retransmissions, more } => {
                let access = AccessReportContent { id: access_id, return_code };
                chain.access_report = Some(AccessReportRequest { access, timer, retransmissions });
                return more.next;
            }
            Self::Followup { more } => (RequestTlv::follow_up(), more),
            Self::Hmac { more } => (RequestTlv::hmac(), more),
            Self::DestinationAddress { address, more } => {
                chain.reply_sources.push(address);
                (RequestTlv::destination_address(address), more)
            }
            Self::ReturnPath { path, more } => {
                let is_code = path.no_reply || path.same_link;
                if path.no_reply {
                    chain.replies_per_packet = 0;
                }
                let request = if is_code {
                    RequestTlv::control_code(path.same_link)
                } else {
                    RequestTlv::return_path(path.address, &path.labels, &path.segments)
                };
                (request, more)
            }
            Self::MicroSession { sender_id, reflector_id, more } => {
                chain.micro_session = Some((sender_id, reflector_id));
                (RequestTlv::micro_session(sender_id, reflector_id.unwrap_or(0)), more)
            }
            Self::ReflectedControl { length, count, interval, short, more } => {
                chain.replies_per_packet = count;
                chain.reply_interval_ns = interval;
                let make = if short { RequestTlv::reflected_control_short } else { RequestTlv::reflected_control };
                (make(length, count, interval), more)
            }
            Self::BitErrorRate { pattern, size, more } => {
                chain.omit_checksum = true;
                chain.tlvs.extend(RequestTlv::bit_errors(&pattern, size));
                return more.next;
            }
            Self::DestinationPort { port, more } => {
                chain.reply_port = Some(port);
                (RequestTlv::destination_port(port), more)
            }
            Self::History { length, more } => (RequestTlv::history(length), more),
            Self::ExtensionHeader { size, selector, more } => {
                (selected(RequestTlv::extension_header(size), selector.as_ref().map(|selector| &selector.0[..])), more)
            }
            Self::FixedHeader { size, selector, more } => {
                let request = RequestTlv::fixed_header(size.map_or(chain.is_v6, |size| size == 40));
                (selected(request, selector.as_ref().map(|selector| &selector.0[..])), more)
            }
            Self::Unrecognized { size, more } => (RequestTlv::unrecognized(size), more),
        };
        chain.tlvs.push(request);
        more.next
    }
}

/// The request for the header that begins with these octets (ext-hdr-15 §4.1, §6.1).
fn selected(mut request: RequestTlv, selector: Option<&[u8]>) -> RequestTlv {
    if let Some(selector) = selector {
        request.value[..selector.len()].copy_from_slice(selector);
    }
    request
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use teaparty_common::tlv::REGISTRY;

    use super::*;
    use crate::sender::tlvs::chain::Chain;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Whole {
        #[command(flatten)]
        tlvs: Tlvs,
    }

    fn chain(words: &str) -> anyhow::Result<Chain> {
        Whole::try_parse_from(words.split_whitespace())?.tlvs.chain(TrafficClass(0), false)
    }

    #[test]
    fn every_tlv_that_a_sender_may_send_has_a_subcommand_of_its_registry_name() {
        let command = Next::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        // The count and the burst go along with the pattern; Heartbeat is a reflector's.
        let others = [Kind::BitErrorCount, Kind::BitErrorBurst, Kind::Heartbeat];
        for entry in REGISTRY.iter().filter(|entry| !others.contains(&entry.kind)) {
            assert!(names.contains(&entry.name), "{}", entry.name);
        }
        assert_eq!(names.len(), REGISTRY.len() - others.len() + 1, "and `unrecognized`");
    }

    #[test]
    fn chains_are_split_at_each_double_dash() {
        let found = chain("time -- dscp-ecn --ecn ect0 --dscp af21 -- history").unwrap();
        let kinds: Vec<_> = found.tlvs.iter().map(|tlv| tlv.kind.unwrap()).collect();
        assert_eq!(kinds, [Kind::TimestampInformation, Kind::DscpEcn, Kind::History]);
        assert_eq!(found.tlvs[1].value, [18 << 2 | 2, 0, 0, 0]);
        assert_eq!(found.tlvs[2].value.len(), 96);
        assert!(chain("time -- nosuch").is_err());
        assert!(chain("time -- --").is_err());
    }

    #[test]
    fn defaults_are_the_namesakes() {
        assert_eq!(chain("class-of-service").unwrap().tlvs[0].value, [8 << 2, 0, 0, 0]);
        assert_eq!(chain("dscp-ecn").unwrap().tlvs[0].value, [8 << 2 | 2, 0, 0, 0]);
        assert_eq!(chain("destination-port").unwrap().tlvs[0].value, [0x03, 0xd7, 0, 0]);
        assert_eq!(chain("padding").unwrap().tlvs[0].value.len(), 64);
        assert_eq!(chain("padding -s 9").unwrap().tlvs[0].value.len(), 9);
        assert_eq!(chain("location").unwrap().tlvs[0], RequestTlv::location(false, false, true));
    }

    #[test]
    fn combinations_that_no_sender_may_send_are_refused() {
        for words in [
            "return-path --no-reply -- return-path --same-link",
            "return-path --no-reply -- reflected-control",
            "return-path --no-reply --address 192.0.2.1",
            "bit-error-rate -- padding",
            "reflected-v6-extension-header-data -- reflected-fixed-header-data",
            "hmac -- hmac",
        ] {
            assert!(chain(words).is_err(), "{words}");
        }
    }
}
