//! From words on the command line to what will be sent.

use clap::Parser;
use teaparty_common::wire::{TimestampFormat, TrafficClass};

use super::build::DEFAULT_COUNT;
use super::compose::options_header;
use super::*;
use crate::crypto::HmacKey;
use crate::sender::config::SenderConfig;
use crate::sender::tlvs::request::RequestTlv;

#[derive(Parser)]
struct Whole {
    #[command(flatten)]
    arguments: SenderArguments,
}

fn arguments(words: &str) -> SenderArguments {
    Whole::try_parse_from(std::iter::once("sender").chain(words.split_whitespace())).unwrap().arguments
}

fn config_with(words: &str, key: Option<HmacKey>, tlv_key: Option<HmacKey>) -> anyhow::Result<SenderConfig> {
    let arguments = arguments(words);
    let specs = arguments.specs(&[])?;
    arguments.config(&specs, key, tlv_key)
}

fn config(words: &str) -> anyhow::Result<SenderConfig> {
    config_with(words, None, None)
}

fn key() -> Option<HmacKey> {
    Some(HmacKey::new(b"key").unwrap())
}

fn kinds(config: &SenderConfig) -> Vec<Kind> {
    config.tlvs.iter().filter_map(|tlv| tlv.kind).collect()
}

#[test]
fn the_default_port_is_862_and_the_default_format_ntp_c007_c016() {
    let config = config("127.0.0.1").unwrap();
    assert_eq!(config.targets[0].address.to_string(), "127.0.0.1:862");
    assert_eq!(config.timestamp_format, TimestampFormat::Ntp);
    assert_eq!((config.ttl, config.plan.count), (255, Some(DEFAULT_COUNT)));
}

#[test]
fn the_namesakes_command_forms_are_understood() {
    let first = config("127.0.0.1 --dscp ef tlvs class-of-service").unwrap();
    assert_eq!((first.traffic_class.dscp().value(), kinds(&first)), (46, vec![Kind::ClassOfService]));
    let words = "127.0.0.1 8862 --ecn ect1 --dscp af11 tlvs time -- dscp-ecn --ecn ect0 --dscp af21";
    let second = config(words).unwrap();
    assert_eq!(second.targets[0].address.port(), 8862);
    assert_eq!(second.traffic_class, TrafficClass(10 << 2 | 1));
    assert_eq!(kinds(&second), [Kind::TimestampInformation, Kind::DscpEcn]);
}

#[test]
fn duration_alone_lifts_the_limit_on_the_count() {
    assert_eq!(config("::1 -d 3s").unwrap().plan.count, None);
    assert_eq!(config("::1 -d 3s -c 7").unwrap().plan.count, Some(7));
    assert_eq!(config("::1 -c 0").unwrap().plan.count, None);
}

#[test]
fn a_rate_is_an_interval() {
    assert_eq!(config("::1 --rate 300000").unwrap().plan.interval_ps, 3_333_333);
    assert!(config("::1 --rate 300000").unwrap().plan.interval_ps > 0);
    assert!(!config("::1 --rate 300000").unwrap().kernel_transmit_stamps);
    assert!(config("::1 --rate 100").unwrap().kernel_transmit_stamps);
    assert!(config("::1 --interval 1ns").is_err());
}

#[test]
fn sizes_are_reached_with_padding_or_refused() {
    let packet_len =
        |config: &SenderConfig| config.mode.base_len() + config.tlvs.iter().map(RequestTlv::len).sum::<usize>();
    for size in [44, 48, 49, 1_472] {
        assert_eq!(packet_len(&config(&format!("::1 --size {size}")).unwrap()), size);
    }
    assert_eq!(packet_len(&config("::1 --size 100 tlvs time").unwrap()), 100);
    for size in [0, 43, 45, 47] {
        let error = config(&format!("::1 --size {size}")).err().unwrap();
        assert!(error.downcast_ref::<UsageError>().is_some() && error.to_string().contains("48"), "{error}");
    }
}

#[test]
fn hmac_stands_behind_the_tlvs_where_it_must_be_there_c160_c161_c162() {
    let with = |words: &str| config_with(words, key(), None).unwrap();
    assert_eq!(kinds(&with("::1")), []);
    assert_eq!(kinds(&with("::1 tlvs padding")), [Kind::ExtraPadding]);
    assert_eq!(kinds(&with("::1 tlvs time")), [Kind::TimestampInformation, Kind::Hmac]);
    assert_eq!(
        kinds(&with("::1 --size 200 tlvs hmac -- time")),
        [Kind::TimestampInformation, Kind::Hmac, Kind::ExtraPadding]
    );
    assert_eq!(kinds(&with("::1 tlvs bit-error-rate")).last(), Some(&Kind::ExtraPadding));
    // In unauthenticated mode only where it is asked for.
    assert_eq!(kinds(&config("::1 tlvs time").unwrap()), [Kind::TimestampInformation]);
    assert_eq!(kinds(&config_with("::1 tlvs time", None, key()).unwrap()), [Kind::TimestampInformation, Kind::Hmac]);
    assert!(config("::1 tlvs hmac").is_err());
}

#[test]
fn destination_address_needs_an_ssid_c200() {
    assert!(config("::1 --ssid 0 tlvs destination-address --address ::1").is_err());
    assert!(config("::1 tlvs destination-address --address ::1").is_ok());
}

#[test]
fn only_headers_that_are_sent_are_asked_for() {
    let asked = "tlvs reflected-v6-extension-header-data";
    for (options, is_right) in [
        (format!("::1 --hbh-ext 8 {asked}"), true),
        (format!("::1 --destination-ext 16 {asked} --size 16"), true),
        (format!("::1 --hbh-ext 8 --destination-ext 8 {asked} -- reflected-v6-extension-header-data"), true),
        (format!("::1 {asked}"), false),
        (format!("::1 --hbh-ext 16 {asked}"), false),
        (format!("::1 --hbh-ext 8 {asked} -- reflected-v6-extension-header-data"), false),
    ] {
        assert_eq!(config(&options).is_ok(), is_right, "{options}");
    }
    let config = config(&format!("::1 --hbh-ext 8 {asked} --selector 1100010400000000")).unwrap();
    assert_eq!(config.tlvs[0].value, [0x11, 0, 1, 4, 0, 0, 0, 0]);
}

#[test]
fn access_ids_are_those_of_the_rfc() {
    for (id, is_right) in [("0", false), ("1", true), ("2", true), ("3", false)] {
        let options = format!("sender 192.0.2.1 tlvs access-report --access-id {id}");
        assert_eq!(Whole::try_parse_from(options.split_whitespace()).is_ok(), is_right, "{id}");
    }
}

#[test]
fn code_points_can_be_chosen_where_nobody_registered_them() {
    let config = config("::1 --tlv-profile earlier --code-point history=200").unwrap();
    assert_eq!(config.policy.code_points.code(Kind::History), Some(200));
    assert_eq!(config.policy.code_points.code(Kind::DestinationPort), Some(177));
    assert!(parse_code_point("time=3").is_err());
}

#[test]
fn extension_headers_have_the_size_asked_for() {
    assert_eq!(options_header(Some(8)), [0, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(options_header(Some(24))[..4], [0, 2, 0x1e, 20]);
    assert!(options_header(None).is_empty());
}
