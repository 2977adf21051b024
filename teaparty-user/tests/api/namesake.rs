//! The endpoints of the namesake, against the samples of its documentation.

use std::net::UdpSocket;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use teaparty_testing::api::{Api, problem, text};

fn request(port: u16) -> serde_json::Value {
    json!({"src_ip": "127.0.0.1", "src_port": 0, "dst_ip": "0.0.0.0", "dst_port": port, "ssid": 61183})
}

#[tokio::test]
async fn sessions_have_the_shape_of_the_sample() {
    let api = Api::new();
    let from = api.measure(61183);
    let (status, body) = api.json("GET", "/sessions", "").await;
    assert_eq!(status, StatusCode::OK);
    let last = &body[0]["data"]["last"];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(last["secs_since_epoch"].as_u64().unwrap()) < 30, "{last}");
    let expected = json!([{
        "id": {
            "src": format!("127.0.0.1:{}", api.port),
            "dst": format!("127.0.0.1:{from}"),
            "ssid": {"Ssid": 61183}
        },
        "data": {
            "sequence": 1,
            "last": {"secs_since_epoch": last["secs_since_epoch"], "nanos_since_epoch": last["nanos_since_epoch"]}
        }
    }]);
    assert_eq!(body, expected);
}

#[tokio::test]
async fn heartbeats_have_the_shape_of_the_sample() {
    let api = Api::new();
    assert_eq!(api.json("GET", "/heartbeats", "").await.1, json!([]));
    api.heartbeats.add("127.0.0.1:8620@5".parse().unwrap()).unwrap();
    let expected = json!([{"target": "127.0.0.1:8620", "interval": {"secs": 5, "nanos": 0}}]);
    assert_eq!(api.json("GET", "/heartbeats", "").await.1, expected);
}

#[tokio::test]
async fn a_session_is_confirmed_without_its_key_and_exists_from_then_on() {
    let api = Api::new();
    let mut posted = request(api.port);
    let confirmed = posted.clone();
    posted["key"] = json!("hunter2");
    // As `curl -d` sends it.
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = api.send("POST", "/session", &headers, &posted.to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text(answer).await).unwrap(), confirmed);

    let (_, sessions) = api.json("GET", "/sessions", "").await;
    assert_eq!(sessions[0]["id"]["src"], format!("0.0.0.0:{}", api.port));
    assert_eq!(sessions[0]["id"]["dst"], "127.0.0.1:0");
    let (_, v1) = api.json("GET", "/api/v1/sessions", "").await;
    assert_eq!(v1["sessions"][0]["authenticated"], true);

    let (_, said) = problem(api.send("POST", "/session", &headers, &posted.to_string()).await, 500).await;
    assert!(said.contains("exists"), "{said}");
}

#[tokio::test]
async fn a_bit_error_pattern_holds_for_packets_that_state_none() {
    let api = Api::new();
    let mut posted = request(api.port);
    posted["ber"] = json!("A55a0F");
    let (status, confirmed) = api.json("POST", "/session", &posted.to_string()).await;
    assert_eq!((status, &confirmed), (StatusCode::OK, &posted));
    // Bit Error Count and Maximum Burst, and padding with three bits wrong, two of them in a row.
    let asked = [0x80, 241, 0, 4, 0, 0, 0, 0, 0x80, 242, 0, 4, 0, 0, 0, 0, 0x80, 1, 0, 6];
    let sent = [&asked[..], &[0xa5, 0x5b, 0x0f, 0xa5, 0x5a, 0x0c]].concat();
    let answer = api.exchange(61183, &sent);
    assert_eq!((&answer[48..52], &answer[56..60]), (&[0, 0, 0, 3][..], &[0, 0, 0, 2][..]), "{answer:x?}");
    assert_eq!(answer[64..], [0xa5, 0x5a, 0x0f, 0xa5, 0x5a, 0x0f], "repaired for the way back");
    // Another session has the default pattern.
    let answer = api.exchange(1, &[&asked[..], &[0xff, 0, 0xff, 0, 0xff, 1]].concat());
    assert_eq!((&answer[48..52], &answer[56..60]), (&[0, 0, 0, 1][..], &[0, 0, 0, 1][..]));
    for wrong in ["xyz", "f", "", "0x", "+1", "a5 a5"] {
        posted["ber"] = json!(wrong);
        let answer = api.send("POST", "/session", &[], &posted.to_string()).await;
        assert_eq!(problem(answer, 422).await.0, "ber", "{wrong}");
    }
}

