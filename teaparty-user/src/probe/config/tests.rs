//! What a probe's file may say, and how mistakes are reported.

use super::*;

fn of(text: &str) -> Result<ProbeConfig, String> {
    ProbeConfig::of(&text.into(), &KeyLoader::default(), ProbeCliOverrides::default())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn settings_above_all_tables_hold_unless_a_table_says_otherwise() {
    let config = of("interval = \"20ms\"\ndscp = \"ef\"\n[[target]]\naddress = \"a.example\"\n\
        [[target]]\naddress = \"[2001:db8::1]:5000\"\nname = \"b\"\ninterval = \"1s\"\nlabels = { site = \"north\" }\n")
    .unwrap();
    let [a, b] = &config.targets[..] else { panic!("{}", config.targets.len()) };
    assert_eq!((a.name.as_str(), a.spec.port, a.profile.measure.port), ("a.example", None, 862));
    assert_eq!((b.name.as_str(), b.spec.host.as_str(), b.spec.port), ("b", "2001:db8::1", Some(5000)));
    let measure = |target: &TargetSpec| (target.profile.measure.interval, target.profile.measure.dscp.0.value());
    assert_eq!(measure(a), ("20ms".parse().unwrap(), 46));
    assert_eq!(measure(b), ("1s".parse().unwrap(), 46));
    assert_eq!(b.labels.get("site").map(String::as_str), Some("north"));
}

#[test]
fn targets_that_are_measured_alike_share_how() {
    let config =
        of("[[target]]\naddress = \"a\"\n[[target]]\naddress = \"b\"\n[[target]]\naddress = \"c\"\nttl = 9\n").unwrap();
    let [a, b, c] = &config.targets[..] else { panic!() };
    assert!(Arc::ptr_eq(&a.profile, &b.profile) && !Arc::ptr_eq(&a.profile, &c.profile));
}

#[test]
fn mistakes_have_a_place_a_key_and_a_remedy() {
    for (text, parts) in [
        ("", &["[[target]]"][..]),
        ("[[target]]\n", &["1:", "address"]),
        ("[[target]]\nadress = \"a\"\n", &["2:1", "adress", "`address`"]),
        ("[[target]]\naddress = \"a\"\ninterval = \"1x\"\n", &["3:12", "interval", "100ms"]),
        ("[[target]]\naddress = \"a\"\ninterval = \"1us\"\n", &["3:12", "interval", "1ms"]),
        ("[[target]]\naddress = \"a\"\nsize = 10\n", &["3:8", "size", "44"]),
        ("[[target]]\naddress = \"a\"\nlabels = { session = \"x\" }\n", &["3:12", "labels", "session"]),
        ("[[target]]\naddress = \"a\"\nlabels = { grade = \"x\" }\n", &["3:12", "`grade`", "another name"]),
        ("[[target]]\naddress = \"a\"\nlabels = { reason = \"x\" }\n", &["3:12", "`reason`"]),
        ("[[target]]\naddress = \"a\"\nlabels = { a-b = \"x\" }\n", &["3:12", "a-b"]),
        ("[[target]]\naddress = \"a:0\"\n", &["2:11", "1 to 65535"]),
        ("[[target]]\naddress = \"a\"\n[[target]]\naddress = \"a\"\n", &["`a` is there twice"]),
        ("[[target]]\naddress = \"a\"\nssid = 5\n[[target]]\naddress = \"b\"\nssid = 5\n", &["SSID 5"]),
        ("[[target]]\naddress = \"a\"\nssid = 0\n", &["3:8", "ssid"]),
        ("[[target]]\naddress = \"a\"\nauth-key-file = \"/nowhere/key\"\n", &["3:17", "auth-key-file", "/nowhere/key"]),
        ("[[http-sd]]\nurl = \"ftp://x/\"\n", &["2:7", "url", "http[s]://"]),
        ("[[http-sd]]\nurl = \"http://x/\"\nca-file = \"ca.pem\"\n", &["3:11", "ca-file", "https://"]),
        ("[[http-sd]]\nurl = \"https://x/\"\nca-file = \"/nowhere\"\n", &["3:11", "ca-file", "/nowhere"]),
        ("[[http-sd]]\nurl = \"http://x/\"\nbearer-token-file = \"/nowhere\"\n", &["3:21", "/nowhere"]),
        ("[[file-sd]]\nfile = [\"x\", \"a[\"]\n", &["2:8", "file", "`a[`", "pattern"]),
        ("[[file-sd]]\nfile = []\n", &["2:8", "which file"]),
        ("[[file-sd]]\nurl = \"http://x/\"\n", &["2:1", "url"]),
        ("[[http-sd]]\nfile = \"x\"\n", &["2:1", "file"]),
        ("[[file-sd]]\nfile = \"x\"\nrefresh = \"1ms\"\n", &["3:11", "refresh", "1s"]),
        ("[sla]\ngood-loss = 5\n[[target]]\naddress = \"a\"\n", &["acceptable-loss"]),
        ("[sla]\npercentile = 101\n[[target]]\naddress = \"a\"\n", &["2:14", "percentile", "100"]),
        ("api = \"0.0.0.0:9862\"\n[[target]]\naddress = \"a\"\n", &["1:7", "api", "token"]),
        ("target = 5\n", &["1:10", "[[target]]"]),
        ("x = [\n", &["TOML"]),
    ] {
        let error = of(text).err().unwrap_or_else(|| panic!("taken: {text}"));
        for part in parts {
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}

#[test]
fn all_mistakes_of_a_target_are_told_at_once() {
    let found = of("[[target]]\naddress = \"http://a\"\nname = \"\"\nssid = 0\n\
        [[file-sd]]\nfile = [\"a[\", \"b[\"]\nrefresh = \"1ms\"\nttl = 300\n")
    .err()
    .unwrap();
    for start in ["2:", "3:", "4:", "6:", "8:"] {
        assert!(found.lines().any(|line| line.starts_with(start)), "{start} {found}");
    }
    assert_eq!(found.lines().filter(|line| line.contains("no pattern")).count(), 2, "{found}");
}

#[test]
fn what_is_typed_wins_over_the_file() {
    let text = "realtime = false\n[[target]]\naddress = \"a\"\n";
    for realtime in [false, true] {
        let config = ProbeConfig::of(&text.into(), &KeyLoader::default(), ProbeCliOverrides { realtime }).ok().unwrap();
        assert_eq!(config.targets[0].profile.measure.realtime, realtime);
    }
}

#[test]
fn the_example_is_good() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/probe.toml");
    let config = ProbeConfig::read(&example, &KeyLoader::default(), ProbeCliOverrides::default()).unwrap();
    assert_eq!((config.targets.len(), config.sources.len()), (2, 1));
}
