//! Settings to configuration: what each rule lets through, and that errors name the setting.

use teaparty_common::maps::session_table::MAX_SESSIONS;
use teaparty_common::tlv::Kind;

use super::*;

fn settings() -> ReflectorSettings {
    ReflectorSettings { iface: vec!["lo".into()], ..ReflectorSettings::default() }
}

fn error(settings: ReflectorSettings) -> String {
    ReflectorConfig::try_from(settings).err().unwrap().to_string()
}

#[test]
fn defaults_are_an_open_stateful_reflector_on_862() {
    let config = ReflectorConfig::try_from(settings()).unwrap();
    assert_eq!(config.ports, [862]);
    assert_eq!(config.policy.dscp_allowed, u64::MAX);
    assert_eq!(config.flags(), maps::Config::STATEFUL | maps::Config::HISTORY);
    assert_eq!(config.source_rate.interval_ns, 10_000);
}

#[test]
fn errors_name_the_setting() {
    assert!(error(ReflectorSettings { iface: vec!["a/b".into()], ..settings() }).starts_with("iface: `a/b`"));
    assert!(error(ReflectorSettings { port: vec![0], ..settings() }).starts_with("port: "));
    assert!(error(ReflectorSettings { deny_dscp: Some("64".into()), ..settings() }).starts_with("deny-dscp: `64`"));
    assert!(error(ReflectorSettings { deny_ecn: Some("cs1".into()), ..settings() }).starts_with("deny-ecn: `cs1`"));
    assert!(error(ReflectorSettings { location_hide: vec!["mac".into()], ..settings() }).contains("source-mac"));
    assert!(error(ReflectorSettings { tlv_code: vec!["location=200".into()], ..settings() }).contains("history"));
    assert!(error(ReflectorSettings { tlv_code: vec!["history=12".into()], ..settings() }).contains("13 to 254"));
    assert!(error(ReflectorSettings { max_sessions: 0, ..settings() }).starts_with("max-sessions: "));
    assert!(error(ReflectorSettings { max_sessions: MAX_SESSIONS + 1, ..settings() }).starts_with("max-sessions: "));
    assert!(
        error(ReflectorSettings { auth_key_file: Some("/nonexistent".into()), ..settings() })
            .starts_with("auth-key-file: ")
    );
}

#[test]
fn lists_deny_what_they_name() {
    let config = ReflectorConfig::try_from(ReflectorSettings {
        deny_dscp: Some("ef, 3".into()),
        deny_ecn: Some("all".into()),
        ..settings()
    });
    let policy = config.unwrap().policy;
    assert_eq!(policy.dscp_allowed, !(1 << 46 | 1 << 3));
    assert_eq!(policy.ecn_allowed, 0);
}