#[tokio::test]
async fn bad_input_is_named_by_its_field() {
    let api = Api::new();
    for (field, value) in [
        ("src_ip", json!("127.0.0")),
        ("src_ip", json!(7)),
        ("src_ip", json!("0.0.0.0")),
        ("src_ip", json!("224.0.0.1")),
        ("src_port", json!(65536)),
        ("src_port", json!(-1)),
        ("src_port", json!("5")),
        ("src_port", json!(null)),
        ("dst_ip", json!("::1")),
        ("dst_port", json!(0)),
        ("ssid", json!(1.5)),
        ("key", json!("")),
        ("key", json!(["hunter2"])),
        ("no_such_member", json!(1)),
    ] {
        let mut posted = request(api.port);
        posted[field] = value.clone();
        let answer = api.send("POST", "/session", &[], &posted.to_string()).await;
        assert_eq!(problem(answer, 422).await.0, field, "{value}");
    }
    for field in ["src_ip", "src_port", "dst_ip", "dst_port", "ssid"] {
        let mut posted = request(api.port);
        posted.as_object_mut().unwrap().remove(field);
        let answer = api.send("POST", "/session", &[], &posted.to_string()).await;
        assert_eq!(problem(answer, 422).await.0, field);
    }
    for malformed in ["", "{", "[]", "7", "{\"key\": hunter2}"] {
        let (_, said) = problem(api.send("POST", "/session", &[], malformed).await, 400).await;
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert_eq!(api.json("GET", "/sessions", "").await.1, json!([]));
}

/// Has a test packet answered over IPv6; gives the reply.
fn measured_v6(api: &Api, ssid: u16) -> Option<Vec<u8>> {
    let sender = UdpSocket::bind("[::1]:0").unwrap();
    sender.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut packet = [0; 112];
    packet[13] = 1;
    packet[14..16].copy_from_slice(&ssid.to_be_bytes());
    sender.send_to(&packet, ("::1", api.port)).unwrap();
    let mut reply = [0; 200];
    sender.recv(&mut reply).ok().map(|len| reply[..len].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_over_ipv6_and_at_any_address_are_provisioned_and_answered() {
    if UdpSocket::bind("[::1]:0").is_err() {
        println!("SKIPPED: sessions_over_ipv6_and_at_any_address_are_provisioned_and_answered: no IPv6 here");
        return;
    }
    let api = Api::with_settings(None, |settings| settings.provisioned_only = true);
    assert_eq!(measured_v6(&api, 1), None, "it is not provisioned yet");
    // Any address, in the family of the source or written in the other one, and one alone.
    for (ssid, any) in [(1, "::"), (2, "0.0.0.0"), (3, "::1")] {
        let posted = json!({"src_ip": "::1", "src_port": 0, "dst_ip": any, "dst_port": api.port, "ssid": ssid});
        let (status, confirmed) = api.json("POST", "/session", &posted.to_string()).await;
        assert_eq!((status, &confirmed), (StatusCode::OK, &posted));
        assert_eq!(measured_v6(&api, ssid).map(|reply| reply.len()), Some(112), "{any}");
        let again = api.send("POST", "/session", &[], &posted.to_string()).await;
        problem(again, 500).await;
    }
    // Written otherwise it is the same session.
    let posted = json!({"src_ip": "0:0::1", "src_port": 0, "dst_ip": "0::0", "dst_port": api.port, "ssid": 1});
    problem(api.send("POST", "/session", &[], &posted.to_string()).await, 500).await;
    let (_, sessions) = api.json("GET", "/sessions", "").await;
    let any = format!("[::]:{}", api.port);
    let configured: Vec<_> =
        sessions.as_array().unwrap().iter().filter(|session| session["id"]["src"] == any).collect();
    assert_eq!(configured.len(), 2, "{sessions}");
    assert!(configured.iter().all(|session| session["id"]["dst"] == "[::1]:0"), "{sessions}");
    // IPv4 at any address of IPv6 is IPv4 at any.
    let posted = json!({"src_ip": "127.0.0.1", "src_port": 0, "dst_ip": "::", "dst_port": api.port, "ssid": 4});
    assert_eq!(api.json("POST", "/session", &posted.to_string()).await, (StatusCode::OK, posted));
    api.measure(4);
}
