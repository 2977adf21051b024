//! The program's sender against a reflector on the shared core, over loopback: figures, formats, exit statuses.

use serde_json::{Value, json};
use teaparty_common::wire::TimestampFormat;
use teaparty_testing::sender::{Act, Behaviour, Reflector, summary, teaparty};
use teaparty_user::crypto::HmacKey;

fn quick(reflector: &Reflector, rest: &str) -> String {
    format!("sender {} -i 2ms -W 300ms --format json {rest}", reflector.address)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_first_measurement_answers_everything_and_has_all_keys() {
    for ip in ["127.0.0.1", "::1"] {
        let reflector = Reflector::start(ip, Behaviour::default());
        let (code, summary) = summary(&quick(&reflector, ""));
        assert_eq!(code, 0);
        for (key, value) in [
            ("sent", 10),
            ("received", 10),
            ("lost", 0),
            ("lost_far_end", 0),
            ("lost_near_end", 0),
            ("duplicates", 0),
            ("reordered", 0),
        ] {
            assert_eq!(summary[key], json!(value), "{key}");
        }
        for quantity in ["round_trip_ns", "residence_ns", "forward_ns", "backward_ns"] {
            let figures = summary[quantity].as_object().unwrap();
            for key in ["min", "mean", "p50", "p90", "p99", "p99_9", "p99_99", "max", "stddev"] {
                assert!(figures[key].is_number(), "{quantity}.{key}");
            }
        }
        // Loopback within a second, and residence is out of the round trip.
        let round_trip = number(&summary["round_trip_ns"]["p50"]);
        assert!((0..1_000_000_000).contains(&round_trip), "{round_trip}");
        assert_eq!(summary["targets"][0]["ttl"]["forward"]["seen"], json!({ "255": 10 }));
        assert_eq!(summary["version"], json!(env!("CARGO_PKG_VERSION")));
        assert!(summary["configuration"]["count"] == json!(10) && summary["clock"].is_object());
        assert_eq!(summary["samples"]["total"], json!(10));
    }
}

#[test]
fn kernel_timestamps_are_taken_where_the_system_gives_them() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (_, summary) = summary(&quick(&reflector, "-c 50"));
    assert_eq!(summary["samples"]["kernel_t1"], json!(50));
    // The kernel switches receive timestamps on in the background: the first few may lack them.
    assert!(number(&summary["samples"]["kernel_t4"]) > 40, "{}", summary["samples"]);
}

#[test]
fn lateness_is_told_by_whoever_took_t1() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (_, by_kernel) = summary(&quick(&reflector, "-c 20"));
    assert_eq!(
        (&by_kernel["pacing_error_ns"]["samples"], &by_kernel["samples"]["pacing_by_kernel"]),
        (&json!(20), &json!(20))
    );
    let (_, by_us) = summary(&quick(&reflector, "-c 20 --transmit-stamps user"));
    assert_eq!((&by_us["pacing_error_ns"]["samples"], &by_us["samples"]["pacing_by_kernel"]), (&json!(20), &json!(0)));
}

#[test]
fn replies_whose_t3_is_before_t2_are_counted_and_have_no_delays() {
    // The lowest bit of T3's seconds, of every second reply: a second earlier or later.
    let edit = |reply: &mut Vec<u8>| {
        if reply[3] % 2 == 1 {
            let seconds = u32::from_be_bytes(reply[4..8].try_into().unwrap()) - 1;
            reply[4..8].copy_from_slice(&seconds.to_be_bytes());
        }
    };
    let reflector = Reflector::start("127.0.0.1", Behaviour { edit, ..Behaviour::default() });
    let words = format!("sender {} -i 2ms -W 300ms --format json", reflector.address);
    let (code, text, stderr) = teaparty(&words);
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &summary["received"], &summary["implausible"]), (0, &json!(10), &json!(5)));
    for quantity in ["round_trip_ns", "residence_ns", "forward_ns", "backward_ns"] {
        assert_eq!(summary[quantity]["samples"], json!(5), "{quantity}");
    }
    assert!(number(&summary["residence_ns"]["min"]) >= 0, "{}", summary["residence_ns"]);
    assert_eq!(stderr.matches("can't be right").count(), 1, "{stderr}");
}