#[test]
fn prefixes_become_128_bits_long() {
    let allow = vec!["192.0.2.7/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let config = ReflectorConfig::try_from(ReflectorSettings { allow, ..settings() }).unwrap();
    assert_eq!(config.allowed[0], (Address::v4([192, 0, 2, 0]), 120));
    assert_eq!(config.allowed[1].1, 32);
    assert_ne!(config.flags() & maps::Config::ALLOW_LIST, 0);
}

#[test]
fn code_points_follow_profile_and_single_numbers() {
    let tlv_code = vec!["history=200".into()];
    let config =
        ReflectorConfig::try_from(ReflectorSettings { tlv_profile: TlvProfile::Earlier, tlv_code, ..settings() })
            .unwrap();
    let points = config.policy.code_points;
    assert_eq!(points.code(Kind::History), Some(200));
    assert_eq!(points.code(Kind::DestinationPort), Some(177));
}

#[test]
fn the_allow_list_takes_an_ipv6_host_for_its_network_and_a_prefix_as_it_is() {
    for (written, length, expected) in [
        ("2001:db8:1:2:3::4", "64", ("2001:db8:1:2::", 64)),
        ("2001:db8:1:2:3::4", "48:32", ("2001:db8:1::", 48)),
        ("fd00::1", "64", ("fd00::", 64)),
        ("2001:db8:1:2:3::4/128", "64", ("2001:db8:1:2:3::4", 128)),
        ("2001:db8:1:2:3::4/96", "64", ("2001:db8:1:2:3::", 96)),
        ("2001:db8::/32", "64", ("2001:db8::", 32)),
        ("fe80::1", "64", ("fe80::1", 128)),
        ("::1", "64", ("::1", 128)),
        ("192.0.2.7", "64:24", ("192.0.2.7", 96 + 32)),
        ("192.0.2.7/24", "64", ("192.0.2.0", 96 + 24)),
    ] {
        let settings = ReflectorSettings {
            allow: vec![written.parse().unwrap()],
            rate_limit_prefix: length.parse().unwrap(),
            ..settings()
        };
        let (network, bits) = expected;
        let config = ReflectorConfig::try_from(settings).unwrap();
        assert_eq!(config.allowed, [(address(network.parse().unwrap()), bits)], "{written}");
        let again: Prefix = String::from(config.settings.allow[0]).parse().unwrap();
        assert_eq!(again, config.settings.allow[0], "{written}");
    }
}

#[test]
fn more_sessions_than_may_be_are_refused_by_number() {
    assert!(check_provisioned(1_048_576).is_ok());
    let error = check_provisioned(1_048_577).unwrap_err();
    assert_eq!(error.field, "session");
    assert!(error.problem.contains("1048576 sessions at most, these are 1048577"), "{}", error.problem);
}

#[test]
fn rates_are_read_and_written() {
    assert_eq!("1000".parse::<RateLimit>().unwrap(), RateLimit { rate_pps: 1000, burst: 200 });
    assert_eq!(
        "10:3".parse::<RateLimit>().unwrap().tokens(),
        TokenRate { interval_ns: 100_000_000, burst_ns: 200_000_000 }
    );
    assert_eq!("0".parse::<RateLimit>().unwrap().tokens(), TokenRate::NONE);
    for bad in ["", "x", "1:", "1:0", "-1", "1:2:3", "2000000000"] {
        assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
    }
}

#[test]
fn the_rate_limit_counts_by_network_or_as_it_is_told() {
    let read = |text: &str| text.parse::<RateLimitPrefix>().map(|prefix| (prefix.v6, prefix.v4));
    for (text, expected) in [("64", (64, 32)), ("128", (128, 32)), ("56:24", (56, 24)), ("1:1", (1, 1))] {
        assert_eq!(read(text), Ok(expected), "{text}");
        let written = text.parse::<RateLimitPrefix>().unwrap().to_string();
        assert_eq!(read(&written), Ok(expected), "{written}");
    }
    for bad in ["", "0", "129", "64:", "64:0", "64:33", ":32", "64:32:1", "x", "-1"] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let json = |text: &str| serde_json::from_str::<RateLimitPrefix>(text).map_err(|error| error.to_string());
    assert_eq!(json("48").unwrap(), json("\"48:32\"").unwrap());
    assert!(json("[]").unwrap_err().contains("V6[:V4]"));
    assert_eq!(ReflectorConfig::try_from(settings()).unwrap().rate_prefix, SourcePrefix::new(64, 32));
}

#[test]
fn a_file_may_write_rates_as_numbers() {
    let read = |json: &str| serde_json::from_str::<RateLimit>(json).map_err(|error| error.to_string());
    assert_eq!(read("0").unwrap().rate_pps, 0);
    assert_eq!(read("1000").unwrap(), read("\"1000:200\"").unwrap());
    for bad in ["-1", "\"x\"", "[]", "1.5"] {
        assert!(read(bad).unwrap_err().contains("PACKETS_PER_SECOND"), "{bad}");
    }
}

#[test]
fn every_setting_is_in_one_group() {
    let serde_json::Value::Object(settings) = serde_json::to_value(ReflectorSettings::default()).unwrap() else {
        panic!()
    };
    let mut grouped: Vec<&str> = setting_groups::GROUPS.iter().flat_map(|group| group.names).copied().collect();
    grouped.sort_unstable();
    let mut known: Vec<&str> = settings.keys().map(String::as_str).collect();
    known.sort_unstable();
    assert_eq!(grouped, known);
}
