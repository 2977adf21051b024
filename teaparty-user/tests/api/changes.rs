//! What can be changed, and the conditions under which it is: sessions, their keys and counters, policy and limits.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};
use teaparty_testing::api::{Api, problem, text};

const JSON: (&str, &str) = ("content-type", "application/json");

fn path(port: u16, ssid: u16) -> String {
    format!("/api/v1/sessions/127.0.0.1,0,0.0.0.0,{port},{ssid}")
}

/// Status, entity tag and JSON of an answer.
async fn tagged(
    api: &Api,
    method: &str,
    path: &str,
    condition: Option<(&str, &str)>,
    body: &Value,
) -> (u16, String, Value) {
    let headers: Vec<_> = [Some(JSON), condition].into_iter().flatten().collect();
    let response = api.send(method, path, &headers, &body.to_string()).await;
    let tag = response.headers().get(header::ETAG).map(|tag| tag.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = response.status().as_u16();
    let text = text(response).await;
    assert!(!text.contains("hunter2"), "a key came out: {text}");
    (status, tag, serde_json::from_str(&text).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_session_is_put_and_replaced_if_nobody_else_has_changed_it() {
    let api = Api::new();
    let path = path(api.port, 7);
    let first = json!({"ssid": 7, "no_tlv": true, "bit_error_pattern": "0xA5", "key": "hunter2"});
    let (status, tag, session) = tagged(&api, "PUT", &path, Some(("if-none-match", "*")), &first).await;
    assert_eq!(status, 201, "{session}");
    let configuration =
        json!({"no_tlv": true, "loop_exempt": false, "timestamp_format": null, "bit_error_pattern": "a5"});
    assert_eq!((&session["configuration"], &session["authenticated"]), (&configuration, &json!(true)));
    assert_eq!(tagged(&api, "GET", &path, None, &Value::Null).await.1, tag);
    assert_eq!(tagged(&api, "PUT", &path, Some(("if-none-match", "*")), &first).await.0, 412);

    // Keys that are not mentioned stay; null takes them away.
    let second = json!({"timestamp_format": "ptp"});
    let (status, newer, session) = tagged(&api, "PUT", &path, Some(("if-match", &tag)), &second).await;
    assert_eq!((status, &session["authenticated"]), (200, &json!(true)));
    assert_eq!(session["configuration"]["timestamp_format"], "ptp");
    assert_eq!(session["configuration"]["bit_error_pattern"], Value::Null);
    assert_ne!(newer, tag);
    for (method, under) in [("PUT", ""), ("DELETE", ""), ("POST", "/reset"), ("PUT", "/keys"), ("DELETE", "/keys")] {
        let headers = [JSON, ("if-match", &tag)];
        problem(api.send(method, &format!("{path}{under}"), &headers, "{}").await, 412).await;
    }
    let (_, _, session) = tagged(&api, "PUT", &path, Some(("if-match", "*")), &json!({"key": null})).await;
    assert_eq!(session["authenticated"], false);
    let (named, _) = problem(api.send("PUT", &path, &[JSON], "{\"ssid\": 8}").await, 422).await;
    assert_eq!(named, "ssid");
    problem(api.send("PUT", &path, &[JSON, ("if-match", "7")], "{}").await, 400).await;
    let other = path.replace(",7", ",8");
    assert_eq!(tagged(&api, "PUT", &other, Some(("if-match", "*")), &json!({})).await.0, 412);
    problem(api.send("GET", &other, &[], "").await, 404).await;
    let (_, newest, _) = tagged(&api, "GET", &path, None, &Value::Null).await;
    assert_eq!(api.send("DELETE", &path, &[("if-match", &newest)], "").await.status(), 204);
}

#[tokio::test]
async fn keys_come_in_change_over_and_go() {
    let api = Api::new();
    let session = path(api.port, 7);
    let keys = format!("{session}/keys");
    problem(api.send("PUT", &keys, &[JSON], "{\"key\": \"hunter2\"}").await, 404).await;
    assert_eq!(tagged(&api, "PUT", &session, None, &json!({})).await.0, 201);
    let (_, tag, counts) = tagged(&api, "GET", &keys, None, &Value::Null).await;
    assert_eq!(counts, json!({"key": 0, "tlv_key": 0}));
    let one = json!({"key": "hunter2"});
    let (status, newer, counts) = tagged(&api, "PUT", &keys, Some(("if-match", &tag)), &one).await;
    assert_eq!((status, counts), (200, json!({"key": 1, "tlv_key": 0})));
    assert_ne!(newer, tag);
    let both = json!({"key": "hex:68756e74657233", "tlv_key": "hunter2"});
    for _ in 0..2 {
        let (_, _, counts) = tagged(&api, "POST", &format!("{keys}/rotate"), None, &both).await;
        assert_eq!(counts, json!({"key": 2, "tlv_key": 1}), "asked twice, it is one change");
    }
    let (_, _, counts) = tagged(&api, "POST", &format!("{keys}/retire"), None, &Value::Null).await;
    assert_eq!(counts, json!({"key": 1, "tlv_key": 1}));
    let (_, _, counts) = tagged(&api, "PUT", &keys, None, &json!({"tlv_key": null})).await;
    assert_eq!(counts, json!({"key": 1, "tlv_key": 0}));
    assert_eq!(api.send("DELETE", &keys, &[], "").await.status(), 204);
    assert_eq!(tagged(&api, "GET", &session, None, &Value::Null).await.2["authenticated"], false);
    for (under, body, field) in [("", "{\"key\": 7}", "key"), ("/rotate", "{}", "key"), ("", "{\"kye\": \"x\"}", "kye")]
    {
        let method = if under.is_empty() { "PUT" } else { "POST" };
        let answer = api.send(method, &format!("{keys}{under}"), &[JSON], body).await;
        assert_eq!(problem(answer, 422).await.0, field);
    }
}

#[tokio::test]
async fn a_session_that_packets_made_begins_anew_when_it_is_reset() {
    let api = Api::new();
    let from = api.measure(3);
    let path = format!("/api/v1/sessions/127.0.0.1,{from},127.0.0.1,{},3", api.port);
    let (_, tag, session) = tagged(&api, "GET", &path, None, &Value::Null).await;
    assert_eq!((&session["seen"][0]["received"], &session["configuration"]), (&json!(1), &Value::Null));
    let (status, _, session) =
        tagged(&api, "POST", &format!("{path}/reset"), Some(("if-match", &tag)), &json!({})).await;
    assert_eq!((status, &session["seen"][0]["received"], &session["seen"][0]["replies"]), (200, &json!(0), &json!(0)));
    let (_, _, mut session) = tagged(&api, "PUT", &path, None, &json!({})).await;
    assert_eq!(session["seen"].take().as_array().unwrap().len(), 1, "it keeps its state when it is provisioned");
    // It is provisioned now, and not the one any more that was seen.
    problem(api.send("DELETE", &path, &[("if-match", &tag)], "").await, 412).await;
    let wildcard = self::path(api.port, 9);
    assert_eq!(tagged(&api, "PUT", &wildcard, None, &json!({})).await.0, 201);
    problem(api.send("POST", &format!("{wildcard}/reset"), &[], "").await, 409).await;
    problem(api.send("POST", &format!("{path}0/reset"), &[], "").await, 404).await;
}

#[tokio::test]
async fn policy_and_limits_change_while_packets_are_answered() {
    let api = Api::new();
    let (status, tag, policy) = tagged(&api, "GET", "/api/v1/policy", None, &Value::Null).await;
    assert_eq!((status, &policy["strict"], &policy["timestamp_format"]), (200, &json!(false), &json!("ntp")));
    assert!(policy.get("iface").is_none() && policy.get("auth_key_file").is_none(), "{policy}");
    assert_eq!(api.send("GET", "/api/v1/policy", &[("if-none-match", &tag)], "").await.status(), 304);

    let patch = json!({"strict": true, "deny_dscp": "ef, cs1"});
    let (status, newer, policy) = tagged(&api, "PATCH", "/api/v1/policy", Some(("if-match", &tag)), &patch).await;
    assert_eq!((status, &policy["strict"], &policy["deny_dscp"]), (200, &json!(true), &json!("ef, cs1")));
    assert_eq!(tagged(&api, "GET", "/api/v1/policy", None, &Value::Null).await.1, newer);
    problem(api.send("PATCH", "/api/v1/policy", &[JSON, ("if-match", &tag)], "{}").await, 412).await;
    let (_, _, policy) = tagged(&api, "PATCH", "/api/v1/policy", None, &json!({"deny_dscp": null})).await;
    assert_eq!((&policy["strict"], &policy["deny_dscp"]), (&json!(true), &Value::Null));
    let (_, last, policy) = tagged(&api, "PUT", "/api/v1/policy", None, &json!({})).await;
    assert_eq!((&policy["strict"], last), (&json!(false), tag));

    let limits = json!({"min_payload": 100, "allow": ["127.0.0.0/8"], "rate_limit": "10:2", "session_timeout": 5});
    let (status, _, answer) = tagged(&api, "PUT", "/api/v1/limits", None, &limits).await;
    // What was not given is as by default.
    let mut expected = limits.clone();
    (expected["rate_limit_prefix"], expected["punt_limit"]) = (json!("64:32"), json!("50000:5000"));
    assert_eq!((status, &answer), (200, &expected));
    let short = api.sender(4, &[]);
    assert!(short.1.is_none(), "44 octets are too short now");
    assert_eq!(api.exchange(4, &[0x80, 1, 0, 60].into_iter().chain([0; 60]).collect::<Vec<u8>>()).len(), 108);
    let (_, _, answer) = tagged(&api, "PATCH", "/api/v1/limits", None, &json!({"min_payload": 14, "allow": []})).await;
    assert_eq!((&answer["rate_limit"], &answer["allow"]), (&json!("10:2"), &json!([])));

    for (group, field, value) in [
        ("policy", "strict", json!("yes")),
        ("policy", "deny_ecn", json!("ecn9")),
        ("policy", "micro_session_id", json!(70_000)),
        ("policy", "tlv_code", json!(["history=1"])),
        ("policy", "max_sessions", json!(7)),
        ("policy", "auth_key_file", json!("/etc/passwd")),
        ("limits", "allow", json!(["192.0.2.0/33"])),
        ("limits", "rate_limit", json!("fast")),
        ("limits", "port", json!([863])),
        ("limits", "min-payload", json!(14)),
    ] {
        let mut body = json!({});
        body[field] = value;
        let answer = api.send("PATCH", &format!("/api/v1/{group}"), &[JSON], &body.to_string()).await;
        let (named, said) = problem(answer, 422).await;
        assert_eq!(named, field, "{said}");
        assert!(said.contains("\"remedy\":\""), "{said}");
        let error: Value = serde_json::from_str(&said).unwrap();
        let what = error["detail"].as_str().unwrap().strip_prefix(&format!("{field}: ")).unwrap();
        assert!(what.len() > 10 && error["remedy"].as_str().unwrap().len() > 5, "{said}");
    }
    let patch = json!({"session_restart": 31_622_401}).to_string();
    let (named, said) = problem(api.send("PATCH", "/api/v1/policy", &[JSON], &patch).await, 422).await;
    let error: Value = serde_json::from_str(&said).unwrap();
    let expected = "session_restart: must be 31622400 seconds (a year) at most";
    assert_eq!(
        (&*named, &error["detail"], &error["remedy"]),
        ("session_restart", &json!(expected), &json!("0 is for never"))
    );
    problem(api.send("PATCH", "/api/v1/policy", &[JSON], "[]").await, 400).await;
    assert_eq!(api.send("DELETE", "/api/v1/policy", &[], "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn heartbeats_change_only_if_they_are_as_the_client_has_seen_them() {
    let api = Api::new();
    let path = "/api/v1/heartbeats";
    let ask = async |method, path: &str, condition, body: Value| {
        let (status, tag, _) = tagged(&api, method, path, condition, &body).await;
        (status, tag)
    };
    let target = |port: u16| json!({"target": format!("127.0.0.1:{port}"), "interval_seconds": 60});
    let (_, none) = ask("GET", path, None, Value::Null).await;
    assert_eq!(ask("GET", path, Some(("if-none-match", &none)), Value::Null).await.0, 304);
    assert_eq!(ask("POST", path, Some(("if-match", &none)), target(8620)).await.0, 201);
    assert_eq!(ask("POST", path, Some(("if-match", &none)), target(8621)).await.0, 412, "there is one by now");
    let (_, one) = ask("GET", path, None, Value::Null).await;
    assert_ne!(one, none);
    assert_eq!(ask("GET", path, Some(("if-match", &none)), Value::Null).await.0, 412);
    // What is counted is not what is configured.
    let is_sent = async || api.json("GET", path, "").await.1[0]["sent"] != 0;
    while !is_sent().await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(ask("GET", path, Some(("if-none-match", &one)), Value::Null).await.0, 304);
    let its = format!("{path}/127.0.0.1:8620");
    assert_eq!(ask("DELETE", &its, Some(("if-match", &none)), Value::Null).await.0, 412);
    assert_eq!(ask("DELETE", &its, Some(("if-match", &one)), Value::Null).await.0, 204);
    assert_eq!(ask("GET", path, None, Value::Null).await.1, none);
}