#[test]
fn without_a_clock_in_the_network_card_the_kernel_stamps_and_that_is_said() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let words = format!("sender {} -i 2ms --hardware-stamps", reflector.address);
    let (code, text, stderr) = teaparty(&format!("{words} --interface lo --format json"));
    assert!(code == 0 && stderr.contains("lo has no clock") && stderr.contains("the kernel stamps"), "{code} {stderr}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    let samples = &summary["samples"];
    assert_eq!((&samples["hardware_t1"], &samples["hardware_t4"]), (&json!(0), &json!(0)));
    assert_eq!(samples["kernel_t1"], json!(10));
    assert_eq!(teaparty(&words).0, 2, "whose card?");
}

#[test]
fn packets_go_out_as_rfc_8762_wants_them() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (code, _) = summary(&quick(&reflector, "-c 3 --ssid 4660"));
    assert_eq!(code, 0);
    for (n, request) in reflector.stop().iter().enumerate() {
        assert_eq!(request.len(), 44);
        assert_eq!(request[..4], (n as u32).to_be_bytes(), "C012");
        assert_eq!(request[14..16], [0x12, 0x34], "C060, C063");
        assert_eq!(request[16..], [0; 28], "C022");
        assert_ne!(request[13], 0, "C021");
        assert_eq!(request[12] & 0x40, 0, "C016");
    }
}

#[test]
fn formats_of_sender_and_reflector_are_independent_c018() {
    for format in [TimestampFormat::Ntp, TimestampFormat::Ptp] {
        let reflector = Reflector::start("127.0.0.1", Behaviour { format, ..Behaviour::default() });
        for ours in ["ntp", "ptp"] {
            let (code, summary) = summary(&quick(&reflector, &format!("--timestamp-format {ours}")));
            assert_eq!(code, 0);
            for quantity in ["round_trip_ns", "forward_ns", "backward_ns"] {
                let p50 = number(&summary[quantity]["p50"]);
                assert!((-50_000_000..1_000_000_000).contains(&p50), "{format:?} {ours} {quantity} {p50}");
            }
        }
    }
}

#[test]
fn a_clock_that_is_off_shows_one_way_and_not_in_the_round_trip() {
    let behaviour = Behaviour { clock_offset_ns: -3_000_000_000, ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", behaviour);
    let (_, summary) = summary(&quick(&reflector, ""));
    let forward = number(&summary["forward_ns"]["p50"]);
    assert!((-3_000_000_000..-2_000_000_000).contains(&forward), "{forward}");
    let round_trip = number(&summary["round_trip_ns"]["p50"]);
    assert!((0..1_000_000_000).contains(&round_trip), "{round_trip}");
    assert_eq!(summary["one_way"]["reliable"], json!(false));
    let (_, text, _) = teaparty(&format!("sender {} -c 2 -i 1ms", reflector.address));
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(folded.contains("the reflector's not synchronised"), "{text}");
}

#[test]
fn the_namesakes_order_of_words_works_too() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let port = reflector.address.port();
    let (code, summary) = summary(&format!(
        "127.0.0.1 {port} sender -i 1ms --format json --ecn ect1 --dscp af11 tlvs time -- dscp-ecn --ecn ect0 --dscp af21"
    ));
    assert_eq!((code, &summary["received"]), (0, &json!(10)));
    let tlvs = &summary["targets"][0]["tlvs"];
    assert_eq!((&tlvs["time"]["answered"], &tlvs["time"]["value"]["timestamp_in"]), (&json!(10), &json!(2)));
    // Type 179 is not in the current profile's list of numbers in use, but known here.
    assert_eq!(tlvs["dscp-ecn"]["answered"], json!(10));
    let words = tlvs["dscp-ecn"]["words"].as_str().unwrap();
    assert_eq!(words, "reply came back with DSCP AF21 ECN ECT(0) as asked; the path kept DSCP AF11 ECN ECT(1)");
}

#[test]
fn authenticated_sessions_work_with_and_without_tlvs_and_only_with_the_right_key() {
    let key = || HmacKey::new(b"0123456789abcdef").unwrap();
    let behaviour = Behaviour { key: Some(key()), tlv_key: Some(key()), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", behaviour);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
    let with = format!("--auth-key-file {}", file.path().display());
    let (code, base) = summary(&quick(&reflector, &with));
    assert_eq!((code, &base["received"]), (0, &json!(10)));
    let (code, tlvs) = summary(&quick(&reflector, &format!("{with} tlvs time -- location")));
    assert_eq!((code, &tlvs["targets"][0]["tlvs"]["hmac"]["answered"]), (0, &json!(10)));
    assert_eq!(tlvs["targets"][0]["tlvs"]["time"]["answered"], json!(10));
    std::fs::write(file.path(), "another").unwrap();
    assert_eq!(teaparty(&quick(&reflector, &with)).0, 4);
    let requests = reflector.stop();
    assert!(requests.iter().all(|request| request.len() >= 112));
    assert!(key().verify_base(&requests[0]), "C039, C040");
}

#[test]
fn replies_that_are_not_authentic_are_not_used_c042_c174() {
    let key = || HmacKey::new(b"key").unwrap();
    // Signed with the right key over what is then changed.
    let reflector = Reflector::start(
        "127.0.0.1",
        Behaviour { tlv_key: Some(HmacKey::new(b"other").unwrap()), ..Behaviour::default() },
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "key").unwrap();
    let (code, open) = summary(&quick(&reflector, &format!("--tlv-key-file {} tlvs time", file.path().display())));
    // The base packet of an unauthenticated session stays usable; the TLVs do not.
    assert_eq!((code, &open["received"]), (0, &json!(10)));
    let time = &open["targets"][0]["tlvs"]["time"];
    assert_eq!((&time["not_authentic"], &time["answered"], &time["value"]), (&json!(10), &json!(0), &Value::Null));
    let forged = Behaviour { key: Some(key()), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", forged);
    let edit = Reflector::start("127.0.0.1", Behaviour::default());
    // An open reflector's replies have no HMAC at all.
    let (code, summary) = summary(&quick(&edit, &format!("--auth-key-file {}", file.path().display())));
    assert_eq!((code, &summary["received"]), (4, &json!(0)));
    assert!(number(&summary["targets"][0]["ignored"]["unauthenticated"]) > 0);
    drop(reflector);
}

#[test]
fn a_key_on_the_command_line_is_hidden_from_the_process_list() {
    let key = HmacKey::new(b"sesame-open").unwrap();
    let reflector = Reflector::start("127.0.0.1", Behaviour { key: Some(key), ..Behaviour::default() });
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_teaparty"))
        .args(["-vv", "sender", &reflector.address.to_string(), "--authenticated", "sesame-open"])
        .args(["-c", "20", "-i", "50ms", "--format", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/cmdline", child.id());
    let mut shown = String::new();
    for _ in 0..100 {
        shown = std::fs::read_to_string(&path).unwrap_or_default();
        if shown.contains("xxxxxxxxxxx") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(shown.contains("xxxxxxxxxxx") && !shown.contains("sesame"), "{shown:?}");
    let _ = child.wait();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("\"received\": 20") && said.contains("--auth-key-file"), "{said}");
    assert!(!said.contains("sesame"));
}

#[test]
fn an_access_report_is_repeated_until_it_is_answered_c136_c137() {
    let silent = Behaviour { script: Box::new(|n| Act { lost_back: n < 2, ..Act::default() }), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", silent);
    let (code, summary) =
        summary(&format!("sender {} -c 1 -W 50ms --format json tlvs access-report --timer 100ms", reflector.address));
    assert_eq!((code, &summary["sent"], &summary["received"]), (0, &json!(3), &json!(1)));
    assert_eq!(summary["targets"][0]["tlvs"]["access-report"]["value"], json!({ "access_id": 1, "return_code": 1 }));
    assert!(number(&summary["duration_ns"]) >= 200_000_000);
    assert!(reflector.stop().iter().all(|request| request[44..] == [0x80, 6, 0, 4, 0x10, 1, 0, 0]));
}

#[test]
fn many_targets_have_sessions_of_their_own() {
    let reflectors: Vec<Reflector> = (0..3).map(|_| Reflector::start("127.0.0.1", Behaviour::default())).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{} # the third\n", reflectors[2].address)).unwrap();
    let (code, summary) = summary(&format!(
        "sender {} {} {} --targets {} -i 2ms --format json",
        reflectors[0].address,
        reflectors[1].address.ip(),
        reflectors[1].address.port(),
        file.path().display()
    ));
    assert_eq!((code, &summary["received"]), (0, &json!(30)));
    let targets = summary["targets"].as_array().unwrap();
    let mut ssids: Vec<i64> = targets.iter().map(|target| number(&target["ssid"])).collect();
    ssids.dedup();
    assert_eq!(ssids.len(), 3, "C062");
    for (target, reflector) in targets.iter().zip(&reflectors) {
        assert_eq!((&target["received"], &target["address"]), (&json!(10), &json!(reflector.address.to_string())));
    }
}

#[test]
fn ipv6_extension_headers_go_along_where_permitted() {
    let reflector = Reflector::start("::1", Behaviour::default());
    for header in ["--hbh-ext", "--hbh-ext=64", "--destination-ext=16", "--hbh-ext=8 --destination-ext=248"] {
        let (code, text, stderr) = teaparty(&quick(&reflector, header));
        if code == 1 && stderr.contains("Operation not permitted") {
            println!("SKIPPED: ipv6_extension_headers_go_along_where_permitted: needs CAP_NET_RAW");
            return;
        }
        assert!(code == 0 && text.contains("\"received\": 10"), "{header}: {code} {stderr}");
    }
}

#[test]
fn options_of_the_ip_header_reach_the_reflector() {
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let words = "-c 3 --src 127.0.0.1 --interface lo --ttl 7 --df --size 100 --poisson --seed 5 --dscp 46";
    let (code, summary) = summary(&quick(&reflector, words));
    assert_eq!((code, &summary["received"]), (0, &json!(3)));
    assert_eq!(summary["targets"][0]["ttl"]["forward"]["seen"], json!({ "7": 3 }));
    let configuration = &summary["configuration"];
    assert_eq!((&configuration["payload_octets"], &configuration["dont_fragment"]), (&json!(100), &json!(true)));
    // The reflector keeps the DSCP where no TLV asks for another.
    assert_eq!(summary["targets"][0]["traffic_class"]["backward"]["seen"], json!({ "184": 3 }));
    let (_, _, stderr) = teaparty(&quick(&reflector, "--interface nosuch0"));
    assert!(stderr.contains("nosuch0") && stderr.contains("ip link"), "{stderr}");
}

#[test]
fn twamp_light_reflectors_are_understood() {
    // 41 octets: the header of TWAMP-Test's reflector, without what STAMP adds after the TTL.
    let reflector =
        Reflector::start("127.0.0.1", Behaviour { edit: |reply| reply.truncate(41), ..Behaviour::default() });
    let (code, summary) = summary(&quick(&reflector, ""));
    assert_eq!((code, &summary["received"]), (0, &json!(10)));
    assert_eq!(summary["targets"][0]["ttl"]["forward"]["seen"], json!({ "255": 10 }));
}

#[test]
fn c068_a_reply_without_our_ssid_counts_and_ends_the_session_where_asked() {
    let behaviour = || Behaviour { edit: |reply| reply[14..16].fill(0), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", behaviour());
    let (code, whole) = summary(&quick(&reflector, ""));
    assert_eq!((code, &whole["received"]), (0, &json!(10)));
    let (code, cut) = summary(&quick(&reflector, "-c 500 --stop-on-zero-ssid"));
    assert_eq!(code, 0);
    assert!(number(&cut["sent"]) < 250, "{}", cut["sent"]);
}

#[test]
fn replies_for_another_member_link_are_discarded_c223() {
    let other = Behaviour { edit: |reply| reply[48..52].copy_from_slice(&[0, 9, 0, 1]), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", other);
    // U is set, and the ID is not the one that was sent (RFC 9534 §3.2).
    let (code, _, stderr) = teaparty(&quick(&reflector, "tlvs micro-session --sender-id 7"));
    assert_eq!(code, 4, "{stderr}");
    let reflector = Reflector::start("127.0.0.1", Behaviour::default());
    let (code, summary) = summary(&quick(&reflector, "tlvs micro-session --sender-id 7"));
    assert_eq!(code, 0, "U is set: a reflector without member links can't mix them up");
    assert_eq!(summary["targets"][0]["tlvs"]["micro-session"]["unrecognized"], json!(10));
    // As if the reflector had understood the TLV.
    let other =
        Behaviour { edit: |reply| reply[44..52].copy_from_slice(&[0, 11, 0, 4, 0, 9, 0, 1]), ..Behaviour::default() };
    let reflector = Reflector::start("127.0.0.1", other);
    let (code, _, stderr) = teaparty(&quick(&reflector, "tlvs micro-session --sender-id 7"));
    assert_eq!(code, 4, "{stderr}");
    let (code, _, stderr) = teaparty(&quick(&reflector, "tlvs micro-session --sender-id 9 --reflector-id 1"));
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn trains_are_measured_like_single_packets() {
    for ip in ["127.0.0.1", "::1"] {
        let reflector = Reflector::start(ip, Behaviour::default());
        let words = "-i 10ms -c 500 --burst 50 -W 2s --segmentation-offload --size 200 --format json";
        let (code, summary) = summary(&format!("sender {} {words}", reflector.address));
        assert_eq!((code, &summary["received"], &summary["unmatched"]), (0, &json!(500), &json!(0)));
        assert_eq!(summary["samples"]["kernel_t1"], json!(0), "no packet of a GSO batch has a T1 of the kernel's");
        let requests = reflector.stop();
        assert!(requests.iter().all(|request| request.len() == 200));
        let numbers: Vec<u32> =
            requests.iter().map(|request| u32::from_be_bytes(request[..4].try_into().unwrap())).collect();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    }
    let (code, _, stderr) = teaparty("sender 127.0.0.1 --segmentation-offload --transmit-stamps kernel");
    assert!(code == 2 && stderr.contains("--segmentation-offload"), "{code} {stderr}");
}

#[test]
fn a_schedule_that_is_not_kept_is_said_once_with_what_helps() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let words = |options: &str| format!("sender 127.0.0.1 {port} -W 1ms --format json {options}");
    // All due within 40 ms, which no processor sends them in.
    let (code, stdout, stderr) = teaparty(&words("--rate 10000000 -c 400000"));
    assert_eq!((code, stderr.matches("are skipped").count()), (4, 1), "{stderr}");
    assert!(stderr.contains("--segmentation-offload"), "{stderr}");
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(summary["sent"], json!(400_000));
    let (_, _, stderr) = teaparty(&words("-i 50ms -c 3"));
    assert!(!stderr.contains("skipped"), "{stderr}");
}
